//! Which of several programs is fastest: in turns, so that a falling clock rate does not count against the last one.

use core::time::Duration;

use crate::gpu::{Error, Gpu, Program};

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Turns of each.
    pub(super) rounds: usize,
    /// Time of a turn, whose submission then costs little.
    pub(super) turn: Duration,
}

/// Dispatches of a turn.
const MOST_TIMES: f64 = 1000.0;
/// What is slower than the fastest by this in a first run is out.
const FAR: f64 = 4.0;
/// And by this after the first turn.
const HOPELESS: f64 = 1.3;

/// Seconds of one run of each, in the middle of its turns. The first is never out.
pub(super) fn benchmark(gpu: &Gpu, programs: &[Program], pace: Pace) -> Result<Vec<f64>, Error> {
    let seconds = |program: &Program, times: usize| -> Result<f64, Error> {
        Ok(program.time_batch(gpu, times)?.total.as_secs_f64() / times as f64)
    };
    let probe = |program| Ok(seconds(program, 1)?.min(seconds(program, 1)?));
    let probes = programs.iter().map(probe).collect::<Result<Vec<f64>, Error>>()?;
    let fastest = probes.iter().copied().fold(f64::INFINITY, f64::min);
    let mut turns: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    let mut times = vec![1; programs.len()];
    for (i, program) in programs.iter().enumerate() {
        if i > 0 && probes[i] > FAR * fastest {
            turns[i].push(probes[i]);
            continue;
        }
        // From a few guess how many fill a turn; that turn also wakes the clocks.
        let fitting = |each: f64| (pace.turn.as_secs_f64() / each.max(1e-9)).clamp(1.0, MOST_TIMES) as usize;
        let each = seconds(program, fitting(probes[i]))?;
        times[i] = fitting(each);
    }
    for _ in 0..pace.rounds {
        let first = |turns: &Vec<f64>| turns.first().copied();
        let fastest = turns.iter().filter_map(first).fold(f64::INFINITY, f64::min);
        for (i, program) in programs.iter().enumerate() {
            if i == 0 || first(&turns[i]).is_none_or(|first| first <= HOPELESS * fastest) {
                turns[i].push(seconds(program, times[i])?);
            }
        }
    }
    Ok(turns.into_iter().map(median).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::INFINITY)
}
