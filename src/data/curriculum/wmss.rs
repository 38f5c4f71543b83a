//! The published rule of weak-driven learning (WMSS, arXiv 2602.08222). With `dH = H_strong - H_weak` of sample `i`,
//!
//! ```text
//! p_i = alpha * H_weak_i / sum H_weak  +  beta * [-dH_i]+ / sum [-dH]+  +  gamma * [dH_i]+ / sum [dH]+
//! ```
//!
//! normalised to sum to 1: what the weak model finds hard, what the strong one has become sure of, and what it has
//! forgotten. A term whose sum is zero is dropped.

use super::super::error::Error;
use super::measure::{check_entropies, is_measure, normalised, wrong};

/// Sampling weights, summing to 1, of samples with these entropies (nats), by the published rule of weak-driven
/// learning (WMSS, arXiv 2602.08222): `alpha` for the share of the weak model's entropy, `beta` for that of the entropy
/// lost from the weak to the strong model, `gamma` for that of the entropy gained.
///
/// # Errors
/// Lists of different lengths, an entropy or coefficient that is negative or not finite, and weights that are all zero
/// or too large to be summed.
pub fn weights(weak: &[f64], strong: &[f64], alpha: f64, beta: f64, gamma: f64) -> Result<Vec<f64>, Error> {
    check_coefficients([("alpha", alpha), ("beta", beta), ("gamma", gamma)])?;
    check_entropies(&[("weak", weak), ("strong", strong)])?;
    let change = || strong.iter().zip(weak).map(|(strong, weak)| strong - weak);
    let terms: [(f64, Vec<f64>); 3] = [
        (alpha, weak.to_vec()),
        (beta, change().map(|dh| (-dh).max(0.0)).collect()),
        (gamma, change().map(|dh| dh.max(0.0)).collect()),
    ];
    let mut weights = vec![0.0; weak.len()];
    for (coefficient, term) in &terms {
        let sum: f64 = term.iter().sum();
        if sum > 0.0 {
            for (weight, value) in weights.iter_mut().zip(term) {
                *weight += coefficient * (value / sum);
            }
        }
    }
    normalised(weights)
}

fn check_coefficients(coefficients: [(&str, f64); 3]) -> Result<(), Error> {
    let wanted = "alpha, beta and gamma must be finite, 0 or more, and not all 0";
    match coefficients.iter().find(|(_, value)| !is_measure(*value)) {
        Some((name, value)) => wrong(name, *value, wanted),
        None if coefficients.iter().all(|(_, value)| *value == 0.0) => {
            wrong("every one of alpha, beta and gamma", 0.0, wanted)
        }
        None => Ok(()),
    }
}
