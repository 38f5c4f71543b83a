//! Which settings go together.

use super::{
    bytes::ByteSize,
    choices::{LambdaSchedule, Quantize},
    table::{Config, SETTINGS},
};

impl Config {
    /// Whether its values are allowed, each by itself and with the others.
    pub fn is_sound(&self) -> bool {
        SETTINGS.iter().all(|setting| setting.out_of_bounds(self).is_none()) && self.conflict().is_none()
    }

    /// The first setting that does not go with the others, as its key and what is allowed.
    pub(super) fn conflict(&self) -> Option<(&'static str, String)> {
        let defaults = Self::default();
        let conditional =
            SETTINGS.iter().find_map(|setting| Some((setting.key, setting.condition(self, &defaults)?)));
        let rule = || self.rules().into_iter().find(|(_, holds, _)| !holds).map(|(key, _, reason)| (key, reason));
        conditional.or_else(rule).map(|(key, reason)| (key, reason.to_owned()))
    }

    /// What the table's bounds and conditions cannot say: a key, whether it is as it must be, and how that is.
    fn rules(&self) -> [(&'static str, bool, &'static str); 11] {
        let Self { curriculum, adapter, weak, weak_share, .. } = self;
        [
            (
                "warmup",
                self.warmup < 1.0 || self.warmup.fract() == 0.0,
                "must be a whole number of steps, or below 1 as a share of all steps",
            ),
            ("optimizer_bits", [8, 16, 32].contains(&self.optimizer_bits), "must be 32, 16 or 8"),
            ("memory", self.memory != Some(ByteSize(0)), "must be above 0; leave it out for what the device has"),
            (
                "curriculum.alpha",
                curriculum.alpha + curriculum.beta + curriculum.gamma > 0.0,
                "must be above 0 where beta and gamma are 0 too",
            ),
            (
                "lambda",
                self.lambda_schedule != LambdaSchedule::Adaptive || self.lambda < 1.0,
                "must be below 1 where an adaptive schedule starts from it",
            ),
            (
                "lora_rank",
                self.lora_rank.is_none() || adapter.is_none(),
                "is the adapter's own where a run goes on from one; leave one of the two out",
            ),
            (
                "quantize",
                self.quantize == Quantize::None || !self.dora,
                "is not supported for DoRA, which needs the lengths of the rows; leave one of the two out",
            ),
            (
                "cache_weak",
                !self.cache_weak || !self.trains_weak(),
                "is for weak models that do not learn, and this one does; add freeze_weak, or leave it out",
            ),
            (
                "weak",
                self.is_one_phase() || (weak.len() <= 1 && !self.chooses_weak()),
                "must be one model for `wmss`, or none: then it is the model before training",
            ),
            (
                "weak_share",
                weak_share.is_empty() || weak_share.len() == weak.len(),
                "must be given once for each weak model, or not at all",
            ),
            (
                "candidate",
                !self.chooses_weak() || !self.candidate.is_empty(),
                "must name the checkpoints to choose from",
            ),
        ]
    }
}
