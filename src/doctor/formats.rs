//! A small model that learns in every number format: its gradients beside those of f32 with the same numbers.

use std::{path::Path, sync::Arc};

use serde::Serialize;

use super::Error;
use crate::{
    data::{
        Example,
        pack::{self, Batch},
        random::StepKey,
    },
    formats::AdapterConfig,
    gpu::{Gpu, Variant},
    graph::{
        ops::{self, head_loss::LOSS},
        scalars::{LOSS_SCALING, Scalars},
        tensor::Format,
    },
    kernels::tuner::Validation,
    model::{Config, Held, Layout},
    objective::{CrossEntropy, Draw, Mix},
    train::engine::{self, AuxiliaryModel, Engine, EnginePlan, LOGITS, Side, Spec},
};

/// The name of what needs no other format.
pub(super) const PLAIN: &str = "f32";
/// The name of factors that are rounded to f16.
pub const HALF: &str = "f16 arithmetic";
/// What gradients of a packed base may differ by from those of the same numbers in f32, of their norm.
const ALLOWED: f64 = 1e-4;
/// And where factors are rounded to f16, which has 11 bits.
const ALLOWED_HALF: f64 = 1e-2;
/// What the loss may differ by along the gradient, of what the gradient says: f32 keeps seven digits of it.
const ALLOWED_ALONG: f64 = 1e-3;
/// How far a step along the gradient goes, of the norm of the weights.
const REACH: f64 = 3e-3;

const SHAPE: &str = r#"{"model_type": "qwen3", "vocab_size": 320, "hidden_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 192, "tie_word_embeddings": true}"#;
const TOKENS: usize = 64;
const RANK: usize = 4;
/// Trained embeddings move all that follows: the parameter whose gradient stands for all.
const EMBEDDING: &str = "model.embed_tokens.weight";

/// What came of one format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Learned {
    /// Its name, as in settings.
    pub format: String,
    /// By how much gradients differ, of their norm; `None` if there were none to compare.
    pub error: Option<f64>,
    /// By how much they may.
    pub allowed: f64,
    /// Whether the format can be used here.
    pub passed: bool,
}

impl Learned {
    fn new(format: &str, error: f64, allowed: f64) -> Self {
        let error = Some(error).filter(|error| error.is_finite());
        Self { format: format.into(), error, allowed, passed: error.is_some_and(|error| error <= allowed) }
    }

    /// In words.
    pub fn found(&self) -> String {
        match self.error {
            Some(error) => format!("gradients are off by {error:.1e} of their norm, allowed {:.0e}", self.allowed),
            None => "gradients are no numbers".into(),
        }
    }
}

/// A format's name, as in settings and in what [`super::Findings::keep`] leaves.
pub fn name(format: Format) -> &'static str {
    match format {
        Format::F32 => PLAIN,
        Format::Bf16 => "bfloat16",
        Format::F16 => "f16",
        Format::Q8 => "8bit",
        Format::Q4 => "4bit",
        Format::Nf4 => "nf4",
        Format::Codes => "codes",
    }
}

/// Checks all of them; of the variants that round to f16, those that are right.
pub(super) fn look(gpu: &Gpu, validated: &[Validation]) -> Result<Vec<Learned>, Error> {
    let config = Config::from_json(SHAPE, Path::new("doctor"))?;
    let mut learned = vec![Learned::new(PLAIN, along(gpu, &config)?, ALLOWED_ALONG)];
    for linear in [Format::Bf16, Format::F16, Format::Q8, Format::Q4, Format::Nf4] {
        let held = Held { linear, table: Format::Bf16 };
        let [got, want] = [held, Held::default()].map(|as_held| on_base(gpu, &config, as_held, held));
        learned.push(Learned::new(name(linear), difference(&got?, &want?), ALLOWED));
    }
    learned.extend(half(gpu, &config, validated)?);
    Ok(learned)
}

