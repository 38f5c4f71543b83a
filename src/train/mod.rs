//! One phase of training: examples in their order, packed, through the engine, until a model folder stands.
//!
//! One rule of arithmetic: an optimizer step takes exactly `batch_size` examples (the last of an epoch may have fewer), and
//! its loss is the sum over their target tokens divided by the number of those tokens, in however many passes.

pub mod engine;
pub mod planner;
mod probe;
mod save;
mod steps;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    data::{
        Example,
        pack::{self, Batch},
        sampler::Epochs,
    },
    formats::{self, AdapterConfig, AdapterFiles, Contents, Dtype, Entry, ModelFiles, Restored, TokenizerFiles},
    graph::optim::{LOSS_SCALING, Scalars, Schedule},
    report::{self, Event, Metrics, Report},
    train::engine::Engine,
};

use probe::Baseline;
use steps::Steps;

/// Tensors beside the model in a checkpoint.
const OPTIMIZER: &str = "optimizer";

/// What can stop a phase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Engine, device or model folder.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A checkpoint or the final model could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] formats::Error),
    /// A batch could not be packed.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// Metrics could not be written.
    #[error(transparent)]
    Report(#[from] report::Error),
    /// Loss or gradient ran away.
    #[error(
        "step {step}: loss is {loss:.4}, gradient norm {grad_norm:.4}; the run stopped {saved}. Lower --lr, raise \
         --warmup, or look at the data of this step{}", if *scaled { "; with --precision f32 nothing overflows in f16" } else { "" }
    )]
    NotFinite {
        /// Step, from 1.
        step: u64,
        /// Loss.
        loss: f64,
        /// Norm.
        grad_norm: f64,
        /// What became of the weights, and where the last good state is.
        saved: String,
        /// Whether factors may have been f16.
        scaled: bool,
    },
    /// `--resume` with other settings.
    #[error(
        "{}: this checkpoint was made with {field} = {was}, the run has {is}; resume with the same settings, or use \
         another --out",
        path.display()
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        field: String,
        /// In the checkpoint.
        was: String,
        /// Now.
        is: String,
    },
    /// The state of a checkpoint is not ours.
    #[error("{}: state.json is not one this version reads: {reason}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What a phase needs to know.
pub struct Phase<'a> {
    /// Its name, for reports.
    pub name: &'a str,
    /// All examples; `order` says which of them make an epoch.
    pub examples: &'a [Example],
    /// Optimizer steps as lists of indices into `examples`.
    pub order: Epochs,
    /// Optimizer steps in all.
    pub steps: u64,
    /// Learning rate.
    pub schedule: Schedule,
    /// The other scalars of the optimizer; those of the loss are the objective's. With a `growth`, the loss is scaled.
    pub scalars: Scalars,
    /// Where randomness within a step starts.
    pub seed: u64,
    /// Steps between looks at the probe; 0: none.
    pub diagnostics: u64,
    /// Everything that decides the result, by name: a checkpoint of other values is refused.
    pub identity: serde_json::Map<String, serde_json::Value>,
    /// Folder of the run; the final model is written here.
    pub out: &'a Path,
    /// Steps between checkpoints; 0: none.
    pub save_every: u64,
    /// Checkpoints to keep.
    pub keep: usize,
    /// The checkpoint to go on from.
    pub from: Option<Restored>,
    /// What the final model's folder holds beside weights.
    pub files: Files,
    /// Time the device by kernel, and write `profile.json` into the run's folder.
    pub profile: bool,
    /// Device memory that was planned, in bytes.
    pub planned: u64,
}

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
    /// As the checkpoint room takes them.
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

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The final model stands.
    Finished {
        /// Loss of the last step; `None` if there was nothing left to do.
        loss: Option<f64>,
    },
    /// Stopped by the user; a checkpoint of this step stands.
    Interrupted {
        /// Steps done.
        step: u64,
    },
}

