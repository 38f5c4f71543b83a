//! Supervised fine-tuning: cross-entropy of one model. Without gradients it is also what scores and evaluates.

use super::{Method, Row, Settings};
use crate::{
    model::Model,
    ops::{
        head_loss::{Head, head_loss},
        pick,
    },
    tape::Tape,
};

/// Cross-entropy of one model.
pub struct Sft<'a>(pub &'a Model);

impl Method for Sft<'_> {
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings) {
        let hidden = self.0.hidden(tape, row.inputs, settings.recompute);
        let hidden = pick(tape, hidden, row.picked, row.slots);
        let head = Head { hidden, weight: self.0.head() };
        head_loss(tape, head, None, row.targets, settings.chunk);
    }
}
