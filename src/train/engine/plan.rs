//! An engine, declared and planned without a GPU: its exact memory is known before anything is allocated.

use std::sync::Arc;

use super::{AuxiliaryModel, Engine, Error, HiddenSource, Spec, hidden::SourcePlan};
use crate::{
    gpu::{Extents, Gpu, Kernel, Readback, Upload},
    graph::{
        ops::{MAX_TERMS, head_loss},
        optim::{AdamW, Width},
        plan::{Plan, Slots},
        scalars::{self, Scalars},
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
    model::{self, Adapter, Held, Layout, Model, Weights},
    objective::{Forward, Metric, MicroBatch, Models, Objective, Settings},
};

/// Logits of one model that exist at a time, in bytes, where there is room for them.
pub const LOGITS: u64 = 96 << 20;
/// Results on their way to the host at a time: statistics and norm of a step of one pass, and of the next.
const RESULTS: usize = 4;

/// Device memory of an engine, itemised, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Footprint {
    /// Weights of the main model.
    pub weights: u64,
    /// Gradients of whatever learns.
    pub gradients: u64,
    /// Adam's moments.
    pub optimizer: u64,
    /// Weights of auxiliary models.
    pub weak: u64,
    /// One packed sequence, tables and statistics.
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

/// What an engine is made of, allocated or not.
pub(super) struct Declared {
    /// The main model, then the auxiliary ones.
    pub(super) models: Vec<Model>,
    pub(super) batch: MicroBatch,
    pub(super) objective: Arc<dyn Objective>,
    pub(super) metrics: Vec<Metric>,
    /// What the objective's recording leaves for the host.
    pub(super) result: Option<Tensor>,
    pub(super) adamw: Option<AdamW>,
    pub(super) tokens: usize,
    pub(super) logits: u64,
}

/// Everything declared and planned, nothing allocated.
pub struct EnginePlan {
    store: Store,
    declared: Declared,
    /// Of each auxiliary model.
    sources: Vec<SourcePlan>,
    micro_batch: Plan,
    update: Option<Plan>,
    reset: Plan,
}

impl EnginePlan {
    /// Declares models, inputs and optimizer, and plans a micro-batch and an update.
    ///
    /// # Errors
    /// If the vocabularies differ or something exceeds a binding.
    pub fn new(spec: &Spec) -> Result<Self, Error> {
        check(spec)?;
        let mut store = Store::default();
        let schedule = scalars::declare(&mut store);
        let batch = MicroBatch::declare(&mut store, spec.tokens, schedule);
        let mut models = vec![declare_main(&mut store, spec, &batch)?];
        for (auxiliary, learns) in spec.auxiliaries.iter().zip(spec.learning()) {
            let model = declare_auxiliary(&mut store, spec, &batch, auxiliary, learns, &models[0])?;
            models.push(model);
        }
        let (main, auxiliaries) = (&models[0], &models[1..]);
        let chunk = head_loss::chunk_rows(spec.tokens, spec.model.vocab, spec.logits.min(spec.max_binding));
        let settings = Settings { recompute: spec.recompute, chunk };
        let planned = auxiliaries.iter().zip(&spec.auxiliaries);
        let planned = planned.map(|(model, of)| SourcePlan::new(&mut store, model, of.hidden, batch.inputs));
        let sources: Vec<SourcePlan> = planned.collect();
        let forward = |(model, source): (_, &SourcePlan)| Forward { model, hidden: source.hidden };
        let forwards: Vec<Forward<'_>> = auxiliaries.iter().zip(&sources).map(forward).collect();
        let of_objective = Models { main, auxiliaries: &forwards };
        let mut tape = Tape::new();
        tape.round_by(batch.noise.keys);
        let result = spec.objective.record(&mut tape, &of_objective, batch, settings).map(|result| {
            let to = store.declare("result", Role::Inputs, result.rows, result.cols);
            tape.copy(result, to);
            to
        });
        let metrics = spec.objective.metrics(&of_objective);
        tape.backward();
        let micro_batch = Plan::new(tape.finish());
        if micro_batch.largest() > spec.max_binding {
            return Err(Error::Row { tokens: spec.tokens, bytes: micro_batch.largest(), limit: spec.max_binding });
        }
        let trained: Vec<_> = models.iter().flat_map(Model::trained).collect();
        let adamw = spec.train.then(|| AdamW::declare(&mut store, &trained, schedule, spec.width));
        let plan = |record: &dyn Fn(&mut Tape)| {
            let mut tape = Tape::new();
            record(&mut tape);
            Plan::new(tape.finish())
        };
        let reset = plan(&|tape| trained.iter().for_each(|(_, gradient)| tape.clear(*gradient)));
        let update = adamw.as_ref().map(|adamw| plan(&|tape| adamw.record(tape)));
        let (objective, &Spec { tokens, logits, .. }) = (spec.objective.clone(), spec);
        let declared = Declared { models, batch, objective, metrics, result, adamw, tokens, logits };
        Ok(Self { store, declared, sources, micro_batch, update, reset })
    }

    /// The device memory that [`Self::build`] takes.
    pub fn footprint(&self) -> Footprint {
        let updates = self.update.iter().chain([&self.reset]);
        Footprint {
            weights: self.store.bytes(Role::Weights),
            gradients: self.store.bytes(Role::Gradients),
            optimizer: self.store.bytes(Role::Optimizer),
            weak: self.store.bytes(Role::Weak),
            inputs: self.store.bytes(Role::Inputs),
            activations: self.micro_batch.kept(),
            workspaces: Slots::bytes(&self.plans()) - self.micro_batch.kept() + updates.map(Plan::bytes).sum::<u64>(),
            staging: self.staging(),
        }
    }

    /// The ring of results, and the most of what else there is at a time: weights or tables on their way in, inputs of
    /// micro-batches that are not done, weights on their way out.
    fn staging(&self) -> u64 {
        let Declared { models, batch, result, .. } = &self.declared;
        let models = || models.iter();
        let stored = models().flat_map(|model| [Some(&*model.weights), model.adapter.as_ref().map(|a| &a.weights)]);
        let bytes = |weights: &Weights| weights.iter().flat_map(|stored| &stored.shards).map(Tensor::bytes).sum();
        let loaded = stored.flatten().map(bytes).max().unwrap_or(0);
        let tables = models().flat_map(Model::rotary_tensors).map(|table| table.bytes()).sum();
        let trained = models().flat_map(Model::trained).map(|(weight, _)| weight.bytes()).max().unwrap_or(0);
        let provided: u64 = self.sources.iter().map(SourcePlan::written).sum();
        let inputs = (RESULTS as u64 + 1) * (batch.upload_bytes() + provided);
        let result = result.map_or(0, |result| result.bytes());
        let read = Gpu::read_staging(trained.max(result));
        let passing = [Upload::staging(loaded), tables, inputs, read];
        let streamed = self.sources.iter().zip(models().skip(1)).map(|(source, model)| source.staging(model));
        let streamed: u64 = streamed.sum();
        let ring = Readback::staging(RESULTS, batch.targets.stats.bytes());
        ring + streamed + passing.into_iter().max().unwrap_or(0)
    }

    /// The plans of a micro-batch, which run one after another.
    fn plans(&self) -> Vec<&Plan> {
        self.sources.iter().flat_map(|source| &source.plans).chain([&self.micro_batch]).collect()
    }

    /// Dispatches of one micro-batch and of one update.
    pub fn dispatches(&self) -> [usize; 2] {
        [self.plans().iter().map(|plan| plan.len()).sum(), self.update.as_ref().map_or(0, Plan::len)]
    }

    /// The dispatches of one micro-batch: without their memory.
    pub fn micro_batch_work(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.plans().into_iter().flat_map(Plan::dispatches)
    }

    /// The dispatches of one micro-batch and one update, for [`crate::kernels::tuner`]: before anything is allocated.
    pub fn work(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.plans().into_iter().chain(&self.update).flat_map(Plan::dispatches)
    }

    /// Allocates everything; weights are 0 until loaded.
    pub fn build(self, gpu: &Gpu) -> Result<Engine<'_>, Error> {
        gpu.flush()?; // what was dropped before is gone now
        let memory = Memory::allocate(gpu, &self.store)?;
        let Self { declared, micro_batch, update, reset, .. } = &self;
        for model in &declared.models {
            for (tensor, values) in model.rotary_tables() {
                memory.write(gpu, tensor, 0, &values);
            }
        }
        memory.write(gpu, declared.batch.targets.scalars, 0, &Scalars::default().row(0));
        gpu.flush()?;
        let slots = Slots::allocate(gpu, &self.plans())?;
        let micro_batch = micro_batch.load_over(gpu, &memory, &slots);
        let sources = self.sources.iter().map(|planned| planned.load(gpu, &memory, &slots)).collect();
        let update = update.as_ref().map(|plan| plan.load(gpu, &memory)).transpose()?;
        let reset = reset.load(gpu, &memory)?;
        let results = Readback::new(gpu, RESULTS, declared.batch.targets.stats.bytes());
        let (declared, profile, scales_loss) = (self.declared, None, false);
        Ok(Engine { gpu, memory, declared, sources, micro_batch, update, reset, results, profile, scales_loss })
    }
}

