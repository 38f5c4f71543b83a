//! What a run minimises. An [`Objective`] says once which models it needs beside the one that is trained, how its loss is
//! recorded, the scalars and the randomness of a step, and the numbers that a step reports. The memory planner, the engine,
//! the training loop, reports and comparisons ask it. It neither walks backward nor steps an optimizer.

mod auxiliary;
mod cross_entropy;
mod distill;
mod lambda;
mod metrics;
mod micro_batch;
mod mix;

use std::{fmt, path::Path, sync::Arc};

pub use auxiliary::{Auxiliary, Forward, Hidden, HiddenStates, Models, Origin};
pub use cross_entropy::{CrossEntropy, Noise};
pub use distill::Distill;
pub use lambda::Lambda;
pub use metrics::{Averages, Means, Metric, TokenStats};
pub use micro_batch::{Draw, MicroBatch};
pub use mix::Mix;

use crate::{
    data::random::StepKey,
    graph::{scalars::Scalars, tape::Tape, tensor::Tensor},
    settings::{self, Config},
};

/// A loss, and all that the rest of the program needs to know of it.
pub trait Objective: fmt::Debug + Send + Sync {
    /// The models that it needs beside the one that is trained.
    fn auxiliaries(&self) -> Vec<Auxiliary> {
        Vec::new()
    }

    /// Records the forward passes of one micro-batch and ends them with a loss op that seeds gradients. Returns a tensor of
    /// `T` rows where the host wants to read one.
    fn record(&self, tape: &mut Tape, models: &Models<'_>, batch: MicroBatch, settings: Settings) -> Option<Tensor>;

    /// The numbers of a step that the statistics of such a recording give, in the order in which they are reported.
    fn metrics(&self, models: &Models<'_>) -> Vec<Metric>;

    /// Sets its scalars of a step. `feedback` is that of [`Self::next`].
    fn scalars(&self, at: Position, feedback: Option<f64>, to: &mut Scalars);

    /// Where scalars depend on the numbers of the step before: what the first step starts from. No step then starts before
    /// those numbers are there.
    fn feedback(&self) -> Option<f64> {
        None
    }

    /// The feedback of the next step, from this one's and its means.
    fn next(&self, feedback: f64, means: &Means) -> f64 {
        let _ = means;
        feedback
    }

    /// How many neighbours among the examples belong together, as a pair does: they are never split over micro-batches.
    fn group(&self) -> usize {
        1
    }

    /// The randomness of a step whose longest example has `longest` tokens.
    fn draw(&self, key: StepKey, longest: usize) -> Draw {
        let _ = longest;
        Draw::quiet(key)
    }

    /// What [`crate::graph::ops::head_loss::Targets::offsets`] holds for a token of this key.
    fn offset(&self, key: u32, vocab: u32) -> u32 {
        let _ = (key, vocab);
        0
    }
}

/// An optimizer step of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Counted from 0.
    pub step: u64,
    /// Steps of the phase.
    pub of: u64,
}

/// Choices that change memory and time, and the result by rounding alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of so many blocks, the first of each model, keep only the input for backward, and compute the rest again.
    pub recompute: usize,
    /// Tokens whose logits exist at a time.
    pub chunk: usize,
}

/// What `--method` can name.
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Settings that decide its result, beside the folders of models.
    pub settings: &'static [&'static str],
    /// Makes it of settings.
    pub objective: fn(&Config) -> Arc<dyn Objective>,
    /// Names its auxiliary models in a comparison: from the settings of the comparison, and the folder of the model that
    /// the trained one was made of.
    pub compare: fn(&mut Config, &Config, &Path),
}

/// Every method.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    [cross_entropy::METHODS, distill::METHODS, mix::METHODS].into_iter().flatten()
}

/// The method of these settings; of `wmss`, that of its joint phase.
pub fn method(config: &Config) -> &'static Method {
    let name = match config.method {
        settings::Method::Wmss => "mix".into(),
        method => method.to_string(),
    };
    methods().find(|method| method.name == name).unwrap_or(&cross_entropy::METHODS[0])
}

/// The objective of these settings.
pub fn of(config: &Config) -> Arc<dyn Objective> {
    (method(config).objective)(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_a_setting_and_documented() {
        let guide = include_str!("../../docs/methods.md");
        for Method { name, settings, .. } in methods() {
            let config = Config::default().with(&[format!("method={name}")]).unwrap();
            assert_eq!(method(&config).name, *name);
            assert!(guide.contains(&format!("\n| `{name}` |")), "{name} has no row in docs/methods.md");
            for key in *settings {
                assert!(settings::SETTINGS.iter().any(|known| known.key == *key), "{name}: {key} is no setting");
            }
        }
    }
}
