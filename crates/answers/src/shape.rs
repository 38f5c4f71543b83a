//! What kind of answer it is: a number with its unit, words, a list, a tuple or interval, a matrix, an equation.

use crate::expr::{self, Expr};
use crate::token::{Read, Relation, Token};

/// Deeper nesting of brackets is refused.
const MAX_DEPTH: usize = 12;
/// Longer lists are refused: unordered ones are compared pair by pair.
const MAX_ITEMS: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    /// Digits in a base.
    Based {
        digits: String,
        base: String,
    },
    Text(String),
    /// A tuple, point or interval; the brackets matter.
    Seq {
        open: char,
        close: char,
        items: Vec<Self>,
    },
    /// A set, or a list without brackets: in any order.
    Many(Vec<Self>),
    Union(Vec<Self>),
    Matrix(Vec<Vec<Self>>),
    /// `x = ...`: the name, then what it is.
    Named(Expr, Box<Self>),
    Equation(Expr, Expr),
}

/// An expression, and what was written behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) expr: Expr,
    pub(crate) percent: bool,
    pub(crate) unit: Option<String>,
}

/// Words behind a number that change what it is worth.
const NUMBER_WORDS: &[&str] = &[
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "dozen",
    "half",
    "times",
    "squared",
    "cubed",
    "plus",
    "minus",
    "over",
    "divided",
    "point",
    "less",
    "more",
    "fewer",
    "than",
    "not",
    "to",
    "sqrt",
    "factorial",
    "choose",
    "mod",
];

/// Reads an answer.
pub(crate) fn value(tokens: &[Token]) -> Read<Value> {
    let mut items = list(tokens, 0)?;
    if items.len() == 1 { items.pop().ok_or("the answer is empty") } else { Ok(Value::Many(items)) }
}

/// The items between separators; one with a plus-minus sign is two.
fn list(tokens: &[Token], depth: usize) -> Read<Vec<Value>> {
    if depth > MAX_DEPTH {
        return Err("the answer is nested too deeply");
    }
    let parts = split(tokens, |t| *t == Token::Comma || is_word(t, "and") || is_word(t, "or"));
    let count = parts.len();
    let mut items = Vec::new();
    for part in parts {
        // `1, 2, and 3` has an empty part before its `and`.
        if part.is_empty() && count > 2 {
            continue;
        }
        if let Some((Token::Open('{') | Token::GroupOpen, ..)) = enclosed(part) {
            items.push(item(part, depth)?);
            continue;
        }
        for tokens in signs(part)? {
            items.push(item(&tokens, depth)?);
        }
        if items.len() > MAX_ITEMS {
            return Err("the answer lists too many things");
        }
    }
    Ok(items)
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w == word)
}

