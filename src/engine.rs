//! A loss, declared, planned and loaded: what training, scoring and evaluation run.
//!
//! A [`Blueprint`] needs no GPU and knows the exact memory; [`Blueprint::build`] allocates it. One packed row of fixed
//! length goes through at a time ([`Engine::pass`]); gradients add up over passes until [`Engine::update`].

use crate::{
    checkpoint::{AdapterFolder, Folder},
    data::pack::Batch,
    gpu::{Extents, Gpu, Kernel, Profile, Program, Readback, Ticket},
    method::{Distill, Draw, Method, Mix, Row, Settings, Sft, Source},
    model::{self, Adapter, Config, Layout, Model, Parameter},
    ops::{
        MAX_TERMS,
        head_loss::{self, STATS},
    },
    optim::{AdamW, Scalars, schedule_tensor},
    plan::Plan,
    tape::Tape,
    tensor::{Memory, Role, Store, Tensor},
};

mod error;

pub use error::Error;

/// Logits of a chunk of tokens that exist at a time, in bytes.
const LOGITS_BYTES: u64 = 96 << 20;
/// Results on their way to the host at a time: statistics and norm of a step of one pass, and of the next.
const RESULTS: usize = 4;

/// What the loss of an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Cross-entropy of one model.
    Sft {
        /// Whether its embeddings get noise.
        noisy: bool,
    },
    /// Cross-entropy of logits mixed with those of the other models, or with what stands in for them.
    Mix(Source),
    /// Divergence from the other model.
    Distill,
}

/// A model beside the one that is kept: a weak one, or a teacher.
#[derive(Clone, Debug)]
pub struct Other {
    /// Its shape.
    pub config: Config,
    /// What changes it; if it learns, this alone does.
    pub adapter: Option<Layout>,
    /// Its weights are those of the strong model, whose adapter alone learns: no second copy.
    pub shares_base: bool,
    /// Whether it learns too.
    pub learns: bool,
    /// Its share in the weak logits; those of all sum to 1.
    pub share: f64,
}

impl Other {
    /// A model of its own that stays as it is, all of the weak logits.
    pub fn frozen(config: Config) -> Self {
        Self { config, adapter: None, shares_base: false, learns: false, share: 1.0 }
    }
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The model that is trained or measured.
    pub strong: Config,
    /// What changes it; then this alone is trained.
    pub adapter: Option<Layout>,
    /// Those beside it.
    pub others: Vec<Other>,
    /// What is computed of them.
    pub loss: Loss,
    /// Whether anything learns.
    pub train: bool,
    /// Tokens of a packed row.
    pub tokens: usize,
    /// Compute activations again in backward instead of keeping them.
    pub recompute: bool,
    /// Bytes that one binding of the device may span.
    pub max_binding: u64,
}

/// Device memory of a blueprint, itemised, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Footprint {
    /// Weights of the strong model.
    pub weights: u64,
    /// Gradients of whatever learns.
    pub gradients: u64,
    /// Adam's moments.
    pub optimizer: u64,
    /// Weights of weak models or of a teacher.
    pub weak: u64,
    /// One packed row, tables and statistics.
    pub inputs: u64,
    /// Activations and workspaces, sharing memory over time.
    pub activations: u64,
}

impl Footprint {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.optimizer + self.weak + self.inputs + self.activations
    }
}

/// Everything declared and planned, nothing allocated.
pub struct Blueprint {
    store: Store,
    strong: Model,
    others: Vec<Model>,
    row: Row,
    loss: Loss,
    adamw: Option<AdamW>,
    pass: Plan,
    update: Option<Plan>,
    reset: Plan,
    tokens: usize,
}

