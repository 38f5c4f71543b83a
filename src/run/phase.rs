//! One phase from settings: fitted to the memory, loaded, trained or scored.

use std::{collections::HashMap, path::Path};

use serde_json::json;

use super::{
    Context, Error, Models, Recipe, Source,
    folder::{self, Standing},
    outline, recipe,
    source::Tuned,
    tuning, weak_states,
};
use crate::{
    checkpoint, config,
    config::{Config, LrScheduler, Precision, Quantize, Recompute},
    curriculum::CurriculumRow,
    data::{
        self, Dataset, Example,
        sampler::{self, Epochs, Order},
        template::Moment,
        tokenizer::Tokenizer,
    },
    engine::{self, Blueprint, Engine, Loss, Other, Side, Spec, Supply},
    fit::{self, Bounds},
    model::{self, Held},
    optim::{Decay, LOSS_SCALING, Scalars, Schedule, Width},
    report::{Event, Report, bytes},
    score::{self, Scored},
    tensor::Format,
    train::{self as training, Means, Outcome, Phase},
};

/// Optimizer steps whose examples decide the length of a row.
const STEPS_LOOKED_AT: u64 = 32;

/// Reads the data of a run for a model of `vocab` tokens, and tells what became of its rows.
///
/// # Errors
/// Names the line and what is wrong with it; also if nothing is left.
pub fn dataset(report: &mut Report, config: &Config, tokenizer: &Tokenizer, vocab: usize) -> Result<Dataset, Error> {
    let path = config.data()?;
    let overlength = match config.overlength {
        config::Overlength::Truncate => data::Overlength::Truncate,
        config::Overlength::Drop => data::Overlength::Drop,
        config::Overlength::Error => data::Overlength::Error,
    };
    let options = data::Options { max_length: config.max_length, overlength, vocab: Some(vocab), now: Moment::now() };
    let dataset = data::load(path, tokenizer, &options)?;
    let counts = dataset.counts;
    for (count, what) in [
        (counts.truncated, "cut to max_length"),
        (counts.dropped, "left out: longer than max_length"),
        (counts.empty, "left out: nothing of them is trained"),
    ] {
        if count > 0 {
            let text = format!("{}: {count} of {} rows {what}", path.display(), counts.rows);
            report.event(&Event::Warning(&text))?;
        }
    }
    if dataset.examples.is_empty() {
        return Err(Error::User(format!("{}: none of its {} rows can be trained on", path.display(), counts.rows)));
    }
    Ok(dataset)
}

/// What an epoch goes through: every example, or `multiplier` times as many drawn by a curriculum's weights.
///
/// # Errors
/// If an example has no weight, or the weights cannot be drawn by.
pub fn choose_order(config: &Config, examples: &[Example], rows: Option<&[CurriculumRow]>) -> Result<Order, Error> {
    let Some(rows) = rows else {
        return Ok(Order::All(examples.len()));
    };
    let by_idx: HashMap<u64, f64> = rows.iter().map(|row| (row.idx, row.weight)).collect();
    let weight = |example: &Example| {
        by_idx.get(&example.idx).copied().ok_or_else(|| {
            let from = config.weights.as_ref().map_or("the curriculum".into(), |file| file.display().to_string());
            let data = config.data.as_deref().unwrap_or(Path::new("the data")).display();
            Error::User(format!(
                "{from} has no weight for sample idx {} ({data}, line {}); make it from scores of this data file",
                example.idx, example.line
            ))
        })
    };
    let weights = examples.iter().map(weight).collect::<Result<Vec<f64>, _>>()?;
    let count = (config.curriculum.multiplier * examples.len() as f64).round().max(1.0) as usize;
    Ok(Order::Drawn(sampler::draw(&weights, count, config.seed)?))
}

/// Optimizer steps of a phase.
fn steps(config: &Config, epochs: &Epochs) -> u64 {
    let all = config.epochs.saturating_mul(epochs.per_epoch() as u64);
    config.max_steps.map_or(all, |most| most.min(all))
}

