//! Looks over a stranger's `tokenizer.json` before the tokenizers library builds anything from it.
//!
//! The library panics or aborts on some files: tables indexed by an id that the file chose, tries as deep as a token
//! is long, chunks of length zero. What is refused here, no honest tokenizer has. The file is walked, not kept.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::super::error::Error;

/// Ids and counts below this; the largest real vocabulary has 262,144 tokens.
const MAX_ID: u64 = 1 << 22;
/// The longest token in bytes.
const MAX_TOKEN: usize = 4096;
/// The longest string in a normalizer, splitter, decoder or post-processor, except a compiled character map.
const MAX_PATTERN: usize = 4096;
/// The longest compiled character map (base64); the T5 family's has 320 kB.
const MAX_CHARSMAP: usize = 4 << 20;
/// The most values in the same parts.
const MAX_NODES: usize = 20_000;
/// The largest number in the same parts.
const MAX_NUMBER: f64 = 16_777_216.0;

const MODELS: [&str; 4] = ["BPE", "Unigram", "WordLevel", "WordPiece"];

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    model: Model,
    #[serde(default)]
    normalizer: Json,
    #[serde(default)]
    pre_tokenizer: Json,
    #[serde(default)]
    post_processor: Json,
    #[serde(default)]
    decoder: Json,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Tokens,
    #[serde(default)]
    merges: Option<Tokens>,
    #[serde(default)]
    unk_id: Option<u64>,
    #[serde(default)]
    dropout: Option<f64>,
}

/// Refuses a file that the library might not survive.
pub(super) fn check(bytes: &[u8]) -> Result<(), Error> {
    let refused = |what: String| Error::Tokenizer(format!("tokenizer.json: {what}"));
    let file: File = serde_json::from_slice(bytes).map_err(|e| refused(e.to_string()))?;
    let parts = [
        ("normalizer", &file.normalizer),
        ("pre_tokenizer", &file.pre_tokenizer),
        ("post_processor", &file.post_processor),
        ("decoder", &file.decoder),
    ];
    let problem = file.added_tokens.iter().find_map(added_problem);
    let problem = problem.or_else(|| model_problem(&file.model));
    let problem = problem.or_else(|| parts.into_iter().find_map(|(name, part)| part_problem(name, part)));
    problem.map_or(Ok(()), |what| Err(refused(what)))
}

fn added_problem(token: &Added) -> Option<String> {
    let at = format!("added token {}", token.id);
    match token.content.len() {
        _ if token.id >= MAX_ID => Some(format!("{at}: ids must be below {MAX_ID}")),
        0 => Some(format!("{at} has no text")),
        1..=MAX_TOKEN => None,
        bytes => Some(format!("{at} has {bytes} bytes, more than {MAX_TOKEN}")),
    }
}

fn model_problem(model: &Model) -> Option<String> {
    let vocab = &model.vocab;
    let merges = model.merges.as_ref().map_or(0, |merges| merges.longest);
    let (longest, most) = (vocab.longest.max(merges), 2 * MAX_TOKEN);
    match model.kind.as_deref().filter(|kind| !MODELS.contains(kind)) {
        Some(kind) => Some(format!("model type `{kind}` is unknown; these are known: {}", MODELS.join(", "))),
        None if vocab.max_id >= MAX_ID || vocab.len as u64 > MAX_ID => {
            Some(format!("the vocabulary's ids and its size must be below {MAX_ID}"))
        }
        None if vocab.len == 0 => Some("the vocabulary is empty".into()),
        None if longest > most => Some(format!("a token has {longest} bytes, more than {most}")),
        None if !vocab.finite => Some("a token's score is not a finite number".into()),
        None if model.unk_id.is_some_and(|id| id >= vocab.len as u64) => {
            Some("unk_id lies outside the vocabulary".into())
        }
        None if model.dropout.is_some_and(|p| p != 0.0) => {
            Some("`dropout` makes the same text give different tokens; set it to null".into())
        }
        None => None,
    }
}

/// Bounds a part that is small in every honest file.
fn part_problem(name: &str, part: &Json) -> Option<String> {
    let mut nodes = 0;
    let mut stack = vec![("", part)];
    while let Some((key, value)) = stack.pop() {
        nodes += 1;
        if nodes > MAX_NODES {
            return Some(format!("{name} has more than {MAX_NODES} values"));
        }
        let limit = if key == "precompiled_charsmap" { MAX_CHARSMAP } else { MAX_PATTERN };
        match value {
            Json::String(text) if text.len() > limit => {
                return Some(format!("{name}: `{key}` has {} bytes, more than {limit}", text.len()));
            }
            Json::String(text) if text.is_empty() && matches!(key, "Regex" | "String") => {
                return Some(format!("{name}: an empty pattern matches everywhere"));
            }
            Json::Number(n) if n.as_f64().is_none_or(|n| n.abs() > MAX_NUMBER) => {
                return Some(format!("{name}: `{key}` is larger than {MAX_NUMBER}"));
            }
            Json::Number(n) if key == "length" && n.as_u64() == Some(0) => {
                return Some(format!("{name}: `length` must not be 0"));
            }
            Json::Array(items) => stack.extend(items.iter().map(|item| (key, item))),
            Json::Object(fields) => stack.extend(fields.iter().map(|(key, value)| (key.as_str(), value))),
            _ => {}
        }
    }
    None
}

/// What matters of a vocabulary (a map from token to id, or Unigram's list of token and score) or of merges (texts "a b" or
/// pairs).
struct Tokens {
    len: usize,
    longest: usize,
    max_id: u64,
    finite: bool,
}

/// An element of such a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Text(String),
    Pair(String, String),
    Scored(String, f64),
    Other(IgnoredAny),
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tokens = Tokens { len: 0, longest: 0, max_id: 0, finite: true };
        deserializer.deserialize_any(tokens)
    }
}

impl Tokens {
    fn add(&mut self, bytes: usize, id: u64, score: f64) {
        self.len += 1;
        self.longest = self.longest.max(bytes);
        self.max_id = self.max_id.max(id);
        self.finite &= score.is_finite();
    }
}

impl<'de> Visitor<'de> for Tokens {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of token to id, or a list")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Tokens, A::Error> {
        while let Some((token, id)) = map.next_entry::<String, u64>()? {
            self.add(token.len(), id, 0.0);
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Tokens, A::Error> {
        while let Some(item) = seq.next_element::<Item>()? {
            match item {
                Item::Text(text) => self.add(text.len(), 0, 0.0),
                Item::Pair(a, b) => self.add(a.len() + b.len(), 0, 0.0),
                Item::Scored(token, score) => self.add(token.len(), 0, score),
                Item::Other(_) => self.add(0, 0, 0.0),
            }
        }
        Ok(self)
    }
}
