//! The steps of the training loop, one after the other: while the device computes one, the host packs the next, and then
//! collects the numbers of the one before.

use super::{Error, Phase, State, World, rows};
use crate::{
    data::{pack::Batch, random::StepKey},
    events::{Event, Looks, Number, Numbers, Profile, Step, WarningCode},
    graph::scalars::Scalars,
    objective::{Averages, Means, Position},
    train::engine::{Engine, Side, Started, StartedUpdate},
};

/// Steps before those that are profiled: drivers compile shaders in the first, the second sets the pace.
const WARM_UP: u64 = 2;

/// What moves from step to step beside weights and moments.
pub(super) struct Steps<'a, 'g, 'w> {
    engine: &'a mut Engine<'g>,
    phase: &'a Phase<'a>,
    pub(super) world: World<'w>,
    /// What the next step's scalars depend on, where they do.
    feedback: Option<f64>,
    /// Whether a hook has no first look yet.
    looks_first: bool,
    /// The step whose numbers are still on the device.
    in_flight: Option<InFlight>,
    /// When the last numbers came.
    last: f64,
    loss: Option<f64>,
    /// Steps started.
    started: u64,
}

struct InFlight {
    /// Its number, from 0.
    step: u64,
    scalars: Scalars,
    micro_batches: Vec<(Batch, Started)>,
    update: StartedUpdate,
}

impl<'a, 'g, 'w> Steps<'a, 'g, 'w> {
    /// Begins, or goes on from the state of a checkpoint.
    pub(super) fn new(
        engine: &'a mut Engine<'g>,
        phase: &'a Phase<'a>,
        state: Option<State>,
        mut world: World<'w>,
    ) -> Self {
        let (mut feedback, mut looks_first) = (engine.objective().feedback(), false);
        for hook in &mut world.hooks {
            match state.as_ref().and_then(|state| state.hooks.get(hook.name())) {
                Some(state) => hook.restore(state),
                None => looks_first = true,
            }
        }
        if let Some(state) = state {
            feedback = feedback.and(state.feedback);
        }
        let last = world.observer.seconds();
        Self { engine, phase, world, feedback, looks_first, in_flight: None, last, loss: None, started: 0 }
    }

    pub(super) fn emit(&mut self, event: &Event<'_>) -> Result<(), Error> {
        Ok(self.world.observer.event(event)?)
    }

    /// The looks that are due before the first step, unless a checkpoint has them.
    pub(super) fn look_first(&mut self, start: u64) -> Result<(), Error> {
        if self.looks_first && self.is_look_due(0) {
            let scalars = self.scalars(start);
            self.engine.set_scalars(start, &scalars);
            self.look(0)?;
        }
        self.last = self.world.observer.seconds();
        Ok(())
    }

    /// Starts a step on these groups of examples and emits the numbers of the one before, or those of this one where
    /// something waits for them.
    pub(super) fn step(&mut self, groups: &[usize], step: u64) -> Result<(), Error> {
        let profile_begins = self.phase.profile && self.started == WARM_UP;
        if self.feedback.is_some() || profile_begins {
            self.collect()?;
        }
        if profile_begins {
            self.engine.start_profile();
        }
        self.started += 1;
        let started = self.start(groups, step);
        self.collect()?;
        self.in_flight = Some(started?);
        if self.is_look_due(step + 1) { self.collect() } else { Ok(()) }
    }

