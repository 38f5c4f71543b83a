//! Means of a step's statistics over its target tokens, and what follows from them.

use crate::{
    graph::ops::head_loss::{
        ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, LOSS, MARGIN, MEAN, MEAN_WEAK, PULL, PULL_ALONE, STATS, TARGET,
        TARGET_WEAK,
    },
    report::{MixStep, StrongStep, WeakStep},
    train::engine::TokenStats,
};

/// Weighted sums of statistics; with weights that sum to 1, means.
#[derive(Clone, Debug, Default)]
pub struct Means([f64; STATS]);

impl Means {
    /// Adds a row's tokens, each by its weight in the loss.
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

    /// How much larger the gradient on the non-target logits of the loss is than that of the strong model's own
    /// cross-entropy, given its share of the mixture (1 with a teacher): a ratio of mean norms. 1 where both models agree.
    pub fn amplification(&self, lambda: f64) -> f64 {
        self.0[PULL] / (lambda * self.0[PULL_ALONE])
    }

    /// Target logit minus the largest other one.
    pub fn margin(&self) -> f64 {
        self.0[MARGIN]
    }

    /// What is told of the strong model; `vocab` logits each.
    pub fn strong(&self, vocab: usize) -> StrongStep {
        StrongStep {
            entropy_strong: self.0[ENTROPY_STRONG],
            target_logit: self.0[TARGET],
            other_logit: others(self.0[TARGET], self.0[MEAN], vocab),
            grad_non_target_alone: self.0[PULL_ALONE],
        }
    }

    /// What is told of a step with a second set of logits, which has the share `1 - lambda`; `None`: they are a teacher's.
    pub fn mix(&self, lambda: Option<f64>, vocab: usize) -> MixStep {
        MixStep { weak: Some(self.weak(lambda, vocab)), ..self.blend(lambda) }
    }

    /// As [`Self::mix`], where only the mixture's logits exist.
    pub fn blend(&self, lambda: Option<f64>) -> MixStep {
        MixStep { lambda, entropy: self.0[ENTROPY], grad_non_target: self.0[PULL], weak: None }
    }

    fn weak(&self, lambda: Option<f64>, vocab: usize) -> WeakStep {
        let margin = |target: usize, mean: usize| self.0[target] - others(self.0[target], self.0[mean], vocab);
        let shielding = |lambda: f64| {
            let (strong, weak) = (lambda * margin(TARGET, MEAN), (1.0 - lambda) * margin(TARGET_WEAK, MEAN_WEAK));
            weak / (strong + weak)
        };
        WeakStep {
            entropy_weak: self.0[ENTROPY_WEAK],
            target_logit_weak: self.0[TARGET_WEAK],
            other_logit_weak: others(self.0[TARGET_WEAK], self.0[MEAN_WEAK], vocab),
            amplification: self.amplification(lambda.unwrap_or(1.0)),
            shielding: lambda.map(shielding),
        }
    }
}

/// Mean logit of all tokens but the target.
fn others(target: f64, mean: f64, vocab: usize) -> f64 {
    (mean * vocab as f64 - target) / (vocab.max(2) - 1) as f64
}
