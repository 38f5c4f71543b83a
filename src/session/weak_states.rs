//! Final hidden states of a phase's frozen models, computed once: they lie beside the phase's checkpoints until it is done, so
//! that a run that goes on finds them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    Context, Error, Models, Source,
    arrange::{self, Limits},
    fingerprint, phase, trust, tuning,
};
use crate::{
    data::{Example, pack, sampler::Epochs},
    formats::{States, StatesOf, StatesWriter},
    infer::score::GROUP,
    model::{self, Layout},
    objective::HiddenStates,
    report::{Event, bytes, count},
    settings::Config,
    train::{
        engine::{self, AuxiliaryModel, Engine, EnginePlan, HiddenSource, Side, Spec},
        planner::{self, Bounds, ROW_ALIGN},
    },
};

/// The samples that a phase of `steps` steps sees, in their order; all, where it looks at more than it trains on.
pub(crate) fn seen<'a>(
    config: &Config,
    examples: &'a [Example],
    epochs: &mut Epochs,
    steps: u64,
) -> Vec<&'a Example> {
    if config.diagnostics > 0 {
        return examples.iter().collect();
    }
    // Every epoch has the same samples.
    let steps = steps.min(epochs.per_epoch() as u64);
    let seen: BTreeSet<usize> = (0..steps).flat_map(|step| epochs.batch(step)).collect();
    seen.into_iter().map(|i| &examples[i]).collect()
}

/// The models whose hidden states are cached, and which they are.
fn cached<'a>(models: &'a Models, config: &Config) -> Vec<(usize, &'a Source)> {
    let all = models.auxiliaries.iter().enumerate().zip(models.caches(config));
    all.filter(|(_, cached)| *cached).map(|(source, _)| source).collect()
}

/// Checks that the forward pass of every model whose states are to be made fits the memory.
///
/// # Errors
/// If one does not.
pub(crate) fn check(
    context: &Context<'_>,
    config: &Config,
    models: &Models,
    seen: &[&Example],
    out: &Path,
) -> Result<(), Error> {
    let limits = Limits::of(context.gpu);
    for (_, source) in cached(models, config).into_iter().filter(|(i, _)| !file(out, *i).exists()) {
        plan(config, &limits, &spec(config, &source.config, source.layout()), &groups(seen))?;
    }
    Ok(())
}

/// Most device memory of the passes that make the hidden states which a phase with these models keeps; 0 if it keeps none.
///
/// # Errors
/// If one does not fit.
pub fn states_peak(
    config: &Config,
    auxiliaries: &[AuxiliaryModel],
    batches: &[Vec<&Example>],
    limits: &Limits,
) -> Result<u64, Error> {
    let kept = auxiliaries.iter().filter(|other| other.hidden == HiddenSource::Cached);
    let mut peaks = kept.map(|other| {
        let spec = spec(config, &other.config, other.adapter.clone());
        Ok(plan(config, limits, &spec, batches)?.footprint().total())
    });
    peaks.try_fold(0, |most, peak: Result<u64, Error>| Ok(most.max(peak?)))
}

/// The states of every model that has them kept, made where they are not in `out` yet. `examples` are all, `seen` those that
/// states are wanted of.
///
/// # Errors
/// If what lies there is of something else or damaged; whatever stops a forward pass; [`Error::Interrupted`].
pub(crate) fn keep(
    context: &mut Context<'_>,
    config: &Config,
    models: &Models,
    examples: &[Example],
    seen: &[&Example],
    out: &Path,
) -> Result<Vec<(Side, States)>, Error> {
    let samples: Vec<(u64, usize)> = seen.iter().map(|example| (example.idx, example.targets())).collect();
    let data = fingerprint(examples);
    let mut kept = Vec::new();
    for (i, source) in cached(models, config) {
        let spec = spec(config, &source.config, source.layout());
        let of = StatesOf {
            model: format!("{} {:?}", source.fingerprint()?, spec.model.held),
            data: data.clone(),
            width: spec.model.hidden,
            samples: samples.clone(),
        };
        let path = file(out, i);
        let states = match States::open(&path, &of)? {
            Some(states) => states,
            None => make(context, config, source, &spec, of, seen, &path)?,
        };
        kept.push((Side::Auxiliary(i), states));
    }
    Ok(kept)
}

/// Removes what [`keep`] left.
///
/// # Errors
/// If a file cannot be removed.
pub(crate) fn forget(models: &Models, config: &Config, out: &Path) -> Result<(), Error> {
    let files = cached(models, config).into_iter().map(|(i, _)| file(out, i)).filter(|path| path.exists());
    for path in files {
        std::fs::remove_file(&path).map_err(|e| Error::User(format!("cannot remove {}: {e}", path.display())))?;
    }
    Ok(())
}