/// What must hold of the models for their logits to meet.
fn check(spec: &Spec) -> Result<(), Error> {
    for (auxiliary, of) in spec.auxiliaries.iter().zip(spec.objective.auxiliaries()) {
        let (main, other) = (spec.model.vocab, auxiliary.config.vocab);
        if main != other {
            return Err(Error::Vocabulary { main, role: of.role, auxiliary: other });
        }
    }
    let capped = spec.auxiliaries.iter().find(|auxiliary| auxiliary.config.final_softcap.is_some());
    if let Some(auxiliary) = capped.filter(|_| spec.auxiliaries.len() > 1) {
        return Err(Error::SoftCap { family: auxiliary.config.family.model_type });
    }
    if spec.tokens > MAX_TERMS {
        return Err(Error::Tokens { tokens: spec.tokens, most: MAX_TERMS });
    }
    Ok(())
}

/// Stored so that it can learn.
fn learning(mut config: model::Config, width: Width) -> model::Config {
    config.widen();
    config.held = if width == Width::Bits32 { Held::default() } else { Held::BF16 };
    config
}

/// The same model under an adapter, if there is one. Only what learns drops inputs.
fn adapted(
    store: &mut Store,
    spec: &Spec,
    batch: &MicroBatch,
    model: Model,
    adapter: Option<Layout>,
    role: Role,
    learns: bool,
) -> Result<Model, model::Error> {
    let Some(layout) = adapter else { return Ok(model) };
    let keys = learns.then_some(batch.noise.keys);
    let adapter = Adapter::declare(store, layout, role, learns, keys, spec.max_binding)?;
    Ok(model.view(Some(adapter)))
}

