//! The table: every setting once, with its type, default, meaning, bounds, and the verbs that take it as a flag.
//!
//! A doc comment is the help of the flag. A plain setting is one entry here and its use.

use std::path::PathBuf;

use super::{
    bytes::ByteSize,
    choices::{Autotune, CurriculumRule, Dtype, LambdaSchedule, Method, Precision, Quantize, WeakSource},
    kind::Kind,
    recompute::Recompute,
    setting::{Cases, Setting, Verbs, settings},
};
use crate::{data::Overlength, graph::optim::Decay};

/// Declares the verbs as bits, in the order of the command line's help.
macro_rules! verbs {
    ($($bit:expr => $verb:ident $name:literal,)+) => {
        $(#[doc = concat!("`underdog ", $name, "`")] pub const $verb: Verbs = 1 << $bit;)+
        /// The verbs by name.
        pub const VERBS: &[(Verbs, &str)] = &[$(($verb, $name)),+];
    };
}

verbs! {
    0 => DEMO "demo",
    1 => DEVICES "devices",
    2 => DOCTOR "doctor",
    3 => INIT "init",
    4 => TRAIN "train",
    5 => SCORE "score",
    6 => CURRICULUM "curriculum",
    7 => WMSS "wmss",
    8 => COMPARE "compare",
    9 => EVAL "eval",
    10 => MERGE "merge",
    11 => GENERATE "generate",
    12 => DATA "data",
    13 => BENCH "bench",
    14 => PLAN "plan",
}

/// Verbs that take all settings of a run, from a TOML file, flags and `--set`.
pub const RUN: Verbs = TRAIN | WMSS | COMPARE | PLAN;

/// Learning rate.
pub(super) static LR: Cases = Cases { usual: 1e-5, when: "of an adapter", other: 1e-4 };
/// Share of the cross-entropy in a distilled loss.
pub(super) static HARD_SHARE: Cases = Cases { usual: 0.5, when: "undial", other: 0.0 };

const NEW_ADAPTER: &str = "is of a new adapter, which needs lora_rank; leave it out or give that";

settings! {
    /// All settings, typed. Keys of a TOML file are the fields' names.
    pub struct Config {
        in ("", RUN) {
            /// Hugging Face folder of the model
            model: Option<PathBuf> = None, .verbs(RUN | SCORE | EVAL | GENERATE | DATA | MERGE);
            /// JSONL file of the samples
            data: Option<PathBuf> = None, .verbs(RUN | SCORE | EVAL | DATA).value_name("FILE");
            /// Folder of the run: metrics, checkpoints, the final model
            out: Option<PathBuf> = None, .free();
            /// What a run does with its data
            method: Method = Method::Sft, .verbs(TRAIN | PLAN).value_name("METHOD");
            /// A file of `curriculum` to draw the epoch's examples by
            weights: Option<PathBuf> = None, .verbs(TRAIN | PLAN).value_name("FILE")
                .only(Config::is_one_phase, "is not for `wmss`, which makes its own curriculum; leave it out");
            /// JSONL file that is not trained on, to measure with
            held_out: Option<PathBuf> = None, .verbs(TRAIN | COMPARE).value_name("FILE");
            /// Rounds of wmss; each takes the new strong model and the one before it as the weak
            rounds: u64 = 1, .verbs(WMSS).at_least(1.0);
        }
        in ("Adapters", RUN) {
            /// Folder of an adapter on the model (PEFT or mlx-lm), to go on from or to measure
            adapter: Option<PathBuf> = None, .verbs(RUN | SCORE | EVAL | GENERATE | MERGE);
            /// Train a new low-rank adapter of this rank, 16 for instance, instead of the model
            lora_rank: Option<usize> = None, .value_name("R").at_least(1.0).at_most(4096.0)
                .hint("leave it out to train the model itself");
            /// What a new adapter is scaled by, over its rank
            lora_alpha: Option<f64> = None, .above(0.0).at_most(1e6).otherwise("twice the rank")
                .only(Config::has_new_adapter, NEW_ADAPTER);
            /// Share of an adapted module's inputs that is dropped
            lora_dropout: Option<f64> = None, .at_least(0.0).below(1.0).otherwise("0, or the adapter's own")
                .only(Config::trains_adapter, NEW_ADAPTER);
            /// Modules to adapt, by the ends of their names, with commas between them
            target_modules: Vec<String> = Vec::new(), .commas().otherwise("all-linear")
                .only(Config::has_new_adapter, NEW_ADAPTER);
            /// Scale by alpha over the root of the rank (rsLoRA)
            rslora: bool = false, .only(Config::has_new_adapter, NEW_ADAPTER);
            /// Learn directions and lengths of the weights apart (DoRA)
            dora: bool = false, .only(Config::has_new_adapter, NEW_ADAPTER);
            /// Layers to adapt, as in 0-3,8 or last:8
            train_layers: Option<String> = None, .value_name("LAYERS").otherwise("all")
                .only(Config::has_new_adapter, NEW_ADAPTER);
            /// Modules that are trained whole with the adapter: embed_tokens, lm_head
            modules_to_save: Vec<String> = Vec::new(), .commas().otherwise("none")
                .only(Config::has_new_adapter, NEW_ADAPTER);
            /// Storage format of matrices that do not learn: as stored, or 8 or 4 bits
            quantize: Quantize = Quantize::None, .verbs(RUN | SCORE | EVAL).value_name("BITS")
                .only(Config::has_frozen_weights, "is of weights that do not learn; train an adapter with lora_rank, or leave it out");
        }
        in ("Joint training", RUN) {
            /// Folder of a weak model or of an adapter on --model; base: --model without its adapter. mix takes several, or auto
            /// to choose among --candidate; wmss takes one for its first round, instead of --model
            weak: Vec<PathBuf> = Vec::new(), .verbs(TRAIN | WMSS | PLAN)
                .only(Config::mixes, "is only for methods `mix` and `wmss`; leave it out");
            /// Share of each --weak in the weak logits, in their order
            weak_share: Vec<f64> = Vec::new(), .verbs(TRAIN | PLAN).above(0.0).at_most(1e6).otherwise("equal")
                .hint("only their proportions count");
            /// An earlier checkpoint that --weak auto may choose; may be repeated
            candidate: Vec<PathBuf> = Vec::new(), .verbs(TRAIN)
                .only(Config::chooses_weak, "is only for `weak = \"auto\"`; leave it out");
            /// Share of the strong model in the mixed logits
            lambda: f64 = 0.5, .above(0.0).at_most(1.0);
            /// How lambda moves over the phase
            lambda_schedule: LambdaSchedule = LambdaSchedule::Constant, .value_name("HOW");
            /// Lambda of the last step, where it moves in a line or a cosine
            lambda_end: f64 = 0.5, .above(0.0).at_most(1.0);
            /// Gradient amplification that an adaptive lambda is held at
            amplification: f64 = 2.0, .above(0.0).at_most(1e6);
            /// What is mixed in: the weak model's logits, or a control that lacks their content
            weak_source: WeakSource = WeakSource::Real, .value_name("WHAT");
            /// Keep the weak model as it is, instead of training both
            freeze_weak: bool = false;
            /// Compute the hidden states of frozen weak models and of teachers once, and keep them on disk while a phase runs
            cache_weak: bool = false, .only(Config::has_auxiliary_model, "is for methods with a weak model or a teacher; leave it out");
        }
        in ("Distillation", TRAIN) {
            /// Hugging Face folder of the teacher
            teacher: Option<PathBuf> = None, .verbs(TRAIN | PLAN)
                .otherwise("for undial and self-distill, the model before training")
                .only(Config::distills, "is only for distillation; leave it out");
            /// Temperature of distilled logits
            temperature: f64 = 2.0, .above(0.0).at_most(1000.0);
            /// Share of the cross-entropy in a distilled loss
            hard_share: Option<f64> = None, .at_least(0.0).at_most(1.0).cases(&HARD_SHARE);
            /// By how much undial lowers the teacher's target logit
            undial_beta: f64 = 10.0, .at_least(0.0).at_most(1e4);
        }
        in ("Data", RUN) {
            /// Longest example in tokens
            max_length: usize = 2048, .verbs(RUN | SCORE | EVAL | DATA).at_least(2.0);
            /// What becomes of longer ones
            overlength: Overlength = Overlength::Truncate, .verbs(RUN | SCORE | EVAL | DATA).value_name("HOW");
            /// Use only the first so many samples of a data file
            max_samples: Option<usize> = None, .verbs(RUN | SCORE | EVAL).at_least(1.0).otherwise("all");
            /// Give each epoch an order of its own
            shuffle: bool = true, .on("Keep the order of the file");
            /// Where all randomness starts
            seed: u64 = 42, .verbs(RUN | INIT | DEMO | EVAL | GENERATE);
        }
        in ("Optimizer", RUN) {
            /// Examples per optimizer step, however many micro-batches memory makes of them
            batch_size: usize = 32, .at_least(1.0);
            /// Passes over the data, per phase
            epochs: u64 = 1, .at_least(1.0);
            /// Stop each phase after so many optimizer steps
            max_steps: Option<u64> = None, .at_least(1.0).otherwise("no limit").hint("leave it out for no limit");
            /// Peak learning rate
            lr: f64 = LR.usual, .at_least(0.0).at_most(1.0).cases(&LR);
            /// How it moves after the warmup
            lr_scheduler: Decay = Decay::Cosine, .value_name("HOW");
            /// Linear warmup: steps if 1 or more, else a share of all steps
            warmup: f64 = 0.03, .at_least(0.0);
            /// Decoupled weight decay of AdamW
            weight_decay: f64 = 0.0, .at_least(0.0);
            /// Share of each target that is spread evenly over the vocabulary
            label_smoothing: f64 = 0.0, .at_least(0.0).below(1.0)
                .only(Config::has_own_targets, "is not for distillation, whose targets are the teacher's; leave it out");
            /// Largest global norm of the gradient; 0 turns clipping off
            clip: f64 = 1.0, .at_least(0.0);
            /// Bits of the numbers that learn: 32, 16 or 8. 16: weights and gradients of a model in bfloat16, and both moments;
            /// 8: moments in 8 bits. An adapter's own weights stay f32
            optimizer_bits: u32 = 32, .value_name("32|16|8");
            /// What the factors of products may be rounded to, where --autotune finds kernels that gain by it. With f16 sums stay
            /// f32, and the loss is scaled so that small gradients survive
            precision: Precision = Precision::F32, .value_name("f32|f16");
            /// Size of neftune's noise, times the root of width and length
            noise_alpha: f64 = 5.0, .verbs(TRAIN).at_least(0.0).at_most(1e6);
            /// Scale neftune's noise by the longest example of a step, as implementations that pad do
            noise_padded: bool = false, .verbs(0);
        }
        in ("Machine", RUN) {
            /// The GPU: its index in `underdog devices`, or a part of its name
            device: Option<String> = None, .verbs(RUN | SCORE | EVAL | GENERATE | BENCH | DEVICES | DOCTOR | DEMO).value_name("NAME")
                .otherwise("the best one").free();
            /// Most device memory to use, as in 8GiB
            memory: Option<ByteSize> = None, .verbs(RUN | SCORE | EVAL | BENCH).otherwise("what the device has").free();
            /// How kernels are chosen for the device. A resumed run keeps its choices
            autotune: Autotune = Autotune::Quick, .verbs(RUN | SCORE | EVAL | GENERATE | BENCH).value_name("EFFORT").free();
            /// Compute activations twice instead of keeping them (gradient checkpointing): auto, on, off, or of so many blocks
            recompute: Recompute = Recompute::Auto, .free();
            /// Tokens computed at once; 0 chooses by memory. The result depends on it by rounding alone
            tokens_per_pass: usize = 0, .free();
        }
        in ("Saving", RUN) {
            /// Number format of the final model
            dtype: Dtype = Dtype::Auto, .verbs(RUN | MERGE).value_name("FORMAT");
            /// Steps between looks at a few fixed examples: what became of the strongest wrong tokens; 0 for none, and no
            /// statistics of each model alone where an adapter mixes with its own base
            diagnostics: u64 = 0, .free();
            /// Write a checkpoint every so many steps; 0 only when interrupted
            save_every: u64 = 0, .free();
            /// Checkpoints to keep, the newest
            keep: usize = 2, .at_least(1.0).free();
            /// Go on from the last checkpoint in --out; where there is none, start
            resume: bool = false, .free();
        }
    }

    /// How a curriculum weighs and draws samples: see [`crate::data::curriculum`].
    pub struct Curriculum as curriculum in ("Curriculum", WMSS | CURRICULUM) {
        /// How samples are weighed
        rule: CurriculumRule = CurriculumRule::Wmss, .value_name("RULE");
        /// Weight of the weak model's entropy
        alpha: f64 = 0.1, .at_least(0.0);
        /// Weight of entropy that the strong model has lost
        beta: f64 = 0.8, .at_least(0.0);
        /// Weight of entropy that the strong model has gained
        gamma: f64 = 0.1, .at_least(0.0);
        /// Examples drawn per epoch, as a multiple of the samples there are
        multiplier: f64 = 1.0, .verbs(WMSS).above(0.0).at_most(1000.0);
    }

    /// Constants of AdamW.
    pub struct Adamw as adamw in ("Optimizer", 0) {
        /// Decay of the mean of gradients
        beta1: f64 = 0.9, .at_least(0.0).below(1.0);
        /// Decay of the mean of their squares
        beta2: f64 = 0.999, .at_least(0.0).below(1.0);
        /// Added to the root of the second moment
        eps: f64 = 1e-8, .above(0.0);
    }

    /// How the next token is picked when text is generated.
    pub struct Sampling as sampling in ("Sampling", EVAL | GENERATE) {
        /// 0 always takes the likeliest token; higher ones draw more freely
        temperature: f64 = 0.0, .at_least(0.0);
        /// Draw only from the likeliest tokens that make up this share
        top_p: f64 = 1.0, .above(0.0).at_most(1.0);
        /// Draw only from so many likeliest tokens; 0 from all
        top_k: usize = 0;
    }

    /// Generated text.
    pub struct Generate as generate in ("Sampling", GENERATE) {
        /// Stop after so many tokens, if not at the end of the text
        max_new_tokens: u32 = 256, .at_least(1.0);
    }

    /// A published task that a model is measured with.
    pub struct TaskSettings as task in ("Task", EVAL) {
        /// Worked examples before each problem
        shots: Option<usize> = None, .otherwise("as published");
        /// Texts per problem: more than one with a temperature, for pass@k
        samples: u32 = 1, .value_name("K").at_least(1.0).at_most(4096.0);
        /// Stop a text after so many tokens
        max_new_tokens: u32 = 512, .at_least(1.0);
        /// Only the first problems
        limit: Option<u32> = None, .at_least(1.0).otherwise("all");
        /// Seconds that a program or the grader may take
        time_limit: u32 = 10, .at_least(1.0).at_most(3600.0);
    }
}
