//! What a program is made of: ranges of buffers, and what is done with them.

use super::{kernel::Kernel, memory::Buffer};

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
