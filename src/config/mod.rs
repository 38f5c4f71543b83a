//! Every setting of a run, its default and what is allowed: the only place where a default stands.
//!
//! A [`Config`] is made by [`Layers`]: defaults, then a TOML file, then flags, then `--set key=value`. Keys are flat
//! (`lr = 1e-5`) and named like the flags, but for the tables `[curriculum]` and `[adamw]`. Paths are relative to the
//! working directory, wherever the file lies. This room checks values by themselves; it opens no file but the
//! configuration and knows nothing of models, data or devices.

mod bytes;
mod layers;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize};

pub use bytes::ByteSize;
pub use layers::{Error, Layers, Origin};

/// What a run does with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Supervised fine-tuning: cross-entropy of one model.
    Sft,
    /// Joint training of a strong model on logits mixed with those of a weak one.
    Mix,
    /// All phases of weak-driven learning: SFT, both scores, curriculum, mix.
    Wmss,
}

/// How the learning rate moves after the warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LrScheduler {
    /// Stays at `lr`.
    Constant,
    /// Falls in a straight line to 0 at the last step.
    Linear,
    /// Falls along half a cosine to 0 at the last step.
    Cosine,
}

/// What becomes of an example longer than `max_length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Overlength {
    /// Its first `max_length` tokens are kept.
    Truncate,
    /// It is left out, and counted.
    Drop,
    /// The run stops and names it.
    Error,
}

/// The number format of the weights that a run writes. Training computes in f32 whichever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// f32 if the source folder holds f32, else bf16.
    Auto,
    /// 4 bytes a weight.
    F32,
    /// 2 bytes a weight.
    Bf16,
}

/// Gradient checkpointing: compute a block's activations a second time instead of keeping them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Only where the memory asks for it.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the run does with its data.
    pub method: Method,
    /// Hugging Face folder of the model to train.
    pub model: Option<PathBuf>,
    /// Hugging Face folder of the weak model; only for `mix`.
    pub weak: Option<PathBuf>,
    /// JSONL file to train on.
    pub data: Option<PathBuf>,
    /// Folder of the run.
    pub out: Option<PathBuf>,
    /// A curriculum file to draw the epoch's examples by; not for `wmss`, which makes its own.
    pub weights: Option<PathBuf>,
    /// Share of the strong model in the mixed logits, above 0, up to 1.
    pub lambda: f64,
    /// Whether the weak model keeps its weights in joint training.
    pub freeze_weak: bool,
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
    /// Gradient checkpointing.
    pub recompute: Recompute,
    /// Tokens computed at once; 0 chooses by memory. The result does not depend on it.
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

/// The coefficients of the curriculum: see [`crate::curriculum`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Curriculum {
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
            weak: None,
            data: None,
            out: None,
            weights: None,
            lambda: 0.5,
            freeze_weak: false,
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
            seed: 42,
            shuffle: true,
            dtype: Dtype::Auto,
            device: None,
            memory: None,
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
        Self { alpha: 0.1, beta: 0.8, gamma: 0.1, multiplier: 1.0 }
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

    /// The folder of the model to train.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn model(&self) -> Result<&Path, Error> {
        required("model", "DIR", "the Hugging Face folder of the model", self.model.as_deref())
    }

    /// The folder of the weak model.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn weak(&self) -> Result<&Path, Error> {
        required("weak", "DIR", "the Hugging Face folder of the weak model", self.weak.as_deref())
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

    /// The first setting that cannot be, as its key and what is allowed.
    fn first_fault(&self) -> Option<(&'static str, &'static str)> {
        let Self { curriculum, adamw, method, .. } = self;
        let from_zero = |value: f64| value.is_finite() && value >= 0.0;
        let decay = |value: f64| (0.0..1.0).contains(&value);
        let all_zero = curriculum.alpha + curriculum.beta + curriculum.gamma == 0.0;
        let checks = [
            ("lambda", self.lambda > 0.0 && self.lambda <= 1.0, "must be above 0 and at most 1"),
            ("rounds", self.rounds >= 1, "must be 1 or more"),
            ("max_length", self.max_length >= 2, "must be 2 tokens or more"),
            ("batch_size", self.batch_size >= 1, "must be 1 or more"),
            ("epochs", self.epochs >= 1, "must be 1 or more"),
            ("max_steps", self.max_steps != Some(0), "must be 1 or more; leave it out for no limit"),
            ("lr", (0.0..=1.0).contains(&self.lr), "must be between 0 and 1"),
            ("warmup", from_zero(self.warmup), "must be steps (1 or more) or a share of all steps (0 to 1)"),
            (
                "warmup",
                self.warmup < 1.0 || self.warmup.fract() == 0.0,
                "must be a whole number of steps, or below 1 as a share of all steps",
            ),
            ("weight_decay", from_zero(self.weight_decay), "must be 0 or more"),
            ("clip", from_zero(self.clip), "must be 0 (no clipping) or more"),
            ("memory", self.memory != Some(ByteSize(0)), "must be above 0; leave it out for what the device has"),
            ("keep", self.keep >= 1, "must be 1 or more"),
            ("curriculum.alpha", from_zero(curriculum.alpha), "must be 0 or more"),
            ("curriculum.beta", from_zero(curriculum.beta), "must be 0 or more"),
            ("curriculum.gamma", from_zero(curriculum.gamma), "must be 0 or more"),
            ("curriculum.alpha", !all_zero, "must be above 0 where beta and gamma are 0 too"),
            (
                "curriculum.multiplier",
                curriculum.multiplier > 0.0 && curriculum.multiplier <= 1000.0,
                "must be above 0 and at most 1000",
            ),
            ("adamw.beta1", decay(adamw.beta1), "must be 0 or more and below 1"),
            ("adamw.beta2", decay(adamw.beta2), "must be 0 or more and below 1"),
            ("adamw.eps", adamw.eps > 0.0 && adamw.eps.is_finite(), "must be above 0"),
            ("weak", *method == Method::Mix || self.weak.is_none(), "is only for method `mix`; leave it out"),
            (
                "weights",
                *method != Method::Wmss || self.weights.is_none(),
                "is not for `wmss`, which makes its own curriculum; leave it out",
            ),
        ];
        checks.into_iter().find(|(_, holds, _)| !holds).map(|(key, _, allowed)| (key, allowed))
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

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sft => "sft",
            Self::Mix => "mix",
            Self::Wmss => "wmss",
        })
    }
}
