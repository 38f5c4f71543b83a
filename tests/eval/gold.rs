//! Every gold answer of the shared sets: right in other clothes, and never right when it is another.

use answers::compare;
use underdog::eval::answer::grade;
use underdog::eval::task::Kind;
use underdog::eval::{Problem, Verdict};

use super::support::{SETS, problems, say, shared};

/// The texts in which a model may give a gold answer.
fn replies(gold: &str) -> Vec<String> {
    vec![
        format!("\\boxed{{{gold}}}"),
        format!("We add up.\nSo we get $\\boxed{{{gold}}}$."),
        format!("First \\boxed{{7771}}. No: $$\\boxed{{ {gold} }}$$"),
        format!("<think>It may be \\boxed{{7771}}.</think>\n\nThe final answer is: $\\boxed{{{gold}}}$."),
        format!("<think>hm</think> <answer> \\boxed{{{gold}}} </answer>"),
        format!("<think>hm</think><answer>The answer is ${gold}$.</answer>"),
        format!("The answer is ${gold}$."),
        format!("The answer is {gold}."),
        format!("**Answer:** {gold}"),
        format!("Final Answer: The final answer is ${gold}$. I hope it is correct."),
        format!("It is so.\n#### {gold}"),
    ]
}

/// Other ways to write the same answer.
fn renderings(gold: &str) -> Vec<String> {
    let mut all = vec![
        gold.to_owned(),
        format!(" {gold} "),
        format!("${gold}$"),
        format!("\\({gold}\\)"),
        format!("{{{gold}}}"),
        format!("{gold}."),
        gold.replace("\\frac", "\\dfrac"),
        gold.replace("\\frac", "\\tfrac"),
        gold.replace("\\left", "").replace("\\right", ""),
        gold.replace("^\\circ", ""),
        gold.replace("^\\circ", "^{\\circ}"),
        gold.replace("^\\circ", "°"),
        gold.replace("\\pi", "π").replace("\\infty", "∞").replace("\\cup", "∪"),
        gold.replace("\\$", "").replace(",\\! ", ",").replace(",\\!", ","),
        gold.replace("\\sqrt", " \\sqrt "),
        gold.replace("\\text", "\\textbf"),
        gold.replace("pmatrix", "bmatrix"),
        gold.replace(" + ", "+").replace(" - ", "-"),
    ];
    if !gold.contains("\\text") && !gold.contains("\\mbox") && !gold.contains("matrix") {
        all.push(gold.replace(' ', ""));
    }
    all.extend(slashed(gold));
    if let Some(number) = plain_number(gold) {
        all.extend([
            format!("{gold}\\%"),
            format!("{gold} percent"),
            format!("{gold}\\text{{ dollars}}"),
            format!("{gold} \\mathrm{{~cm}}^2").replace('~', ""),
            format!("{gold} apples"),
            format!("x = {gold}"),
            format!("\\$ {gold}"),
        ]);
        if number.fract() == 0.0 {
            let whole = format!("{number}");
            let grouped = grouped(&whole);
            all.extend([format!("${number:.2}"), format!("{whole}.0"), format!("{whole}.00"), whole]);
            all.extend([
                grouped.replace(',', "{,}"),
                grouped.replace(',', ",\\!"),
                grouped.replace(',', "\\,"),
                grouped,
            ]);
        }
    }
    all
}

/// `\frac{a}{b}` as `a/b`, as `(a)/(b)`, and as a decimal where it ends.
fn slashed(gold: &str) -> Vec<String> {
    let Some(rest) = gold.strip_prefix("\\frac{").and_then(|rest| rest.strip_suffix('}')) else { return Vec::new() };
    let Some((a, b)) = rest.split_once("}{").filter(|_| rest.matches('}').count() == 1) else { return Vec::new() };
    let mut all = vec![format!("({a})/({b})"), format!("\\frac{{2 \\cdot ({a})}}{{2({b})}}")];
    if let (Ok(n), Ok(d)) = (a.parse::<i64>(), b.parse::<i64>()) {
        all.extend([
            format!("{a}/{b}"),
            format!("{a} / {b}"),
            format!("{}/{}", 3 * n, 3 * d),
            format!("-\\frac{{{}}}{{{b}}}", -n),
        ]);
        if (n * 1_000_000) % d == 0 {
            all.push(format!("{}", n as f64 / d as f64));
        }
        if n > d {
            all.push(format!("{}\\frac{{{}}}{{{d}}}", n / d, n % d));
            all.push(format!("{} {}/{d}", n / d, n % d));
        }
    }
    all
}

fn plain_number(gold: &str) -> Option<f64> {
    gold.parse().ok()
}

fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}")
}

/// Answers that are not the gold one.
fn mutations(gold: &str) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(number) = plain_number(gold) {
        all.extend([format!("{}", number + 1.0), format!("{}", number - 1.0), format!("{}", number * 10.0 + 1.0)]);
        all.extend([
            format!("{}\\%", number + 1.0),
            format!("{}, {}", number, number + 1.0),
            format!("{number} + x"),
        ]);
        all.push(format!("{} apples", number + 1.0));
        if number != 0.0 {
            all.extend([format!("-({gold})"), format!("{}", number * 2.0), format!("{gold} \\cdot \\pi")]);
        }
    }
    // One digit at a time, as long as it is not lost in the rounding of a recorded float.
    for (at, digit) in gold.char_indices().filter(|(_, c)| c.is_ascii_digit()).take(9) {
        let other = char::from_digit((digit.to_digit(10).unwrap_or(0) + 1) % 10, 10).unwrap_or('1');
        all.push(format!("{}{other}{}", &gold[..at], &gold[at + 1..]));
    }
    if let Some((at, _)) = gold.match_indices(" - ").next() {
        all.push(format!("{} + {}", &gold[..at], &gold[at + 3..]));
    }
    if let Some((at, _)) = gold.match_indices('+').next() {
        all.push(format!("{}-{}", &gold[..at], &gold[at + 1..]));
    }
    all.extend(
        [("\\sqrt", ""), ("\\pi", ""), ("sqrt", "sqrt[3]")]
            .iter()
            .filter(|(from, _)| gold.contains(from))
            .map(|(from, to)| gold.replace(from, to)),
    );
    if let Some(rest) = gold.strip_prefix("\\frac{").and_then(|rest| rest.strip_suffix('}'))
        && let Some((a, b)) = rest.split_once("}{")
        && a != b
    {
        all.extend([format!("\\frac{{{b}}}{{{a}}}"), format!("-\\frac{{{a}}}{{{b}}}"), a.to_owned(), b.to_owned()]);
    }
    all.extend(reordered(gold));
    let brackets = [('(', '['), ('[', '('), (')', ']'), (']', ')')];
    if gold.contains(',') && gold.starts_with(['(', '[']) {
        all.extend(
            brackets
                .iter()
                .filter(|(from, _)| gold.contains(*from))
                .map(|(from, to)| gold.replace(*from, &to.to_string())),
        );
    }
    for (from, to) in [
        ("east", "west"),
        ("even", "odd"),
        ("ellipse", "parabola"),
        ("Evelyn", "Carla"),
        ("Navin", "Jane"),
        ("(C)", "(D)"),
    ] {
        if gold.contains(from) {
            all.push(gold.replace(from, to));
        }
    }
    all.retain(|text| text.trim() != gold.trim());
    all
}

/// A pair in brackets the other way round, and with one item left out.
fn reordered(gold: &str) -> Vec<String> {
    let inner = gold.replace("\\left", "").replace("\\right", "").replace("\\!", "");
    let Some(inner) = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix([')', ']'])) else {
        return Vec::new();
    };
    let items: Vec<&str> = inner.split(',').collect();
    if inner.contains('(') || items.len() < 2 || items[0].trim() == items[items.len() - 1].trim() {
        return Vec::new();
    }
    let mut back = items.clone();
    back.reverse();
    vec![format!("({})", back.join(",")), format!("({})", items[1..].join(",")), items[0].to_owned()]
}

/// Wrong letters and the texts of other choices.
fn other_choices(problem: &Problem) -> Vec<String> {
    let right = problem.choices.iter().find(|choice| choice.letter == problem.answer).expect("the right choice");
    let others = problem.choices.iter().filter(|choice| choice.letter != problem.answer);
    let mut all = Vec::new();
    for choice in others {
        all.extend([
            choice.letter.clone(),
            format!("({})", choice.letter),
            format!("{}) {}", choice.letter, choice.text),
        ]);
        if choice.text.trim() != right.text.trim() {
            all.push(choice.text.clone());
        }
    }
    all
}

struct Tally {
    asked: usize,
    right: usize,
    undecided: usize,
    failures: Vec<String>,
}

impl Tally {
    fn new() -> Self {
        Self { asked: 0, right: 0, undecided: 0, failures: Vec::new() }
    }

    fn count(&mut self, verdict: &Verdict, good: bool, case: impl FnOnce() -> String) {
        self.asked += 1;
        self.right += usize::from(*verdict == Verdict::Correct);
        self.undecided += usize::from(matches!(verdict, Verdict::Undecided(_)));
        if !good {
            self.failures.push(format!("{} -> {verdict:?}", case()));
        }
    }
}

