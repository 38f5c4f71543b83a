//! The verbs whose flags are settings of a run: `train`, `wmss`, `plan`. Each flag is named like its setting.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};

use crate::recipes::Equal;
use crate::settings::{
    Autotune, ByteSize, Config, CurriculumRule, Dtype, Error, LambdaSchedule, Layers, LrScheduler, Method,
    Overlength, Precision, Quantize, Recompute, WeakSource,
};

const JOINT: &str = "Joint training";
const ADAPTER: &str = "Adapters";
const TEACHER: &str = "Distillation";
const DATA: &str = "Data";
const OPTIMIZER: &str = "Optimizer";
const MACHINE: &str = "Machine";
const SAVING: &str = "Saving";

/// `train`.
#[derive(Debug, Args, Serialize)]
pub struct TrainArgs {
    /// sft: plain fine-tuning; neftune: with noise on embeddings; undial, distill, self-distill: towards a teacher's
    /// logits; mix: joint training on logits mixed with a weak model's
    #[arg(long, value_name = "METHOD", value_parser = one_phase())]
    pub method: Option<Method>,
    /// Folder of a weak model or of an adapter on --model, for mix; may be repeated. base: --model without its adapter.
    /// auto: choose among --candidate
    #[arg(long, value_name = "DIR", help_heading = JOINT)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weak: Vec<PathBuf>,
    /// Share of each --weak in the weak logits, in their order [default: equal]
    #[arg(long, value_name = "X", help_heading = JOINT)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weak_share: Vec<f64>,
    /// An earlier checkpoint that --weak auto may choose; may be repeated
    #[arg(long, value_name = "DIR", help_heading = JOINT)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidate: Vec<PathBuf>,
    /// JSONL file that is not trained on, for --weak auto
    #[arg(long, value_name = "FILE", help_heading = JOINT)]
    pub held_out: Option<PathBuf>,
    /// Hugging Face folder of the teacher, for distill; undial and self-distill take the model itself unless told
    #[arg(long, value_name = "DIR", help_heading = TEACHER)]
    pub teacher: Option<PathBuf>,
    /// Temperature of distilled logits
    #[arg(long, value_name = "X", help_heading = TEACHER)]
    pub temperature: Option<f64>,
    /// Share of the cross-entropy in a distilled loss [default: 0.5; undial: 0]
    #[arg(long, value_name = "X", help_heading = TEACHER)]
    pub hard_share: Option<f64>,
    /// By how much undial lowers the teacher's target logit
    #[arg(long, value_name = "X", help_heading = TEACHER)]
    pub undial_beta: Option<f64>,
    /// Size of neftune's noise
    #[arg(long, value_name = "X", help_heading = OPTIMIZER)]
    pub noise_alpha: Option<f64>,
    /// A file of `curriculum` to draw the epoch's examples by
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Tell where the device's time goes, by kernel, from the third step on; also in profile.json. Slower, the same result
    #[arg(long, help_heading = MACHINE)]
    #[serde(skip)]
    pub profile: bool,
    /// The flags of every run.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
    /// Where settings beyond flags come from.
    #[command(flatten)]
    #[serde(skip)]
    pub settings: Settings,
}

/// `wmss`.
#[derive(Debug, Args, Serialize)]
pub struct WmssArgs {
    /// The weak model of the first round instead of --model: base (--model without its adapter), the folder of another
    /// model or of an adapter
    #[arg(long, value_name = "DIR", help_heading = JOINT)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weak: Vec<PathBuf>,
    /// How samples are weighed
    #[arg(long, value_name = "RULE")]
    #[serde(rename = "curriculum.rule")]
    pub rule: Option<CurriculumRule>,
    /// Rounds; each takes the new strong model and the one before it as the weak
    #[arg(long, value_name = "N")]
    pub rounds: Option<u64>,
    /// Weight of the weak model's entropy
    #[arg(long, value_name = "X")]
    #[serde(rename = "curriculum.alpha")]
    pub alpha: Option<f64>,
    /// Weight of entropy that the strong model has lost
    #[arg(long, value_name = "X")]
    #[serde(rename = "curriculum.beta")]
    pub beta: Option<f64>,
    /// Weight of entropy that the strong model has gained
    #[arg(long, value_name = "X")]
    #[serde(rename = "curriculum.gamma")]
    pub gamma: Option<f64>,
    /// Examples drawn per epoch, as a multiple of the samples there are
    #[arg(long, value_name = "X")]
    #[serde(rename = "curriculum.multiplier")]
    pub multiplier: Option<f64>,
    /// The flags of every run.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
    /// Where settings beyond flags come from.
    #[command(flatten)]
    #[serde(skip)]
    pub settings: Settings,
}

