//! Bytes of everything that was made on a device and is still there, and the most there ever were: what a plan is held
//! against. Staging memory counts, that of writes through the queue until a wait has gone past their submission.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use super::device::{Gpu, lock};

/// Device memory in use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Of everything there is now.
    pub live: u64,
    /// The most there were at a time since [`Gpu::measure_peak`].
    pub peak: u64,
    /// The most that wgpu's allocator was seen to hold since, whole blocks and all; `None` where it does not tell.
    pub reserved: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    used: MemoryUse,
    /// Of writes that are not submitted yet.
    written: u64,
    /// Writes of submissions that may be under way, by number.
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

impl Gpu {
    /// Device memory in use. Looks at wgpu's allocator, which takes a moment.
    pub fn memory_use(&self) -> MemoryUse {
        let report = self.device.generate_allocator_report();
        let mut state = lock(&self.meter.0);
        // An allocator without blocks is one that this backend does not have.
        let seen = report.map(|report| report.total_reserved_bytes).filter(|bytes| *bytes > 0);
        state.used.reserved = state.used.reserved.max(seen);
        state.used
    }

    /// The most bytes there were at a time since [`Self::measure_peak`].
    pub fn peak(&self) -> u64 {
        lock(&self.meter.0).used.peak
    }

    /// From now on, peaks are those since now.
    pub fn measure_peak(&self) {
        let mut state = lock(&self.meter.0);
        (state.used.peak, state.used.reserved) = (state.used.live, None);
    }
}
