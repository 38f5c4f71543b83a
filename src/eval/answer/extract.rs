//! Where in a generated text the answer stands.

use answers::closing_brace;

/// How the text marked its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// `\boxed{...}`.
    Boxed,
    /// `#### ...`, as the solutions of GSM8K end.
    Hashes,
    /// `the answer is ...`.
    Phrase,
    /// Not at all: it is the last number of the text.
    LastNumber,
}

/// An answer and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) text: &'a str,
    pub(super) mark: Mark,
}

/// Boxes tried from the end.
const MAX_BOXES: usize = 32;
/// Phrases that announce an answer, in lower case.
const PHRASES: &[&str] = &["answer is", "answer:", "answer to the question is"];

/// The part of a text that answers: behind the thinking, within the last `<answer>` where there is one.
///
/// `None` where the text ends while it still thinks.
pub(in crate::eval) fn reply(text: &str) -> Option<&str> {
    let text = match text.rfind("</think>") {
        Some(at) => &text[at + "</think>".len()..],
        None if text.contains("<think>") => return None,
        None => text,
    };
    let Some(at) = text.rfind("<answer>") else { return Some(text) };
    let inner = &text[at + "<answer>".len()..];
    Some(inner.find("</answer>").map_or(inner, |end| &inner[..end]))
}

/// The answer that a text marks as such.
pub(super) fn marked(text: &str) -> Result<Option<Found<'_>>, &'static str> {
    if let Some(text) = boxed(text)? {
        return Ok(Some(Found { text, mark: Mark::Boxed }));
    }
    if let Some(text) = hashes(text) {
        return Ok(Some(Found { text, mark: Mark::Hashes }));
    }
    Ok(phrase(text).map(|text| Found { text, mark: Mark::Phrase }))
}

/// The content of the last `\boxed{...}`.
fn boxed(text: &str) -> Result<Option<&str>, &'static str> {
    for (at, name) in text.rmatch_indices("\\boxed").take(MAX_BOXES) {
        if let Some(inner) = text[at + name.len()..].trim_start().strip_prefix('{') {
            let end = closing_brace(inner).ok_or("the last box is not closed")?;
            return Ok(Some(inner[..end].trim()));
        }
    }
    Ok(None)
}

/// What follows the last `####` on its line.
pub(super) fn hashes(text: &str) -> Option<&str> {
    let at = text.rfind("####")?;
    let line = text[at + 4..].lines().next()?.trim();
    (!line.is_empty()).then_some(line)
}

/// What follows the last announcement, up to the end of its sentence.
fn phrase(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let after = PHRASES.iter().filter_map(|phrase| lower.rfind(phrase).map(|at| at + phrase.len())).max()?;
    let rest = text[after..].trim_start_matches([':', '*', ' ', '\n', '\t', '\r']);
    let line = rest.lines().next()?;
    let abbreviated = |at: usize| ["Rs", "rs", "approx"].iter().any(|short| line[..at].ends_with(short));
    let end = line.match_indices(". ").map(|(at, _)| at).find(|at| !abbreviated(*at)).unwrap_or(line.len());
    let sentence = bare(&line[..end]);
    (!sentence.is_empty()).then_some(sentence)
}

/// Without the emphasis, quotes and full stop around it.
pub(super) fn bare(text: &str) -> &str {
    text.trim().trim_matches(['*', '`', '"', ' ']).trim_end_matches(['.', '!', '?', '*', ',', ' ']).trim()
}

/// The numbers of a text: a sign, digits with or without thousands separators, a fraction of the form `3/4`.
///
/// One that stands within a formula (`x^2`, `\frac{3}{4}`, `B12`) is given as an error: which part of the formula the
/// answer would be is not known.
pub(super) fn last_number(text: &str) -> Option<Result<&str, &'static str>> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let number = |b: u8| b.is_ascii_digit() || b == b'.' || b == b',' || b == b'/';
    let mut from = end - 1;
    while from > 0 && number(bytes[from - 1]) {
        from -= 1;
    }
    let from = from + bytes[from..end].iter().take_while(|b| matches!(b, b',' | b'/')).count();
    let mut head = text[..from].chars().rev();
    let (last, earlier) = (head.next(), head.next());
    let sign = last == Some('-') && !earlier.is_some_and(|c| c.is_alphanumeric() || ")}".contains(c));
    let (from, before) = if sign { (from - 1, earlier) } else { (from, last) };
    let after = &text[end..];
    let apart = ["\\%", "\\)", "\\]", "\\$"].iter().any(|close| after.starts_with(close));
    let joins = |c: char, ascii: &str, other: &str| {
        c.is_alphanumeric() || ascii.contains(c) || !(c.is_ascii() || other.contains(c))
    };
    let opened = ["\\(", "\\["].iter().any(|open| text[..from].ends_with(open));
    let formula = before.is_some_and(|c| !opened && joins(c, "{^_/-+([", "£€¥₹“≈"))
        || (!apart && after.chars().next().is_some_and(|c| joins(c, "}^_/)]\\", "°”€…。，")));
    Some(if formula { Err("the last number stands within a formula") } else { Ok(&text[from..end]) })
}

/// Whether a text holds exactly one number; then that number.
pub(super) fn only_number(text: &str) -> Option<&str> {
    let last = last_number(text)?.ok()?;
    let before = &text[..text.rfind(last)?];
    (!before.bytes().any(|b| b.is_ascii_digit())).then_some(last)
}

/// The gold answer of a worked solution: the last box, or what follows the last `####`.
pub(in crate::eval) fn gold_of_solution(solution: &str) -> Option<&str> {
    match marked(solution) {
        Ok(Some(Found { text, mark: Mark::Boxed | Mark::Hashes })) => Some(text),
        _ => None,
    }
}