pub(super) fn bounds(config: &Config, available: Option<u64>) -> Bounds {
    Bounds {
        memory: config.memory.map(|size| size.0).or(available),
        tokens: (config.tokens_per_pass > 0).then_some(config.tokens_per_pass),
        recompute: match config.recompute {
            Recompute::Auto => None,
            Recompute::On => Some(true),
            Recompute::Off => Some(false),
        },
    }
}

/// How the settings want the matrices of what does not learn held, where they say it.
pub(super) fn held(config: &Config) -> Option<Held> {
    let linear = match config.quantize {
        Quantize::None => return None,
        Quantize::Bits8 => Format::Q8,
        Quantize::Bits4 => Format::Q4,
    };
    Some(Held { linear, table: Format::Q8 })
}

/// With the matrices of what does not learn held as the settings say.
fn quantized(config: &Config, mut spec: Spec) -> Result<Spec, Error> {
    let Some(held) = held(config) else { return Ok(spec) };
    if spec.strong.quantised {
        let reason = "a model that is quantised already is held as it is; leave `quantize` out";
        return Err(Error::User(reason.into()));
    }
    let layouts = spec.others.iter().map(|other| &other.adapter).chain([&spec.adapter]);
    if layouts.flatten().any(|layout| layout.config.dora) {
        let reason =
            "`quantize` is not built for a DoRA adapter, which needs the lengths of the base's rows; leave it out";
        return Err(Error::User(reason.into()));
    }
    let others = spec.others.iter_mut().map(|other| &mut other.config);
    others.filter(|config| !config.quantised).for_each(|config| config.held = held);
    // A model that a run trains whole is measured as it is.
    if spec.adapter.is_some() || config.out.is_none() {
        spec.strong.held = held;
    }
    Ok(spec)
}

/// The arrangement a training phase would have on a device that binds `max_binding` bytes and has `available`.
///
/// # Errors
/// If the models do not go together or nothing fits.
pub fn blueprint(
    config: &Config,
    strong: &model::Config,
    Models { adapter, loss, others }: Models,
    batches: &[Vec<&Example>],
    (max_binding, available): (u64, Option<u64>),
) -> Result<(Spec, Blueprint), Error> {
    let width = match config.optimizer_bits {
        8 => Width::Bits8,
        16 => Width::Bits16,
        _ => Width::Bits32,
    };
    let spec = Spec {
        strong: strong.clone(),
        adapter,
        others,
        loss,
        train: true,
        tokens: 0,
        recompute: false,
        width,
        max_binding,
    };
    let spec = quantized(config, spec)?;
    let others = spec.others.iter().filter(|other| other.learns).map(|other| (&other.config, &other.adapter));
    if others.chain([(&spec.strong, &spec.adapter)]).any(|(model, adapter)| model.quantised && adapter.is_none()) {
        let reason = "a quantised model cannot be trained itself: its numbers have no room to move. Train an adapter on it \
            with --lora-rank, or take the unquantised model";
        return Err(Error::User(reason.into()));
    }
    let bounds = bounds(config, available);
    match (fit::choose(&spec, batches, bounds), streamed(&spec)) {
        (Err(engine::Error::Memory { .. }), Some(streamed)) => Ok(fit::choose(&streamed, batches, bounds)?),
        (chosen, _) => Ok(chosen?),
    }
}

/// With the layers of frozen models read in every pass instead of held, if there are any: the last resort, for it costs most.
fn streamed(spec: &Spec) -> Option<Spec> {
    let mut streamed = spec.clone();
    let of_its_own = |other: &&mut Other| {
        !other.learns && !other.shares_base && other.adapter.is_none() && !other.config.quantised
    };
    let others = streamed.others.iter_mut().filter(of_its_own).filter(|other| other.supply == Supply::Pass);
    let changed = others.map(|other| other.supply = Supply::Streamed).count();
    (changed > 0).then_some(streamed)
}

