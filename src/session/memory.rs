//! How the models of a session are stored on a device, and the plan that fits its memory. All that depends on the device is
//! settled here: formats that are wrong on it, what one binding may span, and how much memory there is.

use super::{advise, error::Error, faults};
use crate::{
    data::Example,
    gpu::Gpu,
    graph::{optim::Width, tensor::Format},
    kernels::tuner::Wrong,
    model::{self, Held, Layout},
    platform,
    settings::{Config, Quantize, Recompute},
    train::{
        engine::{self, AuxiliaryModel, HiddenSource, Spec},
        planner::{self, Bounds, Choice, ROW_ALIGN},
    },
};

/// Bytes that a binding may span on common GPUs, for plans without a device. One with less splits tables, which costs nothing.
const MAX_BINDING: u64 = (2 << 30) - 4;

/// What a plan is bound by beside the settings.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes that one binding of the device may span.
    pub max_binding: u64,
    /// Bytes of device memory there are; `None`: unknown.
    pub available: Option<u64>,
    /// Tokens of a packed sequence, and bytes of logits at a time, of a run that goes on: the order of sums depends on them.
    pub resumed: Option<(usize, u64)>,
    /// Number formats that are not to be used, and why.
    pub faults: Wrong,
}

impl Limits {
    /// Those of a device; of a common one where there is none.
    pub fn of(gpu: Option<&Gpu>) -> Self {
        Self {
            max_binding: gpu.map_or(MAX_BINDING, Gpu::max_binding),
            available: gpu.and_then(platform::available),
            resumed: None,
            faults: gpu.map(faults::of).unwrap_or_default(),
        }
    }

    /// Most bytes of device memory that a run with these settings may take; `None`: unknown.
    pub fn memory(&self, config: &Config) -> Option<u64> {
        config.memory.map(|size| size.0).or(self.available)
    }

    fn bounds(&self, config: &Config) -> Bounds {
        let (tokens, logits) = self.resumed.unzip();
        Bounds {
            memory: self.memory(config),
            tokens: tokens.or(Some(config.tokens_per_pass).filter(|tokens| *tokens > 0)),
            recompute: match config.recompute {
                Recompute::Auto => None,
                Recompute::On => Some(usize::MAX),
                Recompute::Off => Some(0),
                Recompute::Blocks(blocks) => Some(blocks),
            },
            logits,
        }
    }
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To train the main model, or an adapter on it.
    Train,
    /// To measure it.
    Measure,
    /// To compute hidden states of an auxiliary model, which stand in for those that training would compute: in packed
    /// sequences of one length, the shortest, so that a cache that was begun gets the same bits when it goes on.
    HiddenStates,
}

/// The fastest plan of `spec` for these examples that fits.
///
/// # Errors
/// If the models do not go together, a format is wrong on this device, or nothing fits; says what would.
pub(super) fn plan(
    config: &Config,
    spec: Spec,
    batches: &[Vec<&Example>],
    purpose: Purpose,
    limits: &Limits,
) -> Result<Choice, Error> {
    let main = spec.model.clone();
    let choose = |config: &Config, spec: Spec, batches: &[Vec<&Example>]| {
        let spec = stored(config, spec, purpose, limits)?;
        let mut bounds = limits.bounds(config);
        if purpose == Purpose::HiddenStates {
            let longest = batches.iter().flatten().map(|example| example.ids.len()).max().unwrap_or(1);
            bounds.tokens = Some(longest.next_multiple_of(ROW_ALIGN));
        }
        match (planner::choose(&spec, batches, bounds), streamed(&spec)) {
            (Err(engine::Error::Memory { .. }), Some(streamed)) => Ok(planner::choose(&streamed, batches, bounds)?),
            (chosen, _) => Ok(chosen?),
        }
    };
    choose(config, spec, batches).map_err(|error| match error {
        // A run that goes on may change none of what is proposed.
        Error::Engine(engine::Error::Memory { needed, available, least, advice }) if limits.resumed.is_none() => {
            let better = match purpose {
                Purpose::Train => advise::advice(config, &main, batches, choose),
                Purpose::Measure => None,
                Purpose::HiddenStates => Some(
                    "that is the pass that computes the hidden states of a weak model or teacher; leave --cache-weak out"
                        .into(),
                ),
            };
            let advice = better.unwrap_or(advice);
            engine::Error::Memory { needed, available, least, advice }.into()
        }
        other => other,
    })
}

