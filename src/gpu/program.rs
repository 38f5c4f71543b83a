//! A recorded list of dispatches, replayed in submissions short enough for watchdogs and displays.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    device::{Buffer, Error, Gpu, Pipeline},
    kernel::Kernel,
};

/// GPU time of one submission that keeps a display alive (Windows resets the device after 2 s).
const TARGET: Duration = Duration::from_millis(100);
/// Steps of a submission before anything was measured.
const FIRST_CHUNK: usize = 8;
/// The run whose times set the pace; drivers compile shaders during the first.
const MEASURED_RUN: usize = 2;
/// Submissions under way at a time: one runs while the next is recorded.
const IN_FLIGHT: usize = 2;

/// A range of a buffer, in bytes.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The memory.
    pub buffer: Buffer,
    /// First byte, a multiple of [`super::BINDING_ALIGN`].
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// One thing the device does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Runs a kernel over a grid of workgroups.
    Dispatch {
        /// Which.
        kernel: &'static Kernel,
        /// One slice per binding, in the kernel's order.
        bindings: Vec<Slice>,
        /// Its immediates.
        params: Vec<u8>,
        /// Workgroups along x, y, z.
        grid: [u32; 3],
        /// Left out of replays with this many rows in use or fewer; 0: never.
        from: usize,
    },
    /// Fills with zeros.
    Clear(Slice),
    /// Copies the first slice to the second, in another buffer and of the same length.
    Copy(Slice, Slice),
}

/// What [`Program::time_batch`] took on the host's clock.
#[derive(Clone, Copy, Debug)]
pub struct BatchTime {
    /// Recording the commands.
    pub recording: Duration,
    /// That, the submission, and waiting for its end.
    pub total: Duration,
}

enum Prepared {
    Dispatch { pipeline: Arc<Pipeline>, group: wgpu::BindGroup, params: Vec<u8>, grid: [u32; 3], from: usize },
    Clear(Slice),
    Copy(Slice, Slice),
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
        let mut durations = Vec::with_capacity(self.chunks.len());
        let mut in_flight = VecDeque::new();
        let mut last = Instant::now();
        let mut finish = |submission| -> Result<(), Error> {
            gpu.wait(Some(submission))?;
            durations.push(last.elapsed());
            last = Instant::now();
            Ok(())
        };
        for chunk in &self.chunks {
            if in_flight.len() == IN_FLIGHT
                && let Some(oldest) = in_flight.pop_front()
            {
                finish(oldest)?;
            }
            in_flight.push_back(self.submit(gpu, chunk.clone(), rows));
        }
        self.runs += 1;
        if self.runs == MEASURED_RUN {
            in_flight.into_iter().try_for_each(finish)?;
            self.chunks = pace(&self.chunks, &durations);
        }
        Ok(())
    }

    /// Records every step `times` times over, submits all in one submission and waits for it, without regard to watchdogs:
    /// for measuring short programs, where the cost of a submission would hide theirs.
    ///
    /// # Errors
    /// If the device fails.
    pub fn time_batch(&self, gpu: &Gpu, times: usize) -> Result<BatchTime, Error> {
        let start = Instant::now();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for _ in 0..times {
            self.record(&mut encoder, 0..self.steps.len(), usize::MAX);
        }
        let commands = encoder.finish();
        let recording = start.elapsed();
        gpu.wait(Some(gpu.queue.submit([commands])))?;
        Ok(BatchTime { recording, total: start.elapsed() })
    }

    fn submit(&self, gpu: &Gpu, range: Range<usize>, rows: usize) -> wgpu::SubmissionIndex {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        self.record(&mut encoder, range, rows);
        gpu.queue.submit([encoder.finish()])
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, range: Range<usize>, rows: usize) {
        let needed =
            |step: &&Prepared| !matches!(step, Prepared::Dispatch { from, .. } if *from > 0 && *from >= rows);
        let mut steps = self.steps[range].iter().filter(needed).peekable();
        while let Some(step) = steps.next() {
            match step {
                Prepared::Clear(slice) => {
                    encoder.clear_buffer(&slice.buffer.raw, slice.offset, Some(slice.size));
                    continue;
                }
                Prepared::Copy(from, to) => {
                    let (source, target) = (&from.buffer.raw, &to.buffer.raw);
                    encoder.copy_buffer_to_buffer(source, from.offset, target, to.offset, from.size);
                    continue;
                }
                Prepared::Dispatch { .. } => {}
            }
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let mut current = Some(step);
            while let Some(Prepared::Dispatch { pipeline, group, params, grid, .. }) = current {
                pass.set_pipeline(&pipeline.raw);
                pass.set_bind_group(0, group, &[]);
                if !params.is_empty() {
                    pass.set_immediates(0, params);
                }
                pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
                current = steps.next_if(|next| matches!(next, Prepared::Dispatch { .. }));
            }
        }
    }
}

fn prepare(gpu: &Gpu, step: Step) -> Prepared {
    match step {
        Step::Clear(slice) => Prepared::Clear(slice),
        Step::Copy(from, to) => Prepared::Copy(from, to),
        Step::Dispatch { kernel, bindings, params, grid, from } => {
            let chosen = gpu.choice(kernel, &params);
            let (constants, kernel, grid) =
                chosen.map_or((&[][..], kernel, grid), |(form, grid)| (form.constants, form.kernel, grid));
            let pipeline = gpu.pipeline(kernel, constants);
            let entries: Vec<_> = kernel
                .bindings
                .iter()
                .zip(&bindings)
                .map(|(binding, slice)| wgpu::BindGroupEntry {
                    binding: binding.index,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &slice.buffer.raw,
                        offset: slice.offset,
                        size: std::num::NonZeroU64::new(slice.size),
                    }),
                })
                .collect();
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            });
            Prepared::Dispatch { pipeline, group, params, grid, from }
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
