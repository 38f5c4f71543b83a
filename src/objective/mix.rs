//! Weak-driven learning (WMSS, arXiv 2602.08222): cross-entropy of the logits of a strong model, which is kept, and one or
//! several weak ones: `z = lambda z_s + (1 - lambda) sum_k share_k z_k`.
//!
//! Three controls ask whether it matters what the weak model knows. `shuffled`: its logits are turned around the vocabulary
//! by a random offset per token, values without their meaning. `entropy-matched`: one random likely token, as likely as gives
//! the weak model's entropy, and nothing flows back to it. `uniform`: equal logits, so no weak model at all: training at a
//! temperature (Agarwala et al. 2020, arXiv 2010.07344), which is the method `temperature` too.

use std::sync::Arc;

use super::{
    Auxiliary, Forward, Lambda, Means, Method, Metric, MicroBatch, Models, Objective, Origin, Position, Settings,
    metrics,
};
use crate::{
    graph::{
        ops::{
            self,
            head_loss::{Head, Second, head_loss, observe},
        },
        scalars::Scalars,
        tape::Tape,
        tensor::Tensor,
    },
    model::Model,
    settings::{Config, LambdaSchedule, WeakSource},
};

pub(super) const METHODS: &[Method] = &[MIX, TEMPERATURE];

const MIX: Method = Method {
    name: "mix",
    settings: &[
        "label_smoothing",
        "lambda",
        "lambda_schedule",
        "lambda_end",
        "amplification",
        "weak_source",
        "weak_share",
        "freeze_weak",
    ],
    objective: |config| Arc::new(Mix::of(config)),
    compare: |arm, _, earlier| arm.weak = vec![earlier.into()],
};

/// What is left of a mixture whose weak logits are equal: the cross-entropy of `lambda z`, at a temperature of 1 / lambda.
const TEMPERATURE: Method = Method {
    name: "temperature",
    settings: &["label_smoothing", "lambda", "lambda_schedule", "lambda_end", "amplification"],
    objective: |config| {
        let (weak, source) = (Vec::new(), WeakSource::Uniform);
        Arc::new(Mix { weak, source, ..Mix::of(config) })
    },
    compare: |_, _, _| {},
};

/// Cross-entropy of mixed logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// Where each weak model comes from, and its share in the weak logits; shares sum to 1.
    pub weak: Vec<(Origin, f64)>,
    /// Whether they learn too.
    pub learns: bool,
    /// What is mixed in.
    pub source: WeakSource,
    /// Share of the strong model.
    pub lambda: Lambda,
    /// Share of each target that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
    /// Where all models share one frozen head, mix their hidden states before it: a product less, and no statistics of each
    /// model alone unless it `observes`.
    pub blends: bool,
    /// Compute statistics of each model alone even where the loss does without.
    pub observes: bool,
}

impl Mix {
    /// As settings say.
    pub fn of(config: &Config) -> Self {
        let folder = |folder: &std::path::PathBuf| Origin::Folder(folder.clone());
        let origins = match config.weak.as_slice() {
            _ if config.weak_source == WeakSource::Uniform => Vec::new(),
            _ if config.chooses_weak() => vec![Origin::Candidates],
            [] if config.method == crate::settings::Method::Wmss => vec![Origin::Start],
            [] => vec![Origin::Missing {
                key: "weak",
                what: "the Hugging Face folder of the weak model, once for each,",
            }],
            folders => folders.iter().map(folder).collect(),
        };
        let (count, total) = (origins.len() as f64, config.weak_share.iter().sum::<f64>());
        let share = |i: usize| config.weak_share.get(i).map_or(1.0 / count, |share| share / total);
        let lambda = Lambda::of(config);
        Self {
            weak: origins.into_iter().enumerate().map(|(i, origin)| (origin, share(i))).collect(),
            learns: config.trains_weak(),
            source: config.weak_source,
            blends: lambda.schedule != LambdaSchedule::Adaptive,
            observes: config.diagnostics > 0,
            lambda,
            label_smoothing: config.label_smoothing,
        }
    }

    /// With `count` models of equal shares, which learn if `learns`, and a share of the strong model that stays.
    pub fn fixed(count: usize, learns: bool, lambda: f64) -> Self {
        let weak = vec![(Origin::Start, 1.0 / count as f64); count];
        let (source, lambda, label_smoothing) = (WeakSource::Real, Lambda::constant(lambda), 0.0);
        Self { weak, learns, source, lambda, label_smoothing, blends: false, observes: false }
    }

