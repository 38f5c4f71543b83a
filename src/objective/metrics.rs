//! Named numbers of a step. The loss head leaves statistics of every token; they are averaged over the step's target tokens,
//! each by its weight in the loss, and a metric is a function of these averages.

use crate::graph::ops::head_loss::{
    ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, GRAD_NON_TARGET, GRAD_NON_TARGET_ALONE, LOSS, MARGIN as MARGIN_OF, MEAN,
    MEAN_WEAK, STATS, TARGET, TARGET_WEAK,
};

/// Statistics of one token, as the loss head leaves them.
pub type TokenStats = [f32; STATS];

/// A number of a step.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its column in `metrics.jsonl`.
    pub name: &'static str,
    /// What it is of a step's averages.
    pub of: fn(&Averages) -> f64,
    /// Where a line about a step has room for few numbers: what it is called there, and how many decimals it gets.
    pub brief: Option<(&'static str, usize)>,
}

/// Averages over a step's target tokens.
#[derive(Clone, Copy, Debug)]
pub struct Averages {
    /// Of the statistics of the loss head.
    pub means: Means,
    /// Share of the trained model in mixed logits in this step.
    pub lambda: f64,
    /// Logits of a token.
    pub vocab: f64,
}

const fn metric(name: &'static str, of: fn(&Averages) -> f64) -> Metric {
    Metric { name, of, brief: None }
}

/// Target logit minus the largest other one, in what the loss is taken of.
pub(super) const MARGIN: Metric = metric("margin", |a| a.means.0[MARGIN_OF]).brief("margin", 2);

/// The trained model's logits: predictive entropy in nats, target logit, mean of the others, and the norm of the gradient of
/// its own cross-entropy on the logits other than the target's.
pub(super) const MAIN: &[Metric] = &[
    metric("entropy_strong", |a| a.means.0[ENTROPY_STRONG]).brief("H strong", 3),
    metric("target_logit", |a| a.means.0[TARGET]),
    metric("other_logit", |a| a.others(TARGET, MEAN)),
    metric("grad_non_target_alone", |a| a.means.0[GRAD_NON_TARGET_ALONE]),
];

/// Share of the trained model in the mixed logits.
pub(super) const LAMBDA: Metric = metric("lambda", |a| a.lambda).brief("lambda", 2);

/// Predictive entropy of what the loss is taken of, and the norm of the gradient of the loss on the trained model's logits
/// other than the target's.
pub(super) const MIXED: [Metric; 2] =
    [metric("entropy", |a| a.means.0[ENTROPY]), metric("grad_non_target", |a| a.means.0[GRAD_NON_TARGET])];

/// The second set of logits: predictive entropy, target logit, mean of the others, and by how much it amplifies the gradient
/// on the trained model's other logits.
pub(super) const AUXILIARY: &[Metric] = &[
    metric("entropy_weak", |a| a.means.0[ENTROPY_WEAK]).brief("H weak", 3),
    metric("target_logit_weak", |a| a.means.0[TARGET_WEAK]),
    metric("other_logit_weak", |a| a.others(TARGET_WEAK, MEAN_WEAK)),
    metric("amplification", |a| a.means.amplification(a.lambda)),
];

/// Share of the weak model in the mixture's logit margin (target minus mean of the others): how far it shields the strong
/// one from the loss.
pub(super) const SHIELDING: Metric = metric("shielding", |a| {
    let margin = |target, mean| a.means.0[target] - a.others(target, mean);
    let (strong, weak) = (a.lambda * margin(TARGET, MEAN), (1.0 - a.lambda) * margin(TARGET_WEAK, MEAN_WEAK));
    weak / (strong + weak)
});

impl Metric {
    /// With a place in a short line.
    pub const fn brief(self, label: &'static str, decimals: usize) -> Self {
        Self { brief: Some((label, decimals)), ..self }
    }

    /// Without one.
    pub const fn quiet(self) -> Self {
        Self { brief: None, ..self }
    }
}

impl Averages {
    /// Mean logit of all tokens but the target.
    fn others(&self, target: usize, mean: usize) -> f64 {
        (self.means.0[mean] * self.vocab - self.means.0[target]) / (self.vocab.max(2.0) - 1.0)
    }
}

/// Weighted sums of statistics; with weights that sum to 1, means.
#[derive(Clone, Copy, Debug, Default)]
pub struct Means([f64; STATS]);

impl Means {
    /// Adds the tokens of a packed sequence, each by its weight in the loss.
    pub fn add(&mut self, stats: &[TokenStats], weights: &[f32]) {
        for (stat, weight) in stats.iter().zip(weights).filter(|(_, w)| **w != 0.0) {
            for (mean, value) in self.0.iter_mut().zip(stat) {
                *mean += f64::from(*weight) * f64::from(*value);
            }
        }
    }

    /// The loss.
    pub fn loss(&self) -> f64 {
        self.0[LOSS]
    }

    /// How much larger the gradient on the non-target logits of the loss is than that of the trained model's own
    /// cross-entropy, given its share of the mixture (1 with a teacher): a ratio of mean norms. 1 where both models agree.
    pub fn amplification(&self, lambda: f64) -> f64 {
        self.0[GRAD_NON_TARGET] / (lambda * self.0[GRAD_NON_TARGET_ALONE])
    }
}
