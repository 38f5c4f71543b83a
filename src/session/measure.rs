//! What is measured of a model and not trained: entropies and losses of samples, and means of an objective.

use std::sync::Arc;

use super::{
    context::Context,
    error::Error,
    faults,
    memory::Limits,
    planned::{self, Session},
    source::Source,
};
use crate::{
    data::Example,
    graph::scalars::Scalars,
    infer::score::{self, Scored},
    objective::{CrossEntropy, Means, Objective, Position},
    settings::Config,
    train::engine::Engine,
};

/// Scores every example under a model.
///
/// # Errors
/// Whatever stops it; [`Error::Interrupted`] if asked to stop.
pub fn score(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    source: &Source,
    examples: &[Example],
) -> Result<Vec<Scored>, Error> {
    let mut engine = engine(context, config, source, Arc::new(CrossEntropy::default()), &[], examples)?;
    score::score(&mut engine, name, examples, context.report, context.stop)?
        .ok_or_else(|| Error::Interrupted(format!(" while scoring ({name})")))
}

/// Means of an objective's statistics over all target tokens of some examples, which form one batch.
///
/// # Errors
/// As [`score()`].
pub(super) fn measure(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    source: &Source,
    objective: Arc<dyn Objective>,
    auxiliary: &Source,
    examples: &[Example],
) -> Result<Means, Error> {
    let mut engine = engine(context, config, source, objective, std::slice::from_ref(auxiliary), examples)?;
    Ok(score::measure(&mut engine, name, examples, context.report)?)
}

fn engine<'g>(
    context: &mut Context<'g>,
    config: &Config,
    source: &Source,
    objective: Arc<dyn Objective>,
    auxiliaries: &[Source],
    examples: &[Example],
) -> Result<Engine<'g>, Error> {
    let limits = Limits::of(Some(context.gpu));
    faults::warn(context, &limits.faults)?;
    let spec = planned::spec(source, objective.clone(), auxiliaries);
    let engine =
        Session::measure(config, spec, examples).plan(&limits)?.ready(context, config, source, auxiliaries)?;
    let mut scalars = Scalars::default();
    objective.scalars(Position { step: 0, of: 1 }, None, &mut scalars);
    engine.set_scalars(0, &scalars);
    Ok(engine)
}

/// What `eval` prints.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Evaluation {
    /// Nats per target token.
    pub loss: f64,
    /// `e^loss`.
    pub perplexity: f64,
    /// Target tokens.
    pub tokens: u64,
    /// Samples.
    pub samples: usize,
    /// Samples whose every target token has the largest logit.
    pub exact: usize,
}

/// Loss of a model over a data set.
///
/// # Errors
/// As [`score()`].
pub fn evaluate(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    source: &Source,
    examples: &[Example],
) -> Result<Evaluation, Error> {
    let scored = score(context, config, name, source, examples)?;
    let loss = score::mean_loss(&scored);
    Ok(Evaluation {
        loss,
        perplexity: loss.exp(),
        tokens: scored.iter().map(|s| s.row.tokens).sum(),
        samples: scored.len(),
        exact: scored.iter().filter(|s| s.exact).count(),
    })
}
