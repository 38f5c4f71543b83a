//! One phase of training: examples in their order, packed, through the engine, until a model stands.
//!
//! One rule of arithmetic: an optimizer step takes exactly `batch_size` examples (the last of an epoch may have fewer), and
//! its loss is the sum over their target tokens divided by the number of those tokens, in however many micro-batches.
//!
//! The loop touches no files and has no clock: both come with a [`World`].

pub mod engine;
pub mod planner;
mod probe;
mod steps;

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    data::{
        Example,
        pack::{self, Batch},
        sampler::Epochs,
    },
    events::{BoxError, Event, Numbers, Observer},
    graph::{
        optim::Schedule,
        scalars::{LOSS_SCALING, Scalars},
    },
    train::engine::Engine,
};

pub use probe::Probe;
use steps::Steps;

/// What can stop a phase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Engine, device or model folder.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A batch could not be packed.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// What was asked of the world outside failed: a checkpoint, a report, other machines.
    #[error(transparent)]
    Outside(#[from] BoxError),
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
}

/// What a phase is.
pub struct Phase<'a> {
    /// Its name, for reports.
    pub name: &'a str,
    /// All examples; `order` says which of them make an epoch.
    pub examples: &'a [Example],
    /// Optimizer steps as lists of groups of `examples`, by [`crate::objective::Objective::group`].
    pub order: Epochs,
    /// Optimizer steps in all.
    pub steps: u64,
    /// Learning rate.
    pub schedule: Schedule,
    /// The other scalars of the optimizer; those of the loss are the objective's. With a `growth`, the loss is scaled.
    pub scalars: Scalars,
    /// Where randomness within a step starts.
    pub seed: u64,
    /// Steps between checkpoints; 0: none.
    pub save_every: u64,
    /// Time the device by kernel.
    pub profile: bool,
    /// Device memory that was planned, in bytes.
    pub planned: u64,
}

/// The world outside of the training loop.
pub struct World<'a> {
    /// Where events go, and the clock.
    pub observer: &'a mut dyn Observer,
    /// Where the run is kept.
    pub checkpoints: &'a mut dyn Checkpoints,
    /// What looks at the model between steps.
    pub hooks: Vec<Box<dyn Hook + 'a>>,
    /// Other machines.
    pub exchange: &'a mut dyn Exchange,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
}

/// Where a run is kept.
pub trait Checkpoints {
    /// Keeps the state after `step` steps. Returns where, in words.
    fn save(&mut self, engine: &Engine<'_>, state: &State, step: u64) -> Result<String, BoxError>;

    /// Keeps the model that the phase was run for.
    fn finish(&mut self, engine: &Engine<'_>) -> Result<(), BoxError>;
}

/// What looks at a run between its steps: measures held-out samples, or writes text.
pub trait Hook {
    /// Its key among the numbers of a step, and in a checkpoint.
    fn name(&self) -> &'static str;

    /// Whether it looks after `step` steps of `of`; at 0, before the first one.
    fn due(&self, step: u64, of: u64) -> bool;

    /// Looks. Weights, moments and gradients must be left as they are.
    fn look(&mut self, engine: &mut Engine<'_>) -> Result<Numbers, Error>;

    /// What a checkpoint keeps of it.
    fn state(&self) -> Value;

    /// Goes on from what a checkpoint kept.
    fn restore(&mut self, state: &Value);
}

/// What happens to gradients between the last micro-batch of a step and clipping: where several machines take part in a
/// step, they are added up here.
pub trait Exchange {
    /// Exchanges the gradients of the engine.
    fn exchange(&mut self, engine: &mut Engine<'_>) -> Result<(), BoxError>;
}

/// One machine alone: gradients stay as they are.
pub struct NoExchange;

impl Exchange for NoExchange {
    fn exchange(&mut self, _: &mut Engine<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// What a checkpoint keeps of the training loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What the next step's scalars depend on, where they do; see [`crate::objective::Objective::feedback`].
    pub feedback: Option<f64>,
    /// What each [`Hook`] keeps.
    pub hooks: Map<String, Value>,
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

/// What an engine needs before its state is restored or trained.
pub fn prepare(engine: &mut Engine<'_>, scalars: &Scalars) {
    if scalars.growth > 0 {
        engine.scale_loss(LOSS_SCALING.0);
    }
}

/// Trains until the steps are done or the user stops. The engine is prepared, its weights are loaded. `from`: what a
/// checkpoint kept after so many steps.
///
/// # Errors
/// See [`Error`]; whatever was saved before stays.
pub fn train(
    engine: &mut Engine<'_>,
    phase: &Phase<'_>,
    from: Option<(u64, State)>,
    world: World<'_>,
) -> Result<Outcome, Error> {
    let (start, state) = from.map_or((0, None), |(step, state)| (step, Some(state)));
    let mut steps = Steps::new(engine, phase, state, world);
    steps.emit(&Event::PhaseStarted { name: phase.name, unit: "step", total: phase.steps, done: start })?;
    let began = steps.world.observer.seconds();
    let mut order = phase.order.clone();
    steps.look_first(start)?;
    for step in start..phase.steps {
        steps.step(&order.batch(step), step)?;
        let (step, stopped) = (step + 1, steps.world.stop.load(Ordering::Relaxed));
        let due = phase.save_every > 0 && step.is_multiple_of(phase.save_every);
        if stopped || due {
            steps.collect()?;
            let place = steps.save(step)?;
            steps.emit(&Event::Saved { place: &place, step })?;
        }
        if stopped && step < phase.steps {
            steps.emit_profile()?;
            return Ok(Outcome::Interrupted { step });
        }
    }
    steps.collect()?;
    steps.emit_profile()?;
    let loss = steps.finish()?;
    let summary = loss.map_or_else(String::new, |loss| format!("loss {loss:.4}"));
    let seconds = steps.world.observer.seconds() - began;
    steps.emit(&Event::PhaseFinished { name: phase.name, seconds, summary: &summary })?;
    Ok(Outcome::Finished { loss })
}

/// The packed sequences of a step of these examples, `group` neighbours together. Weights are one over the number of its
/// target tokens.
///
/// # Errors
/// If an example is longer than a sequence.
pub fn rows(
    examples: &[Example],
    indices: &[usize],
    group: usize,
    tokens: usize,
) -> Result<Vec<Batch>, crate::data::Error> {
    let chosen: Vec<&Example> = indices.iter().map(|i| &examples[*i]).collect();
    pack::pack_groups(&chosen, group, tokens)
}
