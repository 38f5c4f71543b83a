//! The training loop's steps, one after the other: while the device computes one, the host packs the next, and then collects
//! the numbers of the one before.

use std::{path::PathBuf, time::Instant};

use super::{
    Error, Phase,
    probe::{Baseline, Probe},
    rows, save,
};
use crate::{
    data::{pack::Batch, random::StepKey},
    graph::optim::Scalars,
    objective::{Averages, Means, Position},
    report::{self, Event, Number, Numbers, Report, Step},
    train::engine::{Engine, Side, StartedPass, StartedUpdate},
};

/// Steps before those that are profiled: drivers compile shaders in the first, the second sets the pace.
const WARM_UP: u64 = 2;

/// What moves from step to step beside weights and moments.
pub(super) struct Steps<'a, 'g> {
    engine: &'a mut Engine<'g>,
    phase: &'a Phase<'a>,
    /// What the next step's scalars depend on, where they do.
    feedback: Option<f64>,
    probe: Option<Probe>,
    /// The step whose numbers are still on the device.
    in_flight: Option<InFlight>,
    /// When the last numbers came.
    last: Instant,
    loss: Option<f64>,
    /// Steps started.
    started: u64,
}

struct InFlight {
    /// Its number, from 0.
    step: u64,
    scalars: Scalars,
    passes: Vec<(Batch, StartedPass)>,
    update: StartedUpdate,
}

impl<'a, 'g> Steps<'a, 'g> {
    /// Begins with this feedback; `baseline` is that of a checkpoint.
    pub(super) fn new(
        engine: &'a mut Engine<'g>,
        phase: &'a Phase<'a>,
        feedback: Option<f64>,
        baseline: Option<Baseline>,
    ) -> Result<Self, Error> {
        let probe = match phase.diagnostics {
            0 => None,
            _ => Probe::new(phase.examples, engine.tokens(), phase.seed, baseline)?,
        };
        Ok(Self { engine, phase, feedback, probe, in_flight: None, last: Instant::now(), loss: None, started: 0 })
    }

