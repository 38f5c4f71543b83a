//! Every setting of a run, its default and what is allowed: the only place where a default stands.
//!
//! A [`Config`] is made by [`Layers`]: defaults, then a TOML file, then flags, then `--set key=value`. Keys are flat
//! (`lr = 1e-5`) and named like the flags, but for the tables `[curriculum]` and `[adamw]`. Paths are relative to the
//! working directory, wherever the file lies. This room checks values by themselves; it opens no file but the
//! configuration and knows nothing of models, data or devices.

mod bytes;
mod choices;
mod faults;
mod layers;
mod recompute;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

pub use bytes::ByteSize;
pub use choices::{
    Autotune, CurriculumRule, Dtype, LambdaSchedule, LrScheduler, Method, Overlength, Precision, Quantize, WeakSource,
};
pub use layers::{Error, Layers, Origin};
pub use recompute::Recompute;

/// Learning rate of an adapter where none is given: ten times that of a whole model.
const ADAPTER_LR: f64 = 1e-4;

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the run does with its data.
    pub method: Method,
    /// Hugging Face folder of the model to train.
    pub model: Option<PathBuf>,
    /// Folders of weak models or of adapters on `model`, `base` for `model` without its adapter, or `auto` to choose among
    /// `candidate`; for `mix`, and one for the first round of `wmss`.
    #[serde(deserialize_with = "one_or_many")]
    pub weak: Vec<PathBuf>,
    /// Each weak model's share in the weak logits; equal if left out.
    #[serde(deserialize_with = "one_or_many")]
    pub weak_share: Vec<f64>,
    /// Earlier checkpoints that `weak = "auto"` chooses from.
    #[serde(deserialize_with = "one_or_many")]
    pub candidate: Vec<PathBuf>,
    /// JSONL file that is not trained on: what `weak = "auto"` and `compare` measure with.
    pub held_out: Option<PathBuf>,
    /// What is mixed in.
    pub weak_source: WeakSource,
    /// Hugging Face folder of the teacher; `undial` and `self-distill` take the starting model if left out.
    pub teacher: Option<PathBuf>,
    /// Folder of an adapter on the model, to go on from or to measure.
    pub adapter: Option<PathBuf>,
    /// Rank of a new adapter, which is trained instead of the model.
    pub lora_rank: Option<usize>,
    /// What the adapter is scaled by, over its rank; twice the rank if left out.
    pub lora_alpha: Option<f64>,
    /// Share of an adapted module's inputs that is dropped; 0 or the adapter's own if left out.
    pub lora_dropout: Option<f64>,
    /// Modules to adapt, by the ends of their names; empty: every linear one.
    #[serde(deserialize_with = "one_or_many")]
    pub target_modules: Vec<String>,
    /// Scale by alpha over the root of the rank.
    pub rslora: bool,
    /// Learn directions and lengths of the weights apart (DoRA).
    pub dora: bool,
    /// Layers to adapt, as in `0-3,8` or `last:8`; all if left out.
    pub train_layers: Option<String>,
    /// Modules that are trained whole beside the adapter, such as `embed_tokens` and `lm_head`.
    #[serde(deserialize_with = "one_or_many")]
    pub modules_to_save: Vec<String>,
    /// JSONL file to train on.
    pub data: Option<PathBuf>,
    /// Folder of the run.
    pub out: Option<PathBuf>,
    /// A curriculum file to draw the epoch's examples by; not for `wmss`, which makes its own.
    pub weights: Option<PathBuf>,
    /// Share of the strong model in the mixed logits, above 0, up to 1.
    pub lambda: f64,
    /// How lambda moves over the phase.
    pub lambda_schedule: LambdaSchedule,
    /// Lambda of the last step, where it moves in a line or a cosine.
    pub lambda_end: f64,
    /// The gradient amplification that an adaptive lambda is held at.
    pub amplification: f64,
    /// Whether the weak model keeps its weights in joint training.
    pub freeze_weak: bool,
    /// Compute the hidden states of frozen weak models and of teachers once, and keep them on disk while a phase runs.
    pub cache_weak: bool,
    /// Share of each target that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
    /// Temperature of distilled logits.
    pub temperature: f64,
    /// Share of the cross-entropy in a distilled loss; 0.5 if left out, 0 for `undial`.
    pub hard_share: Option<f64>,
    /// By how much `undial` lowers the teacher's target logit.
    pub undial_beta: f64,
    /// Noise of `neftune`, times the root of width and length.
    pub noise_alpha: f64,
    /// Scale the noise by the longest example of a step, as implementations that pad do.
    pub noise_padded: bool,
    /// Steps between looks at a few fixed examples; 0: none, nor statistics of each model alone where they cost a product.
    pub diagnostics: u64,
    /// Rounds of weak-driven learning after the first SFT.
    pub rounds: u64,
    /// Longest example in tokens.
    pub max_length: usize,
    /// What becomes of longer ones.
    pub overlength: Overlength,
    /// Examples per optimizer step.
    pub batch_size: usize,
    /// Passes over the data, per phase.
    pub epochs: u64,
    /// Stop each phase after so many optimizer steps.
    pub max_steps: Option<u64>,
    /// Peak learning rate.
    pub lr: f64,
    /// How it moves after the warmup.
    pub lr_scheduler: LrScheduler,
    /// Steps of linear warmup if 1 or more, else that share of all steps.
    pub warmup: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; 0 turns clipping off.
    pub clip: f64,
    /// Bits of the numbers that learn: 32, 16 or 8. Below 32, weights of a model and their gradients are bfloat16; with 8,
    /// moments have 8 bits.
    pub optimizer_bits: u32,
    /// What the factors of products may be rounded to.
    pub precision: Precision,
    /// Where all randomness starts.
    pub seed: u64,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Number format of the model written at the end.
    pub dtype: Dtype,
    /// The adapter: its index, or a part of its name. None is the best one.
    #[serde(deserialize_with = "text_or_index")]
    pub device: Option<String>,
    /// Most device memory to use. None is what the device has.
    pub memory: Option<ByteSize>,
    /// How kernels are chosen for the device. A run keeps the choices that it began with.
    pub autotune: Autotune,
    /// How the matrices of models that do not learn are held.
    pub quantize: Quantize,
    /// Gradient checkpointing: `auto`, `on`, `off`, or the number of blocks that are computed twice.
    pub recompute: Recompute,
    /// Tokens computed at once; 0 chooses by memory. The result depends on it by rounding alone.
    pub tokens_per_pass: usize,
    /// Write a checkpoint every so many steps; 0 only when interrupted.
    pub save_every: u64,
    /// Checkpoints to keep, the newest.
    pub keep: usize,
    /// Go on from the last checkpoint in `out`; where there is none, start.
    pub resume: bool,
    /// How a curriculum weighs and draws samples.
    pub curriculum: Curriculum,
    /// Constants of the optimizer.
    pub adamw: Adamw,
}