/// `compare`.
#[derive(Debug, Args, Serialize)]
pub struct CompareArgs {
    /// The arms, each KIND[:key=value...]
    #[arg(long, value_name = "LIST", default_value = "sft,neftune,undial,curriculum,mix,wmss")]
    #[serde(skip)]
    pub arms: String,
    /// Runs of every arm, from --seed on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    #[serde(skip)]
    pub seeds: u64,
    /// What is the same for all arms
    #[arg(long, value_name = "WHAT", value_enum, default_value = "updates")]
    #[serde(skip)]
    pub equal: Equal,
    /// JSONL file that is not trained on, to measure with
    #[arg(long, value_name = "FILE")]
    pub held_out: Option<PathBuf>,
    /// Hugging Face folder of the teacher, for distill
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub teacher: Option<PathBuf>,
    /// The flags of every run.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
    /// Where settings beyond flags come from.
    #[command(flatten)]
    #[serde(skip)]
    pub settings: Settings,
}

/// `plan`.
#[derive(Debug, Args, Serialize)]
pub struct PlanArgs {
    /// The kind of run
    #[arg(long, value_name = "METHOD", value_enum)]
    pub method: Option<Method>,
    /// Hugging Face folder of a weak model; for mix, where its shape differs [default: as the model]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weak: Vec<PathBuf>,
    /// Hugging Face folder of the teacher, where its shape differs [default: as the model]
    #[arg(long, value_name = "DIR")]
    pub teacher: Option<PathBuf>,
    /// The flags of every run.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
    /// Where settings beyond flags come from.
    #[command(flatten)]
    #[serde(skip)]
    pub settings: Settings,
}

/// Settings that do not come as flags of their own.
#[derive(Debug, Args)]
pub struct Settings {
    /// A TOML file of settings
    #[arg(value_name = "RUN.TOML")]
    pub file: Option<PathBuf>,
    /// Set any key of the TOML file, as in --set curriculum.beta=0.7; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", display_order = 900)]
    pub set: Vec<String>,
}

