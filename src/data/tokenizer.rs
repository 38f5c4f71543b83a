//! A model folder's tokenizer: text to ids and back, the ids that end a text, and the chat template.
//!
//! Gives exactly what the reference `tokenizers` package gives with truncation and padding off. The definition comes
//! from a stranger: it is looked over first (`check`), built on a thread of its own, and a panic of the library on some
//! text becomes an error.

mod check;
mod folder;

use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use folder::Settings;
use tokenizers::Encoding;

use super::error::Error;
use super::template::{ChatTemplate, on_big_stack};
use crate::formats::files::read_if_there;

/// The largest `tokenizer.json` that is read; Gemma 3's has 33 MB.
const MAX_BYTES: u64 = 64 << 20;

/// A tokenizer and what its model folder says about it.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    settings: Settings,
    eos_id: Option<u32>,
    eos_ids: Vec<u32>,
    vocab_size: usize,
    added: HashSet<u32>,
    /// Compiled on first use: a broken template troubles only those who use it.
    template: OnceLock<Result<ChatTemplate, String>>,
    tool_template: OnceLock<Result<ChatTemplate, String>>,
}

/// A token and the bytes of the text that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The id.
    pub id: u32,
    /// Bytes of the text; empty for a token that stands for none.
    pub bytes: Range<usize>,
}

impl Tokenizer {
    /// Opens the tokenizer of a model folder: `tokenizer.json`, and where they are there `tokenizer_config.json`,
    /// `special_tokens_map.json`, `chat_template.jinja`, `generation_config.json` and `config.json`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tokenizer.json");
        let bytes = read_if_there(&path, MAX_BYTES).map_err(Error::io(&path))?;
        let bytes = bytes.ok_or_else(|| Error::malformed(&path, "there is no such file; a model folder needs it"))?;
        Self::build(&bytes, Settings::open(folder)?).map_err(|error| match error {
            Error::Tokenizer(what) | Error::Thread(what) => {
                Error::malformed(&path, what.trim_start_matches("tokenizer.json: "))
            }
            other => other,
        })
    }

    /// Builds a tokenizer from the texts of `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`.
    pub fn from_json(tokenizer: &str, config: &str, template: Option<&str>) -> Result<Self, Error> {
        Self::build(tokenizer.as_bytes(), Settings::parse(config, template)?)
    }

    fn build(bytes: &[u8], settings: Settings) -> Result<Self, Error> {
        let inner = on_big_stack(|| {
            check::check(bytes)?;
            let failed = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(failed)?;
            inner.with_truncation(None).map_err(failed)?;
            inner.with_padding(None);
            Ok::<_, Error>(inner)
        })??;
        let named = settings.special.get("eos_token").and_then(|token| inner.token_to_id(token));
        let eos_id = named.or(settings.eos_ids.first().copied());
        let mut eos_ids: Vec<u32> = Vec::new();
        for id in eos_id.into_iter().chain(settings.eos_ids.iter().copied()) {
            if !eos_ids.contains(&id) {
                eos_ids.push(id);
            }
        }
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        let added = inner.get_added_tokens_decoder().into_keys().collect();
        let (template, tool_template) = (OnceLock::new(), OnceLock::new());
        Ok(Self { inner, settings, eos_id, eos_ids, vocab_size, added, template, tool_template })
    }

    /// One more than the largest id; ids in between may be unused.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The first id that stands for another token in `other`. Ids that only one of them has do not count, nor do added
    /// tokens, which fine-tunes like to rename.
    pub fn difference(&self, other: &Self) -> Option<u32> {
        let differs = |id: &u32| match (self.inner.id_to_token(*id), other.inner.id_to_token(*id)) {
            (Some(own), Some(its)) => own != its && !self.is_added(*id) && !other.is_added(*id),
            _ => false,
        };
        self.inner.get_vocab(false).into_values().filter(differs).min()
    }

    /// The id that is appended to a completion: that of `eos_token`, else the first of [`Self::eos_ids`].
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// Every id that ends a generated text, from the tokenizer, `generation_config.json` and `config.json`.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// The id of a token given as its text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether the token was added to the vocabulary as a whole, as special tokens are.
    pub(crate) fn is_added(&self, id: u32) -> bool {
        self.added.contains(&id)
    }

    /// The tokens of `text`; `add_special` adds those that the tokenizer puts around a text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        Ok(self.encoding(text, add_special)?.get_ids().to_vec())
    }

    /// The tokens of a text that goes on: only the special tokens that stand before a text are added. A tokenizer that
    /// also ends every text (with EOS, say) would otherwise end it in its middle.
    pub fn encode_prefix(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.encoding(text, true)?;
        let added_after = encoding.get_special_tokens_mask().iter().rev().take_while(|&&added| added == 1).count();
        let ids = encoding.get_ids();
        if added_after == ids.len() {
            // Nothing but special tokens: the text is empty, and what stands before it cannot be told from the rest.
            return Ok(ids.iter().copied().take_while(|id| !self.eos_ids.contains(id)).collect());
        }
        Ok(ids[..ids.len() - added_after].to_vec())
    }

    /// The tokens of `text` without added ones, each with the bytes it stands for.
    pub fn encode_with_bytes(&self, text: &str) -> Result<Vec<Token>, Error> {
        let encoding = self.encoding(text, false)?;
        let pairs = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(pairs.map(|(&id, &(start, end))| Token { id, bytes: start..end }).collect())
    }

    fn encoding(&self, text: &str, add_special: bool) -> Result<Encoding, Error> {
        guarded(|| self.inner.encode(text, add_special))
    }

    /// The text of `ids`.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        guarded(|| self.inner.decode(ids, skip_special))
    }

    /// Decodes token by token.
    pub fn stream(&self, skip_special: bool) -> Stream<'_> {
        Stream { tokenizer: self, skip_special, ids: Vec::new(), shown: (0, String::new()) }
    }

    /// Whether the model folder brings a chat template.
    pub fn has_chat_template(&self) -> bool {
        !self.settings.templates.is_empty()
    }

    /// The chat template: the one named `tool_use` where there are tools and such a template, else the default one.
    pub fn chat_template(&self, with_tools: bool) -> Result<&ChatTemplate, Error> {
        let tools = with_tools && self.settings.templates.contains_key("tool_use");
        let (name, cell) = if tools { ("tool_use", &self.tool_template) } else { ("default", &self.template) };
        let Some(source) = self.settings.templates.get(name) else {
            return Err(Error::Template(
                "the model folder has none (chat_template.jinja, or chat_template in tokenizer_config.json); \
                 use prompt/completion or text rows, or add the template"
                    .into(),
            ));
        };
        let compile = || {
            ChatTemplate::new(source, self.settings.special.clone()).map_err(|e| match e {
                Error::Template(what) => what,
                other => other.to_string(),
            })
        };
        cell.get_or_init(compile).as_ref().map_err(|what| Error::Template(what.clone()))
    }
}

