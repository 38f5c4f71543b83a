//! One phase of training: examples in their order, packed, through the engine, until a model folder stands.
//!
//! One rule of arithmetic: an optimizer step takes exactly `batch_size` examples (the last of an epoch may have fewer), and
//! its loss is the sum over their target tokens divided by the number of those tokens, in however many passes.

mod means;
mod mixing;
mod probe;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    checkpoint::{
        self, AdapterConfig, AdapterFiles, Companions, Contents, Dtype, Entry, ModelFiles, Restored, SHARD_BYTES,
        Saved, TensorFile,
    },
    data::{
        Example,
        pack::{self, Batch},
        random::StepKey,
        sampler::Epochs,
    },
    engine::{self, Engine, Loss, Side, TokenStats},
    method::{Draw, Source},
    optim::{Scalars, Schedule},
    report::{self, Event, Metrics, MixStep, Report, Step},
};

pub use means::Means;
pub use mixing::Mixing;
use probe::{Baseline, Probe};

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
    Checkpoint(#[from] checkpoint::Error),
    /// A batch could not be packed.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// Metrics could not be written.
    #[error(transparent)]
    Report(#[from] report::Error),
    /// Loss or gradient ran away.
    #[error(
        "step {step}: loss is {loss:.4}, gradient norm {grad_norm:.4}; the run stopped before the weights were touched{saved}. \
         Lower --lr, raise --warmup, or look at the data of this step"
    )]
    NotFinite {
        /// Step, from 1.
        step: u64,
        /// Loss.
        loss: f64,
        /// Norm.
        grad_norm: f64,
        /// Where the last good state is.
        saved: String,
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
    /// The other scalars; `lr` is set by the schedule, `lambda` is where `mixing` starts.
    pub scalars: Scalars,
    /// How lambda moves.
    pub mixing: Mixing,
    /// Noise on embeddings, if the engine's loss has it.
    pub noise: Noise,
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
}

/// Noise on embeddings (NEFTune).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Its size times the root of width and length; 0: none.
    pub alpha: f64,
    /// Scale it by the longest example of the step, as implementations that pad do, and not by each one's own length.
    pub padded: bool,
}

/// The files of what a phase leaves.
#[derive(Clone, Debug)]
pub struct Files {
    /// Text of the model's `config.json`.
    pub config_json: String,
    /// Class name in it.
    pub architecture: String,
    /// Tokenizer and so on.
    pub companions: Companions,
    /// Number format of a model's final weights.
    pub dtype: Dtype,
    /// Settings of an adapter and the name of its base, where that is what is left.
    pub adapter: Option<(AdapterConfig, String)>,
}

