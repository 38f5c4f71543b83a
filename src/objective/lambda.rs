//! How the strong model's share of mixed logits, lambda, moves over a phase.

use super::Position;
use crate::settings::{Config, LambdaSchedule};

/// How far the controller goes, in units of the logarithm of odds of lambda per unit of the logarithm of the ratio.
const GAIN: f64 = 0.2;
/// Between these it keeps lambda.
const RANGE: [f64; 2] = [0.2, 0.95];

/// Lambda of every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lambda {
    /// Of the first step.
    pub start: f64,
    /// How it moves from there.
    pub schedule: LambdaSchedule,
    /// Of the last step, where it moves in a line or a cosine.
    pub end: f64,
    /// The amplification that an adaptive one is held at, a ratio.
    pub amplification: f64,
}

impl Lambda {
    /// As settings say.
    pub fn of(config: &Config) -> Self {
        let Config { lambda: start, lambda_schedule: schedule, lambda_end: end, amplification, .. } = *config;
        Self { start, schedule, end, amplification }
    }

    /// The same in every step.
    pub fn constant(lambda: f64) -> Self {
        Self { start: lambda, schedule: LambdaSchedule::Constant, end: lambda, amplification: 1.0 }
    }

    /// That of a step, where it is known beforehand.
    pub fn planned(&self, Position { step, of }: Position) -> Option<f64> {
        let Self { start, end, .. } = *self;
        let progress = step as f64 / of.saturating_sub(1).max(1) as f64;
        match self.schedule {
            LambdaSchedule::Constant => Some(start),
            LambdaSchedule::Linear => Some(start + (end - start) * progress),
            LambdaSchedule::Cosine => {
                Some(end + (start - end) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
            }
            LambdaSchedule::Adaptive => None,
        }
    }

    /// An adaptive one of the next step, after one with `lambda` whose amplification was `measured`: a controller
    /// proportional in the logarithms. Too little amplification asks for more of the weak model.
    pub fn next(&self, lambda: f64, measured: f64) -> f64 {
        if !measured.is_finite() || measured <= 0.0 {
            return lambda;
        }
        let odds = (lambda / (1.0 - lambda)).ln() + GAIN * (measured / self.amplification).ln();
        (1.0 / (1.0 + (-odds).exp())).clamp(RANGE[0], RANGE[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Lambda = Lambda { start: 0.9, schedule: LambdaSchedule::Constant, end: 0.5, amplification: 1.8 };

    #[test]
    fn planned_shares() {
        let shares = |schedule| -> Vec<f64> {
            let planned = |step| Lambda { schedule, ..FROM }.planned(Position { step, of: 5 }).unwrap();
            (0..5).map(|step| (planned(step) * 1e6).round() / 1e6).collect()
        };
        assert_eq!(shares(LambdaSchedule::Constant), [0.9; 5]);
        assert_eq!(shares(LambdaSchedule::Linear), [0.9, 0.8, 0.7, 0.6, 0.5]);
        assert_eq!(shares(LambdaSchedule::Cosine), [0.9, 0.841421, 0.7, 0.558579, 0.5]);
        let only = Position { step: 0, of: 1 };
        assert_eq!(Lambda { schedule: LambdaSchedule::Linear, ..FROM }.planned(only), Some(0.9));
        assert_eq!(Lambda { schedule: LambdaSchedule::Adaptive, ..FROM }.planned(only), None);
    }

    #[test]
    fn the_controller_finds_its_target() {
        // A plant whose amplification grows with the weak model's share.
        let plant = |lambda: f64| 1.0 + 8.0 * (1.0 - lambda).powi(2);
        let mut lambda = 0.9;
        (0..200).for_each(|_| lambda = FROM.next(lambda, plant(lambda)));
        assert!((plant(lambda) - 1.8).abs() < 1e-3, "{lambda} gives {}", plant(lambda));
        for nothing in [f64::NAN, 0.0, f64::INFINITY] {
            assert_eq!(FROM.next(0.7, nothing), 0.7);
        }
        assert_eq!(Lambda { amplification: 1e9, ..FROM }.next(0.3, 1e-9), 0.2);
    }
}
