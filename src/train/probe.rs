//! `--diagnostics`: a few fixed examples, looked at again and again while a phase trains: what became of the strongest wrong tokens that the
//! model had at its start, and how far its logits drifted where softmax does not see it.
//!
//! A look is one more pass of the training program, whose gradients are then forgotten: it needs no memory of its own, and
//! once in N steps it costs less than one pass in N.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, Hook, rows};
use crate::{
    data::{Example, pack::Batch, random::StepKey},
    events::{Number, Numbers},
    graph::ops::head_loss::{DISTRACTOR, DISTRACTOR_LOGIT, MEAN, WATCHED},
    objective::{Draw, TokenStats},
    train::engine::Engine,
};

/// The step whose randomness all looks share; no run has so many.
const STEP: u64 = u32::MAX as u64;

/// What the model had at the start of the phase; part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Baseline {
    /// Of each target token, the other token with the largest logit.
    distractors: Vec<u32>,
    /// Mean logit of these.
    distractor: f64,
    /// Mean of all logits.
    mean: f64,
}

/// The examples that are looked at, with what `--diagnostics` says of when.
pub struct Probe {
    every: u64,
    batch: Batch,
    draw: Draw,
    baseline: Option<Baseline>,
}

impl Probe {
    /// As many examples, from the first on, as fill a sequence of `tokens`; `None` where nothing of them is a target. Looks
    /// before the first step, after every `every` steps, and after the last.
    ///
    /// # Errors
    /// If the first example is longer than a sequence.
    pub fn new(examples: &[Example], tokens: usize, seed: u64, every: u64) -> Result<Option<Self>, Error> {
        let mut used = 0;
        let fit = |example: &&Example| {
            used += example.ids.len();
            used <= tokens
        };
        let chosen: Vec<usize> = (0..examples.iter().take_while(fit).count()).collect();
        let batch = rows(examples, &chosen, 1, tokens)?.into_iter().next();
        let batch = batch.filter(|batch| batch.weights.iter().any(|w| *w != 0.0));
        let draw = Draw::quiet(StepKey::new(seed, STEP));
        Ok(batch.map(|batch| Self { every, batch, draw, baseline: None }))
    }

    /// Statistics of the targets, in order.
    fn pass(&self, engine: &mut Engine<'_>) -> Result<Vec<TokenStats>, Error> {
        let stats = engine.run(&self.batch, self.draw)?;
        engine.reset()?;
        Ok(stats.into_iter().zip(&self.batch.weights).filter(|(_, w)| **w != 0.0).map(|(stat, _)| stat).collect())
    }
}

impl Hook for Probe {
    fn name(&self) -> &'static str {
        "probed"
    }

    fn due(&self, step: u64, of: u64) -> bool {
        step.is_multiple_of(self.every) || step == of
    }

    /// The first look of a phase makes the baseline.
    fn look(&mut self, engine: &mut Engine<'_>) -> Result<Numbers, Error> {
        let start = match self.baseline.clone() {
            Some(start) => start,
            None => {
                let targets = self.pass(engine)?;
                let distractors = targets.iter().map(|stat| stat[DISTRACTOR] as u32).collect();
                let start = Baseline {
                    distractors,
                    distractor: mean(&targets, DISTRACTOR_LOGIT),
                    mean: mean(&targets, MEAN),
                };
                self.baseline.insert(start).clone()
            }
        };
        engine.watch(&start.distractors);
        let targets = self.pass(engine)?;
        let distractor = mean(&targets, WATCHED);
        let number = |(name, value)| Number { name, value, brief: None };
        let found = [
            ("distractor_logit_start", start.distractor),
            ("distractor_logit", distractor),
            ("distractor_fall", (start.distractor - distractor) / start.distractor.abs()),
            ("mean_logit_drift", mean(&targets, MEAN) - start.mean),
        ];
        Ok(Numbers(found.map(number).to_vec()))
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.baseline).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) {
        let baseline: Option<Baseline> = serde_json::from_value(state.clone()).unwrap_or_default();
        // A baseline of other examples is none.
        let targets = self.batch.weights.iter().filter(|w| **w != 0.0).count();
        self.baseline = baseline.filter(|start| start.distractors.len() == targets);
    }
}

fn mean(targets: &[TokenStats], stat: usize) -> f64 {
    targets.iter().map(|t| f64::from(t[stat])).sum::<f64>() / targets.len() as f64
}