impl Blueprint {
    /// Declares models, inputs and optimizer, and plans a pass and an update.
    ///
    /// # Errors
    /// If the vocabularies differ or something exceeds a binding.
    pub fn new(spec: &Spec) -> Result<Self, Error> {
        if let Some(other) = spec.others.iter().find(|other| other.config.vocab != spec.strong.vocab) {
            return Err(Error::Vocabulary { strong: spec.strong.vocab, other: other.config.vocab });
        }
        let capped = spec.others.iter().find(|other| other.config.final_softcap.is_some());
        if let Some(other) = capped.filter(|_| spec.others.len() > 1) {
            return Err(Error::SoftCap { family: other.config.family.model_type });
        }
        if spec.tokens > MAX_TERMS {
            return Err(Error::Tokens { tokens: spec.tokens, most: MAX_TERMS });
        }
        let mut store = Store::default();
        let schedule = schedule_tensor(&mut store);
        let row = Row::declare(&mut store, spec.tokens, schedule);
        let strong = declare(&mut store, spec, &row, Side::Strong, None)?;
        let others = (0..spec.others.len()).map(|i| declare(&mut store, spec, &row, Side::Other(i), Some(&strong)));
        let others = others.collect::<Result<Vec<Model>, _>>()?;
        let chunk = head_loss::chunk_rows(spec.tokens, spec.strong.vocab, LOGITS_BYTES.min(spec.max_binding));
        let settings = Settings { recompute: spec.recompute, chunk };
        let mut tape = Tape::new();
        match (spec.loss, others.as_slice()) {
            (Loss::Mix(source), _) => {
                let weak = others.iter().zip(&spec.others).map(|(model, other)| (model, other.share)).collect();
                Mix { strong: &strong, weak, source }.record(&mut tape, row, settings);
            }
            (Loss::Distill, [teacher, ..]) => {
                Distill { student: &strong, teacher }.record(&mut tape, row, settings);
            }
            (loss, _) => {
                let noisy = loss == Loss::Sft { noisy: true };
                Sft { model: &strong, noisy }.record(&mut tape, row, settings);
            }
        }
        tape.backward();
        let pass = Plan::new(tape.finish());
        if pass.largest() > spec.max_binding {
            return Err(Error::Row { tokens: spec.tokens, bytes: pass.largest(), limit: spec.max_binding });
        }
        let adamw = spec.train.then(|| {
            let mut pairs = strong.trained();
            pairs.extend(others.iter().flat_map(Model::trained));
            AdamW::declare(&mut store, &pairs, schedule)
        });
        let mut tape = Tape::new();
        let trained = [&strong].into_iter().chain(&others).flat_map(Model::trained);
        trained.for_each(|(_, gradient)| tape.clear(gradient));
        let reset = Plan::new(tape.finish());
        let update = adamw.as_ref().map(|adamw| {
            let mut tape = Tape::new();
            adamw.record(&mut tape);
            Plan::new(tape.finish())
        });
        Ok(Self { store, strong, others, row, loss: spec.loss, adamw, pass, update, reset, tokens: spec.tokens })
    }

    /// The device memory that [`Self::build`] takes.
    pub fn footprint(&self) -> Footprint {
        Footprint {
            weights: self.store.bytes(Role::Weights),
            gradients: self.store.bytes(Role::Gradients),
            optimizer: self.store.bytes(Role::Optimizer),
            weak: self.store.bytes(Role::Weak),
            inputs: self.store.bytes(Role::Inputs),
            activations: self.pass.bytes(),
        }
    }

    /// Dispatches of one pass and of one update.
    pub fn dispatches(&self) -> [usize; 2] {
        [self.pass.len(), self.update.as_ref().map_or(0, Plan::len)]
    }

    /// The dispatches of one pass and one update, for [`crate::gpu::tune`]: before anything is allocated.
    pub fn work(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.pass.dispatches().chain(self.update.iter().flat_map(Plan::dispatches))
    }

