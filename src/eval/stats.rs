//! What a score is worth: means, pass@k, and bootstrap intervals over problems. Pure functions of their arguments and
//! a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// Resamples of a bootstrap, where nothing else is asked for.
pub const RESAMPLES: usize = 10_000;

/// A percentile interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How two systems differ on the same items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mean of `a - b` over the items.
    pub mean: f64,
    /// Its bootstrap interval.
    pub interval: Interval,
    /// Share of resamples in which the mean is not above 0.
    pub not_above_zero: f64,
}

/// The mean of values; `None` where there are none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The unbiased estimate of the chance that at least one of `k` samples is correct, from `n` samples of which
/// `correct` are: `1 - C(n-c, k) / C(n, k)` (Chen et al. 2021, arXiv 2107.03374), as the product `1 - prod (1 - k/i)`
/// over `i` from `n-c+1` to `n`, which neither overflows nor cancels.
///
/// `None` where `k` is 0 or above `n`, or `correct` is above `n`: there is no such estimate.
pub fn pass_at_k(n: usize, correct: usize, k: usize) -> Option<f64> {
    if k == 0 || k > n || correct > n {
        return None;
    }
    if n - correct < k {
        return Some(1.0);
    }
    let miss: f64 = (n - correct + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - miss)
}

/// The percentile bootstrap interval of the mean (Efron 1979): `resamples` times as many values are drawn with
/// replacement as there are, and the interval holds the middle share `level` of their means.
///
/// Errors where there are no values, one is not finite, `resamples` is 0 or `level` is not between 0 and 1.
pub fn bootstrap(values: &[f64], resamples: usize, level: f64, seed: u64) -> Result<Interval, Error> {
    Ok(percentiles(&means(values, resamples, level, seed)?, level))
}

/// The paired bootstrap of `a - b`: items are drawn, and both systems keep their value on a drawn item, so that what
/// makes an item hard for both does not count as noise.
///
/// With several seeds per system, give each item's mean over the seeds ([`mean_over_seeds`]).
///
/// Errors as [`bootstrap`], and where the two are not of one length.
pub fn paired_bootstrap(a: &[f64], b: &[f64], resamples: usize, level: f64, seed: u64) -> Result<Difference, Error> {
    if a.len() != b.len() {
        let lengths = format!("{} and {}", a.len(), b.len());
        return Err(Error::Argument(format!(
            "the two systems have {lengths} items; pairs need the same items in both"
        )));
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let means = means(&differences, resamples, level, seed)?;
    let not_above_zero = means.iter().filter(|mean| **mean <= 0.0).count() as f64 / means.len() as f64;
    let interval = percentiles(&means, level);
    Ok(Difference { mean: mean(&differences).unwrap_or_default(), interval, not_above_zero })
}

/// Each item's mean over the seeds of a system: `seeds[s][i]` is item `i` under seed `s`.
///
/// Errors where there is no seed or one has another number of items.
pub fn mean_over_seeds(seeds: &[Vec<f64>]) -> Result<Vec<f64>, Error> {
    let first = seeds.first().ok_or_else(|| Error::Argument("there are no seeds to average".into()))?;
    if let Some(at) = seeds.iter().position(|seed| seed.len() != first.len()) {
        let lengths = format!("{} items, the first {}", seeds[at].len(), first.len());
        return Err(Error::Argument(format!("run {} has {lengths}; runs of one system need the same items", at + 1)));
    }
    Ok((0..first.len()).map(|i| seeds.iter().map(|seed| seed[i]).sum::<f64>() / seeds.len() as f64).collect())
}

/// The sorted means of the resamples.
fn means(values: &[f64], resamples: usize, level: f64, seed: u64) -> Result<Vec<f64>, Error> {
    if values.is_empty() || resamples == 0 {
        return Err(Error::Argument("a bootstrap needs at least one value and one resample".into()));
    }
    if !(level > 0.0 && level < 1.0) {
        return Err(Error::Argument(format!("the level of an interval is {level}, wanted a number between 0 and 1")));
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::Argument(format!("value {at} is {}, wanted a finite number", values[at])));
    }
    let mut rng = generator(seed, b"bootstrp");
    let count = values.len();
    let one = |rng: &mut ChaCha8Rng| (0..count).map(|_| values[below(rng, count)]).sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..resamples).map(|_| one(&mut rng)).collect();
    means.sort_by(f64::total_cmp);
    Ok(means)
}

/// The ends of the middle share `level` of sorted values, between two of them in proportion.
fn percentiles(sorted: &[f64], level: f64) -> Interval {
    let at = |share: f64| {
        let place = share * (sorted.len() - 1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        sorted[below] + (sorted[above] - sorted[below]) * place.fract()
    };
    Interval { low: at((1.0 - level) / 2.0), high: at((1.0 + level) / 2.0) }
}

/// A generator of its own for every seed and purpose.
pub(super) fn generator(seed: u64, purpose: &[u8; 8]) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(purpose);
    ChaCha8Rng::from_seed(key)
}

/// An index below `bound`, each with the same probability: draws beyond the last whole multiple are thrown away.
pub(super) fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    let bound = bound.max(1) as u64;
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let drawn = rng.next_u64();
        if drawn < limit {
            return (drawn % bound) as usize;
        }
    }
}
