//! Golden files, engines over golden models, and comparisons that tell every number they measured.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use safetensors::SafeTensors;
use underdog::{
    data::{
        Example,
        pack::{Batch, pack},
        random::StepKey,
    },
    formats::{AdapterFolder, Folder},
    gpu::Gpu,
    graph::{
        ops::head_loss::{self, LOSS},
        plan::Plan,
        scalars::{self, Scalars},
        tape::Tape,
        tensor::{Memory, Role, Store},
    },
    model::{Adapter, Config, Layout, Model},
    objective::{CrossEntropy, Distill, Draw, MicroBatch, Mix, Objective, Position, TokenStats},
    train::engine::{AuxiliaryModel, Engine, EnginePlan, LOGITS, Side, Spec},
};

use crate::common::{Mat, compare, gpu};

/// The share of the strong model of golden curves.
pub(crate) const LAMBDA: f64 = 0.42;

/// The optimizer of all golden curves.
pub(crate) const SCALARS: Scalars = Scalars {
    lambda: 1.0,
    lr: 3e-3,
    betas: [0.9, 0.999],
    eps: 1e-8,
    weight_decay: 0.1,
    clip: 1.0,
    label_smoothing: 0.0,
    temperature: 1.0,
    ce_weight: 1.0,
    target_logit_penalty: 0.0,
    seed: SEED,
    growth: 0,
};

/// Of all golden curves.
pub(crate) const STEPS: u64 = 10;

/// Where the randomness of all golden curves starts.
pub(crate) const SEED: u64 = 7;

/// No noise.
pub(crate) fn quiet() -> Draw {
    Draw::quiet(StepKey::new(SEED, 0))
}

pub(crate) const FAMILIES: [&str; 15] = [
    "qwen3",
    "qwen3_untied",
    "qwen2",
    "llama3",
    "llama_bias",
    "smollm2",
    "mistral",
    "gemma3",
    "phi3",
    "olmo2",
    "gemma2",
    "gemma2_uncapped",
    "smollm3",
    "lfm2",
    "lfm2_bias",
];

/// Folders of golden numbers, the strong and the weak model.
pub(crate) const MIXES: [[&str; 3]; 3] = [
    ["mix_same", "qwen3", "mix_same/weak"],
    ["mix_smaller", "qwen3", "mix_smaller/weak"],
    ["mix_heads", "qwen3_untied", "qwen3"],
];

/// Strong model, and weak model with whether it is frozen.
pub(crate) type Case = (&'static str, Option<(&'static str, bool)>);

/// The documents that a case is trained on.
pub(crate) fn golden_examples((strong, weak): Case) -> Vec<Example> {
    let mix = MIXES.iter().find(|mix| weak.is_some_and(|(weak, _)| mix[1..] == [strong, weak]));
    Golden::open(mix.map_or(strong, |mix| mix[0])).examples()
}

/// Long enough for every golden batch.
pub(crate) const ROW: usize = 64;

pub(crate) fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn folder(name: &str) -> Folder {
    Folder::open(&golden_path(name)).unwrap()
}

pub(crate) fn config(name: &str) -> Config {
    let mut config = Config::open(&golden_path(name)).unwrap();
    config.hold_as_stored(&folder(name)).unwrap();
    config
}

/// The tensors of a `golden.safetensors`.
pub(crate) struct Golden {
    pub(crate) case: String,
    tensors: BTreeMap<String, Vec<f64>>,
}