/// `spec` with its models stored as the settings say and the device allows.
///
/// # Errors
/// If the settings ask for a format that does not go with the models or is wrong on the device.
pub(super) fn stored(config: &Config, spec: Spec, purpose: Purpose, limits: &Limits) -> Result<Spec, Error> {
    let train = purpose == Purpose::Train;
    let width = if train { width(config) } else { Width::Bits32 };
    let spec = Spec { train, width, max_binding: limits.max_binding, ..spec };
    let spec = faults::avoid(&limits.faults, quantized(config, spec, purpose)?)?;
    can_learn(&spec)?;
    Ok(spec)
}

/// How the settings want what learns stored.
fn width(config: &Config) -> Width {
    match config.optimizer_bits {
        8 => Width::Bits8,
        16 => Width::Bits16,
        _ => Width::Bits32,
    }
}

/// How the settings want the matrices of what does not learn stored, where they say it.
fn held(config: &Config) -> Option<Held> {
    let linear = match config.quantize {
        Quantize::None => return None,
        Quantize::Bits8 => Format::Q8,
        Quantize::Bits4 => Format::Q4,
    };
    Some(Held { linear, table: Format::Q8 })
}

/// With the matrices of what does not learn stored as the settings say.
fn quantized(config: &Config, mut spec: Spec, purpose: Purpose) -> Result<Spec, Error> {
    let Some(held) = held(config) else { return Ok(spec) };
    let is_auxiliary = purpose == Purpose::HiddenStates;
    if spec.model.quantised && !is_auxiliary {
        let reason = "a model that is quantised already is stored as it is; leave `quantize` out";
        return Err(Error::User(reason.into()));
    }
    let layouts = spec.auxiliaries.iter().map(|other| &other.adapter).chain([&spec.adapter]);
    if layouts.flatten().any(|layout| layout.config.dora) {
        let reason = "`quantize` is not supported for a DoRA adapter, which needs the lengths of the base's rows; leave it out";
        return Err(Error::User(reason.into()));
    }
    // A model that a run trains whole is measured as it is.
    let main = spec.adapter.is_some() || config.out.is_none() || is_auxiliary;
    let main = Some(&mut spec.model).filter(|_| main);
    let models = spec.auxiliaries.iter_mut().map(|other| &mut other.config).chain(main);
    models.filter(|config| !config.quantised).for_each(|config| config.held = held);
    Ok(spec)
}

/// Checks that whatever learns whole has numbers that can move.
fn can_learn(spec: &Spec) -> Result<(), Error> {
    let cannot = |model: &model::Config, adapter: &Option<Layout>| model.quantised && adapter.is_none();
    let mut learning = spec.auxiliaries.iter().zip(spec.learning()).filter(|(_, learns)| *learns);
    if learning.any(|(other, _)| cannot(&other.config, &other.adapter)) {
        let reason = "the weak model is quantised and cannot learn: its numbers have no room to move. Add --freeze-weak, or take \
            the unquantised model";
        return Err(Error::User(reason.into()));
    }
    if spec.train && cannot(&spec.model, &spec.adapter) {
        let reason = "a quantised model cannot be trained itself: its numbers have no room to move. Train an adapter on it \
            with --lora-rank, or take the unquantised model";
        return Err(Error::User(reason.into()));
    }
    Ok(())
}

/// With the layers of frozen models read in every micro-batch instead of stored, if there are any: the last resort, for it
/// costs most time.
fn streamed(spec: &Spec) -> Option<Spec> {
    let mut streamed = spec.clone();
    let is_separate = |other: &AuxiliaryModel| {
        let computed = other.hidden == HiddenSource::Computed;
        computed && !other.shares_base && other.adapter.is_none() && !other.config.quantised
    };
    let models = streamed.auxiliaries.iter_mut().zip(spec.learning());
    let changed = models
        .filter(|(other, learns)| !learns && is_separate(other))
        .map(|(other, _)| other.hidden = HiddenSource::Streamed)
        .count();
    (changed > 0).then_some(streamed)
}
