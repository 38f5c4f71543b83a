//! The GPU: adapters, the device, buffers, programs and readback. The only room that names `wgpu`; it knows nothing of tensors,
//! models or training, and waits in one file, `wait.rs`.

mod adapters;
mod choose;
mod device;
mod error;
mod experimental;
pub mod kernel;
mod memory;
mod meter;
mod profile;
mod program;
mod readback;
mod slice;
mod step;
mod sync;
mod trusted;
mod upload;
mod variant;
mod wait;

pub use adapters::{AdapterSummary, Identity, adapters};
pub use device::Gpu;
pub use error::Error;
pub use kernel::{Kernel, Launch};
pub use memory::Buffer;
pub use meter::{Made, MemoryUse};
pub use profile::{Profile, Spent};
pub use program::{BatchTime, Program};
pub use readback::{Readback, Ticket};
pub use slice::{Slice, Step};
pub use upload::Upload;
pub use variant::{Choice, Cooperative, Extents, GridOf, KernelGroup, Trial, Variant};

/// Offsets of bound sub-ranges must be multiples of this many bytes on every device.
pub const BINDING_ALIGN: u64 = 256;
/// Workgroups along one dimension of a dispatch, on every device.
pub const MAX_GROUPS: u32 = 65_535;