fn file(out: &Path, other: usize) -> PathBuf {
    out.join(format!("weak-{other}.states"))
}

/// A forward pass of one model, held as it is beside the strong one.
fn spec(config: &Config, model: &model::Config, adapter: Option<Layout>) -> Spec {
    let mut model = model.clone();
    model.held = arrange::held(config).filter(|_| !model.quantised).unwrap_or(model.held);
    // The device's largest binding comes with `plan`.
    Spec { adapter, train: false, ..Spec::new(model, Arc::new(HiddenStates), Vec::new(), 0) }
}

fn groups<'a>(seen: &[&'a Example]) -> Vec<Vec<&'a Example>> {
    seen.chunks(GROUP).map(<[_]>::to_vec).collect()
}

fn plan(config: &Config, limits: &Limits, spec: &Spec, groups: &[Vec<&Example>]) -> Result<EnginePlan, Error> {
    let spec = Spec { max_binding: limits.max_binding, ..spec.clone() };
    let spec = trust::heed(&limits.wrong, spec)?;
    // The bits of states depend on the length of rows, which must be the same when a stopped run goes on.
    let longest = groups.iter().flatten().map(|example| example.ids.len()).max().unwrap_or(1);
    let bounds = Bounds { tokens: Some(longest.next_multiple_of(ROW_ALIGN)), ..arrange::bounds(config, limits) };
    let chosen = planner::choose(&spec, groups, bounds).map_err(|error| match error {
        engine::Error::Memory { needed, available, least, .. } => {
            let advice =
                "that is the pass that makes the hidden states of a weak model or teacher; leave --cache-weak out"
                    .into();
            engine::Error::Memory { needed, available, least, advice }
        }
        other => other,
    })?;
    Ok(chosen.plan)
}

/// Computes what is not written yet.
fn make(
    context: &mut Context<'_>,
    config: &Config,
    source: &Source,
    spec: &Spec,
    of: StatesOf,
    seen: &[&Example],
    path: &Path,
) -> Result<States, Error> {
    let size = bytes(of.file_bytes());
    let mut writer = StatesWriter::open(path, of)?;
    let samples = count(seen.len() as u64);
    let text = format!("hidden states of {} for {samples} samples take {size} on disk", source.path.display());
    context.report.event(&Event::Note(&text))?;

    let groups = groups(seen);
    let plan = plan(config, &Limits::of(context.gpu), spec, &groups)?;
    tuning::tune(context, config, plan.work(), plan.footprint().total())?;
    let mut engine = plan.build(context.gpu)?;
    phase::load(&mut engine, source, [], config.seed)?;
    tuning::record(context, config)?;

    let (name, began, done) = ("hidden states", Instant::now(), writer.done());
    let (total, unit) = (seen.len() as u64, "sample");
    context.report.event(&Event::PhaseStarted { name, unit, total, done: done as u64 })?;
    // Groups and rows are the same wherever a stopped run goes on, so that their states are the same bits.
    for (first, group) in (0..).step_by(GROUP).zip(&groups) {
        let last = first + group.len();
        if last <= done {
            continue;
        }
        if context.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Interrupted(format!(
                " with the hidden states of {first} of {total} samples, which are saved"
            )));
        }
        let started = Instant::now();
        let states = states(&mut engine, group)?;
        states[done.saturating_sub(first)..].iter().try_for_each(|values| writer.push(values))?;
        writer.flush()?;
        let tokens = group.iter().map(|example| example.ids.len() as u64).sum();
        let seconds = started.elapsed().as_secs_f64();
        context.report.event(&Event::Progress { done: last as u64, tokens, seconds })?;
    }
    let states = writer.finish()?;
    context.report.event(&Event::PhaseFinished { name, seconds: began.elapsed().as_secs_f64(), summary: "" })?;
    Ok(states)
}

/// The states of each example of a group.
fn states(engine: &mut Engine<'_>, group: &[&Example]) -> Result<Vec<Vec<f32>>, Error> {
    let width = engine.model(Side::Main).map_or(0, |model| model.config.hidden);
    let mut found = vec![Vec::new(); group.len()];
    for batch in pack::pack(group, engine.tokens())? {
        let mut states = engine.result(&batch)?.into_iter();
        for placed in &batch.examples {
            found[placed.example] = states.by_ref().take(group[placed.example].targets() * width).collect();
        }
    }
    Ok(found)
}
