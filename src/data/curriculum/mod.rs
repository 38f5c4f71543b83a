//! From measurements of samples and checkpoints to choices: the probability with which each sample is drawn, and the
//! checkpoint that serves as weak model.
//!
//! Samples are measured by their entropies under two or more models and weighed by a [`Rule`]: `wmss`, `brownboost` or
//! `uniform`. Checkpoints are measured on a held-out slice and chosen by [`choose_weak`].
//!
//! This room is pure arithmetic on the CPU plus the two JSONL files it lives between. It draws nothing (the sampler in
//! `data` does), runs no model and measures nothing.

mod brownboost;
mod files;
mod measure;
mod weak;
mod wmss;

use std::collections::HashMap;
use std::path::Path;

pub use super::error::Error;
pub use brownboost::{Brownboost, brownboost};
pub use files::{CurriculumRow, EntropyRow, read_curriculum, read_entropies, write_curriculum, write_entropies};
use measure::normalised;
pub use weak::{Candidate, choose_weak};
pub use wmss::weights;

/// How entropies become sampling weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The published rule, for the weak and the strong model of a round: [`weights`].
    Wmss {
        /// Share of what the weak model finds hard.
        alpha: f64,
        /// Share of what the strong model has become sure of.
        beta: f64,
        /// Share of what the strong model has forgotten.
        gamma: f64,
    },
    /// The authors' rule for a second round on, which also looks at the model before the weak one: [`brownboost()`].
    Brownboost(Brownboost),
    /// The control: every sample weighs the same.
    Uniform,
}

impl Rule {
    /// `entropies[m][i]`: sample `i` under model `m`, the oldest first.
    fn weigh(&self, entropies: &[Vec<f64>]) -> Result<Vec<f64>, Error> {
        let (rule, wanted) = match (self, entropies) {
            (Rule::Wmss { alpha, beta, gamma }, [weak, strong]) => {
                return weights(weak, strong, *alpha, *beta, *gamma);
            }
            (Rule::Brownboost(settings), [earliest, weak, strong]) => {
                return brownboost(earliest, weak, strong, settings);
            }
            (Rule::Uniform, [samples, ..]) => return normalised(vec![1.0; samples.len()]),
            (Rule::Wmss { .. }, _) => ("wmss", "2 files of entropies: of the weak model and of the strong one"),
            (Rule::Brownboost(_), _) => (
                "brownboost",
                "3 files of entropies, the oldest first: of the model before the weak one, of the weak one and of the \
                 strong one (a first round has only two models: weigh it with wmss)",
            ),
            (Rule::Uniform, []) => ("uniform", "a file of entropies of any model, to know the samples"),
        };
        let given = entropies.len();
        Err(Error::Argument(format!("{rule} reads {wanted}; got {given}. `underdog score` writes such a file")))
    }
}

/// Reads what several models made of the same data, `files` from the oldest model to the newest, and weighs every
/// sample, in the order of the first file. `wmss` wants two files, `brownboost` three, `uniform` one or more.
///
/// # Errors
/// Those of [`read_entropies`], [`weights`] and [`brownboost()`], a sample that only some of the files have, and another
/// number of files than the rule wants.
pub fn from_files(rule: &Rule, files: &[&Path]) -> Result<Vec<CurriculumRow>, Error> {
    let (samples, entropies) = join(files)?;
    let weights = rule.weigh(&entropies)?;
    let (earliest, weak, strong) = match entropies.as_slice() {
        [] => return Ok(Vec::new()), // No rule weighs no files.
        [only] => (None, only, only),
        [weak, strong] => (None, weak, strong),
        [earliest, .., weak, strong] => (Some(earliest), weak, strong),
    };
    let row = |(i, weight)| CurriculumRow {
        idx: samples[i],
        weight,
        entropy_earliest: earliest.map(|entropies| entropies[i]),
        entropy_weak: weak[i],
        entropy_strong: strong[i],
    };
    Ok(weights.into_iter().enumerate().map(row).collect())
}

/// The samples in the order of the first file, and for each file its entropies in that order.
fn join(files: &[&Path]) -> Result<(Vec<u64>, Vec<Vec<f64>>), Error> {
    let Some((first, others)) = files.split_first() else { return Ok((Vec::new(), Vec::new())) };
    let rows = read_entropies(first)?;
    let samples: Vec<u64> = rows.iter().map(|row| row.idx).collect();
    let mut entropies = vec![rows.iter().map(|row| row.entropy).collect()];
    for other in others {
        let mut of: HashMap<u64, f64> = read_entropies(other)?.iter().map(|row| (row.idx, row.entropy)).collect();
        let missing = |idx: u64, missing_in: &Path, found_in: &Path| {
            let found_in = found_in.display();
            let advice = "score the same data file with every model";
            Error::malformed(missing_in, format!("has no row for sample idx {idx}, which {found_in} has; {advice}"))
        };
        let take = |idx: &u64| of.remove(idx).ok_or_else(|| missing(*idx, other, first));
        entropies.push(samples.iter().map(take).collect::<Result<Vec<f64>, Error>>()?);
        if let Some(idx) = of.keys().min() {
            return Err(missing(*idx, first, other));
        }
    }
    Ok((samples, entropies))
}

/// Kish's effective sample size `(sum w)^2 / sum w^2`: how many equally weighted samples carry as much information.
/// Zero when there is no weight at all.
pub fn effective_sample_size(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}
