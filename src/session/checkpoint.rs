//! What a phase leaves on disk: checkpoints that a run goes on from, and the final model.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Error;
use crate::{
    data::Example,
    events::BoxError,
    formats::{
        self, AdapterConfig, AdapterFiles, Contents, Dtype, Entry, ModelFiles, ReadTensors, Restored, SHARD_BYTES,
        Saved, TensorFile, TokenizerFiles,
    },
    graph::tensor::Tensor,
    train::{
        self,
        engine::{self, Engine, Side},
    },
};

/// Tensors beside the model in a checkpoint.
const OPTIMIZER: &str = "optimizer";
/// Of what `state.json` holds. Version 1 had no number in it, and named values by the program's own types.
const VERSION: u32 = 2;

/// The files of what a phase leaves.
#[derive(Clone, Debug)]
pub struct Files {
    /// Text of the model's `config.json`.
    pub config_json: String,
    /// Class name in it.
    pub architecture: String,
    /// Tokenizer and so on.
    pub tokenizer: TokenizerFiles,
    /// Number format of a model's final weights.
    pub dtype: Dtype,
    /// Settings of an adapter, and name and mark of its base, where that is what is left.
    pub adapter: Option<(AdapterConfig, String, String)>,
}

impl Files {
    /// As they are written.
    pub fn contents<'a>(&'a self, entries: &'a [Entry]) -> Contents<'a> {
        let Self { config_json, architecture, tokenizer, adapter, .. } = self;
        match adapter {
            None => Contents::Model(ModelFiles { config_json, architecture, tokenizer, entries }),
            Some((config, base, base_mark)) => {
                Contents::Adapter(AdapterFiles { config, base, base_mark, tokenizer, entries })
            }
        }
    }
}

/// What a checkpoint holds beside tensors.
#[derive(Serialize, Deserialize)]
struct State {
    #[serde(default = "first_version")]
    version: u32,
    /// Everything that decides the result, by name.
    #[serde(default)]
    key: Map<String, Value>,
    /// Tokens of a packed sequence: the order of sums, so the same bits, depends on it.
    tokens: usize,
    /// Bytes of logits at a time: the same.
    #[serde(default)]
    logits: u64,
    /// Of the training loop.
    #[serde(flatten)]
    training: train::State,
}

fn first_version() -> u32 {
    1
}

impl State {
    fn of(checkpoint: &Restored) -> Result<Self, Error> {
        let wrong = |reason: String| {
            Error::User(format!("{}: state.json is not one this version reads: {reason}", checkpoint.path.display()))
        };
        let version = checkpoint.state.get("version").and_then(Value::as_u64).unwrap_or(1);
        if version != u64::from(VERSION) {
            return Err(wrong(format!(
                "it is of format {version}, not {VERSION}; finish the run with the version of underdog that began it, or \
                 use another --out"
            )));
        }
        serde_json::from_value(checkpoint.state.clone()).map_err(|e| wrong(e.to_string()))
    }
}

/// Tokens of a packed sequence and bytes of logits at a time in the run that left this checkpoint.
///
/// # Errors
/// If its state is not ours.
pub fn layout_of(checkpoint: &Restored) -> Result<(usize, u64), Error> {
    State::of(checkpoint).map(|state| (state.tokens, state.logits))
}

