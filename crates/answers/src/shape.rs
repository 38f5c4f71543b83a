//! What kind of answer it is: a number with its unit, words, a list, a tuple or interval, a matrix, an equation.

use crate::expr::{self, Expr};
use crate::op::Op;
use crate::token::{Bracket, Read, Token};

/// Deeper nesting of brackets is refused.
const MAX_DEPTH: usize = 12;
/// Longer lists are refused: unordered ones are compared pair by pair.
const MAX_ITEMS: usize = 64;
const TOO_MANY: &str = "the answer lists too many things";

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    /// Digits in a base.
    Based {
        digits: String,
        base: String,
    },
    Text(String),
    Group(Kind, Vec<Self>),
    /// `x = ...`: the name, then what it is.
    Named(Expr, Box<Self>),
    Equation(Expr, Expr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A tuple, point or interval; the brackets matter.
    Sequence(Bracket, Bracket),
    /// A set, or a list without brackets: in any order.
    Many,
    Union,
    /// How long its rows are.
    Matrix(Vec<usize>),
}

/// An expression, and what was written behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) expr: Expr,
    pub(crate) percent: bool,
    pub(crate) unit: Option<String>,
}

/// Words behind a number that change what it is worth.
const NUMBER_WORDS: &str = "hundred thousand million billion trillion dozen half times squared cubed plus minus over \
                            divided point less more fewer than not to sqrt factorial choose mod";

/// Reads an answer.
pub(crate) fn value(tokens: &[Token]) -> Read<Value> {
    let items = list(tokens, 0)?;
    // Separators alone: a list of nothing, which is no answer that another list gives.
    if items.is_empty() { Ok(Value::Group(Kind::Many, items)) } else { many(items) }
}

fn many(mut items: Vec<Value>) -> Read<Value> {
    if items.len() > 1 { Ok(Value::Group(Kind::Many, items)) } else { items.pop().ok_or("the answer is empty") }
}

/// The items between separators; one with a plus-minus sign is two.
fn list(tokens: &[Token], depth: usize) -> Read<Vec<Value>> {
    if depth > MAX_DEPTH {
        return Err("the answer is nested too deeply");
    }
    let parts = split(tokens, |t| is_comma(t) || matches!(t, Token::Word(word) if word == "and" || word == "or"));
    let count = parts.len();
    let mut items = Vec::new();
    // `1, 2, and 3` has an empty part before its `and`.
    for part in parts.into_iter().filter(|part| !part.is_empty() || count <= 2) {
        if let Some((Bracket::Curly | Bracket::Group, ..)) = enclosed(part) {
            items.push(item(part, depth)?);
            continue;
        }
        for tokens in signs(part)? {
            items.push(item(&tokens, depth)?);
        }
        if items.len() > MAX_ITEMS {
            return Err(TOO_MANY);
        }
    }
    Ok(items)
}

fn is_comma(token: &Token) -> bool {
    *token == Token::Sign(',')
}

/// The parts between the tokens outside all brackets that `separates` picks.
fn split(tokens: &[Token], separates: impl Fn(&Token) -> bool) -> Vec<&[Token]> {
    let mut depth = 0usize;
    let outside = |token: &Token| match token {
        Token::Open(_) => {
            depth += 1;
            false
        }
        Token::Close(_) => {
            depth = depth.saturating_sub(1);
            false
        }
        token => depth == 0 && separates(token),
    };
    tokens.split(outside).collect()
}

/// The readings of a part: with a plus-minus sign one for plus and one for minus.
fn signs(part: &[Token]) -> Read<Vec<Vec<Token>>> {
    let count = |sign| part.iter().filter(|token| **token == Token::Sign(sign)).count();
    let read = |plus, minus| {
        let one = |token: &Token| match token {
            Token::Sign('±') => Token::Sign(plus),
            Token::Sign('∓') => Token::Sign(minus),
            other => other.clone(),
        };
        part.iter().map(one).collect()
    };
    match (count('±'), count('∓')) {
        (0, 0) => Ok(vec![part.to_vec()]),
        (0 | 1, 0 | 1) | (0, 2) => Ok(vec![read('+', '-'), read('-', '+')]),
        _ => Err("several plus-minus signs may or may not go together"),
    }
}

