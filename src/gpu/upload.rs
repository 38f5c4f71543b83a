//! Writing much to a device: through a few pieces of mapped memory, made once. While the copies of one run, the next is
//! filled. A write through the queue would take fresh memory every time, whose pages cost more than the copy.

use super::{device::Gpu, error::Error, memory::Buffer, wait::Submission};

/// Bytes of a piece.
const PIECE: u64 = 2 << 20;
/// Pieces: one is filled while others are copied.
const PIECES: usize = 4;

/// A large write in progress; [`Self::finish`] ends it.
pub struct Upload<'g> {
    gpu: &'g Gpu,
    /// Made when they are first needed.
    pieces: Vec<Piece>,
    /// The one that is filled.
    at: usize,
}

struct Piece {
    staging: Buffer,
    /// Bytes in use.
    filled: u64,
    copies: Vec<Copied>,
    /// What reads it still.
    submission: Option<Submission>,
}

struct Copied {
    to: wgpu::Buffer,
    offset: u64,
    from: u64,
    bytes: u64,
}

impl<'g> Upload<'g> {
    /// Nothing written yet.
    pub fn new(gpu: &'g Gpu) -> Self {
        Self { gpu, pieces: Vec::new(), at: 0 }
    }

    /// Bytes of the pieces that writing so many takes.
    pub fn staging(bytes: u64) -> u64 {
        Self::staging_parts(1, bytes)
    }

    /// The same where as many are written again and again, `parts` times, each with a [`Self::send`] behind it.
    pub fn staging_parts(parts: usize, bytes: u64) -> u64 {
        (parts as u64 * bytes.div_ceil(PIECE)).min(PIECES as u64) * PIECE
    }

    /// Copies `data` (a multiple of 4 bytes) to `buffer` at `offset` bytes, before anything submitted after the end.
    ///
    /// # Errors
    /// If the device fails.
    pub fn write(&mut self, buffer: &Buffer, mut offset: u64, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            if self.pieces.len() == self.at {
                self.pieces.push(Piece::new(self.gpu)?);
            }
            let piece = &mut self.pieces[self.at];
            if let Some(submission) = piece.submission.take() {
                self.gpu.wait(Some(submission))?;
            }
            let (part, rest) = data.split_at(data.len().min((PIECE - piece.filled) as usize));
            piece.fill(buffer, offset, part)?;
            (offset, data) = (offset + part.len() as u64, rest);
            if piece.filled == PIECE {
                self.send();
            }
        }
        Ok(())
    }

    /// Waits until everything is on the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn finish(mut self) -> Result<(), Error> {
        self.send();
        self.gpu.wait(None)
    }

    /// Submits what was written, before anything submitted from now on; does not wait.
    pub fn send(&mut self) {
        if let Some(piece) = self.pieces.get_mut(self.at).filter(|piece| piece.filled > 0) {
            piece.send(self.gpu);
            self.at = (self.at + 1) % PIECES;
        }
    }
}

impl Piece {
    fn new(gpu: &Gpu) -> Result<Self, Error> {
        let staging = gpu.staging("upload", PIECE, wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC);
        staging.raw.map_async(wgpu::MapMode::Write, .., |_| {});
        // Mappings take effect when something waits.
        gpu.wait(None)?;
        Ok(Self { staging, filled: 0, copies: Vec::new(), submission: None })
    }

    fn fill(&mut self, to: &Buffer, offset: u64, data: &[u8]) -> Result<(), Error> {
        let (from, bytes) = (self.filled, data.len() as u64);
        let view = self.staging.raw.get_mapped_range_mut(from..from + bytes);
        view.map_err(|e| Error::Device(e.to_string()))?.copy_from_slice(data);
        // A mapped range begins at a multiple of 8.
        self.filled = (from + bytes).next_multiple_of(wgpu::MAP_ALIGNMENT);
        match self.copies.last_mut() {
            Some(last)
                if last.to == to.raw && last.offset + last.bytes == offset && last.from + last.bytes == from =>
            {
                last.bytes += bytes;
            }
            _ => self.copies.push(Copied { to: to.raw.clone(), offset, from, bytes }),
        }
        Ok(())
    }

    fn send(&mut self, gpu: &Gpu) {
        self.staging.raw.unmap();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for Copied { to, offset, from, bytes } in self.copies.drain(..) {
            encoder.copy_buffer_to_buffer(&self.staging.raw, from, &to, offset, bytes);
        }
        self.submission = Some(gpu.submit([encoder.finish()]));
        self.staging.raw.map_async(wgpu::MapMode::Write, .., |_| {});
        self.filled = 0;
    }
}
