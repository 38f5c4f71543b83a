//! Supervised fine-tuning: cross-entropy of one model. Without gradients it is also what scores and evaluates. With noise
//! on the embeddings it is NEFTune (Jain et al. 2023, arXiv 2310.05914).

use super::{Method, Row, Settings, targets};
use crate::{
    graph::{
        ops::head_loss::{Second, head_loss},
        tape::Tape,
    },
    model::Model,
};

/// Cross-entropy of one model.
pub struct Sft<'a> {
    /// The model.
    pub model: &'a Model,
    /// Whether its embeddings get the row's noise.
    pub noisy: bool,
}

impl Method for Sft<'_> {
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings) {
        let hidden = self.model.hidden(tape, row.inputs, self.noisy.then_some(row.noise), settings.recompute);
        let strong = self.model.head(targets(tape, row, hidden));
        head_loss(tape, strong, &Second::None, row.targets, settings.chunk);
    }
}
