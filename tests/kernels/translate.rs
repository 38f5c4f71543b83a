//! naga's translations, with the options that wgpu uses for trusted shaders.

use std::collections::BTreeMap;

use naga::{
    back::{hlsl, msl, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ValidationFlags, Validator},
};

/// One module in the languages of the three backends.
pub(crate) struct Translated {
    /// SPIR-V 1.3, what Vulkan 1.1 takes; every entry point.
    pub(crate) spv: Vec<u32>,
    /// Metal Shading Language 2.4; every entry point.
    pub(crate) msl: String,
    /// HLSL for shader model 6.0; every entry point.
    pub(crate) hlsl: String,
    /// The entry points' names in the HLSL (reserved words are renamed), in the module's order.
    pub(crate) hlsl_entry_points: Vec<String>,
}

/// Translates self-contained WGSL as wgpu does for our kernels: no bounds clamps, no loop counters, no zeroed workgroup
/// memory, and real slots for Metal, where naga's faked ones are not valid MSL.
pub(crate) fn translate(wgsl: &str, name: &str) -> Result<Translated, String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string_with_path(wgsl, name))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::IMMEDIATES)
        .validate(&module)
        .map_err(|e| e.emit_to_string_with_path(wgsl, name))?;
    let unchecked = BoundsCheckPolicies {
        index: BoundsCheckPolicy::Unchecked,
        buffer: BoundsCheckPolicy::Unchecked,
        image_load: BoundsCheckPolicy::Unchecked,
        binding_array: BoundsCheckPolicy::Unchecked,
    };
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: unchecked,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let spv = spv::write_vec(&module, &info, &options, None).map_err(|e| format!("{name}: SPIR-V: {e}"))?;

    let options = msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: metal_slots(&module),
        fake_missing_bindings: false,
        bounds_check_policies: unchecked,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let (msl, written) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .map_err(|e| format!("{name}: MSL: {e}"))?;
    for entry in written.entry_point_names {
        entry.map_err(|e| format!("{name}: MSL: {e}"))?;
    }

    // wgpu puts the immediates at b0, what `num_workgroups` needs behind them, buffers at their own registers.
    let constants = |register| hlsl::BindTarget { register, ..Default::default() };
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        fake_missing_bindings: true,
        immediates_target: Some(constants(0)),
        special_constants_binding: Some(constants(1)),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let mut hlsl = String::new();
    let written = hlsl::Writer::new(&mut hlsl, &options, &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|e| format!("{name}: HLSL: {e}"))?;
    let hlsl_entry_points = written
        .entry_point_names
        .into_iter()
        .map(|entry| entry.map_err(|e| format!("{name}: HLSL: {e}")))
        .collect::<Result<_, _>>()?;
    Ok(Translated { spv, msl, hlsl, hlsl_entry_points })
}

/// A Metal buffer slot for every binding, then one for the immediates and one for the lengths of runtime-sized arrays.
fn metal_slots(module: &naga::Module) -> msl::EntryPointResourceMap {
    let mut resources = BTreeMap::new();
    for (_, global) in module.global_variables.iter() {
        if let Some(binding) = global.binding {
            let target = msl::BindTarget { buffer: Some(resources.len() as u8), mutable: true, ..Default::default() };
            resources.insert(binding, target);
        }
    }
    let free = resources.len() as u8;
    let slots = msl::EntryPointResources { resources, immediates_buffer: Some(free), sizes_buffer: Some(free + 1) };
    let entries = module.entry_points.iter();
    entries.map(|entry| (entry.name.clone(), slots.clone())).collect()
}
