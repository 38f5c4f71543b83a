//! A recorded list of dispatches, replayed in submissions short enough for watchdogs and displays.

use core::time::Duration;
use std::{collections::VecDeque, ops::Range};

use super::{
    device::Gpu,
    error::Error,
    profile::Profile,
    readback::{Readback, Ticket},
    slice::{Slice, Step},
    step::{Prepared, prepare},
    wait::Submission,
};

/// GPU time of one submission that keeps a display alive (Windows resets the device after 2 s).
const TARGET: Duration = Duration::from_millis(100);
/// Steps of a submission before anything was measured.
const FIRST_CHUNK: usize = 8;
/// The run whose times set the pace; drivers compile shaders during the first.
const MEASURED_RUN: usize = 2;
/// Submissions in flight at a time: one runs while the next is recorded.
const IN_FLIGHT: usize = 2;

/// What [`Program::time_batch`] took on the clock.
#[derive(Clone, Copy, Debug)]
pub struct BatchTime {
    /// Recording the commands.
    pub recording: Duration,
    /// That, the submission, and waiting for its end.
    pub total: Duration,
}

/// Steps with their pipelines and bind groups, made once and replayed.
pub struct Program {
    steps: Vec<Prepared>,
    chunks: Vec<Range<usize>>,
    runs: usize,
}

impl Program {
    /// Compiles pipelines and makes bind groups.
    pub fn new(gpu: &Gpu, steps: Vec<Step>) -> Self {
        let steps: Vec<_> = steps.into_iter().map(|step| prepare(gpu, step)).collect();
        let chunks = split(0..steps.len(), steps.len().div_ceil(FIRST_CHUNK));
        Self { steps, chunks, runs: 0 }
    }

    /// Submits every step in order. Returns once all but the last few submissions are done.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(&mut self, gpu: &Gpu) -> Result<(), Error> {
        self.run_rows(gpu, usize::MAX)
    }

    /// As [`Self::run`], without the steps that are only needed when more than `rows` rows are in use.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run_rows(&mut self, gpu: &Gpu, rows: usize) -> Result<(), Error> {
        self.replay(gpu, rows, |_| {}).map(|_| ())
    }

    /// As [`Self::run_rows`], and then copies `result` to the host, behind all steps in the same submission. With a
    /// `profile`, adds the time of each step to it, which takes longer and waits for them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run_then_read(
        &mut self,
        gpu: &Gpu,
        rows: usize,
        result: &Slice,
        readback: &mut Readback,
        profile: Option<&mut Profile>,
    ) -> Result<Ticket, Error> {
        if let Some(profile) = profile {
            for chunk in &self.chunks {
                profile.run(gpu, &self.needed(chunk.clone(), rows).collect::<Vec<_>>())?;
            }
            return readback.queue(gpu, result);
        }
        readback.make_room(gpu)?;
        let submission = self.replay(gpu, rows, |encoder| readback.copy(encoder, result))?;
        Ok(readback.submitted(result.size, submission))
    }

    /// Submits every chunk, the last one with what `after` adds; it is returned.
    fn replay(
        &mut self,
        gpu: &Gpu,
        rows: usize,
        after: impl Fn(&mut wgpu::CommandEncoder),
    ) -> Result<Option<Submission>, Error> {
        self.runs += 1;
        let measured = self.runs == MEASURED_RUN;
        if measured {
            // What was submitted before must not count.
            gpu.wait(None)?;
        }
        let mut durations = Vec::new();
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
        let mut last = gpu.clock.now();
        let mut finish = |submission| -> Result<(), Error> {
            gpu.wait(submission)?;
            if measured {
                let now = gpu.clock.now();
                durations.push(now - last);
                last = now;
            }
            Ok(())
        };
        for (chunk, left) in self.chunks.iter().zip((0..self.chunks.len()).rev()) {
            if in_flight.len() == IN_FLIGHT {
                finish(in_flight.pop_front())?;
            }
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            self.record(&mut encoder, chunk.clone(), rows);
            if left == 0 {
                after(&mut encoder);
            }
            in_flight.push_back(gpu.submit([encoder.finish()]));
        }
        let submission = in_flight.back().cloned();
        if measured {
            in_flight.into_iter().try_for_each(|submission| finish(Some(submission)))?;
            self.chunks = pace(&self.chunks, &durations);
        }
        Ok(submission)
    }

    /// Records every step `times` times over, submits all in one submission and waits for it, without regard to watchdogs:
    /// for measuring short programs, where the cost of a submission would hide theirs.
    ///
    /// # Errors
    /// If the device fails.
    pub fn time_batch(&self, gpu: &Gpu, times: usize) -> Result<BatchTime, Error> {
        let start = gpu.clock.now();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for _ in 0..times {
            self.record(&mut encoder, 0..self.steps.len(), usize::MAX);
        }
        let commands = encoder.finish();
        let recording = gpu.clock.now() - start;
        gpu.wait(Some(gpu.submit([commands])))?;
        Ok(BatchTime { recording, total: gpu.clock.now() - start })
    }

    /// The steps of `range` that are needed when `rows` rows are in use.
    fn needed(&self, range: Range<usize>, rows: usize) -> impl Iterator<Item = &Prepared> {
        let is_needed = move |step: &&Prepared| match step {
            Prepared::Dispatch(dispatch) => dispatch.from == 0 || dispatch.from < rows,
            Prepared::Clear(_) | Prepared::Copy(..) => true,
        };
        self.steps[range].iter().filter(is_needed)
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, range: Range<usize>, rows: usize) {
        let mut steps = self.needed(range, rows).peekable();
        while let Some(step) = steps.next() {
            let Prepared::Dispatch(first) = step else {
                step.record(encoder, None);
                continue;
            };
            let mut pass = encoder.begin_compute_pass(&Default::default());
            first.record(&mut pass);
            while let Some(Prepared::Dispatch(next)) = steps.next_if(|next| matches!(next, Prepared::Dispatch(_))) {
                next.record(&mut pass);
            }
        }
    }
}

