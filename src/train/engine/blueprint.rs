//! What a loss needs, declared and planned without a GPU: its exact memory is known before anything is allocated.

use super::{Engine, Error, Side, supply::Planned};
use crate::{
    gpu::{Extents, Gpu, Kernel, Readback, Upload},
    graph::{
        ops::{MAX_TERMS, head_loss},
        optim::{AdamW, Scalars, Width, schedule_tensor},
        plan::{Plan, Slots},
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
    model::{self, Adapter, Config, Held, Layout, Model, Weights},
    objective::{Beside, Distill, Method, Mix, Row, Settings, Sft, Source, States},
};

/// Logits of one model that exist at a time, in bytes, where there is room for them.
pub const LOGITS: u64 = 96 << 20;
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
    /// None: the final hidden states that [`Engine::states`] reads.
    States,
}

/// Where the final hidden states of a frozen model come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supply {
    /// Its layers are part of the pass.
    #[default]
    Pass,
    /// They were made before and lie on disk: of the model there is only the head.
    Kept,
    /// Its layers run one after another before the pass, each read from its folder: one is there at a time.
    Streamed,
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
    /// Where its hidden states come from; only a model that does not learn can have them from elsewhere.
    pub supply: Supply,
}

impl Other {
    /// A model of its own that stays as it is, all of the weak logits.
    pub fn frozen(config: Config) -> Self {
        Self { config, adapter: None, shares_base: false, learns: false, share: 1.0, supply: Supply::Pass }
    }

    /// What of its adapter the loss needs.
    fn needed(&self) -> Option<Layout> {
        match self.supply {
            Supply::Pass | Supply::Streamed => self.adapter.clone(),
            Supply::Kept => self.adapter.as_ref()?.of_head(),
        }
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
    /// Blocks of each model whose activations are computed again in backward instead of being kept.
    pub recompute: usize,
    /// Logits of one model that exist at a time, in bytes; those of [`crate::graph::ops::head_loss::chunk_rows`] at least.
    pub logits: u64,
    /// How what learns is held.
    pub width: Width,
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
    /// What forward leaves to backward.
    pub activations: u64,
    /// What lives within one of them only: logits of a chunk, activations that are computed again, gradients of
    /// activations. They share memory over time.
    pub workspaces: u64,
    /// What bytes go through on their way to and from the device.
    pub staging: u64,
}

impl Footprint {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Its lines, named for people.
    pub fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("weak model or teacher", self.weak),
            ("inputs", self.inputs),
            ("activations", self.activations),
            ("workspaces", self.workspaces),
            ("staging", self.staging),
        ]
    }
}

