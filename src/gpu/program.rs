//! A recorded list of dispatches, replayed in submissions short enough for watchdogs and displays.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    device::{Error, Gpu, Pipeline, Submission},
    kernel::Kernel,
    memory::Buffer,
    profile::Profile,
    readback::{Readback, Ticket},
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

/// A step with everything that its replay needs.
pub(super) enum Prepared {
    Dispatch(Dispatch),
    Clear(Slice),
    Copy(Slice, Slice),
}

pub(super) struct Dispatch {
    name: &'static str,
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    params: Vec<u8>,
    grid: [u32; 3],
    from: usize,
    /// What the group binds, which counts as there as long as this is.
    _memory: Vec<Buffer>,
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
        let mut last = Instant::now();
        let mut finish = |submission| -> Result<(), Error> {
            gpu.wait(submission)?;
            if measured {
                durations.push(last.elapsed());
                last = Instant::now();
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
        let start = Instant::now();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for _ in 0..times {
            self.record(&mut encoder, 0..self.steps.len(), usize::MAX);
        }
        let commands = encoder.finish();
        let recording = start.elapsed();
        gpu.wait(Some(gpu.submit([commands])))?;
        Ok(BatchTime { recording, total: start.elapsed() })
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

impl Prepared {
    /// Its kernel's name, or what else it does.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Dispatch(dispatch) => dispatch.name,
            Self::Clear(_) => "clear",
            Self::Copy(..) => "copy",
        }
    }

    /// Records it alone; timestamps go to the query given and the one after it.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder, timestamps: Option<(&wgpu::QuerySet, u32)>) {
        let writes = |begin: bool, end: bool| {
            let writes = |(query_set, at): (_, u32)| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: begin.then_some(at),
                end_of_pass_write_index: end.then_some(at + 1),
            };
            wgpu::ComputePassDescriptor { label: None, timestamp_writes: timestamps.map(writes) }
        };
        if let Self::Dispatch(dispatch) = self {
            return dispatch.record(&mut encoder.begin_compute_pass(&writes(true, true)));
        }
        // Timestamps belong to passes: empty ones stand before and after.
        if timestamps.is_some() {
            encoder.begin_compute_pass(&writes(true, false));
        }
        match self {
            Self::Clear(slice) => encoder.clear_buffer(&slice.buffer.raw, slice.offset, Some(slice.size)),
            Self::Copy(from, to) => {
                let (source, target) = (&from.buffer.raw, &to.buffer.raw);
                encoder.copy_buffer_to_buffer(source, from.offset, target, to.offset, from.size);
            }
            Self::Dispatch(_) => {}
        }
        if timestamps.is_some() {
            encoder.begin_compute_pass(&writes(false, true));
        }
    }
}

impl Dispatch {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.raw);
        pass.set_bind_group(0, &self.group, &[]);
        if !self.params.is_empty() {
            pass.set_immediates(0, &self.params);
        }
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
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
            gpu.count(|made| made.bind_groups += 1);
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            });
            let memory = bindings.into_iter().map(|slice| slice.buffer).collect();
            Prepared::Dispatch(Dispatch { name: kernel.name, pipeline, group, params, grid, from, _memory: memory })
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
