//! The model's answer: where it stands in the text, and whether it is the gold one.
//!
//! A text is judged right only when that is certain. Where no answer can be found, where one cannot be read, or where
//! the published graders disagree, the verdict is [`Verdict::Undecided`] with its reason, and is counted as such.
//! Generated text is a stranger's: length, nesting and work are bounded, and nothing in it can make a grader panic.

mod choice;
pub(super) mod extract;

use answers::{Verdict, compare};

use super::{
    graded::Graded,
    problem::{Kind, Problem},
};
use extract::{Found, Mark};

/// Longer texts are judged by their end, where the answer stands. Bytes.
const MAX_TEXT: usize = 1 << 20;

/// Judges a generated text against the problem's gold answer.
///
/// Looked for, in this order: the last `\boxed{...}`; what follows the last `####`; what follows the last `answer is`
/// or `answer:`; the last number, where the gold answer is one. Text before `</think>` does not count, and within
/// `<answer>` nothing outside it does. Code problems are Undecided here: they have to be run.
pub fn grade(problem: &Problem, text: &str) -> Graded {
    if problem.kind == Kind::Code {
        return Graded::undecided(None, "code has to be run to be judged");
    }
    let Some(reply) = extract::reply(end_of(text)) else {
        return Graded::undecided(None, "the text ends before the thinking does");
    };
    let found = match extract::marked(reply) {
        Ok(found) => found,
        Err(why) => return Graded::undecided(None, why),
    };
    if problem.kind == Kind::Choice {
        choice::grade(problem, reply, found)
    } else {
        number_or_formula(problem, reply, found)
    }
}

fn end_of(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MAX_TEXT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn number_or_formula(problem: &Problem, reply: &str, found: Option<Found<'_>>) -> Graded {
    let found = match found {
        Some(found) => found,
        None => match extract::last_number(reply) {
            None => return Graded::undecided(None, "no answer found"),
            Some(Err(why)) => return Graded::undecided(None, why),
            Some(Ok(number)) if is_number(&problem.answer) => Found { text: number, mark: Mark::LastNumber },
            Some(Ok(number)) => return Graded::undecided(Some(number), "the text does not mark its answer"),
        },
    };
    let verdict = compare(&problem.answer, found.text);
    if found.mark == Mark::Phrase && matches!(verdict, Verdict::Undecided(_)) && is_number(&problem.answer) {
        return sentence(problem, found.text, verdict);
    }
    Graded { extracted: Some(found.text.to_owned()), verdict }
}

/// `the answer is the 18 that she sells`: a sentence with one number says that number; `... is 3 + 4 = 7` its end.
fn sentence(problem: &Problem, text: &str, verdict: Verdict) -> Graded {
    let result = text.rfind('=').map_or(text, |at| &text[at + 1..]);
    match extract::only_number(result) {
        Some(number) => Graded { extracted: Some(number.to_owned()), verdict: compare(&problem.answer, number) },
        None => Graded { extracted: Some(text.to_owned()), verdict },
    }
}

fn is_number(gold: &str) -> bool {
    gold.bytes().any(|b| b.is_ascii_digit()) && gold.bytes().all(|b| b.is_ascii_digit() || b"+-.,/$% ".contains(&b))
}
