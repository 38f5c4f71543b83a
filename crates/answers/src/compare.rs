//! Whether an answer is the gold one.

use crate::Verdict;
use crate::expr::Expr;
use crate::op::Op;
use crate::shape::{self, Kind, Scalar, Value};
use crate::token;
use crate::value::{self, Same};

/// A gold decimal with as many digits behind the point is itself a rounded number, such as 1.8333333333333335; an
/// answer with as many is as good as exact.
const ROUNDED_PLACES: u32 = 10;

/// Whether `answer` is worth the same as `gold`, both as written.
///
/// Undecided where one of them cannot be read and they are not written alike, or where graders differ: a rounded
/// value of an exact gold answer, digits without the wanted base, a list where a tuple was wanted, different units.
pub fn compare(gold: &str, answer: &str) -> Verdict {
    if answer.trim().is_empty() {
        return Verdict::Undecided("the answer is empty".into());
    }
    if plain(gold) == plain(answer) {
        return Verdict::Correct;
    }
    let read = |text: &str| token::tokens(text).and_then(|tokens| shape::value(&tokens));
    match (read(gold), read(answer)) {
        (Ok(gold), Ok(answer)) => values(&gold, &answer),
        (Err(why), _) => Verdict::Undecided(format!("the gold answer is not read: {why}")),
        (_, Err(why)) => Verdict::Undecided(why.into()),
    }
}

/// The text without what only changes its look: spaces but between digits (`4 2/3` is not `42/3`), dollar signs, `\text`, and
/// braces where they end no argument (`\frac{1}{23}` is not `\frac{12}{3}`). Case counts.
fn plain(text: &str) -> String {
    let text = text.replace("\\text", "").replace("\\mathrm", "").replace("\\left", "").replace("\\right", "");
    let dropped = if text.contains(['\\', '^', '_']) { "$" } else { "${}" };
    let mut plain = String::new();
    for part in text.split_whitespace() {
        let is_digit = |c: char| c.is_ascii_digit();
        if plain.ends_with(is_digit) && part.starts_with(is_digit) {
            plain.push(' ');
        }
        plain.extend(part.chars().filter(|c| !dropped.contains(*c)));
    }
    plain.truncate(plain.trim_end_matches('.').len());
    plain
}

fn undecided(why: &str) -> Verdict {
    Verdict::Undecided(why.into())
}

fn values(gold: &Value, answer: &Value) -> Verdict {
    match (gold, answer) {
        (Value::Scalar(gold), Value::Scalar(answer)) => scalars(gold, answer),
        (Value::Text(gold), other) => letters(other).map_or(Verdict::Wrong, |answer| texts(gold, &answer)),
        (other, Value::Text(answer)) => match letters(other) {
            Some(gold) => texts(&gold, answer),
            None => undecided("the answer is words"),
        },
        (Value::Based { .. }, Value::Based { .. }) => Verdict::of(gold == answer),
        (Value::Based { digits, .. }, Value::Scalar(Scalar { expr: Expr::Number(number), .. })) => {
            unless(*digits == number.digits, "the answer does not say its base")
        }
        (Value::Scalar(Scalar { expr: Expr::Number(number), .. }), Value::Based { digits, base }) => {
            if base == "10" {
                Verdict::of(*digits == number.digits)
            } else {
                unless(*digits == number.digits, "a base")
            }
        }
        (Value::Named(name, gold), Value::Named(other, answer)) if name == other => values(gold, answer),
        (Value::Named(..) | Value::Equation(..), Value::Named(..) | Value::Equation(..)) => equations(gold, answer),
        (Value::Scalar(gold), Value::Equation(left, right)) => calculation(gold, left, right),
        (Value::Named(_, gold), other) => values(gold, other),
        (other, Value::Named(_, answer)) => values(other, answer),
        (Value::Group(kind, gold), Value::Group(other, answer)) => groups((kind, gold), (other, answer)),
        (Value::Scalar(_), Value::Group(Kind::Many, items)) if items.iter().any(has_unit) => {
            undecided("the answer lists several quantities")
        }
        _ => Verdict::Wrong,
    }
}