fn spec(gpu: &Gpu, model: Config) -> Spec {
    let objective = Arc::new(CrossEntropy::default());
    Spec { tokens: TOKENS, logits: LOGITS, ..Spec::new(model, objective, Vec::new(), gpu.max_binding()) }
}

/// Numbers in `[-1, 1)` that are the same everywhere.
fn numbers(seed: usize, from: usize, to: usize) -> impl Iterator<Item = f32> {
    (from..to).map(move |i| {
        let mixed = ((i + 1) * 2_654_435_761 + seed * 40_503) % 16_777_213;
        (mixed * 69_069 % 65_521) as f32 / 32_760.5 - 1.0
    })
}

/// Fills a model; matrices that are frozen hold the numbers that `seen` has. `embedding` may stand for its own.
fn fill(engine: &Engine<'_>, seen: Held, embedding: Option<&[f32]>) -> Result<(), engine::Error> {
    engine.fill(Side::Main, |parameter, start| {
        if let Some(given) = embedding.filter(|_| parameter.name == EMBEDDING) {
            return given[start..].to_vec();
        }
        let seed = parameter.name.bytes().fold(7usize, |seed, byte| seed * 31 % 65_521 + usize::from(byte));
        let values: Vec<f32> = match parameter.dims.len() {
            1 => numbers(seed, start, parameter.count()).map(|x| 1.0 + 0.1 * x).collect(),
            _ => numbers(seed, start, parameter.count()).map(|x| 0.15 * x).collect(),
        };
        let format = match parameter.name.as_str() {
            name if name.contains("lora_") || parameter.dims.len() < 2 => Format::F32,
            EMBEDDING => seen.table,
            _ => seen.linear,
        };
        format.unpack(&format.pack(&values))
    })
}

/// Two documents of random tokens in one row.
fn batch() -> Result<Batch, engine::Error> {
    let example = |idx: u64| Example {
        idx,
        line: 0,
        ids: numbers(11 + idx as usize, 0, TOKENS / 2).map(|x| ((x + 1.0) * 159.0) as u32).collect(),
        trained: (0..TOKENS / 2).map(|i| i > 0).collect(),
    };
    let examples = [example(0), example(1)];
    let rows = pack::pack(&examples.iter().collect::<Vec<_>>(), TOKENS).unwrap_or_default();
    rows.into_iter().next().ok_or(engine::Error::ShortRow { tokens: TOKENS, longest: TOKENS / 2 })
}

fn loss(engine: &mut Engine<'_>, lambda: f64) -> Result<f64, Error> {
    engine.set_scalars(0, &Scalars { lambda, ..Scalars::default() });
    engine.reset()?;
    let batch = batch()?;
    let stats = engine.run(&batch, Draw::quiet(StepKey::new(0, 0)))?;
    let weighed = stats.iter().zip(&batch.weights).map(|(stat, w)| f64::from(stat[LOSS]) * f64::from(*w));
    Ok(weighed.sum())
}

/// The gradients of everything that learns, one after another.
fn gradients(engine: &Engine<'_>) -> Result<Vec<f32>, Error> {
    let names = engine.model(Side::Main).into_iter().flat_map(|model| model.parameters());
    let names: Vec<String> = names.map(|stored| stored.parameter.name.clone()).collect();
    let mut all = Vec::new();
    for name in names {
        all.extend(engine.read(Side::Main, &name, true)?.unwrap_or_default());
    }
    Ok(all)
}