#[test]
fn gold_answers_agree_with_themselves_and_not_with_others() {
    let Some(root) = shared("gold_answers_agree_with_themselves_and_not_with_others", "math_eval") else { return };
    let mut failures = Vec::new();
    let mut golds = 0;
    for (name, task, file, _) in SETS {
        let problems = problems(&root, *task, file);
        golds += problems.len();
        let (mut same, mut other) = (Tally::new(), Tally::new());
        for (at, problem) in problems.iter().enumerate() {
            judge_same(problem, &mut same);
            judge_others(problem, problems.get(at + 1), &mut other);
        }
        say(&format!(
            "{name}: {} golds; {} of {} renderings right; of {} mutations {} right, {} undecided",
            problems.len(),
            same.right,
            same.asked,
            other.asked,
            other.right,
            other.undecided,
        ));
        failures.extend(same.failures.into_iter().chain(other.failures).map(|case| format!("{name}: {case}")));
    }
    assert!(golds > 200, "only {golds} gold answers");
    let shown: Vec<_> = failures.iter().take(60).cloned().collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), shown.join("\n"));
}

fn judge_same(problem: &Problem, tally: &mut Tally) {
    let mut texts = Vec::new();
    if problem.kind == Kind::Choice {
        let right = problem.choices.iter().find(|choice| choice.letter == problem.answer).expect("the right choice");
        let letter = &problem.answer;
        for form in [
            letter.clone(),
            format!("({letter})"),
            format!("{letter})"),
            format!("{letter}."),
            format!("\\text{{{letter}}}"),
        ] {
            texts.extend(replies(&form));
        }
        texts.push(format!("The answer is ({letter}) {}", right.text));
        texts.push(format!("So it must be this.\n\n({letter})"));
        texts.push(format!("Rationale: it is so.The answer is ({letter})."));
    } else {
        texts.extend(replies(&problem.answer));
        texts.extend(renderings(&problem.answer).into_iter().map(|text| format!("\\boxed{{{text}}}")));
        if plain_number(&problem.answer).is_some() {
            texts.push(format!("She has 7771 apples, of which she eats some, and then {} are left.", problem.answer));
            texts.push(format!("The answer is that she sells {} of them.", problem.answer));
            texts.push(format!("So 1 + 2 = {}", problem.answer));
        }
    }
    for text in texts {
        let graded = grade(problem, &text);
        tally
            .count(&graded.verdict, graded.verdict == Verdict::Correct, || format!("{} in {text:?}", problem.answer));
    }
}

fn judge_others(problem: &Problem, neighbour: Option<&Problem>, tally: &mut Tally) {
    let mut texts = if problem.kind == Kind::Choice { other_choices(problem) } else { mutations(&problem.answer) };
    if let Some(neighbour) = neighbour
        && problem.kind != Kind::Choice
        && different(&problem.answer, &neighbour.answer)
    {
        texts.push(neighbour.answer.clone());
    }
    for text in texts {
        for reply in [format!("\\boxed{{{text}}}"), format!("The answer is {text}."), format!("#### {text}")] {
            let graded = grade(problem, &reply);
            tally.count(&graded.verdict, graded.verdict != Verdict::Correct, || {
                format!("{} in {reply:?}", problem.answer)
            });
        }
    }
}

/// Whether two golds of a set are not the same number in two forms.
fn different(a: &str, b: &str) -> bool {
    match (plain_number(a), plain_number(b)) {
        (Some(a), Some(b)) => a != b,
        _ => a.replace("x=", "").replace(['$', ' ', '\\'], "") != b.replace("x=", "").replace(['$', ' ', '\\'], ""),
    }
}

/// Two gold answers of MATH-500 that are written differently are judged the same only where they are.
#[test]
fn gold_answers_differ_from_one_another() {
    let Some(root) = shared("gold_answers_differ_from_one_another", "math_eval") else { return };
    let mut golds: Vec<String> = Vec::new();
    for problem in problems(&root, underdog::eval::Task::Math500, "math_eval/math500.jsonl") {
        if !golds.contains(&problem.answer) {
            golds.push(problem.answer);
        }
    }
    let mut same = Vec::new();
    for a in &golds {
        for b in golds.iter().filter(|b| *b != a) {
            if compare(a, b) == Verdict::Correct {
                same.push(format!("{a} == {b}"));
            }
        }
    }
    // Seen one by one: degrees, dollars, a unit, `x=`, the order of a list, the look of a fraction.
    assert_eq!(same.len(), 24, "{same:?}");
}
