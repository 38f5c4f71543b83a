//! Where an assistant's turns stand in a rendered conversation.
//!
//! A template with `{% generation %}` blocks says it itself. For the others each turn is looked for in the rendering of
//! the whole conversation, which is what the model sees:
//!
//! 1. A turn starts where the rendering of the messages before it, with a generation prompt, ends, and ends where the
//!    rendering up to it ends, where both are prefixes of the whole.
//! 2. Where one is not (Qwen3 drops earlier thoughts, DeepSeek's generation prompt opens one), the turn is replaced by a
//!    probe that no text contains: what differs from the whole rendering is the turn's body; the generation prompt
//!    before it and the end-of-turn after it are known from step 1's renderings.

use std::ops::Range;

use serde_json::{Value as Json, json};

use super::super::template::{Chat, ChatTemplate, Moment};
use super::super::tokenizer::{Token, Tokenizer};

/// Token ids, and which of them are trained.
pub(super) type Tokens = (Vec<u32>, Vec<bool>);

/// Stands in for a turn. Noncharacters are in no honest text, and no template trims them.
const PROBE: &str = "\u{FDD0}\u{FDD1}";

/// The tokens of a conversation; trained are the assistant's turns with their end-of-turn tokens, without what
/// whitespace follows those.
pub(super) fn tokens(
    messages: &[Json],
    tools: Option<&Json>,
    tokenizer: &Tokenizer,
    now: Moment,
) -> Result<Tokens, String> {
    let template = tokenizer.chat_template(tools.is_some()).map_err(|e| e.to_string())?;
    let view = View { template, tools, now };
    let (text, spans) = view.spans(messages)?;
    let tokens = tokenizer.encode_with_bytes(&text).map_err(|e| format!("field `messages`: {e}"))?;
    let mut trained = vec![false; tokens.len()];
    for span in spans {
        let turn = turn_tokens(&tokens, &span, &text, tokenizer);
        trained[turn].fill(true);
    }
    Ok((tokens.into_iter().map(|token| token.id).collect(), trained))
}

/// The tokens of a turn: those that share more than whitespace with its end, up to the first EOS among the added tokens
/// that close it, else without whitespace after its last added token, else with an EOS that follows it.
fn turn_tokens(tokens: &[Token], span: &Range<usize>, text: &str, tokenizer: &Tokenizer) -> Range<usize> {
    let blank = |bytes: Range<usize>| text.get(bytes).is_some_and(|part| part.trim().is_empty());
    let eos = |token: &Token| tokenizer.eos_ids().contains(&token.id);
    let start = tokens.partition_point(|token| token.bytes.end <= span.start);
    let mut end = tokens.partition_point(|token| token.bytes.start < span.end).max(start);
    if let Some(last) = tokens[start..end].last().filter(|last| last.bytes.end > span.end) {
        end -= usize::from(blank(last.bytes.start..span.end));
    }
    let turn = &tokens[start..end];
    let closing = |token: &Token| tokenizer.is_added(token.id) || blank(token.bytes.clone());
    let close = turn.len() - turn.iter().rev().take_while(|token| closing(token)).count();
    if let Some(at) = turn[close..].iter().position(eos) {
        return start..start + close + at + 1;
    }
    match turn.iter().rposition(|token| !blank(token.bytes.clone())) {
        Some(last) if tokenizer.is_added(turn[last].id) => start..start + last + 1,
        Some(_) if tokens.get(end).is_some_and(eos) => start..end + 1,
        _ => start..end,
    }
}

/// A template with all that stays the same for one row.
struct View<'a> {
    template: &'a ChatTemplate,
    tools: Option<&'a Json>,
    now: Moment,
}

