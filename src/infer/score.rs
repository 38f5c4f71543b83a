//! Entropy and loss of every sample under one model: forward passes only.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    data::{Example, curriculum::EntropyRow, random::StepKey},
    events::{Event, Observer},
    graph::ops::head_loss::{ENTROPY, LOSS, MARGIN},
    objective::{Draw, Means, TokenStats},
    train::{self, Error, engine::Engine},
};

/// What one sample scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Means over its target tokens.
    pub row: EntropyRow,
    /// Whether every target token has the largest logit: greedy decoding would give exactly this completion.
    pub exact: bool,
}

/// Samples that are packed together.
pub const GROUP: usize = 64;

/// Scores all examples, in their order; `None` if `stop` was set on the way.
///
/// # Errors
/// If the device fails or an example is longer than a row.
pub fn score(
    engine: &mut Engine<'_>,
    name: &str,
    examples: &[Example],
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Option<Vec<Scored>>, Error> {
    observer.event(&Event::PhaseStarted { name, unit: "sample", total: examples.len() as u64, done: 0 })?;
    let began = observer.seconds();
    let mut scored = Vec::with_capacity(examples.len());
    for group in examples.chunks(GROUP) {
        let started = observer.seconds();
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let indices: Vec<usize> = (0..group.len()).collect();
        let mut found: Vec<Option<Scored>> = vec![None; group.len()];
        for batch in train::rows(group, &indices, 1, engine.tokens())? {
            let stats = engine.run(&batch, Draw::quiet(StepKey::new(0, 0)))?;
            for placed in &batch.examples {
                let of = placed.start..placed.start + placed.len;
                let targets = of.filter(|t| batch.weights[*t] != 0.0).map(|t| stats[t]);
                found[placed.example] = Some(summarise(group[placed.example].idx, targets));
            }
        }
        scored.extend(found.into_iter().flatten());
        let tokens = group.iter().map(|example| example.ids.len() as u64).sum();
        let seconds = observer.seconds() - started;
        observer.event(&Event::Progress { done: scored.len() as u64, tokens, seconds })?;
    }
    let loss = mean_loss(&scored);
    let summary = format!("loss {loss:.4}");
    let seconds = observer.seconds() - began;
    observer.event(&Event::PhaseFinished { name, seconds, summary: &summary })?;
    Ok(Some(scored))
}

/// Means of the statistics over all target tokens of some examples.
///
/// # Errors
/// As [`score`].
pub fn measure(
    engine: &mut Engine<'_>,
    name: &str,
    examples: &[Example],
    observer: &mut dyn Observer,
) -> Result<Means, Error> {
    let began = observer.seconds();
    observer.event(&Event::PhaseStarted { name, unit: "sample", total: examples.len() as u64, done: 0 })?;
    let indices: Vec<usize> = (0..examples.len()).collect();
    let mut means = Means::default();
    for batch in train::rows(examples, &indices, 1, engine.tokens())? {
        means.add(&engine.run(&batch, Draw::quiet(StepKey::new(0, 0)))?, &batch.weights);
    }
    let summary = format!("loss {:.4}", means.loss());
    let seconds = observer.seconds() - began;
    observer.event(&Event::PhaseFinished { name, seconds, summary: &summary })?;
    Ok(means)
}

/// Loss over all target tokens of all samples.
pub fn mean_loss(scored: &[Scored]) -> f64 {
    let tokens: u64 = scored.iter().map(|s| s.row.tokens).sum();
    scored.iter().map(|s| s.row.loss * s.row.tokens as f64).sum::<f64>() / tokens as f64
}

fn summarise(idx: u64, targets: impl Iterator<Item = TokenStats>) -> Scored {
    let (mut tokens, mut entropy, mut loss, mut exact) = (0u64, 0.0, 0.0, true);
    for stat in targets {
        tokens += 1;
        // Rounding can leave a hair below 0 where the model is certain.
        entropy += f64::from(stat[ENTROPY]).max(0.0);
        loss += f64::from(stat[LOSS]);
        exact &= stat[MARGIN] > 0.0;
    }
    let count = tokens.max(1) as f64;
    Scored { row: EntropyRow { idx, entropy: entropy / count, loss: loss / count, tokens }, exact }
}
