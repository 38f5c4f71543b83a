//! How the models of a phase are stored, and the plan that fits: from settings to what the memory planner chooses from.

use super::{Context, Error, advise, outline, trust, tuning};
use crate::{
    data::Example,
    gpu::Gpu,
    graph::{optim::Width, tensor::Format},
    kernels::tuner::Wrong,
    model::{self, Held, Layout},
    settings::{Config, Quantize, Recompute},
    train::{
        engine::{self, AuxiliaryModel, HiddenSource, Spec},
        planner::{self, Bounds, Choice},
    },
};

pub(crate) fn bounds(config: &Config, &Limits { available, logits, .. }: &Limits) -> Bounds {
    Bounds {
        memory: config.memory.map(|size| size.0).or(available),
        tokens: (config.tokens_per_pass > 0).then_some(config.tokens_per_pass),
        recompute: match config.recompute {
            Recompute::Auto => None,
            Recompute::On => Some(usize::MAX),
            Recompute::Off => Some(0),
            Recompute::Blocks(blocks) => Some(blocks),
        },
        logits,
    }
}

/// What an arrangement is bound by beside the settings.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Bytes that one binding of the device may span.
    pub max_binding: u64,
    /// Bytes of device memory there are; `None`: unknown.
    pub available: Option<u64>,
    /// Bytes of logits that a run that goes on had at a time.
    pub logits: Option<u64>,
    /// Number formats that are not to be taken, and why.
    pub wrong: Wrong,
}

impl Limits {
    /// Those of a device.
    pub fn of(gpu: &Gpu) -> Self {
        Self {
            max_binding: gpu.max_binding(),
            available: crate::platform::available(gpu),
            logits: None,
            wrong: trust::wrong(gpu),
        }
    }
}

/// How the settings want the matrices of what does not learn held, where they say it.
pub(crate) fn held(config: &Config) -> Option<Held> {
    let linear = match config.quantize {
        Quantize::None => return None,
        Quantize::Bits8 => Format::Q8,
        Quantize::Bits4 => Format::Q4,
    };
    Some(Held { linear, table: Format::Q8 })
}

/// With the matrices of what does not learn held as the settings say.
pub(crate) fn quantized(config: &Config, mut spec: Spec) -> Result<Spec, Error> {
    let Some(held) = held(config) else { return Ok(spec) };
    if spec.model.quantised {
        let reason = "a model that is quantised already is held as it is; leave `quantize` out";
        return Err(Error::User(reason.into()));
    }
    let layouts = spec.auxiliaries.iter().map(|other| &other.adapter).chain([&spec.adapter]);
    if layouts.flatten().any(|layout| layout.config.dora) {
        let reason = "`quantize` is not supported for a DoRA adapter, which needs the lengths of the base's rows; leave it out";
        return Err(Error::User(reason.into()));
    }
    let others = spec.auxiliaries.iter_mut().map(|other| &mut other.config);
    others.filter(|config| !config.quantised).for_each(|config| config.held = held);
    // A model that a run trains whole is measured as it is.
    if spec.adapter.is_some() || config.out.is_none() {
        spec.model.held = held;
    }
    Ok(spec)
}

/// The arrangement that a training phase has within these limits.
///
/// # Errors
/// If the models do not go together or nothing fits; says what would.
pub fn arrange(config: &Config, spec: Spec, batches: &[Vec<&Example>], limits: &Limits) -> Result<Choice, Error> {
    let main = spec.model.clone();
    let choose = |config: &Config, spec: Spec, batches: &[Vec<&Example>]| {
        let spec = Spec { width: width(config), max_binding: limits.max_binding, ..spec };
        let spec = trust::heed(&limits.wrong, quantized(config, spec)?)?;
        can_learn(&spec)?;
        let bounds = bounds(config, limits);
        match (planner::choose(&spec, batches, bounds), streamed(&spec)) {
            (Err(engine::Error::Memory { .. }), Some(streamed)) => Ok(planner::choose(&streamed, batches, bounds)?),
            (chosen, _) => Ok(chosen?),
        }
    };
    choose(config, spec, batches).map_err(|error| match error {
        Error::Engine(engine::Error::Memory { needed, available, least, advice }) => {
            // A run that goes on may change none of what is proposed.
            let proposed =
                if limits.logits.is_some() { None } else { advise::advice(config, &main, batches, choose) };
            let advice = proposed.unwrap_or(advice);
            engine::Error::Memory { needed, available, least, advice }.into()
        }
        other => other,
    })
}

/// How the settings want what learns held.
fn width(config: &Config) -> Width {
    match config.optimizer_bits {
        8 => Width::Bits8,
        16 => Width::Bits16,
        _ => Width::Bits32,
    }
}

/// Whatever learns whole must have numbers that can move.
fn can_learn(spec: &Spec) -> Result<(), Error> {
    let auxiliaries = spec.auxiliaries.iter().zip(spec.learning()).filter(|(_, learns)| *learns);
    let mut others = auxiliaries.map(|(auxiliary, _)| (&auxiliary.config, &auxiliary.adapter));
    let cannot = |(model, adapter): (&model::Config, &Option<Layout>)| model.quantised && adapter.is_none();
    if others.any(cannot) {
        let reason = "the weak model is quantised and cannot learn: its numbers have no room to move. Add --freeze-weak, or take \
            the unquantised model";
        return Err(Error::User(reason.into()));
    }
    if cannot((&spec.model, &spec.adapter)) {
        let reason = "a quantised model cannot be trained itself: its numbers have no room to move. Train an adapter on it \
            with --lora-rank, or take the unquantised model";
        return Err(Error::User(reason.into()));
    }
    Ok(())
}

/// With the layers of frozen models read in every pass instead of held, if there are any: the last resort, for it costs most.
fn streamed(spec: &Spec) -> Option<Spec> {
    let mut streamed = spec.clone();
    let of_its_own = |other: &AuxiliaryModel| {
        !other.shares_base
            && other.adapter.is_none()
            && !other.config.quantised
            && other.hidden == HiddenSource::Computed
    };
    let can =
        streamed.auxiliaries.iter_mut().zip(spec.learning()).filter(|(other, learns)| !learns && of_its_own(other));
    let changed = can.map(|(other, _)| other.hidden = HiddenSource::Streamed).count();
    (changed > 0).then_some(streamed)
}

/// Checks that the largest phase of `config.method` fits the memory, and that its models go together.
///
/// # Errors
/// As [`arrange`].
pub(crate) fn check_fits(
    context: &Context<'_>,
    config: &Config,
    model: &model::Config,
    examples: &[Example],
) -> Result<(), Error> {
    tuning::half(config, context.gpu)?;
    let longest: Vec<Vec<&Example>> =
        examples.iter().max_by_key(|example| example.ids.len()).map(|longest| vec![longest]).into_iter().collect();
    arrange(config, outline(config, model)?, &longest, &Limits::of(context.gpu))?;
    Ok(())
}