impl View<'_> {
    /// The rendered conversation and the bytes of the assistant's turns that say something.
    fn spans(&self, messages: &[Json]) -> Result<(String, Vec<Range<usize>>), String> {
        let whole = self.render(messages, false)?;
        if self.template.marks_assistant() {
            return Ok(whole);
        }
        let (whole, mut spans) = whole;
        for i in (0..messages.len()).filter(|&i| speaks(&messages[i])) {
            let from = spans.last().map_or(0, |span: &Range<usize>| span.end);
            let span =
                self.span(messages, i, &whole, from).filter(|span| from <= span.start && span.start < span.end);
            spans.push(span.ok_or_else(|| {
                format!(
                    "field `messages[{i}]`: the chat template does not show where this turn stands in the text; use a \
                     template with {{% generation %}} blocks, or prompt/completion rows"
                )
            })?);
        }
        Ok((whole, spans))
    }

    /// The bytes of turn `i` in `whole`, looked for from byte `from` on.
    fn span(&self, messages: &[Json], i: usize, whole: &str, from: usize) -> Option<Range<usize>> {
        let before = &messages[..i];
        let prompted = self.text(before, true);
        let header = self
            .text(before, false)
            .zip(prompted.as_deref())
            .and_then(|(bare, prompted)| prompted.strip_prefix(bare.as_str()).map(str::to_string))
            .filter(|header| !header.is_empty());
        let start =
            prompted.filter(|text| header.is_some() && whole.starts_with(text.as_str())).map(|text| text.len());
        let upto = if i + 1 == messages.len() { None } else { self.text(&messages[..=i], false) };
        let end = if i + 1 == messages.len() { Some(whole.len()) } else { prefix_len(upto.as_deref(), whole) };
        match (start, end) {
            (Some(start), Some(end)) => Some(start..end),
            _ => {
                let body = self.body(messages, i, whole)?;
                let start = start.unwrap_or_else(|| start_before(whole, from, body.start, header.as_deref()));
                let end = end.unwrap_or_else(|| self.end_after(messages, i, whole, body.end));
                Some(start..end)
            }
        }
    }

    /// What of `whole` changes when turn `i` says something else.
    fn body(&self, messages: &[Json], i: usize, whole: &str) -> Option<Range<usize>> {
        let mut probed = messages.to_vec();
        probed[i] = probe(&messages[i]);
        let probed = self.text(&probed, false)?;
        let start = common_prefix(whole, &probed);
        let after = probed.len() - (probed.rfind(PROBE)? + PROBE.len());
        let tail = &probed[probed.len() - after..];
        let end = whole.len().checked_sub(after)?;
        (start <= end && whole.ends_with(tail)).then_some(start..end)
    }

    /// The end of a turn whose body ends at `at`: behind as much as stands there of what ends it when it is the last.
    fn end_after(&self, messages: &[Json], i: usize, whole: &str, at: usize) -> usize {
        let mut last = messages[..=i].to_vec();
        last[i] = probe(&messages[i]);
        let text = self.text(&last, false).unwrap_or_default();
        let tail = text.rsplit_once(PROBE).map_or("", |(_, tail)| tail);
        let common = common_prefix(tail, &whole[at..]);
        let partial =
            common < tail.len() && !tail[..common].ends_with(|c: char| c.is_whitespace() || ">]}".contains(c));
        // Two tags that differ may begin alike: `<|end|>` and `<|user|>`.
        at + if partial { tail[..common].rfind(['<', '[', '{', ' ', '\n']).unwrap_or(0) } else { common }
    }

    fn text(&self, messages: &[Json], add_generation_prompt: bool) -> Option<String> {
        self.render(messages, add_generation_prompt).ok().map(|(text, _)| text)
    }

    fn render(&self, messages: &[Json], add_generation_prompt: bool) -> Result<(String, Vec<Range<usize>>), String> {
        let chat = Chat { messages, tools: self.tools, add_generation_prompt, extra: None, now: self.now };
        let rendered = self.template.render(chat).map_err(|e| format!("field `messages`: {e}"))?;
        Ok((rendered.text, rendered.spans))
    }
}

/// Whether a message is an assistant's with something to learn in it.
fn speaks(message: &Json) -> bool {
    let said = match &message["content"] {
        Json::String(text) => !text.is_empty(),
        Json::Array(parts) => !parts.is_empty(),
        _ => false,
    };
    let assistant = matches!(message["role"].as_str(), Some("assistant" | "model"));
    assistant && (said || message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty()))
}

fn probe(message: &Json) -> Json {
    json!({"role": message["role"], "content": PROBE})
}

/// The end of the last generation prompt between `from` and the body, else the start of the body.
fn start_before(whole: &str, from: usize, body: usize, header: Option<&str>) -> usize {
    let between = whole.get(from..body).unwrap_or_default();
    header.and_then(|header| between.rfind(header).map(|at| from + at + header.len())).unwrap_or(body)
}

fn prefix_len(prefix: Option<&str>, whole: &str) -> Option<usize> {
    prefix.filter(|prefix| whole.starts_with(prefix)).map(str::len)
}

/// The length of the longest common start, in whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y).map_or(a.len().min(b.len()), |((at, _), _)| at)
}