/// Whether layers are read in every pass.
pub fn streams(spec: &Spec) -> bool {
    spec.others.iter().any(|other| other.supply == Supply::Streamed)
}

/// Checks that the largest phase of `config.method` fits the memory, and that its models go together.
///
/// # Errors
/// As [`blueprint`].
pub(super) fn check_fits(
    context: &Context<'_>,
    config: &Config,
    model: &model::Config,
    examples: &[Example],
) -> Result<(), Error> {
    let longest: Vec<Vec<&Example>> =
        examples.iter().max_by_key(|example| example.ids.len()).map(|longest| vec![longest]).into_iter().collect();
    let limits = (context.gpu.max_binding(), context.gpu.available());
    blueprint(config, model, outline(config, model)?, &longest, limits)?;
    Ok(())
}

/// What a trained phase took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trained {
    /// Loss of its last step; `None` if there was none left to do.
    pub loss: Option<f64>,
    /// Device memory, in bytes.
    pub bytes: u64,
}

/// Trains one phase into `out`, going on from a checkpoint there if `resume`.
///
/// # Errors
/// Whatever stops it; [`Error::Interrupted`] after saving.
#[allow(clippy::too_many_arguments, reason = "a phase is made of these; a struct would only rename them")]
pub fn train(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    strong: &Source,
    recipe: &Recipe,
    examples: &[Example],
    order: Order,
    out: &Path,
    dtype: config::Dtype,
    resume: bool,
) -> Result<Trained, Error> {
    let standing = folder::standing(config, resume)?;
    match standing {
        Standing::Vacant => checkpoint::check_vacant(out)?,
        Standing::Unfinished | Standing::Finished => folder::sweep(out)?,
    }
    let identity = identity(config, strong, recipe, examples, &order)?;
    let from = if resume && out.is_dir() { newest(context, out)? } else { None };
    let mut epochs = Epochs::new(order, config.batch_size, config.seed, config.shuffle)?;
    let steps = steps(config, &epochs);

    let looked_at = (0..steps.min(STEPS_LOOKED_AT)).map(|step| epochs.batch(step));
    let batches: Vec<Vec<&Example>> = looked_at.map(|batch| batch.iter().map(|i| &examples[*i]).collect()).collect();
    let longest = examples.iter().max_by_key(|example| example.ids.len());
    let batches: Vec<_> = batches.into_iter().chain(longest.map(|example| vec![example])).collect();
    // A resumed run keeps its row length: the order of sums depends on it.
    let row = from.as_ref().map(training::row_of).transpose()?;
    let config = &Config { tokens_per_pass: row.unwrap_or(config.tokens_per_pass), ..config.clone() };
    let gpu = context.gpu;
    let limits = (gpu.max_binding(), gpu.available());
    let (spec, blueprint) = blueprint(config, &strong.config, recipe.models(config, strong), &batches, limits)?;
    let needed = blueprint.footprint().total();
    let memory = bytes(needed);
    let mut how = if spec.recompute { ", activations computed twice" } else { "" }.to_owned();
    if streams(&spec) {
        how += ", the layers of the weak model or teacher read in every pass (with --cache-weak, once)";
    }
    context
        .report
        .event(&Event::Note(&format!("{name}: rows of {} tokens, {memory} of device memory{how}", spec.tokens)))?;

    let mut states = Vec::new();
    let keeps_states = weak_states::are_kept(recipe);
    if keeps_states {
        let seen = weak_states::seen(config, examples, &mut epochs, steps);
        weak_states::check(context, config, recipe, &seen)?;
        claim(config, resume, out)?;
        states = weak_states::keep(context, config, recipe, examples, &seen, out)?;
    }
    tuning::tune(context, config, blueprint.work(), needed)?;
    let mut engine = blueprint.build(gpu)?;
    load(&mut engine, strong, recipe.others.iter().map(|companion| &companion.source), config.seed)?;
    states.into_iter().for_each(|(side, states)| engine.keep(side, states));
    // Only now, when nothing of the user's can be wrong any more, does a run without kept states leave a trace.
    if !keeps_states {
        claim(config, resume, out)?;
    }
    tuning::record(context, config)?;
    let decay = match config.lr_scheduler {
        LrScheduler::Constant => Decay::Constant,
        LrScheduler::Linear => Decay::Linear,
        LrScheduler::Cosine => Decay::Cosine,
    };
    let phase = Phase {
        name,
        examples,
        order: epochs,
        steps,
        schedule: Schedule::new(config.lr, decay, config.warmup, steps),
        mixing: recipe.mixing,
        noise: recipe.noise,
        seed: config.seed,
        diagnostics: config.diagnostics,
        scalars: Scalars {
            lr: config.lr,
            betas: [config.adamw.beta1, config.adamw.beta2],
            eps: config.adamw.eps,
            weight_decay: config.weight_decay,
            clip: config.clip,
            seed: config.seed,
            growth: if config.precision == Precision::F16 { LOSS_SCALING.1 } else { 0 },
            ..recipe.scalars
        },
        identity,
        out,
        save_every: config.save_every,
        keep: config.keep,
        from,
        files: strong.files(dtype),
        profile: context.profile,
    };
    match training::train(&mut engine, &phase, context.report, context.stop)? {
        Outcome::Finished { loss } => {
            weak_states::forget(recipe, out)?;
            Ok(Trained { loss, bytes: needed })
        }
        Outcome::Interrupted { step } => {
            Err(Error::Interrupted(format!(" after step {step} of {steps}, which is saved")))
        }
    }
}