fn declare_main(store: &mut Store, spec: &Spec, batch: &MicroBatch) -> Result<Model, model::Error> {
    let mut config = spec.model.clone();
    let views = spec.auxiliaries.iter().filter(|auxiliary| auxiliary.shares_base);
    let mut layouts = views.filter_map(AuxiliaryModel::declared_adapter).chain(spec.adapter.clone());
    if layouts.any(|layout| layout.config.dora) {
        config.widen(); // the lengths of rows are read as f32
    }
    let trained = spec.train && spec.adapter.is_none();
    let config = if trained { learning(config, spec.width) } else { config };
    let model = Model::declare(store, config, Role::Weights, trained, spec.tokens, spec.max_binding)?;
    adapted(store, spec, batch, model, spec.adapter.clone(), Role::Weights, spec.train)
}

fn declare_auxiliary(
    store: &mut Store,
    spec: &Spec,
    batch: &MicroBatch,
    auxiliary: &AuxiliaryModel,
    learns: bool,
    main: &Model,
) -> Result<Model, model::Error> {
    let (role, adapter) = (Role::Weak, auxiliary.declared_adapter());
    let model = if auxiliary.shares_base {
        main.view(None)
    } else {
        let mut config = auxiliary.config.clone();
        if adapter.as_ref().is_some_and(|layout| layout.config.dora) {
            config.widen();
        }
        let trained = learns && adapter.is_none();
        let config = if trained { learning(config, spec.width) } else { config };
        match auxiliary.hidden {
            HiddenSource::Computed => Model::declare(store, config, role, trained, spec.tokens, spec.max_binding)?,
            HiddenSource::Cached => Model::declare_head(store, config, role, spec.max_binding)?,
            HiddenSource::Streamed => Model::declare_streamed(store, config, role, spec.tokens, spec.max_binding)?,
        }
    };
    adapted(store, spec, batch, model, adapter, role, learns)
}
