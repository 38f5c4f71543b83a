//! The second rule in the code of weak-driven learning's authors (`utils/weight_datasets.py` of
//! `chenzehao82/Weak-Driven-Learning`, commit 25ac32f), for a second round on. It borrows BrownBoost's idea of giving up
//! on what stays hard for too long. Sample `i` has the entropies `e0`, `e1`, `e2` under three models, `e2` the newest;
//! `lo` and `hi` are quantiles of `e2` over all samples, `improved = e0 - e2`, and `std` is over all samples:
//!
//! ```text
//! difficulty = clip((e2 - lo) / (hi - lo + eps), 0, 1) + eps
//! trend      = clip(1 + 0.5 improved / (std(improved) + eps), 0.1, 10)
//! too_hard   = exp(-lambda_time max(0, #{e > hi} - hard_patience))
//! too_easy   = exp(-lambda_easy max(0, #{e < lo} - easy_patience))
//! p          = max(difficulty^alpha trend^beta too_hard^gamma too_easy, eps), normalised to sum to 1
//! ```
//!
//! Where all samples are equally hard, `difficulty` is `eps` and the floor hides a falling trend: so in their code.

use super::super::error::Error;
use super::measure::{all_zero, check_entropies, is_measure, normalised, wrong};

/// Keeps quotients finite and every sample drawable.
const EPS: f64 = 1e-8;
/// What an improvement of one standard deviation adds to the trend.
const TREND: f64 = 0.5;
const TREND_BOUNDS: (f64, f64) = (0.1, 10.0);

/// The settings of [`brownboost()`]; the defaults are the authors'.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Brownboost {
    /// Power of the difficulty.
    pub alpha: f64,
    /// Power of the trend.
    pub beta: f64,
    /// Power of the penalty for samples that stay hard.
    pub gamma: f64,
    /// Samples below this quantile of the newest entropies are easy.
    pub easy_quantile: f64,
    /// Samples above this quantile of the newest entropies are hard.
    pub hard_quantile: f64,
    /// In how many of the three models a sample may be hard without a penalty.
    pub hard_patience: u32,
    /// In how many of the three models a sample may be easy without a penalty.
    pub easy_patience: u32,
    /// Strength of the penalty for samples that stay hard.
    pub lambda_time: f64,
    /// Strength of the penalty for samples that stay easy.
    pub lambda_easy: f64,
}

impl Default for Brownboost {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            beta: 1.0,
            gamma: 1.0,
            easy_quantile: 0.2,
            hard_quantile: 0.8,
            hard_patience: 2,
            easy_patience: 2,
            lambda_time: 1.0,
            lambda_easy: 1.0,
        }
    }
}

impl Brownboost {
    fn check(&self) -> Result<(), Error> {
        let Self { alpha, beta, gamma, easy_quantile, hard_quantile, lambda_time, lambda_easy, .. } = *self;
        let measures = [("alpha", alpha), ("beta", beta), ("gamma", gamma)]
            .into_iter()
            .chain([("lambda_time", lambda_time), ("lambda_easy", lambda_easy)]);
        for (name, value) in measures {
            if !is_measure(value) {
                return wrong(name, value, "it must be finite and 0 or more");
            }
        }
        for (name, value) in [("easy_quantile", easy_quantile), ("hard_quantile", hard_quantile)] {
            if !(0.0..=1.0).contains(&value) {
                return wrong(name, value, "a quantile lies between 0 and 1");
            }
        }
        if easy_quantile >= hard_quantile {
            return wrong("easy_quantile", easy_quantile, "it must be below hard_quantile");
        }
        Ok(())
    }
}

/// Sampling weights, summing to 1, of samples with these entropies (nats) under the model before the weak one, the weak
/// model and the strong one, by the second rule of weak-driven learning's authors: samples weigh more the harder they
/// are for the strong model and the more they improved since the earliest; those that were hard, or easy, for more
/// models than the patience allows weigh less.
///
/// # Errors
/// Settings out of range, lists of different lengths or without a sample, an entropy that is negative or not finite,
/// and weights too large to be summed.
pub fn brownboost(earliest: &[f64], weak: &[f64], strong: &[f64], settings: &Brownboost) -> Result<Vec<f64>, Error> {
    settings.check()?;
    check_entropies(&[("earliest", earliest), ("weak", weak), ("strong", strong)])?;
    if strong.is_empty() {
        return Err(all_zero(0));
    }
    let (easy, hard) = (quantile(strong, settings.easy_quantile), quantile(strong, settings.hard_quantile));
    let improved: Vec<f64> = earliest.iter().zip(strong).map(|(before, now)| before - now).collect();
    let spread = standard_deviation(&improved) + EPS;
    let weigh = |i: usize| {
        let seen = [earliest[i], weak[i], strong[i]];
        let difficulty = ((strong[i] - easy) / (hard - easy + EPS)).clamp(0.0, 1.0) + EPS;
        let trend = (1.0 + TREND * (improved[i] / spread)).clamp(TREND_BOUNDS.0, TREND_BOUNDS.1);
        let too_hard = penalty(&seen, |e| e > hard, settings.hard_patience, settings.lambda_time);
        let too_easy = penalty(&seen, |e| e < easy, settings.easy_patience, settings.lambda_easy);
        let weight =
            difficulty.powf(settings.alpha) * trend.powf(settings.beta) * too_hard.powf(settings.gamma) * too_easy;
        // Not `max`, which would hide a weight that is not a number.
        if weight < EPS { EPS } else { weight }
    };
    normalised((0..strong.len()).map(weigh).collect())
}

/// `exp(-lambda)` for every model beyond `patience` that saw the sample so.
fn penalty(seen: &[f64; 3], is: impl Fn(f64) -> bool, patience: u32, lambda: f64) -> f64 {
    let models = seen.iter().filter(|entropy| is(**entropy)).count();
    (-lambda * (models as f64 - f64::from(patience)).max(0.0)).exp()
}

/// The quantile `q` of a list that is not empty, linear between its neighbours. It goes from the nearer neighbour, as
/// numpy does: samples are compared with it strictly, so its last bit decides.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    let place = last as f64 * q;
    let below = place.floor();
    let (a, b) = (sorted[below as usize], sorted[(below as usize + 1).min(last)]);
    let t = place - below;
    if t >= 0.5 { b - (b - a) * (1.0 - t) } else { a + (b - a) * t }
}

/// Of the whole population, not of a sample of it.
fn standard_deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}
