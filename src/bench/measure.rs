//! How often something is run, and for how long: scaled by a first timing, so that one suite serves every device.

use std::time::Instant;

use super::{error::Error, stats};

/// Seconds that one submission should take at least: its own cost is then small.
const BATCH: f64 = 0.025;
const MOST_TIMES: usize = 2000;
const FEWEST_RUNS: usize = 5;
const FEWEST_SLOW_RUNS: usize = 3;
const MOST_RUNS: usize = 200;

/// How long an entry may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Seconds of measuring, where runs are short.
    pub(super) seconds: f64,
    /// Seconds after which it is not worth the wait; infinite if the user asked for this very entry.
    pub(super) limit: f64,
}

/// Times of single runs.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    /// Seconds each, in the order of measurement.
    pub(super) seconds: Vec<f64>,
    /// Runs that each was divided by.
    pub(super) times: usize,
}

impl Samples {
    /// Seconds of the fastest run: what the device can do at all.
    pub(super) fn fastest(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// How much slower the last runs were than the first, if that is more than noise.
    pub(super) fn slowed(&self) -> Option<f64> {
        stats::slowed(&self.seconds)
    }
}

/// Runs `run(times)`, which returns the seconds of all of them together, until the budget is spent. The first run compiles
/// and the second tells how many fit. The error is the seconds of one run where they are too many.
pub(super) fn sample(
    budget: Budget,
    mut run: impl FnMut(usize) -> Result<f64, Error>,
) -> Result<Result<Samples, f64>, Error> {
    run(1)?;
    let estimate = run(1)?.max(1e-7);
    if estimate * FEWEST_SLOW_RUNS as f64 > budget.limit {
        return Ok(Err(estimate));
    }
    let mut times = ((BATCH / estimate) as usize).clamp(1, MOST_TIMES);
    if times > 1 {
        // A lone run pays for the whole submission: guess again from many, which also wakes the clocks.
        let each = run(times)? / times as f64;
        times = ((BATCH / each) as usize).clamp(1, MOST_TIMES);
        run(times)?;
    }
    let slow = estimate * FEWEST_RUNS as f64 > 2.0 * budget.seconds;
    let fewest = if slow { FEWEST_SLOW_RUNS } else { FEWEST_RUNS };
    let mut seconds = Vec::new();
    let start = Instant::now();
    while seconds.len() < fewest || (seconds.len() < MOST_RUNS && start.elapsed().as_secs_f64() < budget.seconds) {
        seconds.push(run(times)? / times as f64);
    }
    Ok(Ok(Samples { seconds, times }))
}
