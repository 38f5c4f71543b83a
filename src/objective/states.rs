//! Final hidden states of a frozen model, made before the pass that wants them: what a pass takes of such a model, and the
//! forward pass that makes them.

use super::{Method, Row, Settings, targets};
use crate::{
    graph::{
        ops::{self, head_loss::Head},
        tape::Tape,
        tensor::Tensor,
    },
    model::Model,
};

/// What of a model's forward pass is there when the pass begins.
#[derive(Clone, Copy, Debug)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// Its final hidden states at the positions that predict a target, in their order: bf16, two to a word, in `T` rows.
    Kept(Tensor),
    /// What its last layer leaves, `[T, C]`.
    LastLayer(Tensor),
}

/// A model beside the one that is kept.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// What of it the pass needs.
    pub model: &'a Model,
    /// What it does not.
    pub given: Given,
}

impl<'a> Beside<'a> {
    /// A model whose hidden states are computed in the pass.
    pub fn computed(model: &'a Model) -> Self {
        Self { model, given: Given::Nothing }
    }

    /// Its final hidden states `[T, C]` of the positions that predict a target, first.
    pub(super) fn hidden(self, tape: &mut Tape, row: Row, settings: Settings) -> Tensor {
        let hidden = match self.given {
            Given::Kept(words) => return ops::widen(tape, words, self.model.config.hidden),
            Given::LastLayer(x) => self.model.last_norm(tape, x),
            Given::Nothing => self.model.hidden(tape, row.inputs, None, settings.recompute),
        };
        targets(tape, row, hidden)
    }

    /// What turns them into logits.
    pub(super) fn head(self, hidden: Tensor) -> Head<'a> {
        self.model.head(hidden)
    }
}

/// No loss: the final hidden states of one model at the positions that predict a target.
pub struct States<'a> {
    /// The model.
    pub model: &'a Model,
    /// `[T, C]`, where they go.
    pub to: Tensor,
}

impl Method for States<'_> {
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings) {
        let hidden = Beside::computed(self.model).hidden(tape, row, settings);
        tape.copy(hidden, self.to);
    }
}