    /// Allocates everything; weights are 0 until loaded.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn build(self, gpu: &Gpu) -> Result<Engine<'_>, Error> {
        let memory = Memory::allocate(gpu, &self.store)?;
        for model in [&self.strong].into_iter().chain(&self.others) {
            for (tensor, values) in model.rotary_tables() {
                memory.write(gpu, tensor, 0, &values);
            }
        }
        memory.write(gpu, self.row.targets.schedule, 0, &Scalars::default().row(0));
        let pass = self.pass.load(gpu, &memory)?;
        let update = self.update.as_ref().map(|plan| plan.load(gpu, &memory)).transpose()?;
        let reset = self.reset.load(gpu, &memory)?;
        let results = Readback::new(gpu, RESULTS, self.row.targets.stats.bytes());
        let Self { strong, others, row, loss, adamw, tokens, .. } = self;
        Ok(Engine {
            gpu,
            memory,
            strong,
            others,
            row,
            loss,
            adamw,
            pass,
            update,
            reset,
            results,
            profile: None,
            tokens,
        })
    }
}

/// Declares one of the models of `spec`. Only what learns drops inputs.
fn declare(
    store: &mut Store,
    spec: &Spec,
    row: &Row,
    side: Side,
    strong: Option<&Model>,
) -> Result<Model, model::Error> {
    let (config, adapter, learns, role, base) = match side {
        Side::Strong => (&spec.strong, &spec.adapter, spec.train, Role::Weights, None),
        Side::Other(i) => {
            let other = &spec.others[i];
            let base = strong.filter(|_| other.shares_base);
            (&other.config, &other.adapter, spec.train && other.learns, Role::Weak, base)
        }
    };
    let trained = learns && adapter.is_none();
    let own = |store: &mut Store| Model::declare(store, config.clone(), role, trained, spec.tokens, spec.max_binding);
    let model = base.map_or_else(|| own(store), |strong| Ok(strong.view(None)))?;
    let Some(layout) = adapter else { return Ok(model) };
    let keys = learns.then_some(row.noise.keys);
    let adapter = Adapter::declare(store, layout.clone(), role, learns, keys, spec.max_binding)?;
    Ok(model.view(Some(adapter)))
}

/// A loaded loss.
pub struct Engine<'g> {
    gpu: &'g Gpu,
    memory: Memory,
    strong: Model,
    others: Vec<Model>,
    row: Row,
    loss: Loss,
    adamw: Option<AdamW>,
    pass: Program,
    update: Option<Program>,
    reset: Program,
    results: Readback,
    profile: Option<Profile>,
    tokens: usize,
}

/// A pass under way, whose statistics [`Engine::stats`] has.
#[must_use]
pub struct StartedPass {
    targets: Vec<usize>,
    stats: Option<Ticket>,
}

/// An update under way, whose norm [`Engine::norm`] has.
#[must_use]
pub struct StartedUpdate {
    norm: Option<Ticket>,
}

/// Which of an engine's models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The model that is kept.
    Strong,
    /// One of those beside it.
    Other(usize),
}

/// Statistics of one token, as the loss head leaves them.
pub type TokenStats = [f32; STATS];

