//! A model folder, opened and checked.

use std::path::{Path, PathBuf};

use super::Error;
use crate::{
    checkpoint::{Companions, Dtype, Entry, Folder},
    config,
    data::tokenizer::Tokenizer,
    model::Config,
    train::Files,
};

/// A Hugging Face model folder whose files go together.
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its shape.
    pub config: Config,
    /// Its weights.
    pub weights: Folder,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    config_json: String,
    companions: Companions,
}

impl Source {
    /// Opens a folder and checks that every tensor the model needs is there in the right shape.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let config = Config::open(path)?;
        let weights = Folder::open(path)?;
        weights.check(&config.entries())?;
        let tokenizer = Tokenizer::open(path)?;
        let file = path.join("config.json");
        let config_json =
            std::fs::read_to_string(&file).map_err(|e| Error::User(format!("{}: {e}", file.display())))?;
        Ok(Self { path: path.into(), config, weights, tokenizer, config_json, companions: Companions::read(path)? })
    }

    /// What a folder of the trained model holds beside weights.
    pub fn files(&self, dtype: config::Dtype) -> Files {
        Files {
            config_json: self.config_json.clone(),
            architecture: self.config.family.architecture.into(),
            companions: self.companions.clone(),
            dtype: match dtype {
                config::Dtype::F32 => Dtype::F32,
                config::Dtype::Bf16 => Dtype::Bf16,
                config::Dtype::Auto => self.stored_dtype(),
            },
        }
    }

    fn stored_dtype(&self) -> Dtype {
        let f32 =
            |entry: &Entry| self.weights.tensor(&entry.name).is_some_and(|t| t.dtype == safetensors::Dtype::F32);
        if self.config.entries().iter().all(f32) { Dtype::F32 } else { Dtype::Bf16 }
    }
}
