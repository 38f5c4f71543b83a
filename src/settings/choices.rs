//! Settings that are one of a few words.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a run does with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Supervised fine-tuning: cross-entropy of one model.
    Sft,
    /// SFT with noise on the embeddings.
    Neftune,
    /// Self-distillation from the starting model with lowered target logits.
    Undial,
    /// Distillation from a teacher.
    Distill,
    /// Distillation from an earlier checkpoint of the model.
    #[serde(rename = "self-distill")]
    SelfDistill,
    /// Joint training of a strong model on logits mixed with those of weak ones.
    Mix,
    /// Training at a softmax temperature of 1 / lambda.
    Temperature,
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

/// The number format of the weights that a run writes. What training computes in, `precision` says, and what it holds its
/// weights in, `optimizer_bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// That of the weights in training where it is bf16, else f32 if the source folder holds f32, else bf16.
    Auto,
    /// 4 bytes a weight.
    F32,
    /// 2 bytes a weight.
    Bf16,
}

/// What the factors of products are rounded to, where the device has kernels that gain by it. Sums, and all that is no
/// factor, stay f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// They are not rounded.
    F32,
    /// 2 bytes, with a loss scale that keeps small gradients from vanishing.
    F16,
}

/// How kernels are chosen for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Autotune {
    /// The portable forms, which are made for software drivers on the CPU.
    Off,
    /// Those that measure fastest for most of the work; on a software driver, the portable ones.
    Quick,
    /// Those that measure fastest, for all of it and wherever it runs.
    Full,
}

/// How the matrices of a model that does not learn are held: the base of an adapter, a weak model, a teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Quantize {
    /// As they are stored.
    #[serde(rename = "none")]
    #[value(name = "none")]
    None,
    /// 8 bits a number, with a scale and an offset for every 64.
    #[serde(rename = "8bit")]
    #[value(name = "8bit")]
    Bits8,
    /// 4 bits, likewise; embedding and head in 8.
    #[serde(rename = "4bit")]
    #[value(name = "4bit")]
    Bits4,
}

/// What is mixed in: the weak model, or one of three controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WeakSource {
    /// The weak model's logits.
    Real,
    /// Its logits, turned around the vocabulary by a random offset per token.
    Shuffled,
    /// Equal logits.
    Uniform,
    /// One random likely token, as likely as gives the weak model's entropy.
    EntropyMatched,
}

/// How lambda moves over a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LambdaSchedule {
    /// Stays at `lambda`.
    Constant,
    /// In a straight line to `lambda_end`.
    Linear,
    /// Along half a cosine to `lambda_end`.
    Cosine,
    /// Held so that the measured gradient amplification stays at `amplification`.
    Adaptive,
}

/// How samples are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CurriculumRule {
    /// The published rule: entropy, entropy lost, entropy gained.
    Wmss,
    /// The authors' second rule, from the second round on; the first takes the published one.
    Brownboost,
    /// All alike.
    Uniform,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sft => "sft",
            Self::Neftune => "neftune",
            Self::Undial => "undial",
            Self::Distill => "distill",
            Self::SelfDistill => "self-distill",
            Self::Mix => "mix",
            Self::Temperature => "temperature",
            Self::Wmss => "wmss",
        })
    }
}
