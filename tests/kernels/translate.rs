//! naga's translations, with the options that wgpu uses for trusted shaders.

use std::{borrow::Cow, collections::BTreeMap};

use naga::{
    Module, ShaderStage,
    back::{hlsl, msl, pipeline_constants::process_overrides, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

/// One module in the languages of the three backends.
pub(crate) struct Translated {
    /// SPIR-V 1.3, what Vulkan 1.1 takes; every entry point.
    pub(crate) spv: Vec<u32>,
    /// Metal Shading Language 2.4; every entry point.
    pub(crate) msl: String,
    /// What Direct3D can take.
    pub(crate) hlsl: Option<Hlsl>,
}

/// HLSL for shader model 6.0, or 6.2 where numbers have 16 bits; every entry point.
pub(crate) struct Hlsl {
    pub(crate) source: String,
    /// The entry points' names (reserved words are renamed), in the module's order.
    pub(crate) entry_points: Vec<String>,
}

/// One entry point with some constants, as devices see it.
pub(crate) struct Specialized {
    /// Invocations along x, y, z.
    pub(crate) workgroup: [u32; 3],
    /// Bytes of workgroup memory.
    pub(crate) workgroup_bytes: u32,
    /// No HLSL where Direct3D lacks what the module enables.
    pub(crate) translated: Translated,
}

/// Translates self-contained WGSL as wgpu does for our kernels: no bounds clamps, no loop counters, no zeroed workgroup
/// memory, and real slots for Metal, where naga's faked ones are not valid MSL. Overrides are at their defaults.
pub(crate) fn translate(wgsl: &str, name: &str) -> Result<Translated, String> {
    let (module, info) = validated(wgsl, name)?;
    let (module, info) = process_overrides(&module, &info, None, &Default::default())
        .map_err(|e| format!("{name}: every override needs a default: {e}"))?;
    write(&module, &info, name)
}

/// As [`translate`], of one entry point with these constants.
pub(crate) fn specialize(
    wgsl: &str,
    name: &str,
    entry: &str,
    constants: &[(&str, f64)],
) -> Result<Specialized, String> {
    let (module, info) = validated(wgsl, name)?;
    let constants = constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let (module, info): (Cow<'_, Module>, Cow<'_, ModuleInfo>) =
        process_overrides(&module, &info, Some((ShaderStage::Compute, entry)), &constants)
            .map_err(|e| format!("{name}.{entry}: {constants:?}: {e}"))?;
    let uses = info.get_entry_point(0);
    let shared = module
        .global_variables
        .iter()
        .filter(|(handle, global)| global.space == naga::AddressSpace::WorkGroup && !uses[*handle].is_empty());
    let workgroup_bytes = shared.map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx())).sum();
    let workgroup = module.entry_points[0].workgroup_size;
    Ok(Specialized { workgroup, workgroup_bytes, translated: write(&module, &info, name)? })
}

fn validated(wgsl: &str, name: &str) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string_with_path(wgsl, name))?;
    let capabilities = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string_with_path(wgsl, name))?;
    Ok((module, info))
}

/// Whether the module multiplies matrices by the device's units, which HLSL cannot say.
fn uses_units(module: &Module) -> bool {
    module.types.iter().any(|(_, ty)| matches!(ty.inner, naga::TypeInner::CooperativeMatrix { .. }))
}

fn has_half(module: &Module) -> bool {
    module.types.iter().any(|(_, ty)| ty.inner.scalar_width() == Some(2))
}

fn write(module: &Module, info: &ModuleInfo, name: &str) -> Result<Translated, String> {
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
    let spv = spv::write_vec(module, info, &options, None).map_err(|e| format!("{name}: SPIR-V: {e}"))?;

    let options = msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: metal_slots(module),
        fake_missing_bindings: false,
        bounds_check_policies: unchecked,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let (msl, written) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .map_err(|e| format!("{name}: MSL: {e}"))?;
    for entry in written.entry_point_names {
        entry.map_err(|e| format!("{name}: MSL: {e}"))?;
    }

    if uses_units(module) {
        return Ok(Translated { spv, msl, hlsl: None });
    }
    // wgpu puts the immediates at b0, what `num_workgroups` needs behind them, buffers at their own registers.
    let constants = |register| hlsl::BindTarget { register, ..Default::default() };
    let options = hlsl::Options {
        shader_model: if has_half(module) { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V6_0 },
        fake_missing_bindings: true,
        immediates_target: Some(constants(0)),
        special_constants_binding: Some(constants(1)),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let mut source = String::new();
    let written = hlsl::Writer::new(&mut source, &options, &hlsl::PipelineOptions::default())
        .write(module, info, None)
        .map_err(|e| format!("{name}: HLSL: {e}"))?;
    let entry_points = written
        .entry_point_names
        .into_iter()
        .map(|entry| entry.map_err(|e| format!("{name}: HLSL: {e}")))
        .collect::<Result<_, _>>()?;
    Ok(Translated { spv, msl, hlsl: Some(Hlsl { source, entry_points }) })
}

/// A Metal buffer slot for every binding, then one for the immediates and one for the lengths of runtime-sized arrays.
fn metal_slots(module: &Module) -> msl::EntryPointResourceMap {
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
