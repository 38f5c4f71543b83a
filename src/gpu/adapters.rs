//! What drivers offer: describing adapters and choosing one.

use super::{error::Error, variant::Cooperative, wait::answered};

/// One adapter, described for people and for `devices --json`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterSummary {
    /// Marketing name.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: String,
    /// Driver and its version.
    pub driver: String,
    /// Largest bindable range in bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_invocations: u32,
    /// Smallest and largest subgroup.
    pub subgroup: [u32; 2],
    /// Features of interest that the adapter has.
    pub features: Vec<String>,
    /// Whether `Gpu::open(None)` takes this one.
    pub chosen: bool,
    /// Why it cannot be used, if it cannot.
    pub unusable: Option<String>,
}

/// Which device and driver computed something.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Marketing name.
    pub adapter: String,
    /// As in [`AdapterSummary`].
    pub kind: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// Its version, in its own words.
    pub driver_info: String,
}

/// All adapters, marked the one that `Gpu::open` would take for `wanted`.
///
/// # Errors
/// If `wanted` names none, or there is none.
pub fn adapters(wanted: Option<&str>) -> Result<Vec<AdapterSummary>, Error> {
    let found = enumerate();
    let chosen = match choose(&found, wanted) {
        Err(Error::Unusable { .. }) => None,
        other => Some(other?),
    };
    Ok(found.iter().enumerate().map(|(i, adapter)| summary(adapter, chosen == Some(i))).collect())
}

pub(super) fn enumerate() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(descriptor);
    answered(instance.enumerate_adapters(wgpu::Backends::all()))
}

fn lacks(adapter: &wgpu::Adapter) -> Option<String> {
    let limits = adapter.limits();
    if !adapter.features().contains(wgpu::Features::IMMEDIATES) || limits.max_immediate_size < 128 {
        return Some("it offers no 128 bytes of immediates (push constants)".into());
    }
    if limits.max_compute_invocations_per_workgroup < 256 || limits.max_compute_workgroup_storage_size < 16 << 10 {
        return Some("it offers fewer than 256 invocations or 16 KiB of memory a workgroup".into());
    }
    None
}

pub(super) fn kind(info: &wgpu::AdapterInfo) -> &'static str {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    }
}

fn summary(adapter: &wgpu::Adapter, chosen: bool) -> AdapterSummary {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let interesting = [
        (wgpu::Features::SHADER_F16, "f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
    ];
    let has = adapter.features();
    AdapterSummary {
        backend: info.backend.to_string(),
        kind: kind(&info).into(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        subgroup: [info.subgroup_min_size, info.subgroup_max_size],
        features: interesting.iter().filter(|(f, _)| has.contains(*f)).map(|(_, n)| (*n).into()).collect(),
        name: info.name,
        chosen,
        unusable: lacks(adapter),
    }
}

/// The index of the adapter to use: `wanted` is an index or part of a name; else the usable one that promises most.
pub(super) fn choose(found: &[wgpu::Adapter], wanted: Option<&str>) -> Result<usize, Error> {
    let usable = |i: &usize| lacks(&found[*i]).is_none();
    let Some(wanted) = wanted else {
        let rank = |i: &usize| match kind(&found[*i].get_info()) {
            "discrete" => 0,
            "integrated" => 1,
            "virtual" => 2,
            "cpu" => 4,
            _ => 3,
        };
        let best = (0..found.len()).filter(usable).min_by_key(rank);
        return match (best, found.first()) {
            (Some(i), _) => Ok(i),
            (None, Some(adapter)) => Err(unusable(adapter)),
            (None, None) => Err(Error::NoAdapter),
        };
    };
    let by_index = wanted.parse().ok().filter(|i| *i < found.len());
    let lower = wanted.to_lowercase();
    let by_name = || (0..found.len()).find(|i| found[*i].get_info().name.to_lowercase().contains(&lower));
    match by_index.or_else(by_name) {
        Some(i) if usable(&i) => Ok(i),
        Some(i) => Err(unusable(&found[i])),
        None if found.is_empty() => Err(Error::NoAdapter),
        None => Err(Error::NoSuchAdapter {
            wanted: wanted.into(),
            found: found.iter().map(|a| format!("`{}`", a.get_info().name)).collect(),
        }),
    }
}

fn unusable(adapter: &wgpu::Adapter) -> Error {
    Error::Unusable { adapter: adapter.get_info().name, reason: lacks(adapter).unwrap_or_default() }
}

/// Square products with f32 sums, in the sizes that WGSL can name.
pub(super) fn cooperative(adapter: &wgpu::Adapter) -> Vec<Cooperative> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let found = adapter.cooperative_matrix_properties();
    let square = found.iter().filter(|p| p.m_size == p.n_size && p.n_size == p.k_size && p.cr_type == F32);
    let known = square.filter(|p| [8, 16].contains(&p.m_size) && [F16, F32].contains(&p.ab_type));
    known.map(|p| Cooperative { size: p.m_size, half: p.ab_type == F16 }).collect()
}