impl Golden {
    pub(crate) fn open(case: &str) -> Self {
        let bytes = std::fs::read(golden_path(case).join("golden.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let read = |tensor: safetensors::tensor::TensorView<'_>| -> Vec<f64> {
            let words = tensor.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            match tensor.dtype() {
                safetensors::Dtype::I32 => words.map(|b| f64::from(i32::from_le_bytes(b))).collect(),
                safetensors::Dtype::F32 => words.map(|b| f64::from(f32::from_le_bytes(b))).collect(),
                other => panic!("{case}: {other:?}"),
            }
        };
        let tensors = file.tensors().into_iter().map(|(name, tensor)| (name, read(tensor))).collect();
        Self { case: case.into(), tensors }
    }

    pub(crate) fn get(&self, name: &str) -> Vec<f64> {
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.case)).clone()
    }

    /// Names that begin with `prefix`, without it.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors.keys().filter_map(|name| Some(name.strip_prefix(prefix)?.to_owned())).collect()
    }

    /// Its three documents.
    pub(crate) fn examples(&self) -> Vec<Example> {
        let (tokens, trained) = (self.get("tokens"), self.get("trained"));
        let mut first = 0;
        let lengths = self.get("doc_lengths").into_iter().map(|n| n as usize);
        let example = |(idx, len)| {
            let of = first..first + len;
            first += len;
            Example {
                idx,
                line: idx as usize + 1,
                ids: tokens[of.clone()].iter().map(|id| *id as u32).collect(),
                trained: trained[of].iter().map(|t| *t == 1.0).collect(),
            }
        };
        (0..).zip(lengths).map(example).collect()
    }
}

/// Collects measured errors by kind, and everything that is too far off.
pub(crate) struct Checks {
    case: String,
    worst: BTreeMap<String, f64>,
    failures: Vec<String>,
}

impl Checks {
    pub(crate) fn of(case: &str) -> Self {
        Self { case: case.into(), worst: BTreeMap::new(), failures: Vec::new() }
    }

    /// Errors are shares of the largest wanted number.
    pub(crate) fn tensor(&mut self, kind: &str, name: &str, got: &[f32], want: &[f64], tolerance: f64) {
        if got.len() != want.len() {
            self.failures.push(format!("{kind}{name}: {} numbers, wanted {}", got.len(), want.len()));
            return;
        }
        let want = Mat::new(1, want.len(), want.to_vec());
        let off = match compare(&format!("{kind}{name}"), got, &want, f64::INFINITY) {
            Ok(off) => off,
            Err(nan) => return self.failures.push(nan),
        };
        let worst = self.worst.entry(kind.into()).or_default();
        *worst = worst.max(off);
        self.failures.extend(compare(&format!("{kind}{name}"), got, &want, tolerance).err());
    }

    /// Errors are shares of each wanted number.
    pub(crate) fn each(&mut self, kind: &str, got: &[f64], want: &[f64], tolerance: f64) {
        assert_eq!(got.len(), want.len(), "{kind}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            self.tensor(kind, &format!("[{i}]"), &[*got as f32], &[*want], tolerance);
        }
    }

    pub(crate) fn finish(self) {
        let numbers: Vec<String> = self.worst.iter().map(|(kind, off)| format!("{kind} {off:.1e}")).collect();
        eprintln!("{}: {}", self.case, numbers.join(", "));
        assert!(self.failures.is_empty(), "{}:\n{}", self.case, self.failures.join("\n"));
    }
}

/// An objective whose fields a test can change.
#[derive(Clone, Debug)]
pub(crate) enum Loss {
    CrossEntropy(CrossEntropy),
    Mix(Mix),
    Distill(Distill),
}

impl Loss {
    pub(crate) fn objective(&self) -> Arc<dyn Objective> {
        match self.clone() {
            Self::CrossEntropy(of) => Arc::new(of),
            Self::Mix(of) => Arc::new(of),
            Self::Distill(of) => Arc::new(of),
        }
    }

    /// Distillation from a model of any shape.
    pub(crate) fn distill() -> Self {
        let (same_shape, temperature, ce_weight, target_logit_penalty) = (false, 1.0, 1.0, 0.0);
        let teacher = underdog::objective::Origin::Start;
        Self::Distill(Distill { teacher, same_shape, temperature, ce_weight, target_logit_penalty })
    }

    /// The same, of models of which one alone learns.
    pub(crate) fn freeze(&mut self) {
        if let Self::Mix(mix) = self {
            mix.learns = false;
        }
    }
}

/// Trains a model whole, with what a planner chooses where there is room.
pub(crate) fn sft(model: Config, tokens: usize) -> Spec {
    let objective = Arc::new(CrossEntropy::default());
    Spec { tokens, logits: LOGITS, ..Spec::new(model, objective, Vec::new(), gpu().max_binding()) }
}

