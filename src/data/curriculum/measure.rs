//! Checks of entropies and coefficients, and weights that sum to 1.

use super::super::error::Error;

/// Whether a number can be an entropy, a weight or a coefficient.
pub(super) fn is_measure(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// That a coefficient cannot be one.
pub(super) fn wrong<T>(name: &str, value: f64, wanted: &str) -> Result<T, Error> {
    Err(Error::Argument(format!("{name} is {value}; {wanted}")))
}

/// Weights that sum to 1.
pub(super) fn normalised(mut weights: Vec<f64>) -> Result<Vec<f64>, Error> {
    let total: f64 = weights.iter().sum();
    if !total.is_finite() {
        return Err(Error::Argument(format!("the weights sum to {total}; choose smaller coefficients")));
    }
    if total <= 0.0 {
        return Err(all_zero(weights.len()));
    }
    weights.iter_mut().for_each(|weight| *weight /= total);
    Ok(weights)
}

/// That there is nothing to weigh samples by.
pub(super) fn all_zero(samples: usize) -> Error {
    Error::Argument(format!(
        "all {samples} weights are zero: no sample has what alpha, beta and gamma ask for (entropy of the weak model, \
         entropy lost, entropy gained); raise the coefficient of a term that is not zero or train on all samples"
    ))
}

/// Lists of one length, of numbers that can be entropies. The last list is the strong model's.
pub(super) fn check_entropies(models: &[(&str, &[f64])]) -> Result<(), Error> {
    let strong = models.last().map_or(0, |(_, entropies)| entropies.len());
    if let Some((model, entropies)) = models.iter().find(|(_, entropies)| entropies.len() != strong) {
        let count = entropies.len();
        return Err(Error::Argument(format!(
            "{count} entropies of the {model} model but {strong} of the strong one"
        )));
    }
    for (model, entropies) in models {
        if let Some(sample) = entropies.iter().position(|entropy| !is_measure(*entropy)) {
            return Err(Error::Argument(format!(
                "sample {sample}: the {model} model's entropy is {}; an entropy is a finite number, 0 or more",
                entropies[sample]
            )));
        }
    }
    Ok(())
}
