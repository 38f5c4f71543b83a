//! Rows of data: what they say, where they come from, and their tokens.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::super::error::Error;
use super::super::jsonl::{Lines, problem};
use super::super::template::Moment;
use super::super::tokenizer::Tokenizer;
use super::turns::{self, Tokens};

/// The longest line of a data file, in bytes.
const MAX_LINE: u64 = 16 << 20;
const EXAMPLE: &str = r#"{"prompt": "...", "completion": "..."}"#;

/// A checked row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its stable number.
    pub idx: u64,
    /// Its line, from 1.
    pub line: usize,
    /// What it says.
    pub content: Content,
}

/// The kinds of rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A conversation, rendered by the tokenizer's chat template.
    Messages {
        /// Objects with `role`, `content` and whatever else the template reads.
        messages: Vec<Json>,
        /// Tool declarations.
        tools: Option<Json>,
    },
    /// A text and its continuation.
    Pair {
        /// What is given.
        prompt: String,
        /// What is trained.
        completion: String,
    },
    /// A text that is trained whole.
    Text(String),
}

/// Where rows come from: read as they are asked for, or held in memory.
pub trait RowSource: Iterator<Item = Result<Row, Error>> {
    /// What messages call it.
    fn path(&self) -> &Path;
}

/// The rows of a JSONL file, read line by line.
pub struct JsonRows {
    lines: Lines,
    rows: u64,
}

impl JsonRows {
    /// Opens a file.
    ///
    /// # Errors
    /// It is missing or no regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { lines: Lines::open(path, MAX_LINE)?, rows: 0 })
    }
}

impl RowSource for JsonRows {
    fn path(&self) -> &Path {
        &self.lines.path
    }
}

impl Iterator for JsonRows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = match self.lines.next() {
            Ok(text) => text?,
            Err(error) => return Some(Err(error)),
        };
        let row = Row::parse(&text, self.rows, self.lines.line).map_err(|problem| self.lines.wrong(problem));
        self.rows += 1;
        Some(row)
    }
}

impl Row {
    /// Reads a line. `number` stands in for a missing `idx`. The error is the problem, without file and line.
    fn parse(text: &str, number: u64, line: usize) -> Result<Self, String> {
        let row: Json = serde_json::from_str(text).map_err(|e| {
            let hint = if text.starts_with('[') { "; the file must be JSONL, one object per line" } else { "" };
            format!("is not JSON: {}{hint}", problem(&e))
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
        Ok(Self { idx, line, content: Content::take(&mut row)? })
    }
}

impl Content {
    fn take(row: &mut Map<String, Json>) -> Result<Self, String> {
        let has = ["messages", "prompt", "completion", "text"].map(|name| row.contains_key(name));
        match has {
            [true, ..] => {
                let messages = checked_messages(row.remove("messages"))?;
                let tools = match row.remove("tools") {
                    None | Some(Json::Null) => None,
                    Some(Json::Array(tools)) => (!tools.is_empty()).then_some(Json::Array(tools)),
                    Some(other) => return Err(format!("field `tools` is {}, wanted a list", kind(&other))),
                };
                Ok(Self::Messages { messages, tools })
            }
            [_, true, true, _] => {
                let (prompt, completion) = (string(row, "prompt")?, string(row, "completion")?);
                Ok(Self::Pair { prompt, completion })
            }
            [.., true] => Ok(Self::Text(string(row, "text")?)),
            [_, true, ..] => Err("field `completion` is missing; a row with `prompt` needs it".into()),
            [_, _, true, _] => {
                Err("field `prompt` is missing; a row with `completion` needs it (it may be \"\")".into())
            }
            _ => {
                let found: Vec<_> = row.keys().take(8).map(|key| format!("`{key}`")).collect();
                let found = if found.is_empty() { "no fields".into() } else { found.join(", ") };
                Err(format!("has {found}; wanted `messages`, or `prompt` and `completion`, or `text`"))
            }
        }
    }

    /// The tokens of the row and its mask. The error is the problem, without file and line.
    pub(super) fn tokens(&self, tokenizer: &Tokenizer, now: Moment) -> Result<Tokens, String> {
        let field = |name: &'static str| move |e: Error| format!("field `{name}`: {e}");
        let (mut ids, given) = match self {
            Self::Messages { messages, tools } => return turns::tokens(messages, tools.as_ref(), tokenizer, now),
            Self::Text(text) if text.is_empty() => return Ok(Tokens::default()),
            Self::Text(text) => (tokenizer.encode(text, true).map_err(field("text"))?, 1),
            Self::Pair { prompt, completion } => {
                let mut ids = tokenizer.encode_prefix(prompt).map_err(field("prompt"))?;
                let given = ids.len();
                ids.extend(tokenizer.encode(completion, false).map_err(field("completion"))?);
                if ids.len() == given {
                    return Ok((ids, vec![false; given]));
                }
                (ids, given)
            }
        };
        let eos = tokenizer.eos_id().ok_or(
            "the tokenizer has no EOS token to end the row with; set `eos_token` in tokenizer_config.json or \
             `eos_token_id` in generation_config.json",
        )?;
        if ids.last() != Some(&eos) {
            ids.push(eos);
        }
        let trained = (0..ids.len()).map(|i| i >= given).collect();
        Ok((ids, trained))
    }
}

fn checked_messages(value: Option<Json>) -> Result<Vec<Json>, String> {
    let wanted = "an object with `role` and `content`";
    let messages = match value.unwrap_or(Json::Null) {
        Json::Array(messages) if !messages.is_empty() => messages,
        Json::Array(_) => return Err("field `messages` is empty, wanted at least one message".into()),
        other => {
            return Err(format!(
                "field `messages` is {}, wanted a list of objects with `role` and `content`",
                kind(&other)
            ));
        }
    };
    for (i, message) in messages.iter().enumerate() {
        let (role, content) = (&message["role"], &message["content"]);
        let (field, value, wanted) = match message {
            Json::Object(_) if !role.is_string() => (".role", role, "a string such as \"user\""),
            Json::Object(_) => match content {
                Json::String(_) | Json::Array(_) | Json::Null => continue,
                _ => (".content", content, "a string or a list of parts"),
            },
            _ => ("", message, wanted),
        };
        return Err(format!("field `messages[{i}]{field}` is {}, wanted {wanted}", kind(value)));
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