/// The same, with the logits of a weak model mixed in half and half.
pub(crate) fn mixed(model: Config, tokens: usize, weak: AuxiliaryModel, learns: bool) -> Spec {
    Spec { objective: Arc::new(Mix::fixed(1, learns, 0.5)), auxiliaries: vec![weak], ..sft(model, tokens) }
}

/// What is trained, and how: a family, a mix, or a case of `tests/golden/methods`.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) strong: String,
    /// A folder of `tests/golden/adapters` that `strong` learns through.
    pub(crate) adapter: Option<String>,
    /// Golden folders (or [`BASE`]) of its auxiliary models.
    pub(crate) others: Vec<String>,
    pub(crate) loss: Loss,
    /// Of the optimizer.
    pub(crate) scalars: Scalars,
    pub(crate) examples: Vec<Example>,
}

impl From<Case> for Arm {
    fn from(case: Case) -> Self {
        let (strong, weak) = case;
        Self {
            name: format!("{case:?}"),
            strong: strong.into(),
            adapter: None,
            others: weak.map(|(name, _)| name.into()).into_iter().collect(),
            loss: match weak {
                Some((_, frozen)) => Loss::Mix(Mix::fixed(1, !frozen, LAMBDA)),
                None => Loss::CrossEntropy(CrossEntropy::default()),
            },
            scalars: SCALARS,
            examples: golden_examples(case),
        }
    }
}

impl Arm {
    /// A trained spec without recomputation and without splits.
    pub(crate) fn spec(&self, tokens: usize) -> Spec {
        let auxiliary = |name: &String| {
            let shares_base = name == BASE;
            let of = if shares_base { &self.strong } else { name };
            AuxiliaryModel { shares_base, ..AuxiliaryModel::new(config(of)) }
        };
        Spec {
            adapter: self.adapter.as_ref().map(|name| layout(name, &self.strong)),
            objective: self.loss.objective(),
            auxiliaries: self.others.iter().map(auxiliary).collect(),
            ..sft(config(&self.strong), tokens)
        }
    }

    /// An engine with the weights of golden folders.
    pub(crate) fn engine(&self, spec: &Spec) -> Engine<'static> {
        self.engine_on(gpu(), spec)
    }

    /// The same on a device of its own.
    pub(crate) fn engine_on<'g>(&self, gpu: &'g Gpu, spec: &Spec) -> Engine<'g> {
        let engine = EnginePlan::new(spec).unwrap().build(gpu).unwrap();
        engine.load(Side::Main, &folder(&self.strong)).unwrap();
        if let Some(name) = &self.adapter {
            engine.load_adapter(Side::Main, &adapter(name)).unwrap();
        }
        for (i, name) in self.others.iter().enumerate().filter(|(_, name)| *name != BASE) {
            engine.load(Side::Auxiliary(i), &folder(name)).unwrap();
        }
        engine
    }

    /// The scalars of a golden curve's step.
    pub(crate) fn scalars(&self, step: u64) -> Scalars {
        let mut scalars = self.scalars;
        self.loss.objective().scalars(Position { step, of: STEPS }, None, &mut scalars);
        scalars
    }

    /// The randomness of a golden curve's step.
    pub(crate) fn draw(&self, step: u64) -> Draw {
        let longest = self.examples.iter().map(|example| example.ids.len()).max().unwrap();
        self.loss.objective().draw(StepKey::new(SEED, step), longest)
    }
}

/// A weak model that is the strong one without its adapter.
pub(crate) const BASE: &str = "base";

pub(crate) fn adapter(name: &str) -> AdapterFolder {
    AdapterFolder::open(&golden_path(&format!("adapters/{name}"))).unwrap()
}

pub(crate) fn layout(name: &str, base: &str) -> Layout {
    Layout::of_folder(&adapter(name), &config(base)).unwrap()
}

/// As [`Arm::spec`].
pub(crate) fn spec(case: Case, tokens: usize) -> Spec {
    Arm::from(case).spec(tokens)
}

