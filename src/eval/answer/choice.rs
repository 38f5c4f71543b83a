//! Multiple choice: the letter, or the text of the choice.

use answers::{Verdict, compare};

use super::extract::{self, Found};
use crate::eval::{graded::Graded, problem::Problem};

/// Judges a text whose answer should be one of the problem's choices.
///
/// Without a mark only a last line that is nothing but a letter counts.
pub(super) fn grade(problem: &Problem, reply: &str, found: Option<Found<'_>>) -> Graded {
    let last_line = || reply.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let text = match found {
        Some(found) => extract::bare(found.text),
        None => match last_line().map(extract::bare) {
            Some(line) if letter(problem, line) == Some("") => line,
            _ => return Graded::undecided(None, "no answer found"),
        },
    };
    let extracted = Some(text.to_owned());
    match chosen(problem, text) {
        Ok(letter) => Graded { extracted, verdict: Verdict::of(letter.eq_ignore_ascii_case(problem.answer.trim())) },
        Err(why) => Graded { extracted, verdict: Verdict::Undecided(why.into()) },
    }
}

/// The letter of the choice that `text` names.
fn chosen<'p>(problem: &'p Problem, text: &str) -> Result<&'p str, &'static str> {
    let text = unwrapped(text);
    for choice in &problem.choices {
        let Some(rest) = behind(&choice.letter, text) else { continue };
        if rest.is_empty() || same(&choice.text, rest) {
            return Ok(&choice.letter);
        }
        return Err("the answer names a letter and another text than its choice");
    }
    let mut matching = problem.choices.iter().filter(|choice| same(&choice.text, text));
    match (matching.next(), matching.next()) {
        (Some(choice), None) => Ok(&choice.letter),
        (Some(_), Some(_)) => Err("the answer is the text of several choices"),
        (None, _) => Err("the answer is none of the choices"),
    }
}

/// Without `\text{}`, `$` and the like around it.
fn unwrapped(text: &str) -> &str {
    let mut text = text.trim_matches(['$', ' ']);
    for wrapper in ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"] {
        if let Some(inner) = text.strip_prefix(wrapper).and_then(|inner| inner.strip_suffix('}')) {
            text = inner.trim();
        }
    }
    text
}

fn same(choice: &str, text: &str) -> bool {
    compare(choice, text) == Verdict::Correct || extract::bare(choice) == text
}

/// What stands behind the letter of one of the choices: `(C)`, `C)`, `C. 5`, `C`.
fn letter<'a>(problem: &Problem, text: &'a str) -> Option<&'a str> {
    let text = unwrapped(text);
    problem.choices.iter().find_map(|choice| behind(&choice.letter, text))
}

fn behind<'a>(letter: &str, text: &'a str) -> Option<&'a str> {
    for bracketed in [format!("({letter})"), format!("[{letter}]"), format!("{letter})")] {
        if let Some(rest) = text.strip_prefix(bracketed.as_str()) {
            return Some(rest.trim());
        }
    }
    let rest = text.strip_prefix(letter)?;
    if rest.is_empty() {
        return Some("");
    }
    rest.strip_prefix(['.', ':', ')']).map(str::trim)
}