/// Of an adapter that is mixed with its own base; the base holds the numbers of `seen`, as `held`.
fn on_base(gpu: &Gpu, config: &Config, held: Held, seen: Held) -> Result<Vec<f32>, Error> {
    let strong = Config { held, ..config.clone() };
    let wanted = AdapterConfig { rank: RANK, alpha: 2.0 * RANK as f64, ..AdapterConfig::default() };
    let adapter = Layout::resolve(&wanted, &strong).ok();
    let auxiliaries = vec![AuxiliaryModel { shares_base: true, ..AuxiliaryModel::new(strong.clone()) }];
    let objective = Arc::new(Mix::fixed(1, false, 0.5));
    let spec = Spec { adapter, auxiliaries, objective, ..spec(gpu, strong) };
    let mut engine = EnginePlan::new(&spec)?.build(gpu)?;
    fill(&engine, seen, None)?;
    loss(&mut engine, 0.5)?;
    gradients(&engine)
}

/// The gradient of the loss of a whole model, in the forms that are chosen, scaled as runs with such forms scale it.
fn plain(gpu: &Gpu, config: &Config) -> Result<Vec<f32>, Error> {
    let mut engine = EnginePlan::new(&spec(gpu, config.clone()))?.build(gpu)?;
    engine.scale_loss(LOSS_SCALING.0);
    fill(&engine, Held::default(), None)?;
    loss(&mut engine, 1.0)?;
    gradients(&engine)
}

/// By how much the loss along the gradient of a whole f32 model moves otherwise than that says.
fn along(gpu: &Gpu, config: &Config) -> Result<f64, Error> {
    let mut engine = EnginePlan::new(&spec(gpu, config.clone()))?.build(gpu)?;
    fill(&engine, Held::default(), None)?;
    loss(&mut engine, 1.0)?;
    let gradient = engine.read(Side::Main, EMBEDDING, true)?.unwrap_or_default();
    let weights = engine.read(Side::Main, EMBEDDING, false)?.unwrap_or_default();
    let length = norm(&gradient);
    let reach = REACH * norm(&weights);
    let mut moved = |by: f64| -> Result<f64, Error> {
        let step = by * reach / length.max(1e-30);
        let at: Vec<f32> =
            weights.iter().zip(&gradient).map(|(w, g)| (f64::from(*w) + step * f64::from(*g)) as f32).collect();
        fill(&engine, Held::default(), Some(&at))?;
        loss(&mut engine, 1.0)
    };
    let difference = (moved(1.0)? - moved(-1.0)?) / (2.0 * reach);
    Ok((difference / length - 1.0).abs())
}

/// Gradients in the variants that round to f16, if the device offers any that is right.
fn half(gpu: &Gpu, config: &Config, validated: &[Validation]) -> Result<Option<Learned>, Error> {
    let right = |group: &str, name: &str| {
        validated.iter().any(|v| v.group == group && v.variant == name && v.wrong.is_none())
    };
    let want = plain(gpu, config)?;
    let mut taken = Vec::new();
    for (kernel, extents) in EnginePlan::new(&spec(gpu, config.clone()))?.work() {
        let Some(group) = ops::groups().find(|group| group.kernel.name == kernel.name) else { continue };
        let takes = |variant: &&Variant| variant.half && (variant.grid)(&extents.params).is_some();
        let variant = group.variants.iter().find(|variant| takes(variant) && right(kernel.name, variant.name));
        if let Some(variant) = variant {
            taken.push((group, (group.class)(&extents.params), Some(variant)));
        }
    }
    if taken.is_empty() {
        return Ok(None);
    }
    let before: Vec<_> = taken.iter().map(|(group, class, _)| gpu.chosen(group, class).unwrap_or_default()).collect();
    taken.iter().for_each(|(group, class, form)| gpu.choose(group, class.clone(), *form));
    let got = plain(gpu, config);
    taken.iter().zip(before).for_each(|((group, class, _), form)| gpu.choose(group, class.clone(), form));
    Ok(Some(Learned::new(HALF, difference(&got?, &want), ALLOWED_HALF)))
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// The norm of the difference, as a share of that of what is wanted.
fn difference(got: &[f32], want: &[f32]) -> f64 {
    let apart: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
    if got.len() == want.len() { norm(&apart) / norm(want) } else { f64::NAN }
}
