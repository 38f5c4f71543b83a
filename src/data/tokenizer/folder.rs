//! What a model folder's small files say about its tokenizer: special tokens, chat templates, ids that end a text.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::super::{Error, files};

/// The largest of the small files; Gemma's `tokenizer_config.json` has 1.2 MB.
const MAX_BYTES: u64 = 16 << 20;
/// The special tokens that chat templates know by name.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];

/// The settings that stand beside `tokenizer.json`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `bos_token`, `eos_token` and so on, by name.
    pub(crate) special: BTreeMap<String, String>,
    /// Chat template sources by name; the usual one is called `default`.
    pub(crate) templates: BTreeMap<String, String>,
    /// Ids that end a text by `generation_config.json` and `config.json`, in that order.
    pub(crate) eos_ids: Vec<u32>,
}

impl Settings {
    /// Reads the files that are there. `chat_template.jinja` wins over the template in `tokenizer_config.json`, as in
    /// transformers.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let mut settings = Self::default();
        let json = |name: &str| read_json(&folder.join(name));
        if let Some(config) = json("tokenizer_config.json")? {
            settings.take_tokens(&config);
            settings.take_templates(&config);
        }
        if let Some(map) = json("special_tokens_map.json")? {
            settings.take_tokens(&map);
        }
        let path = folder.join("chat_template.jinja");
        if let Some(bytes) = files::read(&path, MAX_BYTES)? {
            let source = String::from_utf8(bytes)
                .map_err(|_| Error::Malformed { path, problem: "is not UTF-8 text".into() })?;
            settings.templates.insert("default".into(), source);
        }
        for name in ["generation_config.json", "config.json"] {
            if let Some(config) = json(name)? {
                settings.eos_ids.extend(ids(&config["eos_token_id"]));
            }
        }
        Ok(settings)
    }

    /// Reads a `tokenizer_config.json` that is not in a folder.
    pub(crate) fn parse(config: &str, template: Option<&str>) -> Result<Self, Error> {
        let mut settings = Self::default();
        let config = serde_json::from_str(config)
            .map_err(|e| Error::Tokenizer(format!("tokenizer_config.json is not JSON: {e}")))?;
        settings.take_tokens(&config);
        settings.take_templates(&config);
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

    /// Takes `chat_template`: one source, or a list of named ones.
    fn take_templates(&mut self, config: &Json) {
        match &config["chat_template"] {
            Json::String(source) => {
                self.templates.insert("default".into(), source.clone());
            }
            Json::Array(named) => {
                for entry in named {
                    if let (Some(name), Some(source)) = (entry["name"].as_str(), entry["template"].as_str()) {
                        self.templates.insert(name.into(), source.into());
                    }
                }
            }
            _ => {}
        }
    }
}

fn read_json(path: &Path) -> Result<Option<Json>, Error> {
    let Some(bytes) = files::read(path, MAX_BYTES)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::Malformed { path: path.to_path_buf(), problem: format!("is not JSON: {e}") })
}

/// An id, or a list of ids.
fn ids(value: &Json) -> Vec<u32> {
    let id = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Json::Array(items) => items.iter().filter_map(id).collect(),
        other => id(other).into_iter().collect(),
    }
}