/// The flags of every run.
#[derive(Debug, Args, Serialize)]
pub struct RunFlags {
    /// Hugging Face folder of the model
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Folder of an adapter on the model (PEFT or mlx-lm), to go on from
    #[arg(long, value_name = "DIR", help_heading = ADAPTER)]
    pub adapter: Option<PathBuf>,
    /// Train a new low-rank adapter of this rank, 16 for instance, instead of the model
    #[arg(long, value_name = "R", help_heading = ADAPTER)]
    pub lora_rank: Option<u64>,
    /// What it is scaled by, over its rank [default: twice the rank]
    #[arg(long, value_name = "X", help_heading = ADAPTER)]
    pub lora_alpha: Option<f64>,
    /// Share of an adapted module's inputs that is dropped [default: 0, or the adapter's own]
    #[arg(long, value_name = "X", help_heading = ADAPTER)]
    pub lora_dropout: Option<f64>,
    /// Modules to adapt, with commas between them [default: all-linear]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = ADAPTER)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_modules: Vec<String>,
    /// Scale by alpha over the root of the rank (rsLoRA)
    #[arg(long, help_heading = ADAPTER)]
    #[serde(skip_serializing_if = "is_absent")]
    pub rslora: bool,
    /// Learn directions and lengths of the weights apart (DoRA)
    #[arg(long, help_heading = ADAPTER)]
    #[serde(skip_serializing_if = "is_absent")]
    pub dora: bool,
    /// Layers to adapt, as in 0-3,8 or last:8 [default: all]
    #[arg(long, value_name = "LAYERS", help_heading = ADAPTER)]
    pub train_layers: Option<String>,
    /// Modules that are trained whole beside the adapter: embed_tokens, lm_head [default: none]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = ADAPTER)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// How matrices that do not learn are held: as stored, or in 8 or 4 bits
    #[arg(long, value_name = "BITS", help_heading = ADAPTER)]
    pub quantize: Option<Quantize>,
    /// JSONL file to train on
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Folder of the run: metrics, checkpoints, the final model
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Share of the strong model in the mixed logits, above 0, up to 1
    #[arg(long, value_name = "X", help_heading = JOINT)]
    pub lambda: Option<f64>,
    /// How lambda moves over the phase; adaptive holds the measured gradient amplification
    #[arg(long, value_name = "HOW", help_heading = JOINT)]
    pub lambda_schedule: Option<LambdaSchedule>,
    /// Lambda of the last step, where it moves in a line or a cosine
    #[arg(long, value_name = "X", help_heading = JOINT)]
    pub lambda_end: Option<f64>,
    /// Gradient amplification that an adaptive lambda is held at
    #[arg(long, value_name = "X", help_heading = JOINT)]
    pub amplification: Option<f64>,
    /// What is mixed in: the weak model's logits, or a control that lacks their content
    #[arg(long, value_name = "WHAT", help_heading = JOINT)]
    pub weak_source: Option<WeakSource>,
    /// Keep the weak model as it is, instead of training both
    #[arg(long, help_heading = JOINT)]
    #[serde(skip_serializing_if = "is_absent")]
    pub freeze_weak: bool,
    /// Compute the hidden states of frozen weak models and of teachers once, and keep them on disk while a phase runs
    #[arg(long, help_heading = JOINT)]
    #[serde(skip_serializing_if = "is_absent")]
    pub cache_weak: bool,
    /// Longest example in tokens
    #[arg(long, value_name = "N", help_heading = DATA)]
    pub max_length: Option<u64>,
    /// What becomes of longer ones
    #[arg(long, value_name = "HOW", help_heading = DATA)]
    pub overlength: Option<Overlength>,
    /// Keep the order of the file
    #[arg(long, help_heading = DATA)]
    #[serde(rename = "shuffle", serialize_with = "negated", skip_serializing_if = "is_absent")]
    pub no_shuffle: bool,
    /// Where all randomness starts
    #[arg(long, value_name = "N", help_heading = DATA)]
    pub seed: Option<u64>,
    /// Examples per optimizer step, however many passes memory makes of them
    #[arg(long, value_name = "N", help_heading = OPTIMIZER)]
    pub batch_size: Option<u64>,
    /// Passes over the data, per phase
    #[arg(long, value_name = "N", help_heading = OPTIMIZER)]
    pub epochs: Option<u64>,
    /// Stop each phase after so many optimizer steps [default: no limit]
    #[arg(long, value_name = "N", help_heading = OPTIMIZER)]
    pub max_steps: Option<u64>,
    /// Peak learning rate
    #[arg(long, value_name = "X", help_heading = OPTIMIZER)]
    pub lr: Option<f64>,
    /// How it moves after the warmup
    #[arg(long, value_name = "HOW", help_heading = OPTIMIZER)]
    pub lr_scheduler: Option<LrScheduler>,
    /// Linear warmup: steps if 1 or more, else a share of all steps
    #[arg(long, value_name = "X", help_heading = OPTIMIZER)]
    pub warmup: Option<f64>,
    /// Decoupled weight decay of AdamW
    #[arg(long, value_name = "X", help_heading = OPTIMIZER)]
    pub weight_decay: Option<f64>,
    /// Share of each target that is spread evenly over the vocabulary
    #[arg(long, value_name = "X", help_heading = OPTIMIZER)]
    pub label_smoothing: Option<f64>,
    /// Largest global norm of the gradient; 0 turns clipping off
    #[arg(long, value_name = "X", help_heading = OPTIMIZER)]
    pub clip: Option<f64>,
    /// Bits of the numbers that learn. 16: weights and gradients of a model in bfloat16, and both moments; 8: moments in 8
    /// bits. An adapter's own weights stay f32
    #[arg(long, value_name = "32|16|8", help_heading = OPTIMIZER)]
    pub optimizer_bits: Option<u64>,
    /// What kernels may compute with. f16: --autotune may take kernels that round the factors of products to f16, which GPUs
    /// multiply faster; sums stay f32, and the loss is scaled so that small gradients survive
    #[arg(long, value_name = "f32|f16", help_heading = OPTIMIZER)]
    pub precision: Option<Precision>,
    /// The GPU: its index in `underdog devices`, or a part of its name [default: the best one]
    #[arg(long, value_name = "NAME", help_heading = MACHINE)]
    pub device: Option<String>,
    /// Most device memory to use, as in 8GiB [default: what the device has]
    #[arg(long, value_name = "SIZE", help_heading = MACHINE)]
    pub memory: Option<ByteSize>,
    /// Try kernels on this device and take the fastest: of most of the work, in about 10 s and not on software drivers
    /// (quick), or of all of it (full). A resumed run keeps its own
    #[arg(long, value_name = "EFFORT", help_heading = MACHINE)]
    pub autotune: Option<Autotune>,
    /// Compute activations twice instead of keeping them (gradient checkpointing): auto, on, off, or of so many blocks
    #[arg(long, value_name = "BLOCKS", help_heading = MACHINE)]
    pub recompute: Option<Recompute>,
    /// Tokens computed at once; 0 chooses by memory. The result depends on it by rounding alone
    #[arg(long, value_name = "N", help_heading = MACHINE)]
    pub tokens_per_pass: Option<u64>,
    /// Number format of the final model; auto is the source's, or bf16 with --optimizer-bits below 32
    #[arg(long, value_name = "FORMAT", help_heading = SAVING)]
    pub dtype: Option<Dtype>,
    /// Steps between looks at a few fixed examples: what became of the strongest wrong tokens; 0 for none, and no statistics
    /// of each model alone where an adapter mixes with its own base
    #[arg(long, value_name = "N", help_heading = SAVING)]
    pub diagnostics: Option<u64>,
    /// Write a checkpoint every so many steps; 0 only when interrupted
    #[arg(long, value_name = "N", help_heading = SAVING)]
    pub save_every: Option<u64>,
    /// Checkpoints to keep, the newest
    #[arg(long, value_name = "N", help_heading = SAVING)]
    pub keep: Option<u64>,
    /// Go on from the last checkpoint in --out; where there is none, start
    #[arg(long, help_heading = SAVING)]
    #[serde(skip_serializing_if = "is_absent")]
    pub resume: bool,
}

