//! Bytes of everything that was made on a device and is still there, and the most there ever were: what a plan is held
//! against. Staging memory counts, that of writes through the queue until a wait has gone past their submission.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use super::sync::lock;

/// Device memory in use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Of everything there is now.
    pub live: u64,
    /// The most there were at a time since [`super::Gpu::measure_peak`].
    pub peak: u64,
    /// The most that wgpu's allocator was seen to hold since, whole blocks and all; `None` where it does not say.
    pub reserved: Option<u64>,
}

/// How much was made on a device since it was opened. The replay of a program makes none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Buffers, and with them the staging memory of each [`super::Gpu::read`].
    pub buffers: u64,
    /// Pipelines.
    pub pipelines: u64,
    /// Bind groups.
    pub bind_groups: u64,
}

#[derive(Debug, Default)]
pub(super) struct Meter(pub(super) Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) used: MemoryUse,
    /// Of writes that are not submitted yet.
    written: u64,
    /// Writes of submissions that may be in flight, by number.
    sent: VecDeque<(u64, u64)>,
    submissions: u64,
}

impl State {
    fn add(&mut self, bytes: u64) {
        self.used.live += bytes;
        self.used.peak = self.used.peak.max(self.used.live);
    }
}

/// Bytes that count while this is there.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: u64,
    meter: Arc<Meter>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        lock(&self.meter.0).used.live -= self.bytes;
    }
}

impl Meter {
    pub(super) fn count(self: &Arc<Self>, bytes: u64) -> Arc<Counted> {
        lock(&self.0).add(bytes);
        Arc::new(Counted { bytes, meter: self.clone() })
    }

    /// A write through the queue.
    pub(super) fn write(&self, bytes: u64) {
        let mut state = lock(&self.0);
        state.written += bytes;
        state.add(bytes);
    }

    /// The number of a submission, which takes all writes so far along.
    pub(super) fn submit(&self) -> u64 {
        let mut state = lock(&self.0);
        state.submissions += 1;
        let (number, bytes) = (state.submissions, std::mem::take(&mut state.written));
        if bytes > 0 {
            state.sent.push_back((number, bytes));
        }
        number
    }

    /// Submissions up to this number are done; `None`: all.
    pub(super) fn done(&self, number: Option<u64>) {
        let mut state = lock(&self.0);
        let last = number.unwrap_or(u64::MAX);
        while let Some((_, bytes)) = state.sent.front().copied().filter(|(number, _)| *number <= last) {
            state.sent.pop_front();
            state.used.live -= bytes;
        }
    }
}
