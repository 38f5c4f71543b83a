//! An objective over models, declared, planned and loaded: what training, scoring and evaluation run.
//!
//! An [`EnginePlan`] needs no GPU and knows the exact memory; [`EnginePlan::build`] allocates it. One micro-batch, a packed
//! sequence of fixed length, goes through at a time ([`Engine::run`]); gradients add up until [`Engine::update`].

use std::sync::Arc;

use crate::{
    data::{pack::Batch, random::StepKey},
    formats::TensorSource,
    gpu::{Gpu, Profile, Program, Readback, Ticket, Upload},
    graph::{
        ops::head_loss::STATS,
        scalars::{HOST_SCALARS, Scalars, loss_scaling},
        tensor::{Memory, Tensor},
    },
    model::{Config, Model, Parameter},
    objective::{Draw, Metric, Objective, TokenStats},
};

mod error;
mod hidden;
mod plan;
mod spec;

pub use error::Error;
use hidden::Source;
pub use hidden::{HiddenSource, ReadStates};
use plan::Declared;
pub use plan::{EnginePlan, Footprint, LOGITS};
pub use spec::{AuxiliaryModel, Spec};

/// A loaded objective.
pub struct Engine<'g> {
    gpu: &'g Gpu,
    memory: Memory,
    declared: Declared,
    /// Of each auxiliary model.
    sources: Vec<Source<'g>>,
    micro_batch: Program,
    update: Option<Program>,
    reset: Program,
    results: Readback,
    profile: Option<Profile>,
    /// Whether [`Engine::scale_loss`] was asked for.
    scales_loss: bool,
}

/// A micro-batch in flight, whose statistics [`Engine::stats`] has.
#[must_use]
pub struct Started {
    targets: Vec<usize>,
    stats: Option<Ticket>,
}

/// An update in flight, whose norm [`Engine::norm`] has.
#[must_use]
pub struct StartedUpdate {
    norm: Option<Ticket>,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Updated {
    /// The gradient's norm before clipping, without the loss scale.
    pub norm: f32,
    /// What the gradient was held times.
    pub loss_scale: f32,
}

impl Updated {
    /// Whether the update changed nothing but the loss scale, which was too large: later ones go on.
    pub fn is_skipped(&self) -> bool {
        !self.norm.is_finite() && self.loss_scale > 1.0
    }
}

/// Which of an engine's models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The main one.
    Main,
    /// One of those that the objective needs beside it.
    Auxiliary(usize),
}

impl Side {
    fn index(self) -> usize {
        match self {
            Self::Main => 0,
            Self::Auxiliary(i) => 1 + i,
        }
    }
}

impl<'g> Engine<'g> {
    /// Tokens of a packed sequence.
    pub fn tokens(&self) -> usize {
        self.declared.tokens
    }

    /// Bytes of logits of one model that exist at a time: the order of sums depends on it.
    pub fn logits(&self) -> u64 {
        self.declared.logits
    }

    /// The most device memory there was at a time, in bytes, since that is measured.
    pub fn peak(&self) -> u64 {
        self.gpu.peak()
    }

    /// One of the models.
    pub fn model(&self, side: Side) -> Option<&Model> {
        self.declared.models.get(side.index())
    }

    /// What is computed.
    pub fn objective(&self) -> &dyn Objective {
        &*self.declared.objective
    }

    /// The numbers that the statistics of a step give.
    pub fn metrics(&self) -> &[Metric] {
        &self.declared.metrics
    }