/// The parts between the tokens outside all brackets that `separates` picks.
fn split(tokens: &[Token], separates: impl Fn(&Token) -> bool) -> Vec<&[Token]> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0usize);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open(_) | Token::GroupOpen | Token::MatrixOpen => depth += 1,
            Token::Close(_) | Token::GroupClose | Token::MatrixClose => depth = depth.saturating_sub(1),
            token if depth == 0 && separates(token) => {
                parts.push(&tokens[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[from..]);
    parts
}

/// The readings of a part: with a plus-minus sign one for plus and one for minus.
fn signs(part: &[Token]) -> Read<Vec<Vec<Token>>> {
    let both = |t: &&Token| matches!(t, Token::PlusMinus | Token::MinusPlus);
    match part.iter().filter(both).count() {
        0 => Ok(vec![part.to_vec()]),
        1 | 2 if part.iter().filter(|t| **t == Token::PlusMinus).count() <= 1 => {
            let with = |plus: &Token, minus: &Token| {
                let one = |t: &Token| match t {
                    Token::PlusMinus => plus.clone(),
                    Token::MinusPlus => minus.clone(),
                    other => other.clone(),
                };
                part.iter().map(one).collect()
            };
            Ok(vec![with(&Token::Plus, &Token::Minus), with(&Token::Minus, &Token::Plus)])
        }
        _ => Err("several plus-minus signs may or may not go together"),
    }
}

fn item(tokens: &[Token], depth: usize) -> Read<Value> {
    let tokens = unlabelled(tokens);
    let unions = split(tokens, |t| *t == Token::Cup);
    if unions.len() > 1 {
        let parts = unions.into_iter().map(|part| item(part, depth + 1)).collect::<Read<Vec<_>>>()?;
        return if parts.len() > MAX_ITEMS {
            Err("the answer lists too many things")
        } else {
            Ok(Value::Union(parts))
        };
    }
    if split(tokens, |t| matches!(t, Token::Relation(_))).len() > 1 {
        return related(tokens, depth);
    }
    if let Some(words) = words(tokens) {
        return Ok(Value::Text(words));
    }
    match enclosed(tokens) {
        Some((Token::MatrixOpen, inner, _)) => matrix(inner, depth),
        Some((Token::Open(_), inner, _)) if matches!(enclosed(inner), Some((Token::MatrixOpen, ..))) => {
            item(inner, depth + 1)
        }
        Some((Token::Open('{'), inner, _)) => many(list(inner, depth + 1)?),
        Some((Token::GroupOpen, inner, _)) => many(list(inner, depth + 1)?),
        Some((Token::Open(open), inner, Token::Close(close))) if split(inner, |t| *t == Token::Comma).len() > 1 => {
            Ok(Value::Seq { open: *open, close: *close, items: list(inner, depth + 1)? })
        }
        _ => scalar(tokens),
    }
}

fn many(mut items: Vec<Value>) -> Read<Value> {
    if items.len() > 1 { Ok(Value::Many(items)) } else { items.pop().ok_or("the answer is empty") }
}

/// `x \in S` without its `x \in`.
fn unlabelled(tokens: &[Token]) -> &[Token] {
    match tokens {
        [Token::Var(_), Token::In, rest @ ..] => rest,
        _ => tokens,
    }
}

/// What stands within the brackets that hold all of `tokens`.
fn enclosed(tokens: &[Token]) -> Option<(&Token, &[Token], &Token)> {
    let [open, inner @ .., close] = tokens else { return None };
    let opens = |t: &Token| matches!(t, Token::Open(_) | Token::GroupOpen | Token::MatrixOpen);
    let closes = |t: &Token| matches!(t, Token::Close(_) | Token::GroupClose | Token::MatrixClose);
    if !opens(open) || !closes(close) {
        return None;
    }
    let mut depth = 0usize;
    for token in inner {
        depth += usize::from(opens(token));
        if closes(token) {
            depth = depth.checked_sub(1)?;
        }
    }
    (depth == 0).then_some((open, inner, close))
}

/// The words of an answer that is nothing else.
fn words(tokens: &[Token]) -> Option<String> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            Token::Word(word) => words.push(word.as_str()),
            Token::Var(name) if !words.is_empty() || tokens.len() > 1 => words.push(name),
            _ => return None,
        }
    }
    tokens.iter().any(|t| matches!(t, Token::Word(_))).then(|| words.join(" "))
}

fn matrix(inner: &[Token], depth: usize) -> Read<Value> {
    let mut rows = Vec::new();
    for row in split(inner, |t| *t == Token::RowEnd) {
        if row.is_empty() {
            continue;
        }
        let cells = split(row, |t| *t == Token::Cell);
        rows.push(cells.into_iter().map(|cell| item(cell, depth + 1)).collect::<Read<Vec<_>>>()?);
    }
    if rows.iter().map(Vec::len).sum::<usize>() > MAX_ITEMS || depth > MAX_DEPTH {
        return Err("the answer lists too many things");
    }
    Ok(Value::Matrix(rows))
}

/// An equation, or inequalities as the interval they describe.
fn related(tokens: &[Token], depth: usize) -> Read<Value> {
    let parts = split(tokens, |t| matches!(t, Token::Relation(_)));
    let mut at = 0;
    let mut relations = Vec::new();
    for part in &parts[..parts.len() - 1] {
        at += part.len();
        if let Some(Token::Relation(relation)) = tokens.get(at) {
            relations.push(*relation);
        }
        at += 1;
    }
    if relations.iter().all(|r| *r == Relation::Equal) {
        return equation(parts[0], parts[parts.len() - 1], depth);
    }
    let [first, .., last] = parts[..] else { return Err("a relation lacks a side") };
    match (&relations[..], parts.len()) {
        ([relation], 2) if is_name(first) => bounds(None, last, *relation, depth),
        ([relation], 2) if is_name(last) => bounds(None, first, flipped(*relation), depth),
        ([low, high], 3) if is_name(parts[1]) && rising(*low) && rising(*high) => {
            interval(Some((first, *low)), Some((last, *high)), depth)
        }
        ([high, low], 3) if is_name(parts[1]) && rising(flipped(*low)) && rising(flipped(*high)) => {
            interval(Some((last, flipped(*low))), Some((first, flipped(*high))), depth)
        }
        _ => Err("the answer is an inequality that is not read"),
    }
}

fn flipped(relation: Relation) -> Relation {
    match relation {
        Relation::Equal => Relation::Equal,
        Relation::Less => Relation::Greater,
        Relation::LessEqual => Relation::GreaterEqual,
        Relation::Greater => Relation::Less,
        Relation::GreaterEqual => Relation::LessEqual,
    }
}

fn rising(relation: Relation) -> bool {
    matches!(relation, Relation::Less | Relation::LessEqual)
}

