//! Rewrites a template's source where the engine and Python's Jinja part ways.
//!
//! - `{% generation %}` becomes a call block of the helper [`GENERATION`], which keeps whitespace control and scoping.
//! - `{% for x in y %}` becomes `{% for x in (y)|__each__ %}`: Python refuses to iterate over `None`, the engine does not.
//! - `{{ a|safe + b }}` becomes `{{ __plus__(a|safe, b) }}`: a safe string in Python escapes what is added to it.
//! - Every kind of line ending becomes `\n`.

/// The function that a `{% generation %}` block calls.
pub(super) const GENERATION: &str = "__generation__";
/// The filter that refuses `None`.
pub(super) const EACH: &str = "__each__";
/// The function that adds as Python's safe strings do.
pub(super) const PLUS: &str = "__plus__";

/// The rewritten source, and whether it holds generation blocks.
pub(super) fn rewrite(source: &str) -> (String, bool) {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let (mut rest, mut generation) = (source.as_str(), false);
    while let Some((before, block)) = next_block(rest) {
        out.push_str(before);
        let (text, after) = block.split_at(block_len(block));
        let (left, inner, right) = parts(text);
        rest = after;
        match (&block[..2], inner.split_whitespace().next()) {
            ("{%", Some("generation")) => {
                generation = true;
                out.push_str(&format!("{left} call {GENERATION}() {right}"));
            }
            ("{%", Some("endgeneration")) => out.push_str(&format!("{left} endcall {right}")),
            ("{%", Some("for")) => out.push_str(&format!("{left}{}{right}", checked_for(inner))),
            ("{%", Some("raw")) => {
                let (raw, after_raw) = after.split_at(raw_len(after));
                out.push_str(text);
                out.push_str(raw);
                rest = after_raw;
            }
            ("{{", _) if keyword(inner, 0, &["safe"]).is_some() => {
                out.push_str(&format!("{left} {} {right}", safe_sum(inner)));
            }
            _ => out.push_str(text),
        }
    }
    out.push_str(rest);
    (out, generation)
}

/// Splits before the next `{%`, `{{` or `{#`.
fn next_block(text: &str) -> Option<(&str, &str)> {
    let at = text.as_bytes().windows(2).position(|pair| matches!(pair, b"{%" | b"{{" | b"{#"))?;
    Some(text.split_at(at))
}

/// The length of the block that `text` starts with; all of `text` when it is never closed.
fn block_len(text: &str) -> usize {
    if text.starts_with("{#") {
        return text.find("#}").map_or(text.len(), |at| at + 2);
    }
    let close = if text.starts_with("{%") { "%}" } else { "}}" };
    let mut depth = 0usize;
    for (at, c) in code_chars(&text[2..]) {
        let at = at + 2;
        // A dict literal may end in `}}`: inside brackets that closes the dict.
        if depth == 0 && text[at..].starts_with(close) {
            return at + 2;
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

/// The length of what follows `{% raw %}`, with its end tag.
fn raw_len(text: &str) -> usize {
    let end = text.find("endraw").unwrap_or(text.len());
    text[end..].find("%}").map_or(text.len(), |at| end + at + 2)
}

/// A plain sum with its terms nested in calls of [`PLUS`]; any other expression as it is.
fn safe_sum(inner: &str) -> String {
    let words = ["if", "else", "and", "or", "not", "in", "is"];
    let operators = top_level(inner).filter(|(_, c)| "+-~=<>,".contains(*c));
    let (pluses, others): (Vec<_>, Vec<_>) = operators.partition(|(_, c)| *c == '+');
    if !others.is_empty() || keyword(inner, 0, &words).is_some() {
        return inner.to_string();
    }
    let mut ends = pluses.iter().map(|(at, _)| *at).chain([inner.len()]);
    let mut sum = inner[..ends.next().unwrap_or(inner.len())].to_string();
    for ((plus, _), end) in pluses.iter().zip(ends) {
        sum = format!("{PLUS}({sum}, {})", &inner[plus + 1..end]);
    }
    sum
}

/// `{%-`, what is between, and `-%}`.
fn parts(block: &str) -> (&str, &str, &str) {
    let sign = |byte: Option<&u8>| usize::from(matches!(byte, Some(b'-' | b'+')));
    let bytes = block.as_bytes();
    if bytes.len() < 5 {
        return ("", block, "");
    }
    let start = 2 + sign(bytes.get(2));
    let end = bytes.len() - 2 - sign(bytes.get(bytes.len() - 3));
    if start > end || !block.is_char_boundary(end) {
        return ("", block, "");
    }
    (&block[..start], &block[start..end], &block[end..])
}

/// The statement `for x in y if z` with its `y` passed through [`EACH`].
fn checked_for(inner: &str) -> String {
    let Some(start) = keyword(inner, 0, &["in"]).map(|at| at + 2) else { return inner.to_string() };
    let end = keyword(inner, start, &["if", "recursive"]).unwrap_or(inner.len());
    format!("{} ({})|{EACH} {}", &inner[..start], &inner[start..end], &inner[end..])
}

/// Where one of `words` stands as a word of its own at or after `from`, outside strings and brackets.
fn keyword(text: &str, from: usize, words: &[&str]) -> Option<usize> {
    let word_char = |c: char| c.is_alphanumeric() || c == '_';
    top_level(text).map(|(at, _)| at).find(|&at| {
        let alone = !text[..at].ends_with(|c| word_char(c) || c == '.');
        at >= from && alone && words.contains(&text[at..].split(|c| !word_char(c)).next().unwrap_or_default())
    })
}

/// The characters of an expression outside strings and brackets.
fn top_level(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut depth = 0usize;
    code_chars(text).filter(move |(_, c)| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    })
}

/// The characters of an expression that are not inside a string literal.
fn code_chars(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let (mut quote, mut escaped) = (None, false);
    text.char_indices().filter(move |&(_, c)| match quote {
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(open) => {
            escaped = c == '\\';
            if c == open {
                quote = None;
            }
            false
        }
        None if c == '"' || c == '\'' => {
            quote = Some(c);
            false
        }
        None => true,
    })
}