    fn source(&mut self, side: Side) -> Option<&mut Source<'g>> {
        self.sources.get_mut(side.index().checked_sub(1)?)
    }

    /// Loads a model's weights.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or damaged; nothing was written to disk then.
    pub fn load(&self, side: Side, source: &dyn TensorSource) -> Result<(), Error> {
        self.model(side).map_or(Ok(()), |model| Ok(model.weights.load(self.gpu, &self.memory, source)?))
    }

    /// Gives a model's adapter the values that it starts with; `base` is the folder of the model.
    ///
    /// # Errors
    /// If the folder cannot be read or the device fails.
    pub fn start_adapter(&self, side: Side, base: &dyn TensorSource, seed: u64) -> Result<(), Error> {
        let adapter = self.model(side).and_then(|model| model.adapter.as_ref());
        adapter.map_or(Ok(()), |adapter| Ok(adapter.start(self.gpu, &self.memory, base, seed)?))
    }

    /// Loads a model's adapter.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or damaged, or the device fails.
    pub fn load_adapter(&self, side: Side, source: &dyn TensorSource) -> Result<(), Error> {
        let adapter = self.model(side).and_then(|model| model.adapter.as_ref());
        adapter.map_or(Ok(()), |adapter| Ok(adapter.load(self.gpu, &self.memory, source)?))
    }

    /// Gives a model weights that exist in no file; see [`crate::model::Weights::fill`].
    pub fn fill(&self, side: Side, mut values: impl FnMut(&Parameter, usize) -> Vec<f32>) -> Result<(), Error> {
        let Some(model) = self.model(side) else { return Ok(()) };
        let own = model.adapter.as_ref().map(|adapter| &adapter.weights);
        for weights in [&*model.weights].into_iter().chain(own) {
            weights.fill(self.gpu, &self.memory, &mut values)?;
        }
        Ok(())
    }

    /// Sets the step's scalars.
    pub fn set_scalars(&self, step: u64, scalars: &Scalars) {
        self.memory.write(self.gpu, self.declared.batch.targets.scalars, 0, &scalars.row(step)[..HOST_SCALARS]);
    }

    /// From now on gradients are held times a loss scale, which starts at `start`, a power of two, and moves on the device;
    /// it is part of [`Self::state`].
    pub fn scale_loss(&mut self, start: f32) {
        self.scales_loss = true;
        self.memory.write(self.gpu, loss_scaling(self.declared.batch.targets.scalars), 0, &[start, 0.0]);
    }

    /// Computes one micro-batch: the statistics of each token (zeros where it predicts no target), and gradients added to
    /// those that are there.
    pub fn run(&mut self, batch: &Batch, draw: Draw) -> Result<Vec<TokenStats>, Error> {
        let started = self.start(batch, draw)?;
        self.stats(started)
    }

    /// As [`Self::run`], without waiting: [`Self::stats`] has the statistics. What is started later goes behind it.
    pub fn start(&mut self, batch: &Batch, draw: Draw) -> Result<Started, Error> {
        let targets = self.upload(batch, draw);
        for (source, model) in self.sources.iter_mut().zip(&self.declared.models[1..]) {
            source.provide((self.gpu, &self.memory), model, batch, targets.len())?;
        }
        if targets.is_empty() {
            self.micro_batch.run_rows(self.gpu, 0)?;
            return Ok(Started { targets, stats: None });
        }
        let used = self.memory.slice(self.declared.batch.targets.stats.slice_rows(0, targets.len()));
        let (results, profile) = (&mut self.results, self.profile.as_mut());
        let stats = self.micro_batch.run_then_read(self.gpu, targets.len(), &used, results, profile)?;
        Ok(Started { targets, stats: Some(stats) })
    }

    /// The positions that predict a target, of a batch that is then on the device.
    fn upload(&self, batch: &Batch, draw: Draw) -> Vec<usize> {
        let Config { vocab, hidden, .. } = self.declared.models[0].config;
        self.declared.batch.upload((self.gpu, &self.memory), batch, draw, &*self.declared.objective, [vocab, hidden])
    }

    /// Sets what reads the cached hidden states of an auxiliary model; see [`HiddenSource::Cached`].
    pub fn cache(&mut self, side: Side, states: Box<ReadStates>) {
        if let Some(source) = self.source(side) {
            source.states = Some(states);
        }
    }

    /// Sets where the layers of an auxiliary model are read; see [`HiddenSource::Streamed`].
    pub fn stream(&mut self, side: Side, from: Arc<dyn TensorSource>) {
        if let Some(source) = self.source(side) {
            source.weights = Some(from);
        }
    }

    /// What the objective leaves for the host of each position that predicts a target, one after another.
    pub fn result(&mut self, batch: &Batch) -> Result<Vec<f32>, Error> {
        let Some(result) = self.declared.result else { return Ok(Vec::new()) };
        let targets = self.upload(batch, Draw::quiet(StepKey::new(0, 0)));
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        self.micro_batch.run(self.gpu)?;
        Ok(self.memory.read(self.gpu, result.slice_rows(0, targets.len()))?)
    }

    /// The statistics of a micro-batch, as [`Self::run`] has them. Waits for that one only.
    pub fn stats(&mut self, Started { targets, stats: ticket }: Started) -> Result<Vec<TokenStats>, Error> {
        let mut stats = vec![[0.0; STATS]; self.declared.tokens];
        if let Some(ticket) = ticket {
            let bytes = self.results.fetch(self.gpu, ticket)?;
            let found: Vec<TokenStats> = bytemuck::pod_collect_to_vec(&bytes);
            targets.into_iter().zip(found).for_each(|(t, stat)| stats[t] = stat);
        }
        Ok(stats)
    }

    /// From now on, micro-batches and updates are timed kernel by kernel, which takes longer and waits for them.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::new(self.gpu));
    }

    /// What was timed so far.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// From the next micro-batch on, the i-th target's statistics are of the main model's logit of `tokens[i]`.
    pub fn watch(&self, tokens: &[u32]) {
        self.memory.write(self.gpu, self.declared.batch.targets.watched, 0, tokens);
    }

    /// Forgets the gradients so far.
    pub fn reset(&mut self) -> Result<(), Error> {
        Ok(self.reset.run(self.gpu)?)
    }

    /// Steps the optimizer with the gradients so far and clears them. Returns the gradient's norm before clipping; if it
    /// is not finite, nothing was changed.
    pub fn update(&mut self) -> Result<f32, Error> {
        let started = self.start_update()?;
        let norm = self.norm(started)?;
        if let (Some(adamw), false) = (&self.declared.adamw, norm.is_finite()) {
            self.memory.write(self.gpu, adamw.norm(), 0, &[0.0f32; 2]);
        }
        Ok(norm)
    }

    /// As [`Self::update`], without waiting: [`Self::norm`] has the norm. After one that is not finite, no update that is
    /// started changes anything any more: by the time it is known, the next step is in flight.
    pub fn start_update(&mut self) -> Result<StartedUpdate, Error> {
        let (Some(program), Some(adamw)) = (&mut self.update, &self.declared.adamw) else {
            return Ok(StartedUpdate { norm: None });
        };
        let norm = self.memory.slice(adamw.norm());
        let (results, profile) = (&mut self.results, self.profile.as_mut());
        let norm = program.run_then_read(self.gpu, usize::MAX, &norm, results, profile)?;
        Ok(StartedUpdate { norm: Some(norm) })
    }

    /// The norm of an update's gradient before clipping. Waits for that update only.
    pub fn norm(&mut self, started: StartedUpdate) -> Result<f32, Error> {
        Ok(self.updated(started)?.norm)
    }

    /// What became of an update. Waits for that update only.
    pub fn updated(&mut self, StartedUpdate { norm }: StartedUpdate) -> Result<Updated, Error> {
        let found: Vec<f32> = match norm {
            Some(ticket) => bytemuck::pod_collect_to_vec(&self.results.fetch(self.gpu, ticket)?),
            None => Vec::new(),
        };
        let number = |i: usize| found.get(i).copied();
        Ok(Updated { norm: number(0).unwrap_or(0.0), loss_scale: number(2).unwrap_or(1.0) })
    }

    /// Reads a parameter or its gradient, times the loss scale, back by name; `None` if there is none of that name.
    pub fn read(&self, side: Side, name: &str, gradient: bool) -> Result<Option<Vec<f32>>, Error> {
        let mut all = self.model(side).into_iter().flat_map(|model| model.parameters().chain(model.weights.iter()));
        let Some(stored) = all.find(|stored| stored.parameter.name == name) else { return Ok(None) };
        Ok(Some(match gradient {
            false => stored.read(self.gpu, &self.memory)?,
            true => stored.read_gradient(self.gpu, &self.memory)?,
        }))
    }

    /// The tensors beside the main model's weights that a resumed run needs, by name: both moments of everything that
    /// learns, as they are stored, an auxiliary model that learns, and the loss scale where one moves.
    pub fn state(&self) -> Vec<(String, Vec<Tensor>)> {
        let mut state = Vec::new();
        let Some(adamw) = &self.declared.adamw else { return state };
        if self.scales_loss {
            state.push(("loss_scale".into(), vec![loss_scaling(self.declared.batch.targets.scalars)]));
        }
        let mut moments = adamw.moments().zip(adamw.scales());
        for (i, model) in self.declared.models.iter().enumerate() {
            let prefix = i.checked_sub(1).map_or_else(String::new, |i| format!("weak{i}."));
            for stored in model.parameters() {
                let name = format!("{prefix}{}", stored.parameter.name);
                let count = stored.gradients.len();
                let own: Vec<_> = moments.by_ref().take(count).collect();
                if count > 0 && !prefix.is_empty() {
                    state.push((name.clone(), stored.shards.clone()));
                }
                if count > 0 {
                    state.push((format!("{name}.moment1"), own.iter().map(|([m, _], _)| *m).collect()));
                    state.push((format!("{name}.moment2"), own.iter().map(|([_, v], _)| *v).collect()));
                }
                let scales: Vec<Tensor> = own.iter().filter_map(|(_, scales)| *scales).collect();
                if !scales.is_empty() {
                    state.push((format!("{name}.scales"), scales));
                }
            }
        }
        state
    }

    /// Reads tensors of [`Self::state`] back, one after another.
    pub fn read_tensors(&self, tensors: &[Tensor]) -> Result<Vec<f32>, Error> {
        let parts = tensors.iter().map(|tensor| self.memory.read_numbers(self.gpu, *tensor));
        Ok(parts.collect::<Result<Vec<Vec<f32>>, _>>()?.concat())
    }

    /// Writes tensors of [`Self::state`].
    pub fn write_tensors(&self, tensors: &[Tensor], values: &[f32]) -> Result<(), Error> {
        let mut upload = Upload::new(self.gpu);
        let mut first = 0;
        for tensor in tensors {
            self.memory.upload(&mut upload, *tensor, 0, &values[first..first + tensor.len()])?;
            first += tensor.len();
        }
        Ok(upload.finish()?)
    }
}
