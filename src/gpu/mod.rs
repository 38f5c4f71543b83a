//! The GPU: adapters, the device, buffers, kernels and recorded programs.
//!
//! The only room that names `wgpu`. It knows nothing of tensors, models or training.

mod alternative;
mod device;
mod experimental;
pub mod kernel;
mod program;
mod trusted;

pub use alternative::{Alternative, Cooperative, Family};
pub use device::{AdapterSummary, Buffer, Error, Gpu, Identity, adapters};
pub use kernel::{Kernel, Launch, kernels};
pub use program::{BatchTime, Program, Slice, Step};

/// Offsets of bound sub-ranges must be multiples of this many bytes on every device.
pub const BINDING_ALIGN: u64 = 256;
/// Workgroups along one dimension of a dispatch, on every device.
pub const MAX_GROUPS: u32 = 65_535;