/// Everything declared and planned, nothing allocated.
pub struct Blueprint {
    store: Store,
    strong: Model,
    others: Vec<Model>,
    row: Row,
    loss: Loss,
    /// Of each other model: where what it is given comes from.
    sources: Vec<Planned>,
    /// Where hidden states are left.
    states: Option<Tensor>,
    adamw: Option<AdamW>,
    pass: Plan,
    update: Option<Plan>,
    reset: Plan,
    tokens: usize,
    logits: u64,
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
        let chunk = head_loss::chunk_rows(spec.tokens, spec.strong.vocab, spec.logits.min(spec.max_binding));
        let settings = Settings { recompute: spec.recompute, chunk };
        let planned = |(model, other): (&Model, &Other)| Planned::new(&mut store, model, other.supply, row.inputs);
        let sources: Vec<Planned> = others.iter().zip(&spec.others).map(planned).collect();
        let to = || store.declare("hidden states", Role::Inputs, spec.tokens, spec.strong.hidden);
        let states = (spec.loss == Loss::States).then(to);
        let beside: Vec<Beside<'_>> =
            others.iter().zip(&sources).map(|(model, source)| Beside { model, given: source.given() }).collect();
        let mut tape = Tape::new();
        tape.round_by(row.noise.keys);
        let mut loss = spec.loss;
        match (spec.loss, beside.as_slice()) {
            (Loss::Mix(source), _) => {
                let weak = beside.iter().zip(&spec.others).map(|(model, other)| (*model, other.share)).collect();
                let mix = Mix { strong: &strong, weak, source }.resolved();
                loss = Loss::Mix(mix.source);
                mix.record(&mut tape, row, settings);
            }
            (Loss::Distill, [teacher, ..]) => {
                Distill { student: &strong, teacher: *teacher }.record(&mut tape, row, settings);
            }
            (Loss::States, _) => {
                let to = states.unwrap_or(row.targets.stats);
                States { model: &strong, to }.record(&mut tape, row, settings);
            }
            (sft, _) => {
                let noisy = sft == Loss::Sft { noisy: true };
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
            AdamW::declare(&mut store, &pairs, schedule, spec.width)
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
        let Spec { tokens, logits, .. } = *spec;
        Ok(Self { store, strong, others, row, loss, sources, states, adamw, pass, update, reset, tokens, logits })
    }

    /// The device memory that [`Self::build`] takes.
    pub fn footprint(&self) -> Footprint {
        let others = self.update.iter().chain([&self.reset]);
        Footprint {
            weights: self.store.bytes(Role::Weights),
            gradients: self.store.bytes(Role::Gradients),
            optimizer: self.store.bytes(Role::Optimizer),
            weak: self.store.bytes(Role::Weak),
            inputs: self.store.bytes(Role::Inputs),
            activations: self.pass.kept(),
            workspaces: Slots::bytes(&self.passes()) - self.pass.kept() + others.map(Plan::bytes).sum::<u64>(),
            staging: self.staging(),
        }
    }

    /// The ring of results, and the most of what else there is at a time: weights or tables on their way in, rows of passes
    /// that are not done, weights on their way out.
    fn staging(&self) -> u64 {
        let models = || [&self.strong].into_iter().chain(&self.others);
        let stored = models().flat_map(|model| [Some(&*model.weights), model.adapter.as_ref().map(|a| &a.weights)]);
        let bytes = |weights: &Weights| weights.iter().flat_map(|stored| &stored.shards).map(Tensor::bytes).sum();
        let loaded = stored.flatten().map(bytes).max().unwrap_or(0);
        let tables = models().flat_map(Model::rotary_tensors).map(|table| table.bytes()).sum();
        let trained = models().flat_map(Model::trained).map(|(weight, _)| weight.bytes()).max().unwrap_or(0);
        let given: u64 = self.sources.iter().map(Planned::written).sum();
        let rows = (RESULTS as u64 + 1) * (self.row.upload_bytes() + given);
        let states = self.states.map_or(0, |states| states.bytes());
        let read = Gpu::read_staging(trained.max(states));
        let passing = [Upload::staging(loaded), tables, rows, read];
        let streamed: u64 = self.sources.iter().zip(&self.others).map(|(source, model)| source.staging(model)).sum();
        let ring = Readback::staging(RESULTS, self.row.targets.stats.bytes());
        ring + streamed + passing.into_iter().max().unwrap_or(0)
    }

    /// The plans of a pass, which run one after another.
    fn passes(&self) -> Vec<&Plan> {
        self.sources.iter().flat_map(Planned::plans).chain([&self.pass]).collect()
    }

    /// Dispatches of one pass and of one update.
    pub fn dispatches(&self) -> [usize; 2] {
        [self.passes().iter().map(|plan| plan.len()).sum(), self.update.as_ref().map_or(0, Plan::len)]
    }

    /// The dispatches of one pass: without their memory.
    pub fn pass_work(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.passes().into_iter().flat_map(Plan::dispatches)
    }

    /// The dispatches of one pass and one update, for [`crate::gpu::tune`]: before anything is allocated.
    pub fn work(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.passes().into_iter().chain(&self.update).flat_map(Plan::dispatches)
    }

    /// Allocates everything; weights are 0 until loaded.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn build(self, gpu: &Gpu) -> Result<Engine<'_>, Error> {
        gpu.flush()?; // what was dropped before is gone now
        let memory = Memory::allocate(gpu, &self.store)?;
        for model in [&self.strong].into_iter().chain(&self.others) {
            for (tensor, values) in model.rotary_tables() {
                memory.write(gpu, tensor, 0, &values);
            }
        }
        memory.write(gpu, self.row.targets.schedule, 0, &Scalars::default().row(0));
        gpu.flush()?;
        let slots = Slots::allocate(gpu, &self.passes())?;
        let pass = self.pass.load_over(gpu, &memory, &slots);
        let feeds = self.sources.iter().map(|planned| planned.load(gpu, &memory, &slots)).collect();
        let update = self.update.as_ref().map(|plan| plan.load(gpu, &memory)).transpose()?;
        let reset = self.reset.load(gpu, &memory)?;
        let results = Readback::new(gpu, RESULTS, self.row.targets.stats.bytes());
        let Self { strong, others, row, loss, states, adamw, tokens, logits, .. } = self;
        Ok(Engine {
            gpu,
            memory,
            strong,
            others,
            row,
            loss,
            feeds,
            states,
            adamw,
            pass,
            update,
            reset,
            results,
            profile: None,
            tokens,
            logits,
            scales_loss: false,
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
        Side::Strong => (&spec.strong, spec.adapter.clone(), spec.train, Role::Weights, None),
        Side::Other(i) => {
            let other = &spec.others[i];
            let base = strong.filter(|_| other.shares_base);
            (&other.config, other.needed(), spec.train && other.learns, Role::Weak, base)
        }
    };
    let trained = learns && adapter.is_none();
    let mut config = config.clone();
    let views = spec.others.iter().filter(|other| other.shares_base && side == Side::Strong);
    let mut layouts = views.filter_map(Other::needed).chain(adapter.clone());
    if layouts.any(|layout| layout.config.dora) {
        config.widen(); // the lengths of rows are read as f32
    }
    if trained {
        config.widen();
        config.held = if spec.width == Width::Bits32 { Held::default() } else { Held::BF16 };
    }
    let supply = if let Side::Other(i) = side { spec.others[i].supply } else { Supply::Pass };
    let own = |store: &mut Store| match supply {
        Supply::Pass => Model::declare(store, config, role, trained, spec.tokens, spec.max_binding),
        Supply::Kept => Model::declare_head(store, config, role, spec.max_binding),
        Supply::Streamed => Model::declare_streamed(store, config, role, spec.tokens, spec.max_binding),
    };
    let model = base.map_or_else(|| own(store), |strong| Ok(strong.view(None)))?;
    let Some(layout) = adapter else { return Ok(model) };
    let keys = learns.then_some(row.noise.keys);
    let adapter = Adapter::declare(store, layout, role, learns, keys, spec.max_binding)?;
    Ok(model.view(Some(adapter)))
}
