//! What an engine is made of: models by their shapes, an objective, and the choices of the memory planner.

use std::sync::Arc;

use super::HiddenSource;
use crate::{
    graph::optim::Width,
    model::{Config, Layout},
    objective::Objective,
};

/// The shape of an auxiliary model.
#[derive(Clone, Debug)]
pub struct AuxiliaryModel {
    /// Its shape.
    pub config: Config,
    /// What changes it; if it learns, this alone does.
    pub adapter: Option<Layout>,
    /// Its weights are those of the main model, whose adapter alone learns: no second copy.
    pub shares_base: bool,
    /// Where its hidden states come from; only a model that does not learn can have them from elsewhere.
    pub hidden: HiddenSource,
}

impl AuxiliaryModel {
    /// A model of its own whose hidden states are computed.
    pub fn new(config: Config) -> Self {
        Self { config, adapter: None, shares_base: false, hidden: HiddenSource::Computed }
    }

    /// What of its adapter is declared.
    pub(super) fn declared_adapter(&self) -> Option<Layout> {
        match self.hidden {
            HiddenSource::Computed | HiddenSource::Streamed => self.adapter.clone(),
            HiddenSource::Cached => self.adapter.as_ref()?.of_head(),
        }
    }
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The main model: the one that is trained or measured.
    pub model: Config,
    /// What changes it; then this alone is trained.
    pub adapter: Option<Layout>,
    /// What is minimised or measured.
    pub objective: Arc<dyn Objective>,
    /// The models of [`Objective::auxiliaries`], in their order.
    pub auxiliaries: Vec<AuxiliaryModel>,
    /// Whether anything learns.
    pub train: bool,
    /// Tokens of a packed sequence.
    pub tokens: usize,
    /// Blocks of each model whose activations are computed again in backward instead of being kept.
    pub recompute: usize,
    /// Logits of one model that exist at a time, in bytes; those of [`crate::graph::ops::head_loss::chunk_rows`] at least.
    pub logits: u64,
    /// How what learns is stored.
    pub width: Width,
    /// Bytes that one binding of the device may span.
    pub max_binding: u64,
}

impl Spec {
    /// Trains `model` in f32; what the memory planner chooses is 0.
    pub fn new(
        model: Config,
        objective: Arc<dyn Objective>,
        auxiliaries: Vec<AuxiliaryModel>,
        max_binding: u64,
    ) -> Self {
        let (tokens, recompute, logits, width) = (0, 0, 0, Width::Bits32);
        Self {
            model,
            adapter: None,
            objective,
            auxiliaries,
            train: true,
            tokens,
            recompute,
            logits,
            width,
            max_binding,
        }
    }

    /// Of each auxiliary model, whether it learns.
    pub fn learning(&self) -> impl Iterator<Item = bool> {
        let train = self.train;
        self.objective.auxiliaries().into_iter().map(move |auxiliary| train && auxiliary.learns)
    }

    /// Whether the layers of an auxiliary model are read in every micro-batch.
    pub fn streams(&self) -> bool {
        self.auxiliaries.iter().any(|auxiliary| auxiliary.hidden == HiddenSource::Streamed)
    }
}