/// The coefficients of the curriculum: see [`crate::data::curriculum`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Curriculum {
    /// How samples are weighed.
    pub rule: CurriculumRule,
    /// Weight of the weak model's entropy.
    pub alpha: f64,
    /// Weight of entropy that the strong model has lost.
    pub beta: f64,
    /// Weight of entropy that the strong model has gained.
    pub gamma: f64,
    /// Examples drawn per epoch, as a multiple of the samples there are.
    pub multiplier: f64,
}

/// Constants of AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adamw {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            method: Method::Sft,
            model: None,
            weak: Vec::new(),
            weak_share: Vec::new(),
            candidate: Vec::new(),
            held_out: None,
            weak_source: WeakSource::Real,
            teacher: None,
            adapter: None,
            lora_rank: None,
            lora_alpha: None,
            lora_dropout: None,
            target_modules: Vec::new(),
            rslora: false,
            dora: false,
            train_layers: None,
            modules_to_save: Vec::new(),
            data: None,
            out: None,
            weights: None,
            lambda: 0.5,
            lambda_schedule: LambdaSchedule::Constant,
            lambda_end: 0.5,
            amplification: 2.0,
            freeze_weak: false,
            cache_weak: false,
            label_smoothing: 0.0,
            temperature: 2.0,
            hard_share: None,
            undial_beta: 10.0,
            noise_alpha: 5.0,
            noise_padded: false,
            diagnostics: 0,
            rounds: 1,
            max_length: 2048,
            overlength: Overlength::Truncate,
            batch_size: 32,
            epochs: 1,
            max_steps: None,
            lr: 1e-5,
            lr_scheduler: LrScheduler::Cosine,
            warmup: 0.03,
            weight_decay: 0.0,
            clip: 1.0,
            optimizer_bits: 32,
            precision: Precision::F32,
            seed: 42,
            shuffle: true,
            dtype: Dtype::Auto,
            device: None,
            memory: None,
            autotune: Autotune::Quick,
            quantize: Quantize::None,
            recompute: Recompute::Auto,
            tokens_per_pass: 0,
            save_every: 0,
            keep: 2,
            resume: false,
            curriculum: Curriculum::default(),
            adamw: Adamw::default(),
        }
    }
}

impl Default for Curriculum {
    fn default() -> Self {
        Self { rule: CurriculumRule::Wmss, alpha: 0.1, beta: 0.8, gamma: 0.1, multiplier: 1.0 }
    }
}

impl Default for Adamw {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

impl Config {
    /// The settings as TOML, with a head that says how to run them again. What is None is left out.
    ///
    /// # Errors
    /// A path that is not UTF-8, which TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, Error> {
        let body = toml::to_string(self).map_err(|error| Error::Unwritable { message: error.to_string() })?;
        let verb = if self.method == Method::Wmss { "wmss" } else { "train" };
        let version = env!("CARGO_PKG_VERSION");
        Ok(format!(
            "# Settings as resolved by underdog {version}. Again: underdog {verb} config.toml --out DIR\n\n{body}"
        ))
    }

