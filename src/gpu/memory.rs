//! Device memory: making it, and moving bytes to and from it.

use std::sync::Arc;

use super::{
    device::Gpu,
    error::Error,
    meter::{Counted, MemoryUse},
    sync::lock,
    wait::answered,
};

/// Bytes that [`Gpu::read`] fetches at a time.
const READ: u64 = 8 << 20;

/// A range of device memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    _counted: Arc<Counted>,
}

impl Buffer {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }
}

impl Gpu {
    /// Allocates zeroed memory.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer, Error> {
        let size = allocated(bytes);
        self.count(|made| made.buffers += 1);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let invalid = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let raw = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let failed = answered(invalid.pop());
        match answered(scope.pop()).or(failed) {
            None => Ok(Buffer { raw, _counted: self.meter.count(size) }),
            Some(reason) => Err(Error::OutOfMemory { label: label.into(), bytes: size, reason: reason.to_string() }),
        }
    }

    /// Copies `data` to `buffer` at `offset` bytes (a multiple of 4), before anything submitted later.
    pub fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) {
        self.meter.write(data.len() as u64);
        self.queue.write_buffer(&buffer.raw, offset, data);
    }

    /// Submits pending writes and waits until their staging memory is free again.
    pub fn flush(&self) -> Result<(), Error> {
        self.submit([]);
        self.wait(None)
    }

    /// Reads a range back. Waits for everything submitted so far.
    pub fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let Buffer { raw: staging, _counted } = &self.staging("readback", bytes.min(READ), usage);
        let mut read = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
        for start in (0..bytes).step_by(READ as usize) {
            let part = READ.min(bytes - start);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(&buffer.raw, offset + start, staging, 0, part);
            self.submit([encoder.finish()]);
            staging.slice(..part).map_async(wgpu::MapMode::Read, |_| {});
            self.wait(None)?;
            let view = staging.slice(..part).get_mapped_range();
            read.extend_from_slice(&view.map_err(|e| Error::Device(e.to_string()))?);
            staging.unmap();
        }
        Ok(read)
    }

    /// Bytes of staging memory that [`Self::read`] takes.
    pub fn read_staging(bytes: u64) -> u64 {
        allocated(bytes.min(READ))
    }

    /// Memory that the host can map.
    pub(super) fn staging(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Buffer {
        self.count(|made| made.buffers += 1);
        let size = allocated(bytes);
        let raw = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        });
        Buffer { raw, _counted: self.meter.count(size) }
    }
}

/// Bytes of a buffer for so many.
pub(super) fn allocated(bytes: u64) -> u64 {
    bytes.max(4).next_multiple_of(16)
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