type Bound<'a> = (&'a [Token], Relation);

/// `name relation side`.
fn bounds(low: Option<Bound<'_>>, side: &[Token], relation: Relation, depth: usize) -> Read<Value> {
    if rising(relation) {
        interval(low, Some((side, relation)), depth)
    } else {
        interval(Some((side, flipped(relation))), None, depth)
    }
}

fn interval(low: Option<Bound<'_>>, high: Option<Bound<'_>>, depth: usize) -> Read<Value> {
    let infinite = |expr| Value::Scalar(Scalar { expr, percent: false, unit: None });
    let strict = |bound: &Option<Bound<'_>>| bound.is_none_or(|(_, relation)| relation == Relation::Less);
    let (open, close) = (if strict(&low) { '(' } else { '[' }, if strict(&high) { ')' } else { ']' });
    let low = low.map_or(Ok(infinite(Expr::Neg(Expr::Infinity.into()))), |(side, _)| item(side, depth + 1))?;
    let high = high.map_or(Ok(infinite(Expr::Infinity)), |(side, _)| item(side, depth + 1))?;
    Ok(Value::Seq { open, close, items: vec![low, high] })
}

/// A variable, or a function of one: `x`, `f(x)`.
fn is_name(tokens: &[Token]) -> bool {
    let named = |t: &Token| matches!(t, Token::Var(_));
    match tokens {
        [name] => named(name) || matches!(name, Token::Word(_)),
        [name, Token::Under, _] => named(name),
        [name, Token::Open('('), argument, Token::Close(')')] => named(name) && named(argument),
        _ => false,
    }
}

fn equation(left: &[Token], right: &[Token], depth: usize) -> Read<Value> {
    if is_name(left) {
        let name = match left {
            [Token::Word(word)] => Expr::Var(word.clone()),
            _ => whole(left)?,
        };
        return Ok(Value::Named(name, item(right, depth + 1)?.into()));
    }
    Ok(Value::Equation(whole(left)?, whole(right)?))
}

/// An expression and nothing behind it.
fn whole(tokens: &[Token]) -> Read<Expr> {
    let (expr, used) = expr::parse(tokens)?;
    if used == tokens.len() { Ok(expr) } else { Err("an expression does not end where it should") }
}

fn scalar(tokens: &[Token]) -> Read<Value> {
    if let Some(based) = based(tokens) {
        return Ok(based);
    }
    let tokens = match tokens {
        [Token::Word(currency), rest @ ..] if matches!(currency.as_str(), "Rs" | "USD") => rest,
        _ => tokens,
    };
    let (expr, used) = expr::parse(tokens)?;
    let mut behind = &tokens[used..];
    let percent = matches!(behind, [Token::Percent, ..]);
    if percent {
        behind = &behind[1..];
    }
    Ok(Value::Scalar(Scalar { expr, percent, unit: unit(behind)? }))
}

/// `52_8`, `4210_{5}`.
fn based(tokens: &[Token]) -> Option<Value> {
    let (digits, base) = match tokens {
        [Token::Number(digits), Token::Under, Token::Number(base)] => (digits, base),
        [Token::Number(digits), Token::Under, Token::GroupOpen, Token::Number(base), Token::GroupClose] => {
            (digits, base)
        }
        _ => return None,
    };
    let digits = digits.digits.trim_start_matches('0').to_owned();
    Some(Value::Based { digits, base: base.digits.clone() })
}

/// The words behind a number as one unit: lower case, singular, powers kept.
fn unit(tokens: &[Token]) -> Read<Option<String>> {
    let mut parts = Vec::new();
    let mut caret = false;
    for token in tokens {
        match token {
            Token::Word(word) => parts.extend(word.split_whitespace().map(singular)),
            Token::Var(name) if !parts.is_empty() => parts.push(name.clone()),
            Token::Number(power) if caret => parts.push(power.digits.clone()),
            Token::Slash if !parts.is_empty() => parts.push("per".into()),
            Token::Caret | Token::GroupOpen | Token::GroupClose if !parts.is_empty() => {}
            _ => return Err("what stands behind the number is not a unit"),
        }
        caret = *token == Token::Caret || (caret && *token == Token::GroupOpen);
    }
    if parts.iter().any(|part| NUMBER_WORDS.contains(&part.as_str())) {
        return Err("the words behind the number may change it");
    }
    Ok((!parts.is_empty()).then(|| parts.join(" ")))
}

fn singular(word: &str) -> String {
    let lower = word.trim_end_matches('.').to_lowercase();
    match lower.as_str() {
        "feet" => "foot".into(),
        "inches" => "inch".into(),
        _ => lower.strip_suffix('s').filter(|stem| stem.len() > 1).map_or(lower.clone(), str::to_owned),
    }
}
