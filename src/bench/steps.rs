//! Training steps of named model shapes with random weights: a pass over one packed row, backward, and an AdamW update,
//! as `train` does them.

use std::sync::Arc;

use super::{
    case::Tier,
    error::Error,
    models::{SHAPES, Shape},
    recorder::Rng,
};
use crate::{
    data::{
        Example,
        pack::{self, Batch},
        random::StepKey,
    },
    formats::{AdapterConfig, States, StatesOf, StatesWriter},
    gpu::Gpu,
    graph::{
        scalars::Scalars,
        tensor::{Format, GROUP},
    },
    model::{self, Held, Layout, config::Init},
    objective::{CrossEntropy, Draw, Mix, Objective, TokenStats},
    platform,
    train::engine::{self, AuxiliaryModel, Engine, EnginePlan, Footprint, HiddenSource, LOGITS, Side, Spec},
};

/// Random weights that are uploaded at a time: a prime number of groups, so that rows differ.
const PART: usize = 16_381 * GROUP;
/// What computes every block twice, memory or not.
const TWICE: &str = "sft recompute";
/// Of the adapters.
const RANK: usize = 16;

/// A model shape and what is trained of it.
pub struct StepCase {
    /// Unique; ends in the number type.
    pub name: String,
    shape: &'static Shape,
    config: model::Config,
    /// What learns beside a frozen model; `None`: the model itself.
    adapter: Option<Layout>,
    /// Whether a weak model is mixed in: one that learns too, or the base of the adapter.
    joint: bool,
    /// Whether all blocks are computed twice, memory or not.
    recompute: bool,
    /// Where its hidden states come from.
    hidden: HiddenSource,
    pub(super) tier: Tier,
}

/// Every step case, the smallest model first.
pub fn cases() -> Vec<StepCase> {
    let mut cases = Vec::new();
    for (shape, tier) in SHAPES.iter().zip([Tier::Always, Tier::Gpu, Tier::Gpu, Tier::Full]) {
        // A test builds every shape; one that cannot be read is our bug.
        let Ok(config) = shape.config() else { continue };
        for (joint, what, linear, hidden) in [
            (false, "sft", None, HiddenSource::Computed),
            (false, TWICE, None, HiddenSource::Computed),
            (true, "wmss joint", None, HiddenSource::Computed),
            (false, "sft lora16", Some(Format::Bf16), HiddenSource::Computed),
            (true, "wmss lora16 weak=base", Some(Format::Bf16), HiddenSource::Computed),
            (true, "wmss lora16 weak=base cached", Some(Format::Bf16), HiddenSource::Cached),
            (false, "sft lora16", Some(Format::Q4), HiddenSource::Computed),
        ] {
            let numbers = match linear {
                None => "f32",
                Some(Format::Q4) => "q4",
                Some(_) => "bf16",
            };
            let name = format!("step {} {what} {} tokens {numbers}", shape.name, shape.tokens);
            let held = linear.map_or_else(Held::default, |linear| Held {
                linear,
                table: if linear == Format::Q4 { Format::Q8 } else { linear },
            });
            let config = model::Config { held, ..config.clone() };
            let wanted = AdapterConfig { rank: RANK, alpha: 2.0 * RANK as f64, ..AdapterConfig::default() };
            let adapter = linear.and_then(|_| Layout::resolve(&wanted, &config).ok());
            let recompute = what == TWICE;
            cases.push(StepCase { name, shape, config, adapter, joint, recompute, hidden, tier });
        }
    }
    cases
}

