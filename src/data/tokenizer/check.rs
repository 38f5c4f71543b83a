//! Looks over a stranger's `tokenizer.json` before the tokenizers library builds anything from it.
//!
//! The library panics or aborts on some files: tables indexed by an id that the file chose, tries as deep as a token
//! is long, chunks of length zero. What is refused here, no honest tokenizer has. The file is walked, not kept.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::super::Error;

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
    vocab: Vocab,
    #[serde(default)]
    merges: Option<Merges>,
    #[serde(default)]
    unk_id: Option<u64>,
    #[serde(default)]
    dropout: Option<f64>,
}

/// Refuses a file that the library might not survive.
pub(super) fn check(bytes: &[u8]) -> Result<(), Error> {
    let file: File = serde_json::from_slice(bytes).map_err(|e| Error::Tokenizer(format!("tokenizer.json: {e}")))?;
    problem(&file).map_or(Ok(()), |what| Err(Error::Tokenizer(format!("tokenizer.json: {what}"))))
}

fn problem(file: &File) -> Option<String> {
    let parts = [
        ("normalizer", &file.normalizer),
        ("pre_tokenizer", &file.pre_tokenizer),
        ("post_processor", &file.post_processor),
        ("decoder", &file.decoder),
    ];
    added_problem(&file.added_tokens)
        .or_else(|| model_problem(&file.model))
        .or_else(|| parts.into_iter().find_map(|(name, part)| part_problem(name, part)))
}

fn added_problem(added: &[Added]) -> Option<String> {
    added.iter().find_map(|token| {
        let at = format!("added token {}", token.id);
        match token.content.len() {
            _ if token.id >= MAX_ID => Some(format!("{at}: ids must be below {MAX_ID}")),
            0 => Some(format!("{at} has no text")),
            1..=MAX_TOKEN => None,
            bytes => Some(format!("{at} has {bytes} bytes, more than {MAX_TOKEN}")),
        }
    })
}

fn model_problem(model: &Model) -> Option<String> {
    let kind = model.kind.as_deref();
    if let Some(kind) = kind.filter(|kind| !MODELS.contains(kind)) {
        return Some(format!("model type `{kind}` is unknown; these are known: {}", MODELS.join(", ")));
    }
    let vocab = &model.vocab;
    let ids = if vocab.max_id.is_some_and(|id| id >= MAX_ID) || vocab.len as u64 > MAX_ID {
        Some(format!("the vocabulary's ids and its size must be below {MAX_ID}"))
    } else if vocab.len == 0 {
        Some("the vocabulary is empty".into())
    } else {
        None
    };
    let merges = model.merges.as_ref().map_or(0, |merges| merges.longest);
    ids.or_else(|| {
        let longest = vocab.longest.max(merges);
        (longest > 2 * MAX_TOKEN).then(|| format!("a token has {longest} bytes, more than {}", 2 * MAX_TOKEN))
    })
    .or_else(|| (!vocab.finite).then(|| "a token's score is not a finite number".into()))
    .or_else(|| {
        let outside = model.unk_id.is_some_and(|id| id >= vocab.len as u64);
        outside.then(|| "unk_id lies outside the vocabulary".into())
    })
    .or_else(|| {
        let random = model.dropout.is_some_and(|p| p != 0.0);
        random.then(|| "`dropout` makes the same text give different tokens; set it to null".into())
    })
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

/// What matters of a vocabulary: a map from token to id, or Unigram's list of token and score.
struct Vocab {
    len: usize,
    longest: usize,
    max_id: Option<u64>,
    finite: bool,
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of token to id, or a list of [token, score]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut vocab = Vocab { len: 0, longest: 0, max_id: None, finite: true };
        while let Some((token, id)) = map.next_entry::<String, u64>()? {
            vocab.len += 1;
            vocab.longest = vocab.longest.max(token.len());
            vocab.max_id = vocab.max_id.max(Some(id));
        }
        Ok(vocab)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
        let mut vocab = Vocab { len: 0, longest: 0, max_id: None, finite: true };
        while let Some((token, score)) = seq.next_element::<(String, f64)>()? {
            vocab.len += 1;
            vocab.longest = vocab.longest.max(token.len());
            vocab.finite &= score.is_finite();
        }
        Ok(vocab)
    }
}

/// The longest merge, each written as "a b" or as ["a", "b"].
struct Merges {
    longest: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
    Other(IgnoredAny),
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MergesVisitor)
    }
}

struct MergesVisitor;

impl<'de> Visitor<'de> for MergesVisitor {
    type Value = Merges;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merges, A::Error> {
        let mut longest = 0;
        while let Some(merge) = seq.next_element::<Merge>()? {
            longest = longest.max(match merge {
                Merge::Text(text) => text.len(),
                Merge::Pair(a, b) => a.len() + b.len(),
                Merge::Other(_) => 0,
            });
        }
        Ok(Merges { longest })
    }
}