/// `9 * 2 = 18` says 18, if it is true.
fn calculation(gold: &Scalar, left: &Expr, right: &Expr) -> Verdict {
    if value::real(left).is_none() || value::real(right).is_none() {
        return Verdict::Wrong;
    }
    match value::equal(left, right) {
        Same::Yes => numbers(&gold.expr, right),
        _ => undecided("the two sides of the answer's calculation differ"),
    }
}

fn groups((kind, gold): (&Kind, &[Value]), (other, answer): (&Kind, &[Value])) -> Verdict {
    match (kind, other) {
        (Kind::Many | Kind::Union, Kind::Many | Kind::Union) => unordered(gold, answer),
        _ if kind == other => ordered(gold, answer),
        (Kind::Many, Kind::Sequence(..)) => alike(&unordered(gold, answer)),
        (Kind::Sequence(..), Kind::Many | Kind::Matrix(_)) | (Kind::Matrix(_), Kind::Sequence(..) | Kind::Many) => {
            alike(&ordered(gold, answer))
        }
        _ => Verdict::Wrong,
    }
}

fn has_unit(value: &Value) -> bool {
    matches!(value, Value::Scalar(Scalar { unit: Some(_), .. }))
}

/// The same things in another wrapping: graders differ, so this does not decide.
fn alike(items: &Verdict) -> Verdict {
    match items {
        Verdict::Wrong => Verdict::Wrong,
        _ => undecided("the same things, but a list, a tuple and a vector are not one another"),
    }
}

fn unless(doubt: bool, why: &str) -> Verdict {
    if doubt { undecided(why) } else { Verdict::Wrong }
}

fn ordered(gold: &[Value], answer: &[Value]) -> Verdict {
    if gold.len() != answer.len() {
        return Verdict::Wrong;
    }
    let mut all = Verdict::Correct;
    for (gold, answer) in gold.iter().zip(answer) {
        match values(gold, answer) {
            Verdict::Correct => {}
            Verdict::Wrong => return Verdict::Wrong,
            doubt => all = doubt,
        }
    }
    all
}

/// Pairs every gold item with an answer of its own, whatever the order.
fn unordered(gold: &[Value], answer: &[Value]) -> Verdict {
    if gold.len() != answer.len() {
        return Verdict::Wrong;
    }
    let mut left: Vec<&Value> = answer.iter().collect();
    let mut missing = Vec::new();
    for gold in gold {
        match left.iter().position(|answer| values(gold, answer) == Verdict::Correct) {
            Some(at) => drop(left.swap_remove(at)),
            None => missing.push(gold),
        }
    }
    let doubtful = |gold: &&Value| left.iter().any(|answer| values(gold, answer) != Verdict::Wrong);
    match missing.is_empty() {
        true => Verdict::Correct,
        false => unless(missing.iter().all(doubtful), "some of the listed things cannot be compared"),
    }
}

fn texts(gold: &str, answer: &str) -> Verdict {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
        parts.map(str::to_lowercase).filter(|word| !matches!(word.as_str(), "the" | "a" | "an")).collect()
    };
    let (gold, answer) = (words(gold), words(answer));
    if gold == answer {
        return Verdict::Correct;
    }
    unless(gold.iter().all(|word| answer.contains(word)), "the answer says more than the gold answer")
}

/// Words, or a product of single letters as the word it may be.
fn letters(value: &Value) -> Option<String> {
    fn push(expr: &Expr, out: &mut String) -> Option<()> {
        match expr {
            Expr::Var(name) => out.push_str(name),
            Expr::Apply(Op::Mul, factors) => return factors.iter().try_for_each(|factor| push(factor, out)),
            _ => return None,
        }
        Some(())
    }
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Scalar(Scalar { expr, percent: false, unit: None }) => {
            let mut out = String::new();
            push(expr, &mut out).map(|()| out)
        }
        _ => None,
    }
}

