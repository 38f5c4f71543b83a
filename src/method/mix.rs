//! Weak-driven learning (WMSS, arXiv 2602.08222): cross-entropy of the logits of a strong and a weak model, mixed by the
//! step's lambda. Which of the two learns is decided by who declared gradients.

use super::{Method, Row, Settings};
use crate::{
    model::Model,
    ops::{
        head_loss::{Head, head_loss},
        pick,
    },
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
        let [strong, weak] = [self.strong, self.weak].map(|model| {
            let hidden = model.hidden(tape, row.inputs, settings.recompute);
            Head { hidden: pick(tape, hidden, row.picked, row.slots), weight: model.head() }
        });
        head_loss(tape, strong, Some(weak), row.targets, settings.chunk);
    }
}
