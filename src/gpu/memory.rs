//! Device memory: making it, and moving bytes to and from it.

use super::device::{Error, Gpu};

/// A range of device memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
}

impl Buffer {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }
}

/// How much was made on a device since it was opened. The replay of a program makes none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Buffers, and with them the staging memory of each [`Gpu::read`].
    pub buffers: u64,
    /// Pipelines.
    pub pipelines: u64,
    /// Bind groups.
    pub bind_groups: u64,
}

impl Gpu {
    /// Allocates zeroed memory.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer, Error> {
        let size = bytes.max(4).next_multiple_of(16);
        self.count(|made| made.buffers += 1);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let invalid = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let raw = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let failed = pollster::block_on(invalid.pop());
        match pollster::block_on(scope.pop()).or(failed) {
            None => Ok(Buffer { raw }),
            Some(reason) => Err(Error::OutOfMemory { label: label.into(), bytes: size, reason: reason.to_string() }),
        }
    }

    /// Copies `data` to `buffer` at `offset` bytes (a multiple of 4), before anything submitted later.
    pub fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) {
        self.queue.write_buffer(&buffer.raw, offset, data);
    }

    /// Submits pending writes and waits until their staging memory is free again.
    pub fn flush(&self) -> Result<(), Error> {
        self.queue.submit([]);
        self.wait(None)
    }

    /// Reads a range back. Waits for everything submitted so far.
    pub fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.staging("readback", bytes, usage);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffer.raw, offset, &staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        staging.slice(..bytes).map_async(wgpu::MapMode::Read, |_| {});
        self.wait(None)?;
        let view = staging.slice(..bytes).get_mapped_range();
        Ok(view.map_err(|e| Error::Device(e.to_string()))?.to_vec())
    }

    /// Memory that the host can map.
    pub(super) fn staging(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.count(|made| made.buffers += 1);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(4).next_multiple_of(16),
            usage,
            mapped_at_creation: false,
        })
    }
}
