//! One phase from settings: fitted to the memory, loaded, trained or scored.

use std::{collections::HashMap, path::Path, sync::Arc};

use serde_json::json;

use super::{
    Checkpoints, Context, Error, Models, Source,
    arrange::{Limits, arrange, bounds, quantized},
    checkpoint::{self, fingerprint},
    folder::{self, Standing},
    models,
    source::Tuned,
    trust, tuning, weak_states,
};
use crate::{
    data::{
        self, Dataset, Example,
        curriculum::CurriculumRow,
        sampler::{self, Epochs, Order},
        template::Moment,
        tokenizer::Tokenizer,
    },
    formats,
    gpu::MemoryUse,
    graph::{
        optim::Schedule,
        scalars::{LOSS_SCALING, Scalars},
    },
    infer::score::{self, Scored},
    objective::{CrossEntropy, Means, Objective, Position},
    report::{Event, Metrics, ProfileFile, Report, WarningCode, bytes},
    settings::{self, Config, Precision},
    train::{
        self as training, Hook, NoExchange, Outcome, Phase, Probe, World,
        engine::{Engine, Side, Spec},
        planner::{self, Choice},
    },
};

/// Optimizer steps whose examples decide the length of a row.
const STEPS_LOOKED_AT: u64 = 32;

/// Reads the data of a run for a model of `vocab` tokens, and tells what became of its rows.
///
/// # Errors
/// Names the line and what is wrong with it; also if nothing is left.
pub fn dataset(report: &mut Report, config: &Config, tokenizer: &Tokenizer, vocab: usize) -> Result<Dataset, Error> {
    let path = config.data()?;
    let Config { max_length, overlength, .. } = *config;
    let options = data::Options { max_length, overlength, vocab: Some(vocab), now: Moment::now() };
    let dataset = data::load(path, tokenizer, &options)?;
    let counts = dataset.counts;
    for (count, what) in [
        (counts.truncated, "cut to max_length"),
        (counts.dropped, "left out: longer than max_length"),
        (counts.empty, "left out: nothing of them is trained"),
    ] {
        if count > 0 {
            let text = format!("{}: {count} of {} rows {what}", path.display(), counts.rows);
            report.event(&Event::Warning { code: WarningCode::Data, text: &text })?;
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

/// What a trained phase took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trained {
    /// Loss of its last step; `None` if there was none left to do.
    pub loss: Option<f64>,
    /// The most device memory that it took at a time, in bytes.
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
    models: &Models,
    examples: &[Example],
    order: Order,
    out: &Path,
    dtype: settings::Dtype,
    resume: bool,
) -> Result<Trained, Error> {
    let standing = folder::standing(config, resume)?;
    match standing {
        Standing::Vacant => formats::check_vacant(out)?,
        Standing::Unfinished | Standing::Finished => folder::sweep(out)?,
    }
    let key = key(config, strong, models, examples, &order)?;
    let from = if resume && out.is_dir() { newest(context, out)? } else { None };
    let mut epochs = Epochs::new(order, config.batch_size, config.seed, config.shuffle)?;
    let steps = steps(config, &epochs);

    let looked_at = (0..steps.min(STEPS_LOOKED_AT)).map(|step| epochs.batch(step));
    let batches: Vec<Vec<&Example>> = looked_at.map(|batch| batch.iter().map(|i| &examples[*i]).collect()).collect();
    let longest = examples.iter().max_by_key(|example| example.ids.len());
    let batches: Vec<_> = batches.into_iter().chain(longest.map(|example| vec![example])).collect();
    // A resumed run keeps the length of rows and its chunks of logits: the order of sums depends on them.
    let (row, logits) = from.as_ref().map(checkpoint::layout_of).transpose()?.unzip();
    let config = &Config { tokens_per_pass: row.unwrap_or(config.tokens_per_pass), ..config.clone() };
    let gpu = context.gpu;
    let limits = Limits { logits, ..Limits::of(gpu) };
    trust::tell(context, &limits.wrong)?;
    let choice = arrange(config, models.spec(config, strong), &batches, &limits)?;
    let planned = choice.plan.footprint().total();
    let mut how = choice.describe();
    if choice.spec.streams() {
        how += ", the layers of the weak model or teacher read in every pass";
    }
    context.report.event(&Event::Note(&format!("{name}: {how}, {} of device memory planned", bytes(planned))))?;
    let plan = choice.plan;

    let mut states = Vec::new();
    let keeps_states = models.caches(config).any(|cached| cached);
    if keeps_states {
        let seen = weak_states::seen(config, examples, &mut epochs, steps);
        weak_states::check(context, config, models, &seen, out)?;
        claim(config, resume, out)?;
        states = weak_states::keep(context, config, models, examples, &seen, out)?;
    }
    tuning::tune(context, config, plan.work(), planned)?;
    gpu.measure_peak();
    let mut engine = plan.build(gpu)?;
    load(&mut engine, strong, &models.auxiliaries, config.seed)?;
    for (side, states) in states {
        engine.cache(side, Box::new(move |sample, bytes| Ok(states.read(sample, bytes)?)));
    }
    // Only now, when nothing of the user's can be wrong any more, does a run without kept states leave a trace.
    if !keeps_states {
        claim(config, resume, out)?;
    }
    tuning::record(context, config)?;
    let phase = Phase {
        name,
        examples,
        order: epochs,
        steps,
        schedule: Schedule::new(config.lr, config.lr_scheduler, config.warmup, steps),
        seed: config.seed,
        scalars: Scalars {
            lr: config.lr,
            betas: [config.adamw.beta1, config.adamw.beta2],
            eps: config.adamw.eps,
            weight_decay: config.weight_decay,
            clip: config.clip,
            seed: config.seed,
            growth: if config.precision == Precision::F16 { LOSS_SCALING.1 } else { 0 },
            ..Scalars::default()
        },
        save_every: config.save_every,
        profile: context.profile,
        planned,
    };
    let mut checkpoints = Checkpoints { out, keep: config.keep, key, files: strong.files(dtype) };
    training::prepare(&mut engine, &phase.scalars);
    let from = from.as_ref().map(|from| checkpoints.restore(&engine, from)).transpose()?;
    let mut hooks: Vec<Box<dyn Hook>> = Vec::new();
    if config.diagnostics > 0 {
        let probe = Probe::new(examples, engine.tokens(), config.seed, config.diagnostics)?;
        hooks.extend(probe.map(|probe| Box::new(probe) as Box<dyn Hook>));
    }
    let next_step = from.as_ref().map_or(0, |(step, _)| *step) + 1;
    let metrics = Metrics::open(&out.join("metrics.jsonl"), next_step)?;
    context.report.attach(vec![Box::new(metrics), Box::new(ProfileFile(out.join("profile.json")))]);
    let world = World {
        observer: &mut *context.report,
        checkpoints: &mut checkpoints,
        hooks,
        exchange: &mut NoExchange,
        stop: context.stop,
    };
    let outcome = training::train(&mut engine, &phase, from, world);
    context.report.attach(Vec::new());
    let outcome = outcome?;
    let MemoryUse { peak, reserved, .. } = gpu.memory_use();
    context.report.event(&Event::Memory { planned, peak, reserved })?;
    match outcome {
        Outcome::Finished { loss } => {
            weak_states::forget(models, config, out)?;
            Ok(Trained { loss, bytes: peak })
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
pub(crate) fn load<'a>(
    engine: &mut Engine<'_>,
    strong: &Source,
    others: impl IntoIterator<Item = &'a Source>,
    seed: u64,
) -> Result<(), Error> {
    let others = others.into_iter().enumerate().map(|(i, other)| (Side::Auxiliary(i), other));
    for (side, source) in [(Side::Main, strong)].into_iter().chain(others) {
        if side == Side::Main || !strong.shares_base(source) {
            engine.load(side, source.weights.as_ref())?;
            engine.stream(side, source.weights.clone());
        }
        match &source.adapter {
            Some(Tuned { folder: Some(folder), .. }) => engine.load_adapter(side, folder)?,
            Some(Tuned { folder: None, .. }) => engine.start_adapter(side, source.weights.as_ref(), seed)?,
            None => {}
        }
    }
    Ok(())
}

fn newest(context: &mut Context<'_>, out: &Path) -> Result<Option<formats::Restored>, Error> {
    let latest = formats::latest(out)?;
    for skipped in &latest.skipped {
        let text = format!("passed over {}: {}", skipped.path.display(), skipped.error);
        context.report.event(&Event::Warning { code: WarningCode::Checkpoint, text: &text })?;
    }
    Ok(latest.found)
}

/// Everything that decides a phase's result, by name.
fn key(
    config: &Config,
    strong: &Source,
    models: &Models,
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
        "adamw": { "beta1": config.adamw.beta1, "beta2": config.adamw.beta2, "eps": config.adamw.eps },
        "seed": config.seed,
        "shuffle": config.shuffle,
        "quantize": config.quantize,
        "data": fingerprint(examples),
        "drawn": drawn,
    });
    let mut key = models.key(config)?;
    // The base under an adapter is read from its folder again, and so is what the adapter starts as.
    if let Some(tuned) = &strong.adapter {
        let adapter = json!([strong.fingerprint()?, format!("{:?}", tuned.layout.config)]);
        key.insert("adapter".into(), adapter);
    }
    key.extend(values.as_object().cloned().unwrap_or_default());
    Ok(key)
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
    let alone = Measured { objective: Arc::new(CrossEntropy::default()), auxiliaries: Vec::new() };
    let mut engine = measuring(context, config, source, alone, examples)?;
    score::score(&mut engine, name, examples, context.report, context.stop)?
        .ok_or_else(|| Error::Interrupted(format!(" while scoring ({name})")))
}

/// An objective that is measured and not trained.
pub(crate) struct Measured<'a> {
    /// What is computed of the models.
    pub(crate) objective: Arc<dyn Objective>,
    /// Its auxiliary models.
    pub(crate) auxiliaries: Vec<&'a Source>,
}

fn measuring<'g>(
    context: &mut Context<'g>,
    config: &Config,
    source: &Source,
    Measured { objective, auxiliaries }: Measured<'_>,
    examples: &[Example],
) -> Result<Engine<'g>, Error> {
    let gpu = context.gpu;
    let batches: Vec<Vec<&Example>> = examples.chunks(score::GROUP).map(|group| group.iter().collect()).collect();
    let of = auxiliaries.iter().map(|other| models::auxiliary(other, source)).collect();
    let spec = Spec::new(source.config.clone(), objective.clone(), of, gpu.max_binding());
    let spec = Spec { adapter: source.layout(), train: false, ..spec };
    let limits = Limits::of(gpu);
    trust::tell(context, &limits.wrong)?;
    let spec = trust::heed(&limits.wrong, quantized(config, spec)?)?;
    let Choice { plan, .. } = planner::choose(&spec, &batches, bounds(config, &limits))?;
    tuning::tune(context, config, plan.work(), plan.footprint().total())?;
    let mut engine = plan.build(gpu)?;
    load(&mut engine, source, auxiliaries, config.seed)?;
    tuning::record(context, config)?;
    let mut scalars = Scalars::default();
    objective.scalars(Position { step: 0, of: 1 }, None, &mut scalars);
    engine.set_scalars(0, &scalars);
    Ok(engine)
}

/// Means of a loss's statistics over all target tokens of some examples, which form one batch.
///
/// # Errors
/// As [`score()`].
pub(crate) fn measure(
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
