//! What a phase leaves on disk: checkpoints, and the final model.

use std::path::PathBuf;

use super::{Error, OPTIMIZER, Phase, State, probe::Baseline};
use crate::{
    formats::{self, Entry, ReadTensors, Restored, SHARD_BYTES, Saved, TensorFile},
    graph::tensor::Tensor,
    train::engine::{self, Engine, Side},
};

fn entries(engine: &Engine<'_>) -> Vec<Entry> {
    let parameters = engine.model(Side::Main).into_iter().flat_map(|model| model.parameters());
    parameters.map(|s| Entry { name: s.parameter.name.clone(), dims: s.parameter.dims.clone() }).collect()
}

fn read(engine: &Engine<'_>, name: &str) -> Result<Vec<f32>, engine::Error> {
    Ok(engine.read(Side::Main, name, false)?.unwrap_or_default())
}

/// Writes the final model.
pub(super) fn export(engine: &Engine<'_>, phase: &Phase<'_>) -> Result<(), Error> {
    let entries = entries(engine);
    let contents = phase.files.contents(&entries);
    formats::save(phase.out, &contents, phase.files.dtype, SHARD_BYTES, |entry| read(engine, &entry.name))?;
    Ok(())
}

/// Writes a checkpoint after `step` steps, and where it is; `feedback` is that of the next.
pub(super) fn save(
    engine: &Engine<'_>,
    phase: &Phase<'_>,
    feedback: Option<f64>,
    baseline: Option<Baseline>,
    step: u64,
) -> Result<PathBuf, Error> {
    let state = engine.state();
    let count = |tensors: &[Tensor]| tensors.iter().map(|t| t.len()).sum();
    let optimizer: Vec<Entry> =
        state.iter().map(|(name, tensors)| Entry { name: name.clone(), dims: vec![count(tensors)] }).collect();
    let entries = entries(engine);
    let (identity, tokens, logits) = (phase.identity.clone(), engine.tokens(), engine.logits());
    let json = serde_json::to_value(State { identity, tokens, logits, feedback, baseline }).unwrap_or_default();
    let run = formats::Run {
        step,
        contents: phase.files.contents(&entries),
        tensors: &[TensorFile { stem: OPTIMIZER, entries: &optimizer }],
        state: &json,
    };
    let path = formats::save_run(phase.out, &run, |file, entry| {
        if file != OPTIMIZER {
            return read(engine, &entry.name);
        }
        let tensors = state.iter().find(|(name, _)| *name == entry.name).map(|(_, tensors)| tensors.as_slice());
        engine.read_tensors(tensors.unwrap_or_default())
    })?;
    Ok(path)
}

/// Loads a checkpoint.
pub(super) fn restore(engine: &Engine<'_>, checkpoint: &Restored, phase: &Phase<'_>) -> Result<State, Error> {
    let state = State::of(checkpoint)?;
    if let Some((field, is)) = phase.identity.iter().find(|(key, value)| state.identity.get(*key) != Some(value)) {
        let was = state.identity.get(field).map_or_else(|| "nothing".into(), ToString::to_string);
        let (path, field, is) = (checkpoint.path.clone(), field.clone(), is.to_string());
        return Err(Error::OtherRun { path, field, was, is });
    }
    match &checkpoint.saved {
        Saved::Model(folder) => engine.load(Side::Main, folder)?,
        Saved::Adapter(folder) => engine.load_adapter(Side::Main, folder.as_ref())?,
    }
    let optimizer = checkpoint.tensors(OPTIMIZER)?;
    for (name, tensors) in engine.state() {
        let count = tensors.iter().map(|t| t.len()).sum();
        engine.write_tensors(&tensors, &optimizer.read_vec(&name, &[count])?)?;
    }
    Ok(state)
}
