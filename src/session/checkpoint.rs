//! What a phase leaves on disk: checkpoints that a run goes on from, and the final model.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    error::Error,
    key::{self, Difference},
    source::Files,
};
use crate::{
    events::BoxError,
    formats::{self, Entry, ReadTensors, Restored, SHARD_BYTES, Saved, TensorFile},
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

/// Checks that a checkpoint is of a run with this key. Returns tokens of a packed sequence and bytes of logits at a time in that
/// run.
///
/// # Errors
/// If its state is not ours; [`Error::OtherRun`] names what differs.
pub fn layout_of(checkpoint: &Restored, key: &Map<String, Value>) -> Result<(usize, u64), Error> {
    let state = State::of(checkpoint)?;
    match key::difference(&state.key, key) {
        None => Ok((state.tokens, state.logits)),
        Some(Difference { name, was, is }) => {
            Err(Error::OtherRun { path: checkpoint.path.clone(), field: name, was, is })
        }
    }
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
    /// If it is damaged.
    pub fn restore(&self, engine: &Engine<'_>, from: &Restored) -> Result<(u64, train::State), Error> {
        let state = State::of(from)?;
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