/// Makes the run's folder its own, and that of the phase.
fn claim(config: &Config, resume: bool, out: &Path) -> Result<(), Error> {
    folder::claim(config, resume)?;
    std::fs::create_dir_all(out).map_err(|e| Error::User(format!("cannot create {}: {e}", out.display())))
}

/// Loads every model; those that are views of the strong one's weights find them there.
pub(super) fn load<'a>(
    engine: &mut Engine<'_>,
    strong: &Source,
    others: impl IntoIterator<Item = &'a Source>,
    seed: u64,
) -> Result<(), Error> {
    let others = others.into_iter().enumerate().map(|(i, other)| (Side::Other(i), other));
    for (side, source) in [(Side::Strong, strong)].into_iter().chain(others) {
        if side == Side::Strong || !strong.shares_base(source) {
            engine.load(side, &source.weights)?;
            engine.stream(side, &source.weights);
        }
        match &source.adapter {
            Some(Tuned { folder: Some(folder), .. }) => engine.load_adapter(side, folder)?,
            Some(Tuned { folder: None, .. }) => engine.start_adapter(side, &source.weights, seed)?,
            None => {}
        }
    }
    Ok(())
}

fn newest(context: &mut Context<'_>, out: &Path) -> Result<Option<checkpoint::Restored>, Error> {
    let latest = checkpoint::latest(out)?;
    for skipped in &latest.skipped {
        let text = format!("passed over {}: {}", skipped.path.display(), skipped.error);
        context.report.event(&Event::Warning(&text))?;
    }
    Ok(latest.found)
}

/// Everything that decides a phase's result, by name.
fn identity(
    config: &Config,
    strong: &Source,
    recipe: &Recipe,
    examples: &[Example],
    order: &Order,
) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    let drawn = match order {
        Order::All(_) => None,
        Order::Drawn(drawn) => Some(drawn),
    };
    let values = json!({
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "max_steps": config.max_steps,
        "lr": config.lr,
        "lr_scheduler": config.lr_scheduler,
        "warmup": config.warmup,
        "weight_decay": config.weight_decay,
        "clip": config.clip,
        "optimizer_bits": config.optimizer_bits,
        "precision": config.precision,
        "adamw": config.adamw,
        "seed": config.seed,
        "shuffle": config.shuffle,
        "quantize": config.quantize,
        "data": training::fingerprint(examples),
        "drawn": drawn,
    });
    let mut identity = recipe.identity()?;
    // The base under an adapter is read from its folder again, and so is what the adapter starts as.
    if let Some(tuned) = &strong.adapter {
        let adapter = json!([strong.fingerprint()?, format!("{:?}", tuned.layout.config)]);
        identity.insert("adapter".into(), adapter);
    }
    identity.extend(values.as_object().cloned().unwrap_or_default());
    Ok(identity)
}