impl Engine<'_> {
    /// Tokens of a packed row.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// One of the models.
    pub fn model(&self, side: Side) -> Option<&Model> {
        match side {
            Side::Strong => Some(&self.strong),
            Side::Other(i) => self.others.get(i),
        }
    }

    /// What is computed.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Loads a model's weights from a Hugging Face folder.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or damaged; nothing was written to disk then.
    pub fn load(&self, side: Side, folder: &Folder) -> Result<(), Error> {
        self.model(side).map_or(Ok(()), |model| Ok(model.weights.load(self.gpu, &self.memory, folder)?))
    }

    /// Gives a model's adapter the values that it starts with; `base` is the folder of the model.
    ///
    /// # Errors
    /// If the folder cannot be read or the device fails.
    pub fn start_adapter(&self, side: Side, base: &Folder, seed: u64) -> Result<(), Error> {
        let adapter = self.model(side).and_then(|model| model.adapter.as_ref());
        adapter.map_or(Ok(()), |adapter| Ok(adapter.start(self.gpu, &self.memory, base, seed)?))
    }

    /// Loads a model's adapter.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or damaged, or the device fails.
    pub fn load_adapter(&self, side: Side, folder: &AdapterFolder) -> Result<(), Error> {
        let adapter = self.model(side).and_then(|model| model.adapter.as_ref());
        adapter.map_or(Ok(()), |adapter| Ok(adapter.load(self.gpu, &self.memory, folder)?))
    }

    /// Gives a model weights that exist in no file; see [`crate::model::Weights::fill`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn fill(&self, side: Side, values: impl FnMut(&Parameter, usize) -> Vec<f32>) -> Result<(), Error> {
        let Some(model) = self.model(side) else { return Ok(()) };
        Ok(model.weights.fill(self.gpu, &self.memory, values)?)
    }

    /// Sets the step's scalars.
    pub fn set_scalars(&self, step: u64, scalars: &Scalars) {
        self.memory.write(self.gpu, self.row.targets.schedule, 0, &scalars.row(step));
    }

    /// Computes one packed row: the statistics of each token (zeros where it predicts no target), and gradients added to
    /// those that are there.
    ///
    /// # Errors
    /// If the device fails.
    pub fn pass(&mut self, batch: &Batch, draw: Draw) -> Result<Vec<TokenStats>, Error> {
        let started = self.start_pass(batch, draw)?;
        self.stats(started)
    }

    /// As [`Self::pass`], without waiting: [`Self::stats`] has the statistics. What is started later goes behind it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn start_pass(&mut self, batch: &Batch, draw: Draw) -> Result<StartedPass, Error> {
        let Config { vocab, hidden, .. } = self.strong.config;
        let source = if let Loss::Mix(source) = self.loss { source } else { Source::Real };
        let targets = self.row.upload((self.gpu, &self.memory), batch, draw, source, [vocab, hidden]);
        if targets.is_empty() {
            self.pass.run_rows(self.gpu, 0)?;
            return Ok(StartedPass { targets, stats: None });
        }
        let used = self.memory.slice(self.row.targets.stats.slice_rows(0, targets.len()));
        let (results, profile) = (&mut self.results, self.profile.as_mut());
        let stats = self.pass.run_then_read(self.gpu, targets.len(), &used, results, profile)?;
        Ok(StartedPass { targets, stats: Some(stats) })
    }

    /// The statistics of a pass, as [`Self::pass`] has them. Waits for that pass only.
    ///
    /// # Errors
    /// If the device fails.
    pub fn stats(&mut self, StartedPass { targets, stats: ticket }: StartedPass) -> Result<Vec<TokenStats>, Error> {
        let mut stats = vec![[0.0; STATS]; self.tokens];
        if let Some(ticket) = ticket {
            let bytes = self.results.fetch(self.gpu, ticket)?;
            let found: Vec<TokenStats> = bytemuck::pod_collect_to_vec(&bytes);
            targets.into_iter().zip(found).for_each(|(t, stat)| stats[t] = stat);
        }
        Ok(stats)
    }

    /// From now on, passes and updates are timed kernel by kernel, which takes longer and waits for them.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::new(self.gpu));
    }

    /// What was timed so far.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// From the next pass on, the i-th target's statistics tell of the strong logit of `tokens[i]`.
    pub fn watch(&self, tokens: &[u32]) {
        self.memory.write(self.gpu, self.row.targets.watched, 0, tokens);
    }

    /// Forgets the gradients so far.
    ///
    /// # Errors
    /// If the device fails.
    pub fn reset(&mut self) -> Result<(), Error> {
        Ok(self.reset.run(self.gpu)?)
    }

    /// Steps the optimizer with the gradients so far and clears them. Returns the gradient's norm before clipping; if it
    /// is not finite, nothing was changed.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(&mut self) -> Result<f32, Error> {
        let started = self.start_update()?;
        let norm = self.norm(started)?;
        if let (Some(adamw), false) = (&self.adamw, norm.is_finite()) {
            self.memory.write(self.gpu, adamw.norm(), 0, &[0.0f32; 2]);
        }
        Ok(norm)
    }

    /// As [`Self::update`], without waiting: [`Self::norm`] has the norm. After one that is not finite, no update that is
    /// started changes anything any more: by the time it is known, the next step is under way.
    ///
    /// # Errors
    /// If the device fails.
    pub fn start_update(&mut self) -> Result<StartedUpdate, Error> {
        let (Some(program), Some(adamw)) = (&mut self.update, &self.adamw) else {
            return Ok(StartedUpdate { norm: None });
        };
        let norm = self.memory.slice(adamw.norm());
        let (results, profile) = (&mut self.results, self.profile.as_mut());
        let norm = program.run_then_read(self.gpu, usize::MAX, &norm, results, profile)?;
        Ok(StartedUpdate { norm: Some(norm) })
    }

    /// The norm of an update's gradient before clipping. Waits for that update only.
    ///
    /// # Errors
    /// If the device fails.
    pub fn norm(&mut self, StartedUpdate { norm }: StartedUpdate) -> Result<f32, Error> {
        let Some(ticket) = norm else { return Ok(0.0) };
        let bytes = self.results.fetch(self.gpu, ticket)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes).first().copied().unwrap_or(0.0))
    }

    /// Reads a parameter or its gradient back by name; `None` if there is none of that name.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&self, side: Side, name: &str, gradient: bool) -> Result<Option<Vec<f32>>, Error> {
        let mut all = self.model(side).into_iter().flat_map(|model| model.parameters().chain(model.weights.iter()));
        let Some(stored) = all.find(|stored| stored.parameter.name == name) else { return Ok(None) };
        Ok(Some(match gradient {
            false => stored.read(self.gpu, &self.memory)?,
            true => stored.read_gradient(self.gpu, &self.memory)?,
        }))
    }

    /// The tensors beside the strong model's weights that a resumed run needs, by name: both moments of everything
    /// that learns, and a weak model that learns.
    pub fn state(&self) -> Vec<(String, Vec<Tensor>)> {
        let mut state = Vec::new();
        let Some(adamw) = &self.adamw else { return state };
        let mut moments = adamw.moments();
        let others = self.others.iter().enumerate().map(|(i, model)| (format!("weak{i}."), model));
        for (prefix, model) in [(String::new(), &self.strong)].into_iter().chain(others) {
            for stored in model.parameters() {
                let name = format!("{prefix}{}", stored.parameter.name);
                let count = stored.gradients.len();
                let (first, second) = moments.by_ref().take(count).map(|[m, v]| (m, v)).unzip();
                if count > 0 && !prefix.is_empty() {
                    state.push((name.clone(), stored.shards.clone()));
                }
                if count > 0 {
                    state.push((format!("{name}.moment1"), first));
                    state.push((format!("{name}.moment2"), second));
                }
            }
        }
        state
    }

    /// Reads tensors of [`Self::state`] back, one after another.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read_tensors(&self, tensors: &[Tensor]) -> Result<Vec<f32>, Error> {
        let parts = tensors.iter().map(|tensor| self.memory.read(self.gpu, *tensor));
        Ok(parts.collect::<Result<Vec<Vec<f32>>, _>>()?.concat())
    }

    /// Writes tensors of [`Self::state`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn write_tensors(&self, tensors: &[Tensor], values: &[f32]) -> Result<(), Error> {
        let mut first = 0;
        for tensor in tensors {
            self.memory.write(self.gpu, *tensor, 0, &values[first..first + tensor.len()]);
            first += tensor.len();
        }
        Ok(self.gpu.flush()?)
    }
}