impl TrainArgs {
    /// The settings of this run.
    ///
    /// # Errors
    /// See [`Layers`]; and settings of a run of all phases, which `train` is not.
    pub fn config(&self) -> Result<Config, Error> {
        let config = self.settings.under(self, None)?;
        match config.method {
            Method::Wmss => Err(Error::WrongVerb),
            _ => Ok(config),
        }
    }
}

impl WmssArgs {
    /// The settings of this run.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn config(&self) -> Result<Config, Error> {
        self.settings.under(self, Some(Method::Wmss))
    }
}

impl CompareArgs {
    /// The settings that all arms share.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn config(&self) -> Result<Config, Error> {
        let config = self.settings.under(self, None)?;
        // What only some kinds of arms have is theirs to say; of a teacher they are told.
        Ok(Config {
            method: Method::Sft,
            weak: Vec::new(),
            weak_share: Vec::new(),
            candidate: Vec::new(),
            weights: None,
            teacher: self.teacher.clone().or(config.teacher),
            ..config
        })
    }
}

impl PlanArgs {
    /// The settings of the run in question.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn config(&self) -> Result<Config, Error> {
        self.settings.under(self, None)
    }
}

impl Settings {
    /// File, flags, `--set` and what the verb itself says, laid over the defaults in this order.
    fn under(&self, flags: &impl Serialize, method: Option<Method>) -> Result<Config, Error> {
        let mut layers = Layers::new();
        self.file.iter().try_for_each(|file| layers.file(file))?;
        layers.flags(flags)?;
        self.set.iter().try_for_each(|argument| layers.set(argument))?;
        method.into_iter().try_for_each(|method| layers.method(method))?;
        layers.resolve()
    }
}

/// The methods of a single phase.
fn one_phase() -> impl TypedValueParser<Value = Method> {
    let methods = Method::value_variants().iter().filter(|method| **method != Method::Wmss);
    PossibleValuesParser::new(methods.filter_map(Method::to_possible_value))
        .try_map(|name| Method::from_str(&name, false))
}

fn is_absent(switch: &bool) -> bool {
    !switch
}

fn negated<S: Serializer>(switch: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(!switch)
}