/// What a checkpoint holds beside tensors.
#[derive(Serialize, Deserialize)]
struct State {
    identity: serde_json::Map<String, serde_json::Value>,
    /// Tokens of a packed row: the order of sums, so the same bits, depends on it.
    tokens: usize,
    /// Bytes of logits at a time: the same.
    #[serde(default = "usual_logits")]
    logits: u64,
    /// What the next step's scalars depend on, where they do; see [`crate::objective::Objective::feedback`].
    #[serde(alias = "lambda")]
    feedback: Option<f64>,
    /// What the probe had at the start.
    baseline: Option<Baseline>,
}

/// Of checkpoints that do not tell.
fn usual_logits() -> u64 {
    engine::LOGITS
}

impl State {
    fn of(checkpoint: &Restored) -> Result<Self, Error> {
        serde_json::from_value(checkpoint.state.clone())
            .map_err(|e| Error::State { path: checkpoint.path.clone(), reason: e.to_string() })
    }
}

/// Tokens of a packed row in the run that left this checkpoint.
///
/// # Errors
/// If its state is not ours.
pub fn row_of(checkpoint: &Restored) -> Result<(usize, u64), Error> {
    State::of(checkpoint).map(|state| (state.tokens, state.logits))
}

/// A digest of examples, for [`Phase::identity`].
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

/// Trains until the steps are done or `stop` is set. The engine's weights are loaded already.
///
/// # Errors
/// See [`Error`]; whatever was saved before stays.
pub fn train(
    engine: &mut Engine<'_>,
    phase: &Phase<'_>,
    report: &mut Report,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    if phase.scalars.growth > 0 {
        engine.scale_loss(LOSS_SCALING.0);
    }
    let (start, state) = match &phase.from {
        Some(checkpoint) => (checkpoint.step, Some(save::restore(engine, checkpoint, phase)?)),
        None => (0, None),
    };
    let first = engine.objective().feedback();
    let (feedback, baseline) = state.map_or((first, None), |state| (first.and(state.feedback), state.baseline));
    let mut steps = Steps::new(engine, phase, feedback, baseline)?;
    report.log_steps_to(Some(Metrics::open(&phase.out.join("metrics.jsonl"), start + 1)?));
    report.event(&Event::PhaseStarted { name: phase.name, unit: "step", total: phase.steps, done: start })?;
    let began = Instant::now();
    let mut order = phase.order.clone();
    steps.look_first(start)?;
    for step in start..phase.steps {
        steps.step(&order.batch(step), step, report)?;
        let (step, stopped) = (step + 1, stop.load(Ordering::Relaxed));
        let due = phase.save_every > 0 && step.is_multiple_of(phase.save_every);
        if stopped || due {
            steps.collect(report)?;
            let path = steps.save(step)?;
            formats::prune(phase.out, phase.keep)?;
            report.event(&Event::CheckpointSaved { path: &path, step })?;
        }
        if stopped && step < phase.steps {
            steps.emit_profile(report)?;
            report.log_steps_to(None);
            return Ok(Outcome::Interrupted { step });
        }
    }
    steps.collect(report)?;
    steps.emit_profile(report)?;
    let loss = steps.loss();
    save::export(engine, phase)?;
    report.log_steps_to(None);
    let summary = loss.map_or_else(String::new, |loss| format!("loss {loss:.4}"));
    report.event(&Event::PhaseFinished {
        name: phase.name,
        seconds: began.elapsed().as_secs_f64(),
        summary: &summary,
    })?;
    Ok(Outcome::Finished { loss })
}

/// The packed rows of a step. Weights are one over the number of its target tokens.
///
/// # Errors
/// If an example is longer than a row.
pub fn rows(examples: &[Example], indices: &[usize], tokens: usize) -> Result<Vec<Batch>, crate::data::Error> {
    let chosen: Vec<&Example> = indices.iter().map(|i| &examples[*i]).collect();
    pack::pack(&chosen, tokens)
}
