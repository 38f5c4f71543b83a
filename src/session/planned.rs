//! The one way from models and data to what runs on a device, for every verb: a session is opened, planned, and made ready.
//! Until it is ready, nothing of it is on the device.

use std::sync::Arc;

use super::{
    context::Context,
    error::Error,
    faults,
    memory::{self, Limits, Purpose},
    source::Source,
    tuning,
};
use crate::{
    data::{Example, pack, sampler::Epochs},
    infer::{Slots, SlotsPlan, score::GROUP},
    objective::{CrossEntropy, Objective},
    settings::Config,
    train::{
        engine::{self, AuxiliaryModel, Engine, Side, Spec},
        planner::Choice,
    },
};

/// Optimizer steps whose examples decide the length of a packed sequence.
const STEPS_LOOKED_AT: u64 = 32;

/// Models by their shapes, and the examples that they meet.
pub struct Session<'a> {
    config: &'a Config,
    spec: Spec,
    purpose: Purpose,
    /// The examples that decide the plan: of some optimizer steps or groups, and the longest of all.
    batches: Vec<Vec<&'a Example>>,
    /// How many of them are steps.
    steps: usize,
}

impl<'a> Session<'a> {
    /// Training for `steps` optimizer steps.
    pub fn train(config: &'a Config, spec: Spec, examples: &'a [Example], epochs: &mut Epochs, steps: u64) -> Self {
        let step = |step| epochs.batch(step).into_iter().map(|i| &examples[i]).collect();
        let mut batches: Vec<Vec<&Example>> = (0..steps.min(STEPS_LOOKED_AT)).map(step).collect();
        let steps = batches.len();
        batches.extend(examples.iter().max_by_key(|example| example.ids.len()).map(|longest| vec![longest]));
        Self { config, spec, purpose: Purpose::Train, batches, steps }
    }

    /// Forward passes over all examples.
    pub fn measure(config: &'a Config, spec: Spec, examples: impl IntoIterator<Item = &'a Example>) -> Self {
        Self::groups(config, spec, Purpose::Measure, examples)
    }

    /// Forward passes that compute the hidden states of an auxiliary model.
    pub(super) fn hidden_states(
        config: &'a Config,
        spec: Spec,
        examples: impl IntoIterator<Item = &'a Example>,
    ) -> Self {
        Self::groups(config, spec, Purpose::HiddenStates, examples)
    }

    fn groups(
        config: &'a Config,
        spec: Spec,
        purpose: Purpose,
        examples: impl IntoIterator<Item = &'a Example>,
    ) -> Self {
        let examples: Vec<&Example> = examples.into_iter().collect();
        let batches: Vec<_> = examples.chunks(GROUP).map(<[_]>::to_vec).collect();
        Self { config, spec, purpose, steps: batches.len(), batches }
    }

    /// Plans it for a device of these limits.
    ///
    /// # Errors
    /// If the models do not go together, a format is wrong on the device, or nothing fits its memory.
    pub fn plan(&self, limits: &Limits) -> Result<Planned, Error> {
        let choice = memory::plan(self.config, self.spec.clone(), &self.batches, self.purpose, limits)?;
        Ok(Planned { choice })
    }

    /// Its models as they are stored on a device of these limits.
    ///
    /// # Errors
    /// If a format is wrong on the device or does not go with the models.
    pub(super) fn stored(&self, limits: &Limits) -> Result<Spec, Error> {
        memory::stored(self.config, self.spec.clone(), self.purpose, limits)
    }

    /// Micro-batches of an optimizer step, on average.
    pub fn passes(&self, planned: &Planned) -> f64 {
        let tokens = planned.choice.spec.tokens;
        let steps = &self.batches[..self.steps];
        let passes = steps.iter().map(|batch| pack::pack(batch, tokens).map_or(0, |rows| rows.len()));
        passes.sum::<usize>() as f64 / steps.len().max(1) as f64
    }
}

/// The shapes of `main` and of the auxiliary models of an objective: views of the weights of `main` where they can be.
pub(super) fn spec(main: &Source, objective: Arc<dyn Objective>, auxiliaries: &[Source]) -> Spec {
    let auxiliary = |source: &Source| AuxiliaryModel {
        adapter: source.layout(),
        shares_base: main.shares_base(source),
        ..AuxiliaryModel::new(source.config.clone())
    };
    let auxiliaries = auxiliaries.iter().map(auxiliary).collect();
    Spec { adapter: main.layout(), ..Spec::new(main.config.clone(), objective, auxiliaries, 0) }
}

/// A session with everything chosen, nothing allocated.
pub struct Planned {
    /// What the memory planner chose.
    pub choice: Choice,
}

impl Planned {
    /// Bytes of device memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.choice.plan.footprint().total()
    }

    /// What was chosen, in a few words.
    pub fn describe(&self) -> String {
        let streams = if self.choice.spec.streams() {
            ", the layers of the weak model or teacher read in every pass"
        } else {
            ""
        };
        self.choice.describe() + streams
    }

    /// Chooses kernels, allocates everything and loads the models; those that are views of the main model's weights find them
    /// there.
    ///
    /// # Errors
    /// If a file cannot be read, or the device fails or has no room.
    pub fn ready<'g>(
        self,
        context: &mut Context<'g>,
        config: &Config,
        main: &Source,
        auxiliaries: &[Source],
    ) -> Result<Engine<'g>, Error> {
        let plan = self.choice.plan;
        tuning::tune(context, config, plan.work(), plan.footprint().total())?;
        context.gpu.measure_peak();
        let mut engine = plan.build(context.gpu)?;
        let auxiliaries = auxiliaries.iter().enumerate().map(|(i, source)| (Side::Auxiliary(i), source));
        for (side, source) in [(Side::Main, main)].into_iter().chain(auxiliaries) {
            if side == Side::Main || !main.shares_base(source) {
                engine.load(side, source.weights.as_ref())?;
                engine.stream(side, source.weights.clone());
            }
            match (&source.adapter, source.adapter_folder()) {
                (_, Some(folder)) => engine.load_adapter(side, folder)?,
                (Some(_), None) => engine.start_adapter(side, source.weights.as_ref(), config.seed)?,
                (None, None) => {}
            }
        }
        tuning::record(context, config)?;
        Ok(engine)
    }
}

/// A model with room for up to `wanted` texts of `capacity` tokens, as many as fit the memory.
///
/// # Errors
/// As [`Session::plan`] and [`Planned::ready`].
pub fn slots<'g>(
    context: &mut Context<'g>,
    config: &Config,
    source: &Source,
    wanted: usize,
    capacity: usize,
) -> Result<Slots<'g>, Error> {
    let limits = Limits::of(Some(context.gpu));
    faults::warn(context, &limits.faults)?;
    let spec =
        memory::stored(config, spec(source, Arc::new(CrossEntropy::default()), &[]), Purpose::Measure, &limits)?;
    let (binding, memory) = (limits.max_binding, limits.memory(config));
    let plan = SlotsPlan::fitting(&spec.model, spec.adapter.as_ref(), wanted, capacity, binding, memory);
    let plan = plan.map_err(|error| match error {
        engine::Error::Row { tokens, .. } => engine::Error::Text { tokens },
        other => other,
    })?;
    tuning::tune(context, config, plan.work(), plan.bytes())?;
    let slots = plan.load(context.gpu, source.weights.as_ref(), source.adapter_folder().map(|folder| folder as _))?;
    tuning::record(context, config)?;
    Ok(slots)
}
