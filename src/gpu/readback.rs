//! Results that the host fetches while the device goes on with later work: a ring of mappable memory, made once.

use std::collections::BTreeMap;

use super::{
    device::Gpu,
    error::Error,
    memory::{Buffer, allocated},
    slice::Slice,
    wait::Submission,
};

/// Names a result on its way to the host.
#[derive(Debug)]
pub struct Ticket(u64);

/// A ring of mappable memory. A result whose place is needed again before anyone fetched it is kept on the host.
pub struct Readback {
    slots: Vec<Slot>,
    /// Results queued so far.
    count: u64,
    fetched: BTreeMap<u64, Vec<u8>>,
}

struct Slot {
    staging: Buffer,
    queued: Option<Queued>,
}

struct Queued {
    ticket: u64,
    bytes: u64,
    submission: Option<Submission>,
}

impl Readback {
    /// Room for `slots` results of up to `bytes` bytes at a time.
    pub fn new(gpu: &Gpu, slots: usize, bytes: u64) -> Self {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let slots = (0..slots.max(1)).map(|_| Slot { staging: gpu.staging("readback", bytes, usage), queued: None });
        Self { slots: slots.collect(), count: 0, fetched: BTreeMap::new() }
    }

    /// Bytes of device memory that [`Self::new`] takes.
    pub fn staging(slots: usize, bytes: u64) -> u64 {
        slots.max(1) as u64 * allocated(bytes)
    }

    /// Records the copy of `from` with `encoder`; call [`Self::submitted`] with what became of it.
    pub(super) fn copy(&self, encoder: &mut wgpu::CommandEncoder, from: &Slice) {
        let to = &self.slots[self.at(self.count)].staging.raw;
        encoder.copy_buffer_to_buffer(&from.buffer.raw, from.offset, to, 0, from.size);
    }

    /// Makes room for the next result: waits for the one whose place it takes, if that is still there.
    pub(super) fn make_room(&mut self, gpu: &Gpu) -> Result<(), Error> {
        let at = self.at(self.count);
        if let Some(oldest) = self.slots[at].queued.take() {
            let bytes = self.take(gpu, at, &oldest)?;
            self.fetched.insert(oldest.ticket, bytes);
        }
        Ok(())
    }

    /// The copy recorded last is part of `submission`.
    pub(super) fn submitted(&mut self, bytes: u64, submission: Option<Submission>) -> Ticket {
        let (at, ticket) = (self.at(self.count), self.count);
        let slot = &mut self.slots[at];
        slot.staging.raw.slice(..bytes).map_async(wgpu::MapMode::Read, |_| {});
        slot.queued = Some(Queued { ticket, bytes, submission });
        self.count += 1;
        Ticket(ticket)
    }

    /// Queues the copy of `from` behind everything submitted so far.
    pub(super) fn queue(&mut self, gpu: &Gpu, from: &Slice) -> Result<Ticket, Error> {
        self.make_room(gpu)?;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        self.copy(&mut encoder, from);
        Ok(self.submitted(from.size, Some(gpu.submit([encoder.finish()]))))
    }

    /// The bytes of a result, each of which can be had once. Waits for them, not for what was submitted later.
    ///
    /// # Errors
    /// If the device fails, or failed when the result's place was needed.
    pub fn fetch(&mut self, gpu: &Gpu, ticket: Ticket) -> Result<Vec<u8>, Error> {
        let at = self.at(ticket.0);
        match self.slots[at].queued.take_if(|queued| queued.ticket == ticket.0) {
            Some(queued) => self.take(gpu, at, &queued),
            None => {
                self.fetched.remove(&ticket.0).ok_or_else(|| Error::Device("a result was lost on its way".into()))
            }
        }
    }

    fn take(&self, gpu: &Gpu, at: usize, queued: &Queued) -> Result<Vec<u8>, Error> {
        gpu.wait(queued.submission.clone())?;
        let staging = &self.slots[at].staging.raw;
        let view = staging.slice(..queued.bytes).get_mapped_range().map_err(|e| Error::Device(e.to_string()))?;
        let bytes = view.to_vec();
        drop(view);
        staging.unmap();
        Ok(bytes)
    }

    fn at(&self, ticket: u64) -> usize {
        (ticket % self.slots.len() as u64) as usize
    }
}
