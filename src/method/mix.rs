//! Weak-driven learning (WMSS, arXiv 2602.08222): cross-entropy of the logits of a strong and a weak model, mixed by the
//! step's lambda. Which of the two learns is decided by who declared gradients.

use super::{Method, Row, Settings};
use crate::{
    model::Model,
    ops::head_loss::{Head, head_loss},
    tape::Tape,
};

/// Cross-entropy of mixed logits.
pub struct Mix<'a> {
    /// The model that is kept.
    pub strong: &'a Model,
    /// The earlier model, of the same vocabulary.
    pub weak: &'a Model,
}

impl Method for Mix<'_> {
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings) {
        let hidden = [self.strong, self.weak].map(|model| model.hidden(tape, row.inputs, settings.recompute));
        let [strong, weak] = [(self.strong, hidden[0]), (self.weak, hidden[1])]
            .map(|(model, hidden)| Head { hidden, weight: model.head() });
        head_loss(tape, strong, Some(weak), row.targets, settings.chunk);
    }
}