fn equations(gold: &Value, answer: &Value) -> Verdict {
    let difference = |value: &Value| {
        let (left, right) = match value {
            Value::Equation(left, right) => (left, right),
            Value::Named(name, value) => match &**value {
                Value::Scalar(scalar) => (name, &scalar.expr),
                _ => return None,
            },
            _ => return None,
        };
        Some(Expr::of(Op::Add, [left.clone(), Expr::of(Op::Neg, [right.clone()])]))
    };
    let (Some(gold), Some(answer)) = (difference(gold), difference(answer)) else {
        return undecided("the two equations name different things");
    };
    match value::proportional(&gold, &answer) {
        Same::Yes => Verdict::Correct,
        Same::No => Verdict::Wrong,
        Same::Unknown => undecided("the two equations have too few points in common"),
    }
}

fn scalars(gold: &Scalar, answer: &Scalar) -> Verdict {
    let verdict = percentages(gold, answer);
    match (&gold.unit, &answer.unit) {
        (Some(unit), Some(other)) if unit != other => undecided("the units differ"),
        _ => verdict,
    }
}

/// A percent sign is a unit (40 for 40%), or a hundredth (0.4 for 40%); both are right.
fn percentages(gold: &Scalar, answer: &Scalar) -> Verdict {
    let bare = numbers(&gold.expr, &answer.expr);
    if gold.percent == answer.percent || bare == Verdict::Correct {
        return bare;
    }
    let hundredth = |scalar: &Scalar| match scalar.percent {
        true => Expr::of(Op::Div, [scalar.expr.clone(), Expr::whole(100)]),
        false => scalar.expr.clone(),
    };
    match numbers(&hundredth(gold), &hundredth(answer)) {
        Verdict::Correct => Verdict::Correct,
        _ => bare,
    }
}

fn numbers(gold: &Expr, answer: &Expr) -> Verdict {
    match value::equal(gold, answer) {
        Same::Yes => Verdict::Correct,
        Same::No if may_have_unit(gold, answer) => undecided("the letter behind the number may be a unit"),
        Same::No if value::equal(&radians(gold), &radians(answer)) == Same::Yes => {
            undecided("one of them is in degrees, the other in radians")
        }
        Same::No => rounded(gold, answer).unwrap_or(Verdict::Wrong),
        Same::Unknown => undecided("the two expressions have too few points in common, or agree at some only"),
    }
}

/// An angle in degrees as the number it is.
fn radians(expr: &Expr) -> Expr {
    match expr {
        Expr::Apply(Op::Degree, angle) => {
            let factor = Expr::of(Op::Div, [Expr::of(Op::Pi, []), Expr::whole(180)]);
            Expr::of(Op::Mul, [angle[0].clone(), factor])
        }
        other => other.clone(),
    }
}

/// Whether the answer is the gold number and one letter that names a unit.
fn may_have_unit(gold: &Expr, answer: &Expr) -> bool {
    let Expr::Apply(Op::Mul, factors) = answer else { return false };
    matches!(&factors[..], [number, Expr::Var(name)] if ["m", "g", "l", "L", "s", "h"].contains(&name.as_str())
        && value::equal(gold, number) == Same::Yes)
}

/// What a decimal is worth beside a gold answer that it may be a rounding of; `None` where it is not.
fn rounded(gold: &Expr, answer: &Expr) -> Option<Verdict> {
    let gold_places = decimal_places(gold);
    let noisy = gold_places.is_some_and(|places| places >= ROUNDED_PLACES);
    if gold_places.is_some() && !noisy {
        return None;
    }
    let (target, found) = (value::real(gold)?, value::real(answer)?);
    let off = (target - found).abs();
    if noisy && off <= 1e-9 * target.abs() {
        return Some(Verdict::Correct);
    }
    let places = decimal_places(answer).filter(|places| *places >= 2)?;
    // Half a unit of the last place, and what doubles cannot tell apart.
    if off > 0.5 * 0.1f64.powi(places.min(30) as i32) + 1e-12 * target.abs() {
        return None;
    }
    let three_digits = noisy && places >= 3 && off <= 1e-3 * target.abs();
    let enough = three_digits || (places >= ROUNDED_PLACES && off <= 1e-9 * target.abs());
    Some(if enough { Verdict::Correct } else { undecided("the answer is a rounded value of an exact one") })
}

/// Digits behind the point of a plain decimal, with or without a sign.
fn decimal_places(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Number(number) => Some(number.places),
        Expr::Apply(Op::Neg, inner) => decimal_places(&inner[0]),
        _ => None,
    }
}