/// As [`Arm::engine`].
pub(crate) fn engine(spec: &Spec, case: Case) -> Engine<'static> {
    Arm::from(case).engine(spec)
}

/// All examples, packed into rows of `tokens`.
pub(crate) fn rows(examples: &[Example], tokens: usize) -> Vec<Batch> {
    pack(&examples.iter().collect::<Vec<_>>(), tokens).unwrap()
}

/// One document a row, weighted as if all were packed together.
pub(crate) fn alone(examples: &[Example], tokens: usize) -> Vec<Batch> {
    let targets: usize = examples.iter().map(Example::targets).sum();
    let row = |(i, example): (usize, &Example)| {
        let mut batch = pack(&[example], tokens).unwrap().remove(0);
        batch.examples[0].example = i;
        batch.weights.iter_mut().filter(|w| **w != 0.0).for_each(|w| *w = (1.0 / targets as f64) as f32);
        batch
    };
    examples.iter().enumerate().map(row).collect()
}

/// Runs all rows; returns their statistics.
pub(crate) fn pass(engine: &mut Engine<'_>, rows: &[Batch]) -> Vec<Vec<TokenStats>> {
    pass_with(engine, rows, quiet())
}

/// As [`pass`], with randomness.
pub(crate) fn pass_with(engine: &mut Engine<'_>, rows: &[Batch], draw: Draw) -> Vec<Vec<TokenStats>> {
    rows.iter().map(|row| engine.run(row, draw).unwrap()).collect()
}

/// The weighted sum of a statistic: its mean over target tokens.
pub(crate) fn mean(rows: &[Batch], stats: &[Vec<TokenStats>], stat: usize) -> f64 {
    let pairs = rows.iter().zip(stats).flat_map(|(row, stats)| row.weights.iter().zip(stats));
    pairs.filter(|(w, _)| **w != 0.0).map(|(w, s)| f64::from(*w) * f64::from(s[stat])).sum()
}

/// The mean of a statistic over each document's target tokens, in the order of the examples.
pub(crate) fn by_document(rows: &[Batch], stats: &[Vec<TokenStats>], stat: usize) -> Vec<f64> {
    let mut means = BTreeMap::new();
    for (row, stats) in rows.iter().zip(stats) {
        for placed in &row.examples {
            let of = (placed.start..placed.start + placed.len).filter(|t| row.weights[*t] != 0.0);
            let values: Vec<f64> = of.map(|t| f64::from(stats[t][stat])).collect();
            means.insert(placed.example, values.iter().sum::<f64>() / values.len() as f64);
        }
    }
    means.into_values().collect()
}

/// Every parameter of a model (or its gradient), by name.
pub(crate) fn parameters(engine: &Engine<'_>, side: Side, gradient: bool) -> Vec<(String, Vec<f32>)> {
    let names = engine.model(side).into_iter().flat_map(|m| m.parameters()).map(|s| s.parameter.name.clone());
    let read = |name: String| {
        let values = engine.read(side, &name, gradient).unwrap().unwrap();
        (name, values)
    };
    names.map(read).collect()
}

/// Compares every parameter (or gradient) with the golden tensors `prefix*`, which must be of the same names.
pub(crate) fn check_parameters(
    checks: &mut Checks,
    golden: &Golden,
    prefix: &str,
    found: &[(String, Vec<f32>)],
    tolerance: f64,
) {
    let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, golden.names(prefix), "{}: {prefix}", golden.case);
    for (name, values) in found {
        checks.tensor(prefix, name, values, &golden.get(&format!("{prefix}{name}")), tolerance);
    }
}