fn item(tokens: &[Token], depth: usize) -> Read<Value> {
    // `x \in S` without its `x \in`.
    let tokens = match tokens {
        [Token::Var(_), Token::Sign('∈'), rest @ ..] => rest,
        _ => tokens,
    };
    let unions = split(tokens, |t| *t == Token::Sign('∪'));
    if unions.len() > 1 {
        let parts = unions.into_iter().map(|part| item(part, depth + 1)).collect::<Read<Vec<_>>>()?;
        return if parts.len() > MAX_ITEMS { Err(TOO_MANY) } else { Ok(Value::Group(Kind::Union, parts)) };
    }
    let sides = split(tokens, |t| relation(t).is_some());
    if sides.len() > 1 {
        return related(tokens, &sides, depth);
    }
    if let Some(words) = words(tokens) {
        return Ok(Value::Text(words));
    }
    match enclosed(tokens) {
        Some((Bracket::Matrix, inner, _)) => matrix(inner, depth),
        Some((open, inner, _))
            if open != Bracket::Group && matches!(enclosed(inner), Some((Bracket::Matrix, ..))) =>
        {
            item(inner, depth + 1)
        }
        Some((Bracket::Curly | Bracket::Group, inner, _)) => many(list(inner, depth + 1)?),
        Some((open, inner, close @ (Bracket::Round | Bracket::Square | Bracket::Curly)))
            if split(inner, is_comma).len() > 1 =>
        {
            Ok(Value::Group(Kind::Sequence(open, close), list(inner, depth + 1)?))
        }
        _ => scalar(tokens),
    }
}