    /// These settings with others laid over them, each as `key=value`.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn with(&self, settings: &[String]) -> Result<Self, Error> {
        let mut layers = Layers::over(self)?;
        settings.iter().try_for_each(|setting| layers.set(setting))?;
        layers.resolve()
    }

    /// The folder of the model to train.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn model(&self) -> Result<&Path, Error> {
        required("model", "DIR", "the Hugging Face folder of the model", self.model.as_deref())
    }

    /// The folders of the weak models.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none and the mixture needs one.
    pub fn weak(&self) -> Result<&[PathBuf], Error> {
        let what = "the Hugging Face folder of the weak model, once for each,";
        match self.weak_source {
            WeakSource::Uniform => Ok(&[]),
            _ => required("weak", "DIR", what, self.weak.first().map(PathBuf::as_path)).map(|_| self.weak.as_slice()),
        }
    }

    /// The folder of the teacher.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn teacher(&self) -> Result<&Path, Error> {
        required("teacher", "DIR", "the Hugging Face folder of the teacher", self.teacher.as_deref())
    }

    /// The file that is not trained on.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn held_out(&self) -> Result<&Path, Error> {
        required("held_out", "FILE", "a JSONL file that is not trained on", self.held_out.as_deref())
    }

    /// Whether an adapter is trained instead of the model.
    pub fn trains_adapter(&self) -> bool {
        self.adapter.is_some() || self.lora_rank.is_some()
    }

    /// Whether a weak model learns beside the strong one. Nothing flows back through logits that only match an entropy, and
    /// where an adapter learns, it alone does.
    pub fn trains_weak(&self) -> bool {
        let mixes = matches!(self.method, Method::Mix | Method::Wmss);
        mixes && !self.freeze_weak && !self.trains_adapter() && self.weak_source != WeakSource::EntropyMatched
    }

    /// The number format of what the run writes: where weights are trained as bfloat16, that is their own.
    pub fn written(&self) -> Dtype {
        match self.dtype {
            Dtype::Auto if self.optimizer_bits < 32 && !self.trains_adapter() => Dtype::Bf16,
            dtype => dtype,
        }
    }

    /// Whether the weak model is chosen among candidates.
    pub fn chooses_weak(&self) -> bool {
        self.weak == [Path::new("auto")]
    }

    /// The file to train on.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn data(&self) -> Result<&Path, Error> {
        required("data", "FILE", "the JSONL file to train on", self.data.as_deref())
    }

    /// The folder of the run.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn out(&self) -> Result<&Path, Error> {
        required("out", "DIR", "the folder of the run", self.out.as_deref())
    }
}

fn required<'a>(
    key: &'static str,
    value_name: &'static str,
    what: &'static str,
    value: Option<&'a Path>,
) -> Result<&'a Path, Error> {
    value.ok_or(Error::Missing { key, value_name, what })
}

/// A list of one may be written without brackets.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "one value or a list of them")]
    enum Values<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match Values::deserialize(deserializer)? {
        Values::One(value) => vec![value],
        Values::Many(values) => values,
    })
}

/// An adapter's index may be written as a number.
fn text_or_index<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "part of an adapter's name, or its index")]
    enum Device {
        Index(u32),
        Name(String),
    }
    Ok(Some(match Device::deserialize(deserializer)? {
        Device::Index(index) => index.to_string(),
        Device::Name(name) => name,
    }))
}

/// The settings' names as in TOML files: `max_length`, `curriculum.alpha`.
pub fn keys() -> Vec<String> {
    defaults().into_iter().map(|(key, _)| key).collect()
}

/// The default of a setting as help text shows it; None if there is none. Takes `curriculum.alpha` as well as `alpha`.
pub fn default_of(key: &str) -> Option<String> {
    let is_key = |full: &str| full == key || full.rsplit('.').next() == Some(key);
    defaults().into_iter().find(|(full, _)| is_key(full)).and_then(|(_, default)| default)
}

/// All keys with their defaults. JSON, because TOML has no null and would lose the keys that have no default.
fn defaults() -> Vec<(String, Option<String>)> {
    use serde_json::Value;
    let shown = |value: &Value| match value {
        Value::Null => None,
        Value::Array(values) if values.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        // Rust's debug form: `1e-5`, where JSON has `0.00001`.
        Value::Number(number) if number.is_f64() => number.as_f64().map(|number| format!("{number:?}")),
        other => Some(other.to_string()),
    };
    let mut keys = Vec::new();
    if let Ok(Value::Object(config)) = serde_json::to_value(Config::default()) {
        for (key, value) in &config {
            match value {
                Value::Object(table) => {
                    keys.extend(table.iter().map(|(inner, value)| (format!("{key}.{inner}"), shown(value))));
                }
                value => keys.push((key.clone(), shown(value))),
            }
        }
    }
    keys
}