impl Files {
    /// As the checkpoint room takes them.
    pub fn contents<'a>(&'a self, entries: &'a [Entry]) -> Contents<'a> {
        let Self { config_json, architecture, companions, adapter, .. } = self;
        match adapter {
            None => Contents::Model(ModelFiles { config_json, architecture, companions, entries }),
            Some((config, base)) => Contents::Adapter(AdapterFiles { config, base, companions, entries }),
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
    /// Lambda of the next step.
    lambda: f64,
    /// What the probe had at the start.
    baseline: Option<Baseline>,
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
pub fn row_of(checkpoint: &Restored) -> Result<usize, Error> {
    Ok(State::of(checkpoint)?.tokens)
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
    let (start, state) = match &phase.from {
        Some(checkpoint) => (checkpoint.step, Some(restore(engine, checkpoint, phase)?)),
        None => (0, None),
    };
    let (lambda, baseline) = state.map_or((phase.scalars.lambda, None), |state| (state.lambda, state.baseline));
    let mut course = Course { lambda, probe: None };
    if phase.diagnostics > 0 {
        course.probe = Probe::new(phase.examples, engine.tokens(), phase.seed, baseline)?;
    }
    report.log_steps_to(Some(Metrics::open(&phase.out.join("metrics.jsonl"), start + 1)?));
    report.event(&Event::PhaseStarted { name: phase.name, unit: "step", total: phase.steps, done: start })?;
    let began = Instant::now();
    let mut order = phase.order.clone();
    let mut last = None;
    if let Some(probe) = course.probe.as_mut().filter(|probe| probe.baseline().is_none()) {
        engine.set_scalars(start, &Scalars { lambda, ..phase.scalars });
        probe.look(engine)?;
    }
    for step in start..phase.steps {
        let done = course.step(engine, phase, &order.batch(step), step)?;
        if !(done.loss.is_finite() && done.grad_norm.is_finite()) {
            // Neither weights nor moments were touched: the state is that of the step before.
            let saved = if step > 0 {
                format!("; {} holds the last good state", save(engine, phase, &course, step)?.display())
            } else {
                String::new()
            };
            return Err(Error::NotFinite { step: done.step, loss: done.loss, grad_norm: done.grad_norm, saved });
        }
        last = Some(done.loss);
        report.event(&Event::Step(done))?;
        let (step, stopped) = (step + 1, stop.load(Ordering::Relaxed));
        let due = phase.save_every > 0 && step.is_multiple_of(phase.save_every);
        if stopped || due {
            let path = save(engine, phase, &course, step)?;
            checkpoint::prune(phase.out, phase.keep)?;
            report.event(&Event::CheckpointSaved { path: &path, step })?;
        }
        if stopped && step < phase.steps {
            report.log_steps_to(None);
            return Ok(Outcome::Interrupted { step });
        }
    }
    export(engine, phase)?;
    report.log_steps_to(None);
    let summary = last.map_or_else(String::new, |loss| format!("loss {loss:.4}"));
    report.event(&Event::PhaseFinished {
        name: phase.name,
        seconds: began.elapsed().as_secs_f64(),
        summary: &summary,
    })?;
    Ok(Outcome::Finished { loss: last })
}

/// The packed rows of a step. Weights are one over the number of its target tokens.
///
/// # Errors
/// If an example is longer than a row.
pub fn rows(examples: &[Example], indices: &[usize], tokens: usize) -> Result<Vec<Batch>, crate::data::Error> {
    let chosen: Vec<&Example> = indices.iter().map(|i| &examples[*i]).collect();
    pack::pack(&chosen, tokens)
}

/// What moves from step to step beside weights and moments.
struct Course {
    /// Lambda of the next step.
    lambda: f64,
    probe: Option<Probe>,
}

impl Course {
    fn step(
        &mut self,
        engine: &mut Engine<'_>,
        phase: &Phase<'_>,
        indices: &[usize],
        step: u64,
    ) -> Result<Step, Error> {
        let began = Instant::now();
        let lambda = phase.mixing.planned(phase.scalars.lambda, step, phase.steps).unwrap_or(self.lambda);
        let scalars = Scalars { lr: phase.schedule.rate(step), lambda, ..phase.scalars };
        engine.set_scalars(step, &scalars);
        let longest = || indices.iter().map(|i| phase.examples[*i].ids.len()).max();
        let draw = Draw {
            key: StepKey::new(phase.seed, step),
            alpha: phase.noise.alpha,
            padded: if phase.noise.padded { longest() } else { None },
        };
        let mut means = Means::default();
        let mut tokens = 0;
        for batch in rows(phase.examples, indices, engine.tokens())? {
            let stats: Vec<TokenStats> = engine.pass(&batch, draw)?;
            means.add(&stats, &batch.weights);
            tokens += batch.examples.iter().map(|placed| placed.len as u64).sum::<u64>();
        }
        let grad_norm = f64::from(engine.update()?);
        if grad_norm.is_finite() {
            self.lambda = phase.mixing.next(lambda, means.amplification(lambda));
        }
        let due = phase.diagnostics > 0 && ((step + 1).is_multiple_of(phase.diagnostics) || step + 1 == phase.steps);
        let probed = match self.probe.as_mut().filter(|_| due) {
            Some(probe) => Some(probe.look(engine)?),
            None => None,
        };
        let model = engine.model(Side::Strong).map_or(1, |model| model.config.vocab);
        Ok(Step {
            step: step + 1,
            loss: means.loss(),
            grad_norm,
            lr: scalars.lr,
            tokens,
            seconds: began.elapsed().as_secs_f64(),
            strong: means.strong(model),
            mix: mix(engine.loss(), &means, lambda, model),
            probed,
        })
    }
}

/// What is told of a second set of logits, if the loss has one.
fn mix(loss: Loss, means: &Means, lambda: f64, vocab: usize) -> Option<MixStep> {
    match loss {
        Loss::Sft { .. } => None,
        Loss::Distill => Some(means.mix(None, vocab)),
        // No kernel computes what needs none.
        Loss::Mix(Source::Uniform) => {
            Some(MixStep { entropy_weak: (vocab as f64).ln(), ..means.mix(Some(lambda), vocab) })
        }
        Loss::Mix(_) => Some(means.mix(Some(lambda), vocab)),
    }
}

fn entries(engine: &Engine<'_>) -> Vec<Entry> {
    let parameters = engine.model(Side::Strong).into_iter().flat_map(|model| model.parameters());
    parameters.map(|s| Entry { name: s.parameter.name.clone(), dims: s.parameter.dims.clone() }).collect()
}

fn read(engine: &Engine<'_>, name: &str) -> Result<Vec<f32>, engine::Error> {
    Ok(engine.read(Side::Strong, name, false)?.unwrap_or_default())
}

fn export(engine: &Engine<'_>, phase: &Phase<'_>) -> Result<(), Error> {
    let entries = entries(engine);
    let contents = phase.files.contents(&entries);
    checkpoint::save(phase.out, &contents, phase.files.dtype, SHARD_BYTES, |entry| read(engine, &entry.name))?;
    Ok(())
}

fn save(engine: &Engine<'_>, phase: &Phase<'_>, course: &Course, step: u64) -> Result<PathBuf, Error> {
    let state = engine.state();
    let count = |tensors: &[crate::tensor::Tensor]| tensors.iter().map(|t| t.len()).sum();
    let optimizer: Vec<Entry> =
        state.iter().map(|(name, tensors)| Entry { name: name.clone(), dims: vec![count(tensors)] }).collect();
    let entries = entries(engine);
    let json = serde_json::to_value(State {
        identity: phase.identity.clone(),
        tokens: engine.tokens(),
        lambda: course.lambda,
        baseline: course.probe.as_ref().and_then(Probe::baseline).cloned(),
    })
    .unwrap_or_default();
    let run = checkpoint::Run {
        step,
        contents: phase.files.contents(&entries),
        tensors: &[TensorFile { stem: OPTIMIZER, entries: &optimizer }],
        state: &json,
    };
    let path = checkpoint::save_run(phase.out, &run, |file, entry| {
        if file != OPTIMIZER {
            return read(engine, &entry.name);
        }
        let tensors = state.iter().find(|(name, _)| *name == entry.name).map(|(_, tensors)| tensors.as_slice());
        engine.read_tensors(tensors.unwrap_or_default())
    })?;
    Ok(path)
}

/// Loads a checkpoint.
fn restore(engine: &Engine<'_>, checkpoint: &Restored, phase: &Phase<'_>) -> Result<State, Error> {
    let state = State::of(checkpoint)?;
    if let Some((field, is)) = phase.identity.iter().find(|(key, value)| state.identity.get(*key) != Some(value)) {
        let was = state.identity.get(field).map_or_else(|| "nothing".into(), ToString::to_string);
        let (path, field, is) = (checkpoint.path.clone(), field.clone(), is.to_string());
        return Err(Error::OtherRun { path, field, was, is });
    }
    match &checkpoint.saved {
        Saved::Model(folder) => engine.load(Side::Strong, folder)?,
        Saved::Adapter(folder) => engine.load_adapter(Side::Strong, folder)?,
    }
    let optimizer = checkpoint.tensors(OPTIMIZER)?;
    for (name, tensors) in engine.state() {
        let count = tensors.iter().map(|t| t.len()).sum();
        engine.write_tensors(&tensors, &optimizer.read_vec(&name, &[count])?)?;
    }
    Ok(state)
}
