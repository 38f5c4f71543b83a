//! Weak-driven learning (WMSS, arXiv 2602.08222): cross-entropy of the logits of a strong and one or several weak models,
//! mixed by the step's lambda. Which of them learns is decided by who declared gradients.
//!
//! Three controls ask whether it matters what the weak model knows: [`Source`] says what stands in for its logits.

use super::{Beside, Method, Row, Settings};
use crate::{
    graph::{
        ops::{
            self,
            head_loss::{Head, Second, head_loss},
        },
        tape::Tape,
    },
    model::Model,
};

/// What is mixed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The weak model's logits.
    #[default]
    Real,
    /// As [`Self::Real`], where all models share one frozen head: their hidden states are mixed before it, which saves a
    /// product, and the statistics of each model alone.
    Blended,
    /// The weak model's logits, turned around the vocabulary by a random offset per token: their values without their
    /// meaning.
    Shuffled,
    /// At every token one random likely token, as likely as gives the weak model's entropy: its confidence without its
    /// values. Nothing flows back to the weak model.
    EntropyMatched,
    /// Equal logits, so no weak model at all: the strong model's logits are scaled by lambda.
    Uniform,
}

/// Cross-entropy of mixed logits.
pub struct Mix<'a> {
    /// The model that is kept.
    pub strong: &'a Model,
    /// Earlier models of the same vocabulary, and each one's share in the weak logits; shares sum to 1.
    pub weak: Vec<(Beside<'a>, f64)>,
    /// What is mixed in.
    pub source: Source,
}

impl<'a> Mix<'a> {
    /// As asked for, or with [`Source::Real`] where heads differ, learn or cap their logits.
    #[must_use]
    pub fn resolved(self) -> Self {
        let shard = |model: &Model| model.head_weight().to_vec();
        let own = shard(self.strong);
        let learns = self.strong.trained().iter().any(|(weight, _)| own.contains(weight));
        let shares = |model: &Model| shard(model) == own && model.config.final_softcap.is_none();
        let blends = !learns && self.weak.iter().all(|(beside, _)| shares(beside.model));
        match self.source {
            Source::Blended if !blends => Self { source: Source::Real, ..self },
            _ => self,
        }
    }
}

impl Method for Mix<'_> {
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings) {
        let hidden = Beside::computed(self.strong).hidden(tape, row, settings);
        if self.source == Source::Blended {
            let blended = self.weak.iter().fold(hidden, |hidden, &(model, share)| {
                let weak = model.hidden(tape, row, settings);
                ops::blend(tape, hidden, weak, share as f32, row.targets.schedule)
            });
            return head_loss(tape, self.strong.head(blended), &Second::None, row.targets, settings.chunk);
        }
        let strong = self.strong.head(hidden);
        let weak: Vec<Head<'_>> = self
            .weak
            .iter()
            .map(|&(model, share)| {
                let hidden = model.hidden(tape, row, settings);
                // Logits are linear in hidden states: a share of these is a share of those.
                model.head(if share == 1.0 { hidden } else { ops::scale(tape, hidden, share as f32) })
            })
            .collect();
        let second = match self.source {
            Source::Real | Source::Blended => Second::Weak(weak),
            Source::Shuffled => Second::Turned(weak),
            Source::EntropyMatched => Second::Synthetic(weak),
            Source::Uniform => Second::None,
        };
        head_loss(tape, strong, &second, row.targets, settings.chunk);
    }
}
