//! One row of a data file: what it says, and its tokens.

use serde_json::{Map, Value as Json};

use super::super::template::Moment;
use super::super::tokenizer::Tokenizer;
use super::turns;

/// Token ids, and which of them are trained.
pub(super) type Tokens = (Vec<u32>, Vec<bool>);

/// A checked row.
pub(super) struct Row {
    pub(super) idx: u64,
    pub(super) content: Content,
}

/// The kinds of rows.
pub(super) enum Content {
    Messages { messages: Vec<Json>, tools: Option<Json> },
    Pair { prompt: String, completion: String },
    Text(String),
}

impl Row {
    /// Reads a line. `number` stands in for a missing `idx`. The error is the problem, without file and line.
    pub(super) fn parse(line: &str, number: u64) -> Result<Self, String> {
        let row: Json = serde_json::from_str(line).map_err(|e| {
            let hint = if line.starts_with('[') { "; the file must be JSONL, one object per line" } else { "" };
            format!("is not JSON: {} at column {}{hint}", plain(&e), e.column())
        })?;
        let Json::Object(mut row) = row else {
            return Err(format!("is {}, wanted an object such as {EXAMPLE}", kind(&row)));
        };
        let idx = match row.get("idx") {
            None | Some(Json::Null) => number,
            Some(value) => value
                .as_u64()
                .ok_or_else(|| format!("field `idx` is {}, wanted a whole number from 0 on", shown(value)))?,
        };
        Ok(Self { idx, content: Content::take(&mut row)? })
    }
}

const EXAMPLE: &str = r#"{"prompt": "...", "completion": "..."}"#;

impl Content {
    fn take(row: &mut Map<String, Json>) -> Result<Self, String> {
        let has = |name: &str| row.contains_key(name);
        if has("messages") {
            let messages = checked_messages(row.remove("messages"))?;
            let tools = match row.remove("tools") {
                None | Some(Json::Null) => None,
                Some(Json::Array(tools)) => (!tools.is_empty()).then_some(Json::Array(tools)),
                Some(other) => return Err(format!("field `tools` is {}, wanted a list", kind(&other))),
            };
            return Ok(Self::Messages { messages, tools });
        }
        let pair = (has("prompt"), has("completion"));
        match pair {
            (true, true) => {
                let (prompt, completion) = (string(row, "prompt")?, string(row, "completion")?);
                Ok(Self::Pair { prompt, completion })
            }
            _ if has("text") => Ok(Self::Text(string(row, "text")?)),
            (true, false) => Err("field `completion` is missing; a row with `prompt` needs it".into()),
            (false, true) => {
                Err("field `prompt` is missing; a row with `completion` needs it (it may be \"\")".into())
            }
            (false, false) => {
                let found: Vec<_> = row.keys().take(8).map(|key| format!("`{key}`")).collect();
                let found = if found.is_empty() { "no fields".into() } else { found.join(", ") };
                Err(format!("has {found}; wanted `messages`, or `prompt` and `completion`, or `text`"))
            }
        }
    }

    /// The tokens of the row and its mask. The error is the problem, without file and line.
    pub(super) fn tokens(&self, tokenizer: &Tokenizer, now: Moment) -> Result<Tokens, String> {
        match self {
            Self::Messages { messages, tools } => turns::tokens(messages, tools.as_ref(), tokenizer, now),
            Self::Pair { prompt, completion } => pair(prompt, completion, tokenizer),
            Self::Text(text) => whole(text, tokenizer),
        }
    }
}

fn pair(prompt: &str, completion: &str, tokenizer: &Tokenizer) -> Result<Tokens, String> {
    let mut ids = tokenizer.encode_prefix(prompt).map_err(|e| format!("field `prompt`: {e}"))?;
    let prompt_len = ids.len();
    let completion = tokenizer.encode(completion, false).map_err(|e| format!("field `completion`: {e}"))?;
    if completion.is_empty() {
        return Ok((ids, vec![false; prompt_len]));
    }
    ids.extend(completion);
    append_eos(&mut ids, tokenizer)?;
    let trained = (0..ids.len()).map(|i| i >= prompt_len).collect();
    Ok((ids, trained))
}

fn whole(text: &str, tokenizer: &Tokenizer) -> Result<Tokens, String> {
    if text.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut ids = tokenizer.encode(text, true).map_err(|e| format!("field `text`: {e}"))?;
    append_eos(&mut ids, tokenizer)?;
    let trained = (0..ids.len()).map(|i| i > 0).collect();
    Ok((ids, trained))
}

fn append_eos(ids: &mut Vec<u32>, tokenizer: &Tokenizer) -> Result<(), String> {
    let eos = tokenizer.eos_id().ok_or(
        "the tokenizer has no EOS token to end the row with; set `eos_token` in tokenizer_config.json or `eos_token_id` \
         in generation_config.json",
    )?;
    if ids.last() != Some(&eos) {
        ids.push(eos);
    }
    Ok(())
}

fn checked_messages(value: Option<Json>) -> Result<Vec<Json>, String> {
    let messages = match value {
        Some(Json::Array(messages)) if !messages.is_empty() => messages,
        Some(Json::Array(_)) => return Err("field `messages` is empty, wanted at least one message".into()),
        other => {
            let other = other.unwrap_or(Json::Null);
            return Err(format!(
                "field `messages` is {}, wanted a list of objects with `role` and `content`",
                kind(&other)
            ));
        }
    };
    for (i, message) in messages.iter().enumerate() {
        if !message.is_object() {
            return Err(format!(
                "field `messages[{i}]` is {}, wanted an object with `role` and `content`",
                kind(message)
            ));
        }
        if !message["role"].is_string() {
            return Err(format!(
                "field `messages[{i}].role` is {}, wanted a string such as \"user\"",
                kind(&message["role"])
            ));
        }
        if !matches!(message["content"], Json::String(_) | Json::Array(_) | Json::Null) {
            return Err(format!(
                "field `messages[{i}].content` is {}, wanted a string or a list of parts",
                kind(&message["content"])
            ));
        }
    }
    Ok(messages)
}

fn string(row: &mut Map<String, Json>, name: &str) -> Result<String, String> {
    match row.remove(name) {
        Some(Json::String(text)) => Ok(text),
        other => Err(format!("field `{name}` is {}, wanted a string", kind(&other.unwrap_or(Json::Null)))),
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null or missing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// A value as it stands, or its kind where it is long.
fn shown(value: &Json) -> String {
    let text = value.to_string();
    if text.len() <= 40 { text } else { kind(value).to_string() }
}

/// serde_json's message without its own "at line 1 column 7".
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_string()
}