impl StepCase {
    /// What its model is called.
    pub fn model(&self) -> &'static str {
        self.shape.name
    }

    /// Whether it is the cheapest of those that train two models.
    pub(super) fn is_smallest_joint(&self) -> bool {
        self.tier == Tier::Always && self.joint && self.adapter.is_none()
    }

    /// Tokens of a step.
    pub fn tokens(&self) -> usize {
        self.shape.tokens
    }

    /// Operations of a step, at least.
    pub fn flops(&self) -> f64 {
        // A frozen matrix has no gradient, a weak base no backward: forward, backward to the inputs, forward again. Where
        // its hidden states are kept, only the head of that is left.
        let passes = match (&self.adapter, self.joint && self.hidden == HiddenSource::Computed) {
            (None, joint) => 3.0 * if joint { 2.0 } else { 1.0 },
            (Some(_), joint) => 2.0 + if joint { 1.0 } else { 0.0 },
        };
        self.shape.flops(&self.config) * passes
    }

    /// What a step declares and plans, without a GPU.
    ///
    /// # Errors
    /// If something exceeds a binding.
    pub fn plan(&self, max_binding: u64, recompute: usize) -> Result<EnginePlan, engine::Error> {
        let base = self.adapter.is_some();
        let hidden = self.hidden;
        let weak = AuxiliaryModel { shares_base: base, hidden, ..AuxiliaryModel::new(self.config.clone()) };
        let (objective, auxiliaries): (Arc<dyn Objective>, _) = match self.joint {
            true => (Arc::new(Mix { blends: true, ..Mix::fixed(1, !base, 0.5) }), vec![weak]),
            false => (Arc::new(CrossEntropy::default()), Vec::new()),
        };
        let spec = Spec::new(self.config.clone(), objective, auxiliaries, max_binding);
        let adapter = self.adapter.clone();
        EnginePlan::new(&Spec { adapter, tokens: self.shape.tokens, recompute, logits: LOGITS, ..spec })
    }

    /// Random hidden states of a row's targets, in a file that has no name any more: they are read in every step, as `train`
    /// does.
    fn states(&self, batch: &Batch, rng: &mut Rng) -> Result<States, engine::Error> {
        let width = self.config.hidden;
        let samples: Vec<(u64, usize)> = batch.examples.iter().map(|placed| (placed.idx, placed.len - 1)).collect();
        let of = StatesOf { model: self.name.clone(), data: String::new(), width, samples: samples.clone() };
        let path = std::env::temp_dir().join(format!("underdog-bench-{}.states", std::process::id()));
        let write = || {
            let mut writer = StatesWriter::open(&path, of)?;
            for (_, count) in samples {
                let values: Vec<f32> = (0..count * width).map(|_| rng.number()).collect();
                writer.push(&values)?;
            }
            writer.finish()
        };
        let states = write();
        // A name that stays is the system's to clear away.
        let _ = std::fs::remove_file(&path);
        Ok(states.map_err(model::Error::from)?)
    }

    /// One row of random tokens, every one of which but the first of a document is a target.
    fn batch(&self, rng: &mut Rng) -> Result<Batch, engine::Error> {
        let Shape { tokens, document, .. } = *self.shape;
        let example = |idx| Example {
            idx,
            line: 0,
            ids: (0..document).map(|_| (rng.word() % self.config.vocab as u64) as u32).collect(),
            trained: (0..document).map(|i| i > 0).collect(),
        };
        let examples: Vec<Example> = (0..(tokens / document) as u64).map(example).collect();
        let rows = pack::pack(&examples.iter().collect::<Vec<_>>(), tokens);
        let short = engine::Error::ShortRow { tokens, longest: document };
        rows.ok().and_then(|rows| rows.into_iter().next()).ok_or(short)
    }

    /// Plans, allocates and fills the models; activations are kept where there is room for them. `memory`: most bytes.
    ///
    /// # Errors
    /// [`engine::Error::Memory`] or [`crate::gpu::Error::OutOfMemory`] where it does not fit.
    pub fn load<'g>(&self, gpu: &'g Gpu, memory: Option<u64>) -> Result<Trainer<'g>, Error> {
        let most = [memory, platform::available(gpu)].into_iter().flatten().min();
        let mut least = None;
        let all = self.config.layers.len();
        let choices = if self.recompute { &[all][..] } else { &[0, all] };
        for &recompute in choices {
            let plan = self.plan(gpu.max_binding(), recompute)?;
            let footprint = plan.footprint();
            if most.is_some_and(|most| footprint.total() > most) {
                least = Some((footprint.total(), most.unwrap_or(0)));
                continue;
            }
            match plan.build(gpu) {
                Err(engine::Error::Gpu(crate::gpu::Error::OutOfMemory { .. }))
                    if recompute == 0 && !self.recompute =>
                {
                    gpu.flush()?
                }
                built => return self.trainer(built?, footprint, recompute > 0),
            }
        }
        let (needed, available) = least.unwrap_or_default();
        let [needed, available] = [needed, available].map(crate::report::bytes);
        let least = "computed twice".into();
        Err(engine::Error::Memory { needed, available, least, advice: "not measured".into() }.into())
    }

    fn trainer<'g>(
        &self,
        mut engine: Engine<'g>,
        footprint: Footprint,
        recompute: bool,
    ) -> Result<Trainer<'g>, Error> {
        let mut rng = Rng(7);
        let own = if self.adapter.is_some() { 1 } else { 2 };
        for side in [Side::Main, Side::Auxiliary(0)].into_iter().take(own) {
            engine.fill(side, |parameter, start| {
                let count = (parameter.count() - start).min(PART);
                match parameter.init {
                    Init::Ones => vec![1.0; count],
                    Init::Zeros => vec![0.0; count],
                    Init::Uniform(most) => (0..count).map(|_| rng.number() * most).collect(),
                    // Uniform of the same deviation: twice as fast to make as normal.
                    Init::Normal(std) => (0..count).map(|_| rng.number() * std * 3f32.sqrt()).collect(),
                }
            })?;
        }
        let lambda = if self.joint { 0.5 } else { 1.0 };
        let scalars = Scalars { lambda, lr: 1e-5, clip: 1.0, ..Scalars::default() };
        let batch = self.batch(&mut rng)?;
        if self.hidden == HiddenSource::Cached {
            let states = self.states(&batch, &mut rng)?;
            engine.cache(Side::Auxiliary(0), Box::new(move |sample, bytes| Ok(states.read(sample, bytes)?)));
        }
        Ok(Trainer { engine, batch, scalars, step: 0, footprint, recompute })
    }
}

/// A model being trained on one row again and again.
pub struct Trainer<'g> {
    engine: Engine<'g>,
    batch: Batch,
    scalars: Scalars,
    step: u64,
    /// Device memory, as planned.
    pub footprint: Footprint,
    /// Whether activations are computed again in backward.
    pub recompute: bool,
}

impl Trainer<'_> {
    /// One step; returns what it told of every token and the gradient's norm.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self) -> Result<(Vec<TokenStats>, f32), Error> {
        self.engine.set_scalars(self.step, &self.scalars);
        let stats = self.engine.run(&self.batch, Draw::quiet(StepKey::new(0, self.step)))?;
        self.step += 1;
        Ok((stats, self.engine.update()?))
    }

    pub(super) fn weights(&self, name: &str) -> Result<Vec<f32>, Error> {
        Ok(self.engine.read(Side::Main, name, false)?.unwrap_or_default())
    }
}