/// What stands within the brackets that hold all of `tokens`.
fn enclosed(tokens: &[Token]) -> Option<(Bracket, &[Token], Bracket)> {
    let [Token::Open(open), inner @ .., Token::Close(close)] = tokens else { return None };
    let mut depth = 0usize;
    for token in inner {
        match token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    (depth == 0).then_some((*open, inner, *close))
}

/// The words of an answer that is nothing else.
fn words(tokens: &[Token]) -> Option<String> {
    let word = |token| match token {
        &Token::Word(ref word) | &Token::Var(ref word) => Some(word.as_str()),
        _ => None,
    };
    let words = tokens.iter().map(word).collect::<Option<Vec<_>>>()?;
    tokens.iter().any(|t| matches!(t, Token::Word(_))).then(|| words.join(" "))
}

fn matrix(inner: &[Token], depth: usize) -> Read<Value> {
    let (mut lengths, mut cells) = (Vec::new(), Vec::new());
    for row in split(inner, |t| *t == Token::Sign(';')).into_iter().filter(|row| !row.is_empty()) {
        let before = cells.len();
        for cell in split(row, |t| *t == Token::Sign('&')) {
            cells.push(item(cell, depth + 1)?);
        }
        lengths.push(cells.len() - before);
    }
    if cells.len() > MAX_ITEMS || depth > MAX_DEPTH {
        return Err(TOO_MANY);
    }
    Ok(Value::Group(Kind::Matrix(lengths), cells))
}

/// The sign of a relation.
fn relation(token: &Token) -> Option<char> {
    match token {
        Token::Sign(sign @ ('=' | '<' | '≤' | '>' | '≥')) => Some(*sign),
        _ => None,
    }
}

fn flipped(relation: char) -> char {
    match relation {
        '<' => '>',
        '≤' => '≥',
        '>' => '<',
        '≥' => '≤',
        other => other,
    }
}

/// An equation, or inequalities as the interval they describe.
fn related(tokens: &[Token], sides: &[&[Token]], depth: usize) -> Read<Value> {
    let mut at = 0;
    let mut relations = Vec::new();
    for side in &sides[..sides.len() - 1] {
        at += side.len();
        relations.extend(relation(&tokens[at]));
        at += 1;
    }
    if relations.iter().all(|relation| *relation == '=') {
        return equation(sides[0], sides[sides.len() - 1], depth);
    }
    // What the name is below or above.
    let bounds = match (sides, &relations[..]) {
        ([name, side], [r]) if is_name(name) => vec![(*side, *r)],
        ([side, name], [r]) if is_name(name) => vec![(*side, flipped(*r))],
        ([left, name, right], [l, r]) if is_name(name) => vec![(*left, flipped(*l)), (*right, *r)],
        _ => Vec::new(),
    };
    let bound = |signs: [char; 2]| bounds.iter().find(|(_, sign)| signs.contains(sign));
    let (low, high) = (bound(['>', '≥']), bound(['<', '≤']));
    if bounds.is_empty() || usize::from(low.is_some()) + usize::from(high.is_some()) != bounds.len() {
        return Err("the answer is an inequality that is not read");
    }
    let side = |bound: Option<&(&[Token], char)>, infinite: Expr| match bound {
        None => Ok((Bracket::Round, Value::Scalar(Scalar { expr: infinite, percent: false, unit: None }))),
        Some((side, '<' | '>')) => Ok((Bracket::Round, item(side, depth + 1)?)),
        Some((side, _)) => Ok((Bracket::Square, item(side, depth + 1)?)),
    };
    let infinity = Expr::of(Op::Infinity, []);
    let (open, low) = side(low, Expr::of(Op::Neg, [infinity.clone()]))?;
    let (close, high) = side(high, infinity)?;
    Ok(Value::Group(Kind::Sequence(open, close), vec![low, high]))
}

/// A variable, or a function of one: `x`, `f(x)`.
fn is_name(tokens: &[Token]) -> bool {
    matches!(
        tokens,
        [Token::Var(_) | Token::Word(_)]
            | [Token::Var(_), Token::Sign('_'), _]
            | [Token::Var(_), Token::Open(Bracket::Round), Token::Var(_), Token::Close(Bracket::Round)]
    )
}

fn equation(left: &[Token], right: &[Token], depth: usize) -> Read<Value> {
    if !is_name(left) {
        return Ok(Value::Equation(whole(left)?, whole(right)?));
    }
    let name = match left {
        [Token::Word(word)] => Expr::Var(word.clone()),
        _ => whole(left)?,
    };
    Ok(Value::Named(name, item(right, depth + 1)?.into()))
}

/// An expression and nothing behind it.
fn whole(tokens: &[Token]) -> Read<Expr> {
    let (expr, used) = expr::parse(tokens)?;
    if used == tokens.len() { Ok(expr) } else { Err("an expression does not end where it should") }
}

fn scalar(tokens: &[Token]) -> Read<Value> {
    let tokens = match tokens {
        // `52_8`, `4210_{5}`.
        [Token::Number(digits), Token::Sign('_'), Token::Number(base)]
        | [
            Token::Number(digits),
            Token::Sign('_'),
            Token::Open(Bracket::Group),
            Token::Number(base),
            Token::Close(Bracket::Group),
        ] => {
            let digits = digits.digits.trim_start_matches('0').to_owned();
            return Ok(Value::Based { digits, base: base.digits.clone() });
        }
        [Token::Word(currency), rest @ ..] if matches!(currency.as_str(), "Rs" | "USD") => rest,
        _ => tokens,
    };
    let (expr, used) = expr::parse(tokens)?;
    let (percent, behind) = match &tokens[used..] {
        [Token::Sign('%'), rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    Ok(Value::Scalar(Scalar { expr, percent, unit: unit(behind)? }))
}

/// The words behind a number as one unit: lower case, singular, powers kept.
fn unit(tokens: &[Token]) -> Read<Option<String>> {
    let mut parts: Vec<String> = Vec::new();
    let mut caret = false;
    for token in tokens {
        match token {
            Token::Word(word) => parts.extend(word.split_whitespace().map(singular)),
            Token::Number(power) if caret => parts.push(power.digits.clone()),
            _ if parts.is_empty() => return Err("what stands behind the number is not a unit"),
            Token::Var(name) => parts.push(name.clone()),
            Token::Sign('/') => parts.push("per".into()),
            Token::Sign('^') | Token::Open(Bracket::Group) | Token::Close(Bracket::Group) => {}
            _ => return Err("what stands behind the number is not a unit"),
        }
        caret = *token == Token::Sign('^') || (caret && *token == Token::Open(Bracket::Group));
    }
    if parts.iter().any(|part| NUMBER_WORDS.split(' ').any(|word| word == part)) {
        return Err("the words behind the number may change it");
    }
    Ok((!parts.is_empty()).then(|| parts.join(" ")))
}

fn singular(word: &str) -> String {
    let lower = word.trim_end_matches('.').to_lowercase();
    match lower.as_str() {
        "feet" => "foot".into(),
        "inches" => "inch".into(),
        _ => lower.strip_suffix('s').filter(|stem| stem.len() > 1).unwrap_or(&lower).to_owned(),
    }
}
