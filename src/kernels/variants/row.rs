//! From the data of a row to a variant that lives as long as the program.

use crate::gpu::{Kernel, Variant};

/// Overrides of a variant.
pub(super) type Constants = Vec<(&'static str, f64)>;

/// A variant in f32 that any device takes with so many bytes of workgroup memory and invocations of a workgroup.
pub(super) fn variant(
    name: String,
    kernel: &'static Kernel,
    constants: Constants,
    [workgroup_bytes, invocations]: [u32; 2],
    grid: impl Fn(&[u8]) -> Option<[u32; 3]> + Sync + 'static,
) -> Variant {
    Variant {
        name: name.leak(),
        kernel,
        constants: constants.leak(),
        workgroup_bytes,
        invocations,
        cooperative: None,
        half: false,
        software: false,
        grid: Box::leak(Box::new(grid)),
    }
}