    /// Whether hidden states are mixed: the heads are one matrix that nobody learns, and no logits are capped.
    fn blends(&self, models: &Models<'_>) -> bool {
        let head = models.main.head_weight();
        let learns = models.main.trained().iter().any(|(weight, _)| head.contains(weight));
        let shares =
            |weak: &Forward<'_>| weak.model.head_weight() == head && weak.model.config.final_softcap.is_none();
        self.blends && self.source == WeakSource::Real && !learns && models.auxiliaries.iter().all(shares)
    }
}

/// Heads over hidden states of which each has a share. Logits are linear in hidden states: a share of these is a share of
/// those.
fn heads<'a>(tape: &mut Tape, weak: &[(&'a Model, Tensor, f32)]) -> Vec<Head<'a>> {
    let head = |&(model, hidden, share): &(&'a Model, Tensor, f32)| {
        model.head(if share == 1.0 { hidden } else { ops::scale(tape, hidden, share) })
    };
    weak.iter().map(head).collect()
}

impl Objective for Mix {
    fn auxiliaries(&self) -> Vec<Auxiliary> {
        let weak = |(origin, _): &(Origin, f64)| {
            let (origin, learns) = (origin.clone(), self.learns);
            Auxiliary { role: "weak model", origin, learns, same_shape: false }
        };
        self.weak.iter().map(weak).collect()
    }

    fn record(&self, tape: &mut Tape, models: &Models<'_>, batch: MicroBatch, settings: Settings) -> Option<Tensor> {
        let hidden = Forward::computed(models.main).hidden(tape, batch, settings);
        let weak = models.auxiliaries.iter().zip(&self.weak);
        let weak: Vec<_> =
            weak.map(|(weak, (_, share))| (weak.model, weak.hidden(tape, batch, settings), *share as f32)).collect();
        let main = models.main.head(hidden);
        if self.blends(models) {
            let blended = weak.iter().fold(hidden, |hidden, (_, weak, share)| {
                ops::blend(tape, hidden, *weak, *share, batch.targets.scalars)
            });
            head_loss(tape, models.main.head(blended), &Second::None, batch.targets, settings.chunk);
            if self.observes {
                let second = Second::Weak(heads(tape, &weak));
                observe(tape, main, &second, batch.targets, settings.chunk);
            }
            return None;
        }
        let second = match self.source {
            WeakSource::Real => Second::Weak(heads(tape, &weak)),
            WeakSource::Shuffled => Second::Turned(heads(tape, &weak)),
            WeakSource::EntropyMatched => Second::Synthetic(heads(tape, &weak)),
            WeakSource::Uniform => Second::None,
        };
        head_loss(tape, main, &second, batch.targets, settings.chunk);
        None
    }

    fn metrics(&self, models: &Models<'_>) -> Vec<Metric> {
        let margin = metrics::MARGIN;
        if self.blends(models) && !self.observes {
            let [entropy, gradient] = metrics::MIXED;
            return vec![margin, metrics::LAMBDA, entropy.brief("H", 3), gradient];
        }
        let mut found = [
            &[margin],
            metrics::MAIN,
            &[metrics::LAMBDA],
            &metrics::MIXED,
            metrics::AUXILIARY,
            &[metrics::SHIELDING],
        ]
        .concat();
        if self.source == WeakSource::Uniform {
            // No kernel computes what needs none.
            let entropy = found.iter_mut().filter(|metric| metric.name == "entropy_weak");
            entropy.for_each(|metric| metric.of = |averages| averages.vocab.ln());
        }
        found
    }

    fn scalars(&self, at: Position, feedback: Option<f64>, to: &mut Scalars) {
        to.lambda = self.lambda.planned(at).or(feedback).unwrap_or(self.lambda.start);
        to.label_smoothing = self.label_smoothing;
    }

    fn feedback(&self) -> Option<f64> {
        (self.lambda.schedule == LambdaSchedule::Adaptive).then_some(self.lambda.start)
    }

    fn next(&self, feedback: f64, means: &Means) -> f64 {
        self.lambda.next(feedback, means.amplification(feedback))
    }

    fn offset(&self, key: u32, vocab: u32) -> u32 {
        match self.source {
            WeakSource::Real | WeakSource::Uniform => 0,
            WeakSource::Shuffled => 1 + key % (vocab - 1).max(1),
            WeakSource::EntropyMatched => key % vocab,
        }
    }
}
