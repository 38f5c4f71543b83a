//! The steps of a phase, one after the other: while the device computes one, the host packs the next, and then learns the
//! numbers of the one before.

use std::{path::PathBuf, time::Instant};

use super::{
    Error, Means, Phase,
    probe::{Baseline, Probe},
    rows, save,
};
use crate::{
    data::{pack::Batch, random::StepKey},
    graph::optim::Scalars,
    objective::{Draw, Source},
    report::{self, Event, MixStep, Report, Step},
    train::engine::{Engine, Loss, Side, StartedPass, StartedUpdate},
};

/// Steps before those that are profiled: drivers compile shaders in the first, the second sets the pace.
const WARM_UP: u64 = 2;

/// A phase under way: what moves from step to step beside weights and moments.
pub(super) struct Course<'a, 'g> {
    engine: &'a mut Engine<'g>,
    phase: &'a Phase<'a>,
    /// Lambda of the next step, as far as it is known.
    lambda: f64,
    probe: Option<Probe>,
    /// The step whose numbers are still on the device.
    under_way: Option<UnderWay>,
    /// When the last numbers came.
    last: Instant,
    loss: Option<f64>,
    /// Steps started.
    started: u64,
}

struct UnderWay {
    /// Its number, from 0.
    step: u64,
    scalars: Scalars,
    passes: Vec<(Batch, StartedPass)>,
    update: StartedUpdate,
}

impl<'a, 'g> Course<'a, 'g> {
    /// Begins with this lambda; `baseline` is that of a checkpoint.
    pub(super) fn new(
        engine: &'a mut Engine<'g>,
        phase: &'a Phase<'a>,
        lambda: f64,
        baseline: Option<Baseline>,
    ) -> Result<Self, Error> {
        let probe = match phase.diagnostics {
            0 => None,
            _ => Probe::new(phase.examples, engine.tokens(), phase.seed, baseline)?,
        };
        Ok(Self { engine, phase, lambda, probe, under_way: None, last: Instant::now(), loss: None, started: 0 })
    }

    /// Looks at the probe for the first time, unless a checkpoint has that look.
    pub(super) fn look_first(&mut self, start: u64) -> Result<(), Error> {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.baseline().is_none()) {
            self.engine.set_scalars(start, &Scalars { lambda: self.lambda, ..self.phase.scalars });
            probe.look(self.engine)?;
        }
        self.last = Instant::now();
        Ok(())
    }

    /// Starts a step on these examples and tells the numbers of the one before, or those of this one where something waits
    /// for them.
    pub(super) fn step(&mut self, indices: &[usize], step: u64, report: &mut Report) -> Result<(), Error> {
        let phase = self.phase;
        let planned = phase.mixing.planned(phase.scalars.lambda, step, phase.steps);
        let profile_begins = phase.profile && self.started == WARM_UP;
        if planned.is_none() || profile_begins {
            self.settle(report)?;
        }
        if profile_begins {
            self.engine.start_profile();
        }
        self.started += 1;
        let started = self.start(indices, step, planned.unwrap_or(self.lambda));
        self.settle(report)?;
        self.under_way = Some(started?);
        if self.looks_after(step) { self.settle(report) } else { Ok(()) }
    }

    /// Tells the numbers of the step under way, if there is one, as soon as they are there.
    pub(super) fn settle(&mut self, report: &mut Report) -> Result<(), Error> {
        let Some(under_way) = self.under_way.take() else { return Ok(()) };
        let done = self.finish(under_way)?;
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

    /// Tells what was profiled, if anything was, and writes it down.
    pub(super) fn tell_profile(&self, report: &mut Report) -> Result<(), Error> {
        let Some(profile) = self.engine.profile() else {
            let few = format!("nothing was profiled: that begins after {WARM_UP} steps");
            return if self.phase.profile { Ok(report.event(&Event::Warning(&few))?) } else { Ok(()) };
        };
        let spent = profile.spent().map(|(name, spent)| (name, spent.count, spent.time.as_secs_f64()));
        let profile = report::Profile::new(self.started - WARM_UP, profile.has_timestamps(), spent);
        profile.write(&self.phase.out.join("profile.json"))?;
        Ok(report.event(&Event::Profiled(&profile))?)
    }

    /// Loss of the last step told.
    pub(super) fn loss(&self) -> Option<f64> {
        self.loss
    }

    /// Saves a checkpoint after `step` steps, all of which are settled.
    pub(super) fn save(&mut self, step: u64) -> Result<PathBuf, Error> {
        let baseline = self.probe.as_ref().and_then(Probe::baseline).cloned();
        let path = save::save(self.engine, self.phase, self.lambda, baseline, step)?;
        self.last = Instant::now();
        Ok(path)
    }

    fn looks_after(&self, step: u64) -> bool {
        let (every, next) = (self.phase.diagnostics, step + 1);
        self.probe.is_some() && (next.is_multiple_of(every) || next == self.phase.steps)
    }

    fn start(&mut self, indices: &[usize], step: u64, lambda: f64) -> Result<UnderWay, Error> {
        let Phase { examples, schedule, noise, .. } = self.phase;
        let batches = rows(examples, indices, self.engine.tokens())?;
        let longest = || indices.iter().map(|i| examples[*i].ids.len()).max();
        let draw = Draw {
            key: StepKey::new(self.phase.seed, step),
            alpha: noise.alpha,
            padded: if noise.padded { longest() } else { None },
        };
        let scalars = Scalars { lr: schedule.rate(step), lambda, ..self.phase.scalars };
        self.engine.set_scalars(step, &scalars);
        let mut passes = Vec::with_capacity(batches.len());
        for batch in batches {
            let started = self.engine.start_pass(&batch, draw)?;
            passes.push((batch, started));
        }
        Ok(UnderWay { step, scalars, passes, update: self.engine.start_update()? })
    }

    fn finish(&mut self, UnderWay { step, scalars, passes, update }: UnderWay) -> Result<Step, Error> {
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
        self.lambda = self.phase.mixing.next(scalars.lambda, means.amplification(scalars.lambda));
        let looks = self.looks_after(step);
        let probed = match self.probe.as_mut().filter(|_| looks) {
            Some(probe) => Some(probe.look(self.engine)?),
            None => None,
        };
        let vocab = self.engine.model(Side::Strong).map_or(1, |model| model.config.vocab);
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
            margin: means.margin(),
            strong: (self.engine.loss() != Loss::Mix(Source::Blended)).then(|| means.strong(vocab)),
            mix: mix(self.engine.loss(), &means, scalars.lambda, vocab),
            loss_scale: scaled.then(|| f64::from(updated.loss_scale)),
            skipped: updated.is_skipped(),
            probed,
        })
    }
}

/// What is told of a second set of logits, if the loss has one.
fn mix(loss: Loss, means: &Means, lambda: f64, vocab: usize) -> Option<MixStep> {
    match loss {
        Loss::Sft { .. } | Loss::States => None,
        Loss::Distill => Some(means.mix(None, vocab)),
        // No kernel computes what needs none.
        Loss::Mix(Source::Uniform) => {
            let mut mix = means.mix(Some(lambda), vocab);
            mix.weak.iter_mut().for_each(|weak| weak.entropy_weak = (vocab as f64).ln());
            Some(mix)
        }
        Loss::Mix(Source::Blended) => Some(means.blend(Some(lambda))),
        Loss::Mix(_) => Some(means.mix(Some(lambda), vocab)),
    }
}
