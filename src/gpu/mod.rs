//! The GPU: adapters, the device, buffers, kernels and recorded programs.
//!
//! The only room that names `wgpu`. It knows nothing of tensors, models or training.

mod alternative;
mod available;
mod device;
mod experimental;
pub mod kernel;
mod memory;
mod meter;
mod profile;
mod program;
mod readback;
mod trusted;
pub mod tune;
mod upload;

pub use alternative::{Alternative, Cooperative, Extents, Family, Form, Trial};
pub use device::{AdapterSummary, Error, Gpu, Identity, adapters};
pub use kernel::{Kernel, Launch, kernels};
pub use memory::{Buffer, Made};
pub use meter::MemoryUse;
pub use profile::{Profile, Spent};
pub use program::{BatchTime, Program, Slice, Step};
pub use readback::{Readback, Ticket};
pub use upload::Upload;

/// Offsets of bound sub-ranges must be multiples of this many bytes on every device.
pub const BINDING_ALIGN: u64 = 256;
/// Workgroups along one dimension of a dispatch, on every device.
pub const MAX_GROUPS: u32 = 65_535;
