//! What a model folder's small files say about its tokenizer: special tokens, chat templates, ids that end a text.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::super::error::Error;
use crate::formats::files::read_if_there;

/// The largest of the small files; Gemma's `tokenizer_config.json` has 1.2 MB.
const MAX_BYTES: u64 = 16 << 20;
/// The special tokens that chat templates know by name.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];

/// The settings that stand beside `tokenizer.json`.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// `bos_token`, `eos_token` and so on, by name.
    pub(super) special: BTreeMap<String, String>,
    /// Chat template sources by name; the usual one is called `default`.
    pub(super) templates: BTreeMap<String, String>,
    /// Ids that end a text by `generation_config.json` and `config.json`, in that order.
    pub(super) eos_ids: Vec<u32>,
}

impl Settings {
    /// Reads the files that are there. `chat_template.jinja` wins over the template in `tokenizer_config.json`, as in
    /// transformers.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            Ok::<_, Error>((read_if_there(&path, MAX_BYTES).map_err(Error::io(&path))?, path))
        };
        let json = |name: &str| -> Result<Json, Error> {
            let (Some(bytes), path) = read(name)? else { return Ok(Json::Null) };
            serde_json::from_slice(&bytes).map_err(|e| Error::malformed(&path, format!("is not JSON: {e}")))
        };
        let mut settings = Self::default();
        settings.take(&json("tokenizer_config.json")?);
        settings.take_tokens(&json("special_tokens_map.json")?);
        if let (Some(bytes), path) = read("chat_template.jinja")? {
            let source = String::from_utf8(bytes).map_err(|_| Error::malformed(&path, "is not UTF-8 text"))?;
            settings.templates.insert("default".into(), source);
        }
        for name in ["generation_config.json", "config.json"] {
            // An id, or a list of ids.
            let found = json(name)?["eos_token_id"].take();
            let ids = found.as_array().map_or(std::slice::from_ref(&found), Vec::as_slice);
            settings.eos_ids.extend(ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()));
        }
        Ok(settings)
    }

    /// Reads a `tokenizer_config.json` that is not in a folder.
    pub(super) fn parse(config: &str, template: Option<&str>) -> Result<Self, Error> {
        let mut settings = Self::default();
        let config = serde_json::from_str(config)
            .map_err(|e| Error::Tokenizer(format!("tokenizer_config.json is not JSON: {e}")))?;
        settings.take(&config);
        if let Some(source) = template {
            settings.templates.insert("default".into(), source.into());
        }
        Ok(settings)
    }

    /// Takes the special tokens that are not known yet: strings, or objects with `content`.
    fn take_tokens(&mut self, config: &Json) {
        for name in NAMES {
            let token = config[name].as_str().or_else(|| config[name]["content"].as_str());
            if let Some(token) = token {
                self.special.entry(name.into()).or_insert_with(|| token.into());
            }
        }
    }

    /// Takes a `tokenizer_config.json`: special tokens, and `chat_template`, which is one source or a list of named ones.
    fn take(&mut self, config: &Json) {
        self.take_tokens(config);
        match &config["chat_template"] {
            Json::String(source) => {
                self.templates.insert("default".into(), source.clone());
            }
            Json::Array(named) => {
                let text = |entry: &Json, field| entry[field].as_str().map(str::to_owned);
                self.templates.extend(named.iter().filter_map(|e| Some((text(e, "name")?, text(e, "template")?))));
            }
            _ => {}
        }
    }
}