/// `range` in `parts` ranges of nearly equal length.
fn split(range: Range<usize>, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.clamp(1, range.len().max(1));
    let at = |i| range.start + range.len() * i / parts;
    (0..parts).map(|i| at(i)..at(i + 1)).collect()
}

/// Chunks of about [`TARGET`]: long ones divided, then neighbours joined while their sum stays below it.
fn pace(chunks: &[Range<usize>], durations: &[Duration]) -> Vec<Range<usize>> {
    let mut paced: Vec<(Range<usize>, Duration)> = Vec::new();
    for (chunk, &duration) in chunks.iter().zip(durations) {
        let parts = usize::try_from(duration.as_millis() / TARGET.as_millis()).unwrap_or(1) + 1;
        let pieces = split(chunk.clone(), parts);
        let each = duration / u32::try_from(pieces.len()).unwrap_or(1);
        for piece in pieces {
            match paced.last_mut() {
                Some((last, sum)) if *sum + each <= TARGET => {
                    last.end = piece.end;
                    *sum += each;
                }
                _ => paced.push((piece, each)),
            }
        }
    }
    paced.into_iter().map(|(range, _)| range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pacing_divides_long_chunks_and_joins_short_ones() {
        let ms = Duration::from_millis;
        let one = pace(&[0..8, 8..16, 16..24], &[ms(10), ms(20), ms(30)]);
        assert_eq!((one.len(), one[0].clone()), (1, 0..24));
        assert_eq!(pace(&split(0..8, 1), &[ms(350)]), [0..2, 2..4, 4..6, 6..8]);
        let ranges = pace(&[0..3, 3..4, 4..9], &[ms(900), ms(5), ms(90)]);
        assert!(ranges.windows(2).all(|w| w[0].end == w[1].start) && ranges.last().is_some_and(|r| r.end == 9));
    }
}
