//! How much memory there is, and whether some of it can be had.

use serde::Serialize;

use super::Error;
use crate::{
    gpu::{self, Gpu},
    platform::available,
};

/// The most that is allocated to see whether it can be: never what could exhaust a device.
const MOST: u64 = 1 << 30;
/// Share of what there is that is allocated at most.
const SHARE: u64 = 8;
/// What is allocated where it is not known how much there is.
const LITTLE: u64 = 256 << 20;
/// Bytes of a buffer.
const PART: u64 = 64 << 20;

/// What was found, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Room {
    /// What a run may take, where the system tells.
    pub available: Option<u64>,
    /// The most that one binding spans.
    pub binding: u64,
    /// What was to be allocated.
    pub tried: u64,
    /// What of it could be had, and held what was written to it.
    pub got: u64,
}

/// Allocates a little, writes to it and reads it back.
pub(super) fn look(gpu: &Gpu) -> Result<Room, Error> {
    let available = available(gpu);
    let tried = available.map_or(LITTLE, |bytes| (bytes / SHARE).min(MOST)) / PART * PART;
    let mut buffers = Vec::new();
    for number in 0..tried / PART {
        let buffer = match gpu.buffer("doctor", PART) {
            Err(gpu::Error::OutOfMemory { .. }) => break,
            other => other?,
        };
        gpu.write(&buffer, PART - 8, &number.to_le_bytes());
        gpu.flush()?;
        buffers.push(buffer);
    }
    let mut got = 0;
    for (buffer, number) in buffers.iter().zip(0u64..) {
        let read = gpu.read(buffer, PART - 8, 8)?;
        got += if read == number.to_le_bytes() { PART } else { 0 };
    }
    Ok(Room { available, binding: gpu.max_binding(), tried, got })
}
