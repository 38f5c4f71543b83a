//! The one place that asks wgpu for experimental features.

/// Lets a device be opened with cooperative matrices, which wgpu 30 still calls experimental.
#[allow(unsafe_code, reason = "wgpu marks the token for experimental features unsafe")]
pub(super) fn enabled() -> wgpu::ExperimentalFeatures {
    // SAFETY: wgpu asks to acknowledge that these features may have bugs. The kernels that use them are ours, are fixed at
    // build time, and are taken on a device only after their results there were compared with the portable form's.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
