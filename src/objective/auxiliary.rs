//! The models that an objective needs beside the one that is trained, and their final hidden states.

use std::path::PathBuf;

use super::{Metric, MicroBatch, Objective, Position, Settings};
use crate::{
    graph::{
        ops::{self, head_loss::Head},
        scalars::Scalars,
        tape::Tape,
        tensor::Tensor,
    },
    model::Model,
};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A folder: a model, an adapter on the trained one, or `base` for that one without its adapter.
    Folder(PathBuf),
    /// The trained model as it is before training.
    Start,
    /// The best of several earlier checkpoints, which measuring finds.
    Candidates,
    /// A setting that has to name a folder and does not.
    Missing {
        /// The setting.
        key: &'static str,
        /// What it names, in words.
        what: &'static str,
    },
}

/// A model that an objective needs beside the trained one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auxiliary {
    /// What it is to the trained one, in words.
    pub role: &'static str,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it learns too.
    pub learns: bool,
    /// Whether it must have the shape of the trained one.
    pub same_shape: bool,
}

/// The models of a recording.
#[derive(Clone, Copy)]
pub struct Models<'a> {
    /// The one that is trained or measured.
    pub main: &'a Model,
    /// Those of [`Objective::auxiliaries`], in their order.
    pub auxiliaries: &'a [Forward<'a>],
}

/// Where the final hidden states of a model come from in a micro-batch.
#[derive(Clone, Copy, Debug)]
pub enum Hidden {
    /// They are computed there.
    Computed,
    /// They are given at the positions that predict a target, in their order: bf16, two to a word, in `T` rows.
    Cached(Tensor),
    /// What the last layer leaves is given, `[T, C]`.
    LastLayer(Tensor),
}

/// A model and where its forward pass begins.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// What of it the micro-batch needs.
    pub model: &'a Model,
    /// What it does not.
    pub hidden: Hidden,
}

impl<'a> Forward<'a> {
    /// A model whose hidden states are computed.
    pub fn computed(model: &'a Model) -> Self {
        Self { model, hidden: Hidden::Computed }
    }

    /// Its final hidden states `[T, C]` of the positions that predict a target, first.
    pub(super) fn hidden(self, tape: &mut Tape, batch: MicroBatch, settings: Settings) -> Tensor {
        let hidden = match self.hidden {
            Hidden::Cached(words) => return ops::dequantize(tape, words, self.model.config.hidden),
            Hidden::LastLayer(x) => self.model.last_norm(tape, x),
            Hidden::Computed => self.model.hidden(tape, batch.inputs, None, settings.recompute),
        };
        batch.pick(tape, hidden)
    }

    /// Its head over its own hidden states.
    pub(super) fn head(self, tape: &mut Tape, batch: MicroBatch, settings: Settings) -> Head<'a> {
        let hidden = self.hidden(tape, batch, settings);
        self.model.head(hidden)
    }
}

/// No loss: the final hidden states of a model at the positions that predict a target, `[T, C]`, for a hidden-state cache.
#[derive(Clone, Copy, Debug)]
pub struct HiddenStates;

impl Objective for HiddenStates {
    fn record(&self, tape: &mut Tape, models: &Models<'_>, batch: MicroBatch, settings: Settings) -> Option<Tensor> {
        Some(Forward::computed(models.main).hidden(tape, batch, settings))
    }

    fn metrics(&self, _: &Models<'_>) -> Vec<Metric> {
        Vec::new()
    }

    fn scalars(&self, _: Position, _: Option<f64>, _: &mut Scalars) {}
}
