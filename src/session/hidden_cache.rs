//! The hidden-state cache of a phase: final hidden states of its frozen auxiliary models, computed once. They lie beside the
//! phase's checkpoints until it is done, so that a run that goes on finds them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use serde_json::json;

use super::{context::Context, error::Error, faults, key, memory::Limits, planned::Session, source::Source};
use crate::{
    data::{Example, pack, sampler::Epochs},
    doctor,
    formats::{States, StatesOf, StatesWriter},
    infer::score::GROUP,
    objective::HiddenStates,
    report::{Event, bytes, count},
    settings::Config,
    train::engine::{AuxiliaryModel, Engine, HiddenSource, Side, Spec},
};

/// The examples that a phase of `steps` steps sees, in their order; all, where it looks at more than it trains on.
pub fn seen<'a>(config: &Config, examples: &'a [Example], epochs: &mut Epochs, steps: u64) -> Vec<&'a Example> {
    if config.diagnostics > 0 {
        return examples.iter().collect();
    }
    // Every epoch has the same samples.
    let steps = steps.min(epochs.per_epoch() as u64);
    let seen: BTreeSet<usize> = (0..steps).flat_map(|step| epochs.batch(step)).collect();
    seen.into_iter().map(|i| &examples[i]).collect()
}

/// The forward passes that fill the caches of `spec`, each with the place of its model among the auxiliary ones.
fn sessions<'a>(config: &'a Config, spec: &Spec, seen: &[&'a Example]) -> Vec<(usize, Session<'a>)> {
    let cached = spec.auxiliaries.iter().enumerate().filter(|(_, other)| other.hidden == HiddenSource::Cached);
    let session = |(i, other): (usize, &AuxiliaryModel)| {
        let spec = Spec::new(other.config.clone(), Arc::new(HiddenStates), Vec::new(), 0);
        let spec = Spec { adapter: other.adapter.clone(), ..spec };
        (i, Session::hidden_states(config, spec, seen.iter().copied()))
    };
    cached.map(session).collect()
}

/// Most device memory of the passes that fill the caches of `spec`, but for those whose files are in `out`; 0 if it has none.
///
/// # Errors
/// If one does not fit.
pub fn peak(
    config: &Config,
    spec: &Spec,
    seen: &[&Example],
    limits: &Limits,
    out: Option<&Path>,
) -> Result<u64, Error> {
    let missing = |i: &usize| out.is_none_or(|out| !file(out, *i).exists());
    let sessions = sessions(config, spec, seen).into_iter().filter(|(i, _)| missing(i));
    let mut most = 0;
    for (_, session) in sessions {
        most = most.max(session.plan(limits)?.bytes());
    }
    Ok(most)
}

/// The states of every model of `spec` that has them cached, computed where they are not in `out` yet. `examples` are all,
/// `seen` those that states are wanted of.
///
/// # Errors
/// If what lies there is of something else or damaged; whatever stops a forward pass; [`Error::Interrupted`].
pub(super) fn fill(
    context: &mut Context<'_>,
    config: &Config,
    spec: &Spec,
    auxiliaries: &[Source],
    examples: &[Example],
    seen: &[&Example],
    out: &Path,
) -> Result<Vec<(Side, States)>, Error> {
    let limits = Limits::of(Some(context.gpu));
    faults::warn(context, &limits.faults)?;
    let samples: Vec<(u64, usize)> = seen.iter().map(|example| (example.idx, example.targets())).collect();
    let data = key::of_data(examples, None).to_string();
    let mut filled = Vec::new();
    for (i, session) in sessions(config, spec, seen) {
        let source = &auxiliaries[i];
        let model = session.stored(&limits)?.model;
        let [linear, table] = [model.held.linear, model.held.table].map(doctor::format_name);
        let model = (json!({ "model": key::of_model(source)?, "linear": linear, "table": table }), model.hidden);
        let of =
            StatesOf { model: model.0.to_string(), data: data.clone(), width: model.1, samples: samples.clone() };
        let path = file(out, i);
        let states = match States::open(&path, &of)? {
            Some(states) => states,
            None => compute(context, config, source, (&session, &limits), of, seen, &path)?,
        };
        filled.push((Side::Auxiliary(i), states));
    }
    Ok(filled)
}

/// Removes what [`fill`] left of a phase that is done.
///
/// # Errors
/// If a file cannot be removed.
pub(super) fn remove(spec: &Spec, out: &Path) -> Result<(), Error> {
    for path in (0..spec.auxiliaries.len()).map(|i| file(out, i)).filter(|path| path.exists()) {
        std::fs::remove_file(&path).map_err(|e| Error::User(format!("cannot remove {}: {e}", path.display())))?;
    }
    Ok(())
}

fn file(out: &Path, auxiliary: usize) -> PathBuf {
    out.join(format!("weak-{auxiliary}.states"))
}

/// Computes what is not written yet.
fn compute(
    context: &mut Context<'_>,
    config: &Config,
    source: &Source,
    (session, limits): (&Session<'_>, &Limits),
    of: StatesOf,
    seen: &[&Example],
    path: &Path,
) -> Result<States, Error> {
    let size = bytes(of.file_bytes());
    let mut writer = StatesWriter::open(path, of)?;
    let samples = count(seen.len() as u64);
    let text = format!("hidden states of {} for {samples} samples take {size} on disk", source.path.display());
    context.report.event(&Event::Note(&text))?;
    let mut engine = session.plan(limits)?.ready(context, config, source, &[])?;

    let (name, began, done) = ("hidden states", Instant::now(), writer.done());
    let (total, unit) = (seen.len() as u64, "sample");
    context.report.event(&Event::PhaseStarted { name, unit, total, done: done as u64 })?;
    // Groups and packed sequences are the same wherever a stopped run goes on, so that their states are the same bits.
    for (first, group) in (0..).step_by(GROUP).zip(seen.chunks(GROUP)) {
        let last = first + group.len();
        if last <= done {
            continue;
        }
        if context.stop.load(Ordering::Relaxed) {
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
