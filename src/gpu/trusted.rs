//! The one place that turns off wgpu's runtime checks in shaders.

use super::kernel::Module;

/// Compiles a module without bounds clamps and loop counters.
///
/// wgpu would otherwise insert a counter into every loop and a clamp before every access, which costs a multiple of the
/// arithmetic in a matrix product. Our shaders are fixed at build time, validated there, and tested at ragged shapes; none
/// is ever taken from a user's file.
#[allow(unsafe_code, reason = "wgpu marks unchecked shader modules unsafe; every module comes from build.rs")]
pub(super) fn shader_module(device: &wgpu::Device, module: &Module) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(module.name),
        source: wgpu::ShaderSource::Wgsl(module.source.into()),
    };
    // SAFETY: the shaders index only inside the extents passed as parameters, which `tape` derives from tensor shapes,
    // and every loop is bounded by such an extent.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}