    /// Emits the numbers of the step in flight, if there is one, as soon as they are there.
    pub(super) fn collect(&mut self) -> Result<(), Error> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        let done = self.numbers(in_flight)?;
        self.loss = Some(done.loss);
        let overflow = done.loss_scale.filter(|_| done.skipped).map(|scale| {
            format!(
                "step {}: gradients overflowed at a loss scale of {scale}; it changed nothing, and the scale is halved",
                done.step
            )
        });
        self.emit(&Event::Step(Box::new(done)))?;
        overflow.iter().try_for_each(|text| self.emit(&Event::Note(text)))
    }

    /// Emits what was profiled, if anything was.
    pub(super) fn emit_profile(&mut self) -> Result<(), Error> {
        if !self.phase.profile {
            return Ok(());
        }
        let Some(profile) = self.engine.profile() else {
            let text = format!("nothing was profiled: that begins after {WARM_UP} steps");
            return self.emit(&Event::Warning { code: WarningCode::NothingProfiled, text: &text });
        };
        let spent = profile.spent().map(|(name, spent)| (name, spent.count, spent.time.as_secs_f64()));
        let profile = Profile::new(self.started - WARM_UP, profile.has_timestamps(), spent);
        self.emit(&Event::Profiled(&profile))
    }

    /// Keeps the final model. Returns the loss of the last step.
    pub(super) fn finish(&mut self) -> Result<Option<f64>, Error> {
        self.world.checkpoints.finish(self.engine)?;
        Ok(self.loss)
    }

    /// Saves a checkpoint after `step` steps, all of which are collected. Returns where it is.
    pub(super) fn save(&mut self, step: u64) -> Result<String, Error> {
        let hooks = self.world.hooks.iter().map(|hook| (hook.name().to_owned(), hook.state())).collect();
        let state = State { feedback: self.feedback, hooks };
        let place = self.world.checkpoints.save(self.engine, &state, step)?;
        self.last = self.world.observer.seconds();
        Ok(place)
    }

    fn is_look_due(&self, step: u64) -> bool {
        self.world.hooks.iter().any(|hook| hook.due(step, self.phase.steps))
    }

    fn look(&mut self, step: u64) -> Result<Looks, Error> {
        let of = self.phase.steps;
        let due = self.world.hooks.iter_mut().filter(|hook| hook.due(step, of));
        Ok(Looks(due.map(|hook| Ok((hook.name(), hook.look(self.engine)?))).collect::<Result<_, Error>>()?))
    }

    fn scalars(&self, step: u64) -> Scalars {
        let mut scalars = Scalars { lr: self.phase.schedule.rate(step), ..self.phase.scalars };
        self.engine.objective().scalars(Position { step, of: self.phase.steps }, self.feedback, &mut scalars);
        scalars
    }

    fn start(&mut self, groups: &[usize], step: u64) -> Result<InFlight, Error> {
        let (examples, group) = (self.phase.examples, self.engine.objective().group());
        let indices: Vec<usize> = groups.iter().flat_map(|i| i * group..(i + 1) * group).collect();
        let batches = rows(examples, &indices, group, self.engine.tokens())?;
        let longest = indices.iter().map(|i| examples[*i].ids.len()).max().unwrap_or(0);
        let draw = self.engine.objective().draw(StepKey::new(self.phase.seed, step), longest);
        let scalars = self.scalars(step);
        self.engine.set_scalars(step, &scalars);
        let mut micro_batches = Vec::with_capacity(batches.len());
        for batch in batches {
            let started = self.engine.start(&batch, draw)?;
            micro_batches.push((batch, started));
        }
        self.world.exchange.exchange(self.engine)?;
        Ok(InFlight { step, scalars, micro_batches, update: self.engine.start_update()? })
    }

    /// Waits for the numbers of a step, and looks where that is due.
    fn numbers(&mut self, InFlight { step, scalars, micro_batches, update }: InFlight) -> Result<Step, Error> {
        let (mut means, mut tokens) = (Means::default(), 0);
        for (batch, started) in micro_batches {
            means.add(&self.engine.stats(started)?, &batch.weights);
            tokens += batch.examples.iter().map(|placed| placed.len as u64).sum::<u64>();
        }
        let updated = self.engine.updated(update)?;
        let (loss, grad_norm) = (means.loss(), f64::from(updated.norm));
        let scaled = scalars.growth > 0;
        if !(loss.is_finite() && grad_norm.is_finite() || updated.is_skipped()) {
            // Where the norm is not finite, neither this step nor a later one touched weights or moments.
            let saved = match step {
                _ if grad_norm.is_finite() => {
                    "after the weights were touched; --resume goes on from a checkpoint".into()
                }
                0 => "before the weights were touched".into(),
                _ => format!("before the weights were touched; {} holds the last good state", self.save(step)?),
            };
            return Err(Error::NotFinite { step: step + 1, loss, grad_norm, saved, scaled });
        }
        self.feedback = self.feedback.map(|feedback| self.engine.objective().next(feedback, &means));
        let looks = self.look(step + 1)?;
        let vocab = self.engine.model(Side::Main).map_or(1, |model| model.config.vocab) as f64;
        let averages = Averages { means, lambda: scalars.lambda, vocab };
        let metrics = self.engine.metrics().iter();
        let metrics = metrics.map(|m| Number { name: m.name, value: (m.of)(&averages), brief: m.brief }).collect();
        let before = std::mem::replace(&mut self.last, self.world.observer.seconds());
        Ok(Step {
            step: step + 1,
            loss,
            grad_norm,
            lr: scalars.lr,
            tokens,
            seconds: self.last - before,
            peak_bytes: self.engine.peak(),
            planned_bytes: self.phase.planned,
            metrics: Numbers(metrics),
            loss_scale: scaled.then(|| f64::from(updated.loss_scale)),
            skipped: updated.is_skipped(),
            looks,
        })
    }
}
