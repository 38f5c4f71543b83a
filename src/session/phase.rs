//! One phase of training from settings: opened, planned, made ready, trained.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    checkpoint::{self, Checkpoints},
    context::Context,
    directory::{self, Directory},
    error::Error,
    examples as data, faults, hidden_cache, key,
    memory::Limits,
    models::Models,
    outline::outline,
    planned::Session,
    source::Source,
    tuning,
};
use crate::{
    data::{Example, sampler::Order},
    formats,
    gpu::MemoryUse,
    graph::{
        optim::Schedule,
        scalars::{LOSS_SCALING, Scalars},
    },
    model,
    report::{Event, Metrics, ProfileFile, WarningCode, bytes},
    settings::{self, Config, Precision},
    train::{self as training, Hook, NoExchange, Outcome, Phase, Probe, World, engine::HiddenSource},
};

/// What a trained phase took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trained {
    /// Loss of its last step; `None` if there was none left to do.
    pub loss: Option<f64>,
    /// The most device memory that it took at a time, in bytes.
    pub bytes: u64,
}

/// A phase that is to be trained.
pub struct Training<'a> {
    /// Settings of the run.
    pub config: &'a Config,
    /// Its name, for reports.
    pub name: &'a str,
    /// The model to train.
    pub main: &'a Source,
    /// What is minimised, and the models that it needs.
    pub models: &'a Models,
    /// All examples.
    pub examples: &'a [Example],
    /// Which of them make an epoch.
    pub order: Order,
    /// Folder of the phase: that of the run, or one in it.
    pub out: &'a Path,
    /// Number format of the model that it writes.
    pub dtype: settings::Dtype,
}

impl Training<'_> {
    /// Trains the phase in the directory of its run, and goes on from a checkpoint where there is one.
    ///
    /// # Errors
    /// Whatever stops it; [`Error::Interrupted`] after saving.
    pub fn run(self, context: &mut Context<'_>, directory: &mut Directory) -> Result<Trained, Error> {
        let Self { config, name, main, models, examples, order, out, dtype } = self;
        let gpu = context.gpu;
        let spec = models.spec(config, main);
        let key = self::key(config, main, models, examples, &order)?;
        let from = newest(context, out)?;
        let resumed = from.as_ref().map(|from| checkpoint::layout_of(from, &key)).transpose()?;
        // A checkpoint of another run is refused before anything is touched.
        match directory.state() {
            directory::State::New => formats::check_vacant(out)?,
            _ => directory::remove_partial(out)?,
        }
        let (mut epochs, steps) = data::epochs(config, order)?;
        let limits = Limits { resumed, ..Limits::of(Some(gpu)) };
        faults::warn(context, &limits.faults)?;
        let planned = Session::train(config, spec.clone(), examples, &mut epochs, steps).plan(&limits)?;
        let planned_bytes = planned.bytes();
        let text = format!("{name}: {}, {} of device memory planned", planned.describe(), bytes(planned_bytes));
        context.report.event(&Event::Note(&text))?;

        let create = |directory: &mut Directory| {
            directory.create(config)?;
            std::fs::create_dir_all(out).map_err(|e| Error::User(format!("cannot create {}: {e}", out.display())))
        };
        let mut states = Vec::new();
        if spec.auxiliaries.iter().any(|other| other.hidden == HiddenSource::Cached) {
            let seen = hidden_cache::seen(config, examples, &mut epochs, steps);
            hidden_cache::peak(config, &spec, &seen, &limits, Some(out))?;
            create(directory)?;
            states = hidden_cache::fill(context, config, &spec, &models.auxiliaries, examples, &seen, out)?;
        }
        let mut engine = planned.ready(context, config, main, &models.auxiliaries)?;
        for (side, states) in states {
            engine.cache(side, Box::new(move |sample, bytes| Ok(states.read(sample, bytes)?)));
        }
        // Only now, when nothing of the user's can be wrong any more, does a run without a cache leave a trace.
        create(directory)?;
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
            planned: planned_bytes,
        };
        let mut checkpoints = Checkpoints { out, keep: config.keep, key, files: main.files(dtype) };
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
        context.report.event(&Event::Memory { planned: planned_bytes, peak, reserved })?;
        match outcome {
            Outcome::Finished { loss } => {
                hidden_cache::remove(&spec, out)?;
                Ok(Trained { loss, bytes: peak })
            }
            Outcome::Interrupted { step } => {
                Err(Error::Interrupted(format!(" after step {step} of {steps}, which is saved")))
            }
        }
    }
}

/// Checks that the largest phase of a method fits the memory, and that its models go together.
///
/// # Errors
/// If it does not, or they do not.
pub(crate) fn check_fits(
    context: &Context<'_>,
    config: &Config,
    main: &model::Config,
    examples: &[Example],
) -> Result<(), Error> {
    tuning::half(config, context.gpu)?;
    let (mut epochs, steps) = data::epochs(config, Order::All(examples.len()))?;
    let spec = outline(config, main)?;
    Session::train(config, spec, examples, &mut epochs, steps).plan(&Limits::of(Some(context.gpu)))?;
    Ok(())
}

/// The newest whole checkpoint in `out`.
fn newest(context: &mut Context<'_>, out: &Path) -> Result<Option<formats::Restored>, Error> {
    if !out.is_dir() {
        return Ok(None);
    }
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
    main: &Source,
    models: &Models,
    examples: &[Example],
    order: &Order,
) -> Result<Map<String, Value>, Error> {
    Ok(key::of([
        ("settings", config.result_values().into()),
        ("objective", models.key(config)?.into()),
        ("model", key::of_model(main)?),
        ("data", key::of_data(examples, Some(order))),
    ]))
}
