//! Settings that are one of a few words.

use crate::choice::choices;

choices! {
    /// What a run does with its data.
    pub enum Method {
        /// Supervised fine-tuning: cross-entropy of one model
        Sft = "sft",
        /// SFT with noise on the embeddings
        Neftune = "neftune",
        /// Self-distillation from the starting model with lowered target logits
        Undial = "undial",
        /// Distillation from a teacher
        Distill = "distill",
        /// Distillation from an earlier checkpoint of the model
        SelfDistill = "self-distill",
        /// Joint training of a strong model on logits mixed with those of weak ones
        Mix = "mix",
        /// Training at a softmax temperature of 1 / lambda
        Temperature = "temperature",
        /// All phases of weak-driven learning: SFT, both scores, curriculum, mix
        Wmss = "wmss",
    }
}

choices! {
    /// The number format of the weights that a run writes. What training computes in, `precision` says, and what it holds its
    /// weights in, `optimizer_bits`.
    pub enum Dtype {
        /// That of the weights in training where it is bf16, else f32 if the source folder holds f32, else bf16
        Auto = "auto",
        /// 4 bytes a weight
        F32 = "f32",
        /// 2 bytes a weight
        Bf16 = "bf16",
    }
}

choices! {
    /// What the factors of products are rounded to, where the device has kernels that gain by it. Sums, and all that is no
    /// factor, stay f32.
    pub enum Precision {
        /// They are not rounded
        F32 = "f32",
        /// 2 bytes, with a loss scale that keeps small gradients from vanishing
        F16 = "f16",
    }
}

choices! {
    /// How kernels are chosen for the device.
    pub enum Autotune {
        /// The portable forms, which are made for software drivers on the CPU
        Off = "off",
        /// Those that measure fastest for most of the work; on a software driver, the portable ones
        Quick = "quick",
        /// Those that measure fastest, for all of it and wherever it runs
        Full = "full",
    }
}

choices! {
    /// How the matrices of a model that does not learn are held: the base of an adapter, a weak model, a teacher.
    pub enum Quantize {
        /// As they are stored
        None = "none",
        /// 8 bits a number, with a scale and an offset for every 64
        Bits8 = "8bit",
        /// 4 bits, likewise; embedding and head in 8
        Bits4 = "4bit",
    }
}

choices! {
    /// What is mixed in: the weak model, or one of three controls.
    pub enum WeakSource {
        /// The weak model's logits
        Real = "real",
        /// Its logits, turned around the vocabulary by a random offset per token
        Shuffled = "shuffled",
        /// Equal logits
        Uniform = "uniform",
        /// One random likely token, as likely as gives the weak model's entropy
        EntropyMatched = "entropy-matched",
    }
}

choices! {
    /// How lambda moves over a phase.
    pub enum LambdaSchedule {
        /// Stays at `lambda`
        Constant = "constant",
        /// In a straight line to `lambda_end`
        Linear = "linear",
        /// Along half a cosine to `lambda_end`
        Cosine = "cosine",
        /// Held so that the measured gradient amplification stays at `amplification`
        Adaptive = "adaptive",
    }
}

choices! {
    /// How samples are weighed.
    pub enum CurriculumRule {
        /// The published rule: entropy, entropy lost, entropy gained
        Wmss = "wmss",
        /// The authors' second rule, from the second round on; the first takes the published one
        Brownboost = "brownboost",
        /// All alike
        Uniform = "uniform",
    }
}
