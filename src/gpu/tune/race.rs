//! Which of several programs is fastest: in turns, so that a clock that falls is not blamed on whoever ran last.

use std::time::Duration;

use super::super::{Error, Gpu, Program};

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
/// Who is slower than the fastest by this after the first turn is out.
const HOPELESS: f64 = 1.3;

/// Seconds of one run of each, in the middle of its turns. The first is never out.
pub(super) fn race(gpu: &Gpu, programs: &[Program], pace: Pace) -> Result<Vec<f64>, Error> {
    let seconds = |program: &Program, times: usize| -> Result<f64, Error> {
        Ok(program.time_batch(gpu, times)?.total.as_secs_f64() / times as f64)
    };
    // From one run guess how many fill a turn; the first of these turns also wakes the clocks.
    let mut times = Vec::new();
    for program in programs {
        let mut fitting = 1;
        for _ in 0..2 {
            let each = seconds(program, fitting)?.max(1e-9);
            fitting = (pace.turn.as_secs_f64() / each).clamp(1.0, MOST_TIMES) as usize;
        }
        times.push(fitting);
    }
    let mut turns: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
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