/// A digest of examples, for a resume key.
pub fn fingerprint(examples: &[Example]) -> String {
    let mut hash = Sha256::new();
    for example in examples {
        hash.update(example.idx.to_le_bytes());
        hash.update((example.ids.len() as u64).to_le_bytes());
        hash.update(bytemuck::cast_slice::<u32, u8>(&example.ids));
        hash.update(example.trained.iter().map(|t| u8::from(*t)).collect::<Vec<u8>>());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of a phase, where it is kept.
pub struct Checkpoints<'a> {
    /// Folder of the phase; the final model is written here.
    pub out: &'a Path,
    /// Checkpoints to keep, the newest.
    pub keep: usize,
    /// Everything that decides the result, by name: a checkpoint of other values is refused.
    pub key: Map<String, Value>,
    /// What the final model's folder holds beside weights.
    pub files: Files,
}

impl Checkpoints<'_> {
    /// Loads a checkpoint into an engine that is prepared. Returns its step, and what it keeps of the training loop.
    ///
    /// # Errors
    /// If it is of another run or damaged; [`Error::OtherRun`] names what differs.
    pub fn restore(&self, engine: &Engine<'_>, from: &Restored) -> Result<(u64, train::State), Error> {
        let state = State::of(from)?;
        if let Some((field, is)) = self.key.iter().find(|(key, value)| state.key.get(*key) != Some(value)) {
            let was = state.key.get(field).map_or_else(|| "nothing".into(), ToString::to_string);
            let (path, field, is) = (from.path.clone(), field.clone(), is.to_string());
            return Err(Error::OtherRun { path, field, was, is });
        }
        match &from.saved {
            Saved::Model(folder) => engine.load(Side::Main, folder)?,
            Saved::Adapter(folder) => engine.load_adapter(Side::Main, folder.as_ref())?,
        }
        let optimizer = from.tensors(OPTIMIZER)?;
        for (name, tensors) in engine.state() {
            engine.write_tensors(&tensors, &optimizer.read_vec(&name, &[count(&tensors)])?)?;
        }
        Ok((from.step, state.training))
    }

    fn write(&self, engine: &Engine<'_>, training: &train::State, step: u64) -> Result<PathBuf, formats::Error> {
        let tensors = engine.state();
        let entry =
            |(name, tensors): &(String, Vec<Tensor>)| Entry { name: name.clone(), dims: vec![count(tensors)] };
        let optimizer: Vec<Entry> = tensors.iter().map(entry).collect();
        let entries = entries(engine);
        let (version, key, training) = (VERSION, self.key.clone(), training.clone());
        let state = State { version, key, tokens: engine.tokens(), logits: engine.logits(), training };
        let json = serde_json::to_value(state).unwrap_or_default();
        let run = formats::Run {
            step,
            contents: self.files.contents(&entries),
            tensors: &[TensorFile { stem: OPTIMIZER, entries: &optimizer }],
            state: &json,
        };
        let path = formats::save_run(self.out, &run, |file, entry| {
            if file != OPTIMIZER {
                return read(engine, &entry.name);
            }
            let tensors = tensors.iter().find(|(name, _)| *name == entry.name).map(|(_, tensors)| tensors.as_slice());
            engine.read_tensors(tensors.unwrap_or_default())
        })?;
        formats::prune(self.out, self.keep)?;
        Ok(path)
    }
}

impl train::Checkpoints for Checkpoints<'_> {
    fn save(&mut self, engine: &Engine<'_>, state: &train::State, step: u64) -> Result<String, BoxError> {
        Ok(self.write(engine, state, step)?.display().to_string())
    }

    fn finish(&mut self, engine: &Engine<'_>) -> Result<(), BoxError> {
        let entries = entries(engine);
        let contents = self.files.contents(&entries);
        formats::save(self.out, &contents, self.files.dtype, SHARD_BYTES, |entry| read(engine, &entry.name))?;
        Ok(())
    }
}

fn count(tensors: &[Tensor]) -> usize {
    tensors.iter().map(|tensor| tensor.len()).sum()
}

fn entries(engine: &Engine<'_>) -> Vec<Entry> {
    let parameters = engine.model(Side::Main).into_iter().flat_map(|model| model.parameters());
    parameters.map(|s| Entry { name: s.parameter.name.clone(), dims: s.parameter.dims.clone() }).collect()
}

fn read(engine: &Engine<'_>, name: &str) -> Result<Vec<f32>, engine::Error> {
    Ok(engine.read(Side::Main, name, false)?.unwrap_or_default())
}
