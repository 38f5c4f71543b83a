//! Supervised fine-tuning: cross-entropy of one model, `label_smoothing` of each target spread evenly over the vocabulary.
//! Without gradients it is also what scores and evaluates. With noise on the embeddings it is NEFTune (Jain et al. 2023,
//! arXiv 2310.05914).

use std::sync::Arc;

use super::{Draw, Method, Metric, MicroBatch, Models, Objective, Position, Settings, metrics};
use crate::{
    data::random::StepKey,
    graph::{
        ops::head_loss::{Second, head_loss},
        scalars::Scalars,
        tape::Tape,
        tensor::Tensor,
    },
    settings::Config,
};

pub(super) const METHODS: &[Method] = &[SFT, NEFTUNE];

const SFT: Method = Method {
    name: "sft",
    settings: &["label_smoothing"],
    objective: |config| Arc::new(CrossEntropy { label_smoothing: config.label_smoothing, noise: None }),
    compare: |_, _, _| {},
};

const NEFTUNE: Method = Method {
    name: "neftune",
    settings: &["label_smoothing", "noise_alpha", "noise_padded"],
    objective: |&Config { label_smoothing, noise_alpha: alpha, noise_padded: padded, .. }| {
        Arc::new(CrossEntropy { label_smoothing, noise: Some(Noise { alpha, padded }) })
    },
    compare: |_, _, _| {},
};

/// Cross-entropy of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Share of each target that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
    /// Noise on the embeddings.
    pub noise: Option<Noise>,
}

/// Noise on embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Its size times the root of width and length.
    pub alpha: f64,
    /// Scale it by the longest example of the step, as implementations that pad do, and not by each one's own length.
    pub padded: bool,
}

impl Objective for CrossEntropy {
    fn record(&self, tape: &mut Tape, models: &Models<'_>, batch: MicroBatch, settings: Settings) -> Option<Tensor> {
        let model = models.main;
        let noise = self.noise.map(|_| batch.noise);
        let hidden = model.hidden(tape, batch.inputs, noise, settings.recompute);
        let head = model.head(batch.pick(tape, hidden));
        head_loss(tape, head, &Second::None, batch.targets, settings.chunk);
        None
    }

    fn metrics(&self, _: &Models<'_>) -> Vec<Metric> {
        [&[metrics::MARGIN], metrics::MAIN].concat().into_iter().map(Metric::quiet).collect()
    }

    fn scalars(&self, _: Position, _: Option<f64>, to: &mut Scalars) {
        to.label_smoothing = self.label_smoothing;
    }

    fn draw(&self, key: StepKey, longest: usize) -> Draw {
        match self.noise {
            None => Draw::quiet(key),
            Some(Noise { alpha, padded }) => Draw { key, alpha, padded: padded.then_some(longest) },
        }
    }
}