/// Runs a call of the library; its errors and panics become ours.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|e| Error::Tokenizer(e.to_string())),
        Err(_) => Err(Error::Tokenizer("the tokenizers library panicked on this text".into())),
    }
}

/// The most tokens of an unfinished character; more of them are not text.
const MAX_PENDING: usize = 8;

/// Gives text as soon as the tokens so far make whole characters.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// The tokens of the last piece, which decoders look back to, and after them those not shown yet.
    ids: Vec<u32>,
    /// How many of `ids` were shown, and their text.
    shown: (usize, String),
}

impl Stream<'_> {
    /// Adds a token; gives the text that it completes, empty while a character is unfinished.
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        if text.ends_with('\u{FFFD}') && self.ids.len() - self.shown.0 < MAX_PENDING {
            return Ok(String::new());
        }
        self.show(&text)
    }

    /// The text of the tokens that never completed a character.
    pub fn finish(mut self) -> Result<String, Error> {
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        self.show(&text)
    }

    fn show(&mut self, text: &str) -> Result<String, Error> {
        let piece = text.get(self.shown.1.len()..).unwrap_or_default().to_string();
        self.ids.drain(..self.shown.0);
        self.shown = (self.ids.len(), self.tokenizer.decode(&self.ids, self.skip_special)?);
        Ok(piece)
    }
}