/// Scores every example under a model.
///
/// # Errors
/// Whatever stops it; [`Error::Interrupted`] if asked to stop.
pub fn score(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    source: &Source,
    examples: &[Example],
) -> Result<Vec<Scored>, Error> {
    let alone = Measured { loss: Loss::Sft { noisy: false }, others: Vec::new(), scalars: Scalars::default() };
    let mut engine = measuring(context, config, source, alone, examples)?;
    score::score(&mut engine, name, examples, context.report, context.stop)?
        .ok_or_else(|| Error::Interrupted(format!(" while scoring ({name})")))
}

/// A loss that is measured and not trained.
pub(super) struct Measured<'a> {
    /// What is computed of the models.
    pub(super) loss: Loss,
    /// Those beside the strong one.
    pub(super) others: Vec<&'a Source>,
    /// Scalars of the loss.
    pub(super) scalars: Scalars,
}

fn measuring<'g>(
    context: &mut Context<'g>,
    config: &Config,
    source: &Source,
    Measured { loss, others, scalars }: Measured<'_>,
    examples: &[Example],
) -> Result<Engine<'g>, Error> {
    let gpu = context.gpu;
    let batches: Vec<Vec<&Example>> = examples.chunks(score::GROUP).map(|group| group.iter().collect()).collect();
    let spec = Spec {
        strong: source.config.clone(),
        adapter: source.layout(),
        others: others.iter().map(|other| recipe::other(other, source)).collect(),
        loss,
        train: false,
        tokens: 0,
        recompute: false,
        width: Width::Bits32,
        max_binding: gpu.max_binding(),
    };
    let spec = quantized(config, spec)?;
    let (_, blueprint) = fit::choose(&spec, &batches, bounds(config, gpu.available()))?;
    tuning::tune(context, config, blueprint.work(), blueprint.footprint().total())?;
    let mut engine = blueprint.build(gpu)?;
    load(&mut engine, source, others, config.seed)?;
    tuning::record(context, config)?;
    engine.set_scalars(0, &scalars);
    Ok(engine)
}

/// Means of a loss's statistics over all target tokens of some examples, which form one batch.
///
/// # Errors
/// As [`score()`].
pub(super) fn measure(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    source: &Source,
    measured: Measured<'_>,
    examples: &[Example],
) -> Result<Means, Error> {
    let mut engine = measuring(context, config, source, measured, examples)?;
    Ok(score::measure(&mut engine, name, examples, context.report)?)
}

/// What `eval` prints.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Evaluation {
    /// Nats per target token.
    pub loss: f64,
    /// `e^loss`.
    pub perplexity: f64,
    /// Target tokens.
    pub tokens: u64,
    /// Samples.
    pub samples: usize,
    /// Samples whose every target token has the largest logit.
    pub exact: usize,
}

/// Loss of a model over a data set.
///
/// # Errors
/// As [`score()`].
pub fn evaluate(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    source: &Source,
    examples: &[Example],
) -> Result<Evaluation, Error> {
    let scored = score(context, config, name, source, examples)?;
    let loss = score::mean_loss(&scored);
    Ok(Evaluation {
        loss,
        perplexity: loss.exp(),
        tokens: scored.iter().map(|s| s.row.tokens).sum(),
        samples: scored.len(),
        exact: scored.iter().filter(|s| s.exact).count(),
    })
}