/// Steps on one batch, as the golden curves have them: losses, and gradient norms before clipping. `before_first` sees
/// the first step's statistics and gradients.
pub(crate) fn curve(
    arm: &Arm,
    engine: &mut Engine<'_>,
    rows: &[Batch],
    steps: u64,
    mut before_first: impl FnMut(&Engine<'_>, &[Vec<TokenStats>]),
) -> [Vec<f64>; 2] {
    let mut found = [Vec::new(), Vec::new()];
    for step in 0..steps {
        engine.set_scalars(step, &arm.scalars(step));
        let stats = pass_with(engine, rows, arm.draw(step));
        if step == 0 {
            before_first(engine, &stats);
        }
        found[0].push(mean(rows, &stats, LOSS));
        found[1].push(f64::from(engine.update().unwrap()));
    }
    found
}

/// Final hidden states and logits of one packed row, a row of numbers for each of its tokens.
pub(crate) struct Forward {
    pub(crate) hidden: Vec<Vec<f32>>,
    pub(crate) logits: Vec<Vec<f32>>,
}

/// Runs a model forward without a loss.
pub(crate) fn forward(name: &str, batch: &Batch) -> Forward {
    forward_with(name, None, batch)
}

/// As [`forward`], through an adapter.
pub(crate) fn forward_with(name: &str, adapted: Option<&str>, batch: &Batch) -> Forward {
    forward_held(name, config(name), adapted, batch)
}

/// As [`forward_with`], with matrices held as `config` says.
pub(crate) fn forward_held(name: &str, config: Config, adapted: Option<&str>, batch: &Batch) -> Forward {
    let (gpu, tokens) = (gpu(), batch.tokens.len());
    let mut store = Store::default();
    let schedule = scalars::declare(&mut store);
    let row = MicroBatch::declare(&mut store, tokens, schedule);
    let (width, vocab) = (config.hidden, config.vocab);
    let mut model = Model::declare(&mut store, config, Role::Weights, false, tokens, gpu.max_binding()).unwrap();
    if let Some(of) = adapted {
        let layout = layout(of, name);
        let view = Adapter::declare(&mut store, layout, Role::Weights, false, None, gpu.max_binding()).unwrap();
        model = model.view(Some(view));
    }
    let mut declare = |cols| store.declare("result", Role::Inputs, tokens, cols);
    let (hidden, logits) = (declare(width), declare(vocab));
    let mut tape = Tape::new();
    let last = model.hidden(&mut tape, row.inputs, None, 0);
    tape.copy(last, hidden);
    head_loss::logits(&mut tape, model.head(last), logits);
    let memory = Memory::allocate(gpu, &store).unwrap();
    for (tensor, values) in model.rotary_tables() {
        memory.write(gpu, tensor, 0, &values);
    }
    model.weights.load(gpu, &memory, &folder(name)).unwrap();
    if let Some((view, of)) = model.adapter.as_ref().zip(adapted) {
        view.load(gpu, &memory, &adapter(of)).unwrap();
    }
    row.upload((gpu, &memory), batch, quiet(), &CrossEntropy::default(), [vocab, width]);
    Plan::new(tape.finish()).load(gpu, &memory).unwrap().run(gpu).unwrap();
    let read = |tensor, cols| memory.read::<f32>(gpu, tensor).unwrap().chunks(cols).map(<[f32]>::to_vec).collect();
    Forward { hidden: read(hidden, width), logits: read(logits, vocab) }
}

/// The rows that belong to documents, in the order of the examples.
pub(crate) fn in_order(batch: &Batch, values: &[Vec<f32>]) -> Vec<f32> {
    let mut placed = batch.examples.clone();
    placed.sort_by_key(|p| p.example);
    placed.iter().flat_map(|p| values[p.start..p.start + p.len].concat()).collect()
}

/// Bits, so that equality is exact and NaN equals itself.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// By how much of its length a gradient differs from another: of all parameters, and of the worst one.
pub(crate) fn apart(got: &[(String, Vec<f32>)], want: &[(String, Vec<f32>)]) -> [f64; 2] {
    let (mut off, mut size, mut worst) = (0.0, 0.0, 0.0f64);
    for ((name, got), (_, want)) in got.iter().zip(want) {
        let square = |pairs: &mut dyn Iterator<Item = f64>| pairs.map(|x| x * x).sum::<f64>();
        let difference = square(&mut got.iter().zip(want).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let of = square(&mut want.iter().map(|x| f64::from(*x)));
        assert!(of > 0.0, "{name}");
        worst = worst.max((difference / of).sqrt());
        (off, size) = (off + difference, size + of);
    }
    [(off / size).sqrt(), worst]
}
