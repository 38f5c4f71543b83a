//! Where a program's time on the device goes, by kernel.
//!
//! Every step gets a pass of its own between two timestamps: Apple's GPUs have them at the ends of passes only, so this is
//! the form everywhere. A device without timestamps gets a submission for every step, timed by the host. Either way the
//! same work is done in the same order, more slowly.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{device::Gpu, error::Error, readback::Readback, slice::Slice, step::Prepared};

/// Steps between two looks at the timestamps; a query set holds twice as many.
const STEPS: u32 = 512;

/// Time that the runs of one kernel took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How often it ran.
    pub count: u64,
    /// On the device.
    pub time: Duration,
}

/// Time spent so far, by kernel; `clear` and `copy` for what is none.
pub struct Profile {
    timer: Option<Timer>,
    spent: BTreeMap<&'static str, Spent>,
}

struct Timer {
    queries: wgpu::QuerySet,
    resolved: Slice,
    readback: Readback,
    /// Nanoseconds of a tick.
    period: f64,
}

impl Profile {
    /// Nothing yet.
    pub fn new(gpu: &Gpu) -> Self {
        let has_timestamps = gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        Self { timer: has_timestamps.then(|| Timer::new(gpu)), spent: BTreeMap::new() }
    }

    /// Whether the device's own clock is read, not the host's.
    pub fn has_timestamps(&self) -> bool {
        self.timer.is_some()
    }

    /// By kernel.
    pub fn spent(&self) -> impl Iterator<Item = (&'static str, Spent)> {
        self.spent.iter().map(|(name, spent)| (*name, *spent))
    }

    /// Runs steps one after the other and waits for them.
    pub(super) fn run(&mut self, gpu: &Gpu, steps: &[&Prepared]) -> Result<(), Error> {
        let Some(timer) = &mut self.timer else {
            return steps.iter().try_for_each(|step| {
                let start = gpu.clock.now();
                let mut encoder = gpu.device.create_command_encoder(&Default::default());
                step.record(&mut encoder, None);
                gpu.wait(Some(gpu.submit([encoder.finish()])))?;
                self.spent.entry(step.name()).or_default().add(gpu.clock.now() - start);
                Ok(())
            });
        };
        for steps in steps.chunks(STEPS as usize) {
            for (step, time) in steps.iter().zip(timer.run(gpu, steps)?) {
                self.spent.entry(step.name()).or_default().add(time);
            }
        }
        Ok(())
    }
}

impl Spent {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time += time;
    }
}

impl Timer {
    fn new(gpu: &Gpu) -> Self {
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * STEPS,
        });
        let size = u64::from(2 * STEPS * wgpu::QUERY_SIZE);
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = Slice { buffer: gpu.staging("timestamps", size, usage), offset: 0, size };
        let period = f64::from(gpu.queue.get_timestamp_period());
        Self { queries, resolved, readback: Readback::new(gpu, 1, size), period }
    }

    /// The time of each step.
    fn run(&mut self, gpu: &Gpu, steps: &[&Prepared]) -> Result<Vec<Duration>, Error> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for (step, begin) in steps.iter().zip((0..).step_by(2)) {
            step.record(&mut encoder, Some((&self.queries, begin)));
        }
        let count = steps.len() as u32 * 2;
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved.buffer.raw, 0);
        gpu.submit([encoder.finish()]);
        let ticket = self.readback.queue(gpu, &self.resolved)?;
        let bytes = self.readback.fetch(gpu, ticket)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        // Some drivers' clocks step back a little between passes.
        let time =
            |pair: &[u64; 2]| Duration::from_nanos((pair[1].saturating_sub(pair[0]) as f64 * self.period) as u64);
        Ok(ticks.as_chunks::<2>().0.iter().take(steps.len()).map(time).collect())
    }
}
