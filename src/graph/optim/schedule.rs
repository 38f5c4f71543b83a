//! Learning rate over a run: linear warm-up, then constant, linear or cosine decay to 0.

use crate::choice::choices;

choices! {
    /// How the learning rate moves after the warm-up.
    pub enum Decay {
        /// Stays at the peak
        Constant = "constant",
        /// Falls in a straight line to 0 at the last step
        Linear = "linear",
        /// Falls along half a cosine to 0 at the last step
        Cosine = "cosine",
    }
}

/// The learning rate of every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Highest rate.
    pub peak: f64,
    /// Shape after the warm-up.
    pub decay: Decay,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps of the run.
    pub total: u64,
}

impl Schedule {
    /// `warmup`: a number of steps if 1 or more, else a share of `total`, rounded up.
    pub fn new(peak: f64, decay: Decay, warmup: f64, total: u64) -> Self {
        let steps = if warmup >= 1.0 { warmup } else { (warmup * total as f64).ceil() };
        Self { peak, decay, warmup: steps as u64, total }
    }

    /// The rate of `step`, counted from 0. Step s of a warm-up of w has `peak (s + 1) / (w + 1)`, so that no step is
    /// spent at rate 0 (transformers' first step is); the decay is that of transformers.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1);
        let progress = ((step - self.warmup) as f64 / span as f64).min(1.0);
        self.peak
            * match self.decay {
                Decay::Constant => 1.0,
                Decay::Linear => 1.0 - progress,
                Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_and_decay() {
        let rates = |decay, warmup, total| -> Vec<f64> {
            let schedule = Schedule::new(1.0, decay, warmup, total);
            (0..total).map(|s| (schedule.rate(s) * 1e6).round() / 1e6).collect()
        };
        assert_eq!(rates(Decay::Constant, 2.0, 4), [0.333333, 0.666667, 1.0, 1.0]);
        assert_eq!(rates(Decay::Linear, 0.0, 4), [1.0, 0.75, 0.5, 0.25]);
        assert_eq!(rates(Decay::Cosine, 0.2, 5), [0.5, 1.0, 0.853553, 0.5, 0.146447]);
    }
}
