//! What a setting may be: by itself, and beside the others.

use super::{ByteSize, Config, LambdaSchedule, Method, Quantize, WeakSource};

const NEW_ADAPTER: &str = "is of a new adapter, which wants lora_rank; leave it out or give that";

impl Config {
    /// Whether its settings go together.
    pub fn is_sound(&self) -> bool {
        self.first_fault().is_none()
    }

    /// The first setting that cannot be, as its key and what is allowed.
    pub(super) fn first_fault(&self) -> Option<(&'static str, &'static str)> {
        let Self { curriculum, adamw, method, .. } = self;
        let from_zero = |value: f64| value.is_finite() && value >= 0.0;
        let decay = |value: f64| (0.0..1.0).contains(&value);
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let distills = matches!(method, Method::Undial | Method::Distill | Method::SelfDistill);
        let mixes = matches!(method, Method::Mix | Method::Wmss);
        let is_lora = self.lora_rank.is_some();
        let all_zero = curriculum.alpha + curriculum.beta + curriculum.gamma == 0.0;
        let checks = [
            ("lambda", share(self.lambda), "must be above 0 and at most 1"),
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
            ("optimizer_bits", [8, 16, 32].contains(&self.optimizer_bits), "must be 32, 16 or 8"),
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
            ("lambda_end", share(self.lambda_end), "must be above 0 and at most 1"),
            ("amplification", self.amplification > 0.0 && self.amplification <= 1e6, "must be above 0"),
            (
                "lambda",
                self.lambda_schedule != LambdaSchedule::Adaptive || self.lambda < 1.0,
                "must be below 1 where an adaptive schedule starts from it",
            ),
            ("label_smoothing", decay(self.label_smoothing), "must be 0 or more and below 1"),
            (
                "label_smoothing",
                self.label_smoothing == 0.0 || !distills,
                "is not for distillation, whose targets are the teacher's; leave it out",
            ),
            ("temperature", self.temperature > 0.0 && self.temperature <= 1e3, "must be above 0 and at most 1000"),
            ("hard_share", self.hard_share.is_none_or(|hard| (0.0..=1.0).contains(&hard)), "must be between 0 and 1"),
            ("undial_beta", from_zero(self.undial_beta) && self.undial_beta <= 1e4, "must be between 0 and 10000"),
            ("noise_alpha", from_zero(self.noise_alpha) && self.noise_alpha <= 1e6, "must be 0 or more"),
            (
                "lora_rank",
                self.lora_rank.is_none_or(|rank| (1..=4096).contains(&rank)),
                "must be between 1 and 4096; leave it out to train the model itself",
            ),
            (
                "lora_rank",
                self.lora_rank.is_none() || self.adapter.is_none(),
                "is the adapter's own where a run goes on from one; leave one of the two out",
            ),
            (
                "lora_alpha",
                self.lora_alpha.is_none_or(|alpha| alpha > 0.0 && alpha <= 1e6),
                "must be above 0 and at most 1000000",
            ),
            ("lora_alpha", is_lora || self.lora_alpha.is_none(), NEW_ADAPTER),
            ("lora_dropout", self.lora_dropout.is_none_or(decay), "must be 0 or more and below 1"),
            ("lora_dropout", self.trains_adapter() || self.lora_dropout.is_none(), NEW_ADAPTER),
            ("target_modules", is_lora || self.target_modules.is_empty(), NEW_ADAPTER),
            ("rslora", is_lora || !self.rslora, NEW_ADAPTER),
            ("dora", is_lora || !self.dora, NEW_ADAPTER),
            ("train_layers", is_lora || self.train_layers.is_none(), NEW_ADAPTER),
            ("modules_to_save", is_lora || self.modules_to_save.is_empty(), NEW_ADAPTER),
            (
                "quantize",
                self.quantize == Quantize::None || self.trains_adapter() || distills || (self.freeze_weak && mixes),
                "is of weights that do not learn; train an adapter with lora_rank, or leave it out",
            ),
            (
                "quantize",
                self.quantize == Quantize::None || !self.dora,
                "is not built for DoRA, which needs the lengths of the rows; leave one of the two out",
            ),
            (
                "cache_weak",
                !self.cache_weak || distills || (mixes && self.weak_source != WeakSource::Uniform),
                "is for methods with a weak model or a teacher; leave it out",
            ),
            (
                "cache_weak",
                !self.cache_weak || !self.trains_weak(),
                "is for weak models that do not learn, and this one does; add freeze_weak, or leave it out",
            ),
            (
                "weak",
                matches!(method, Method::Mix | Method::Wmss) || self.weak.is_empty(),
                "is only for methods `mix` and `wmss`; leave it out",
            ),
            (
                "weak",
                *method != Method::Wmss || (self.weak.len() <= 1 && !self.chooses_weak()),
                "must be one model for `wmss`, or none: then it is the model before training",
            ),
            (
                "weak_share",
                self.weak_share.is_empty() || self.weak_share.len() == self.weak.len(),
                "must be given once for each weak model, or not at all",
            ),
            (
                "weak_share",
                self.weak_share.iter().all(|share| *share > 0.0 && *share <= 1e6),
                "must be above 0 and at most 1000000; only their proportions count",
            ),
            (
                "candidate",
                self.candidate.is_empty() || self.chooses_weak(),
                "is only for `weak = \"auto\"`; leave it out",
            ),
            (
                "candidate",
                !self.chooses_weak() || !self.candidate.is_empty(),
                "must name the checkpoints to choose from",
            ),
            ("teacher", distills || self.teacher.is_none(), "is only for distillation; leave it out"),
            (
                "weights",
                *method != Method::Wmss || self.weights.is_none(),
                "is not for `wmss`, which makes its own curriculum; leave it out",
            ),
        ];
        checks.into_iter().find(|(_, holds, _)| !holds).map(|(key, _, allowed)| (key, allowed))
    }
}