    /// Looks at the probe for the first time, unless a checkpoint has that look.
    pub(super) fn look_first(&mut self, start: u64) -> Result<(), Error> {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.baseline().is_none()) {
            let scalars = scalars(self.engine, self.phase, self.feedback, start);
            self.engine.set_scalars(start, &scalars);
            probe.look(self.engine)?;
        }
        self.last = Instant::now();
        Ok(())
    }

    /// Starts a step on these examples and emits the numbers of the one before, or those of this one where something waits
    /// for them.
    pub(super) fn step(&mut self, indices: &[usize], step: u64, report: &mut Report) -> Result<(), Error> {
        let phase = self.phase;
        let profile_begins = phase.profile && self.started == WARM_UP;
        if self.feedback.is_some() || profile_begins {
            self.collect(report)?;
        }
        if profile_begins {
            self.engine.start_profile();
        }
        self.started += 1;
        let started = self.start(indices, step);
        self.collect(report)?;
        self.in_flight = Some(started?);
        if self.looks_after(step) { self.collect(report) } else { Ok(()) }
    }

    /// Emits the numbers of the step in flight, if there is one, as soon as they are there.
    pub(super) fn collect(&mut self, report: &mut Report) -> Result<(), Error> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        let done = self.finish(in_flight)?;
        self.loss = Some(done.loss);
        let overflow = done.loss_scale.filter(|_| done.skipped).map(|scale| {
            format!(
                "step {}: gradients overflowed at a loss scale of {scale}; it changed nothing, and the scale is halved",
                done.step
            )
        });
        report.event(&Event::Step(Box::new(done)))?;
        Ok(overflow.iter().try_for_each(|text| report.event(&Event::Note(text)))?)
    }

    /// Emits what was profiled, if anything was, and writes it down.
    pub(super) fn emit_profile(&self, report: &mut Report) -> Result<(), Error> {
        let Some(profile) = self.engine.profile() else {
            let few = format!("nothing was profiled: that begins after {WARM_UP} steps");
            return if self.phase.profile { Ok(report.event(&Event::Warning(&few))?) } else { Ok(()) };
        };
        let spent = profile.spent().map(|(name, spent)| (name, spent.count, spent.time.as_secs_f64()));
        let profile = report::Profile::new(self.started - WARM_UP, profile.has_timestamps(), spent);
        profile.write(&self.phase.out.join("profile.json"))?;
        Ok(report.event(&Event::Profiled(&profile))?)
    }

    /// Loss of the last step whose numbers are there.
    pub(super) fn loss(&self) -> Option<f64> {
        self.loss
    }

    /// Saves a checkpoint after `step` steps, all of which are collected.
    pub(super) fn save(&mut self, step: u64) -> Result<PathBuf, Error> {
        let baseline = self.probe.as_ref().and_then(Probe::baseline).cloned();
        let path = save::save(self.engine, self.phase, self.feedback, baseline, step)?;
        self.last = Instant::now();
        Ok(path)
    }

    fn looks_after(&self, step: u64) -> bool {
        let (every, next) = (self.phase.diagnostics, step + 1);
        self.probe.is_some() && (next.is_multiple_of(every) || next == self.phase.steps)
    }

    fn start(&mut self, indices: &[usize], step: u64) -> Result<InFlight, Error> {
        let examples = self.phase.examples;
        let batches = rows(examples, indices, self.engine.tokens())?;
        let longest = indices.iter().map(|i| examples[*i].ids.len()).max().unwrap_or(0);
        let draw = self.engine.objective().draw(StepKey::new(self.phase.seed, step), longest);
        let scalars = scalars(self.engine, self.phase, self.feedback, step);
        self.engine.set_scalars(step, &scalars);
        let mut passes = Vec::with_capacity(batches.len());
        for batch in batches {
            let started = self.engine.start_pass(&batch, draw)?;
            passes.push((batch, started));
        }
        Ok(InFlight { step, scalars, passes, update: self.engine.start_update()? })
    }

    fn finish(&mut self, InFlight { step, scalars, passes, update }: InFlight) -> Result<Step, Error> {
        let (mut means, mut tokens) = (Means::default(), 0);
        for (batch, started) in passes {
            means.add(&self.engine.stats(started)?, &batch.weights);
            tokens += batch.examples.iter().map(|placed| placed.len as u64).sum::<u64>();
        }
        let updated = self.engine.updated(update)?;
        let (loss, grad_norm) = (means.loss(), f64::from(updated.norm));
        let scaled = self.phase.scalars.growth > 0;
        if !(loss.is_finite() && grad_norm.is_finite() || updated.is_skipped()) {
            // Where the norm is not finite, neither this step nor a later one touched weights or moments.
            let saved = match step {
                _ if grad_norm.is_finite() => {
                    "after the weights were touched; --resume goes on from a checkpoint".into()
                }
                0 => "before the weights were touched".into(),
                _ => {
                    let path = self.save(step)?;
                    format!("before the weights were touched; {} holds the last good state", path.display())
                }
            };
            return Err(Error::NotFinite { step: step + 1, loss, grad_norm, saved, scaled });
        }
        self.feedback = self.feedback.map(|feedback| self.engine.objective().next(feedback, &means));
        let looks = self.looks_after(step);
        let probed = match self.probe.as_mut().filter(|_| looks) {
            Some(probe) => Some(probe.look(self.engine)?),
            None => None,
        };
        let vocab = self.engine.model(Side::Main).map_or(1, |model| model.config.vocab) as f64;
        let averages = Averages { means, lambda: scalars.lambda, vocab };
        let metrics = self.engine.metrics().iter();
        let metrics = metrics.map(|m| Number { name: m.name, value: (m.of)(&averages), brief: m.brief }).collect();
        let before = std::mem::replace(&mut self.last, Instant::now());
        Ok(Step {
            step: step + 1,
            loss,
            grad_norm,
            lr: scalars.lr,
            tokens,
            seconds: (self.last - before).as_secs_f64(),
            peak_bytes: self.engine.peak(),
            planned_bytes: self.phase.planned,
            metrics: Numbers(metrics),
            loss_scale: scaled.then(|| f64::from(updated.loss_scale)),
            skipped: updated.is_skipped(),
            probed,
        })
    }
}

/// The scalars of a step.
fn scalars(engine: &Engine<'_>, phase: &Phase<'_>, feedback: Option<f64>, step: u64) -> Scalars {
    let mut scalars = Scalars { lr: phase.schedule.rate(step), ..phase.scalars };
    engine.objective().scalars(Position { step, of: phase.steps }, feedback, &mut scalars);
    scalars
}
