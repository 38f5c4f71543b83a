//! Choosing an adapter, opening it, and what is made on it once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    alternative::{Alternative, Choices, Cooperative},
    experimental,
    kernel::Kernel,
    memory::Made,
    meter::Meter,
    trusted,
};

/// What can go wrong on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No driver offers a usable adapter.
    #[error(
        "no GPU adapter found: install a Vulkan driver (for a machine without a GPU: `apt-get install mesa-vulkan-drivers libvulkan1`)"
    )]
    NoAdapter,
    /// `--device` matched nothing.
    #[error("no adapter matches device `{wanted}`; there are: {}", found.join(", "))]
    NoSuchAdapter {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// The adapter lacks something underdog cannot do without.
    #[error("adapter `{adapter}` cannot be used: {reason}")]
    Unusable {
        /// Adapter name.
        adapter: String,
        /// What is missing.
        reason: String,
    },
    /// An allocation failed.
    #[error("the device has no room for `{label}` ({bytes} bytes): {reason}")]
    OutOfMemory {
        /// What was being allocated.
        label: String,
        /// How much.
        bytes: u64,
        /// The driver's words.
        reason: String,
    },
    /// The driver rejected something or gave up; nothing computed since can be trusted.
    #[error("the device failed: {0}")]
    Device(String),
}

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

/// All adapters, marked the one that [`Gpu::open`] would take for `wanted`.
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

fn enumerate() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()))
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

fn kind(info: &wgpu::AdapterInfo) -> &'static str {
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
fn choose(found: &[wgpu::Adapter], wanted: Option<&str>) -> Result<usize, Error> {
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
fn cooperative(adapter: &wgpu::Adapter) -> Vec<Cooperative> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let found = adapter.cooperative_matrix_properties();
    let square = found.iter().filter(|p| p.m_size == p.n_size && p.n_size == p.k_size && p.cr_type == F32);
    let known = square.filter(|p| [8, 16].contains(&p.m_size) && [F16, F32].contains(&p.ab_type));
    known.map(|p| Cooperative { size: p.m_size, half: p.ab_type == F16 }).collect()
}

/// Bytes of a block that small buffers share; the least that wgpu's allocator takes.
const BLOCK: u64 = 4 << 20;

/// A kernel's name and its overrides, as bits.
type PipelineKey = (&'static str, Vec<(&'static str, u64)>);

/// What underdog can use beyond the portable core.
const WANTED: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

pub(super) struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// Commands that were handed to the device.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    index: wgpu::SubmissionIndex,
    /// In the order of submissions, from 1.
    number: u64,
}

/// An open device.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) info: wgpu::AdapterInfo,
    cooperative: Vec<Cooperative>,
    pub(super) choices: Mutex<Choices>,
    modules: Mutex<HashMap<&'static str, wgpu::ShaderModule>>,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    made: Mutex<Made>,
    pub(super) meter: Arc<Meter>,
    failure: Arc<Mutex<Option<String>>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the adapter that `wanted` names (index or part of its name), or the best there is.
    pub fn open(wanted: Option<&str>) -> Result<Self, Error> {
        let found = enumerate();
        let adapter = &found[choose(&found, wanted)?];
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("underdog"),
            required_features: wgpu::Features::IMMEDIATES | (adapter.features() & WANTED),
            required_limits: adapter.limits(),
            experimental_features: experimental::enabled(),
            // Blocks for small buffers only, so that what is reserved stays close to what was asked for.
            memory_hints: wgpu::MemoryHints::Manual { suballocated_device_memory_block_size: BLOCK..BLOCK },
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::Unusable { adapter: info.name.clone(), reason: e.to_string() })?;
        let failure = Arc::new(Mutex::new(None));
        let (on_error, on_lost) = (failure.clone(), failure.clone());
        // wgpu would abort the process on an uncaptured error, and goes quiet after a lost device: keep the first
        // failure and report it at the next wait.
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            lock(&on_error).get_or_insert(e.to_string());
        }));
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                lock(&on_lost).get_or_insert(format!("device lost: {message}"));
            }
        });
        Ok(Self {
            device,
            queue,
            info,
            cooperative: cooperative(adapter),
            choices: Mutex::default(),
            modules: Mutex::default(),
            pipelines: Mutex::default(),
            made: Mutex::default(),
            meter: Arc::default(),
            failure,
        })
    }

    /// Adapter and driver, for reports.
    pub fn name(&self) -> String {
        format!("{} ({} {})", self.info.name, self.info.driver, self.info.driver_info)
    }

    /// The same in parts, for files of results.
    pub fn identity(&self) -> Identity {
        let wgpu::AdapterInfo { name, driver, driver_info, backend, .. } = self.info.clone();
        Identity { adapter: name, kind: kind(&self.info).into(), backend: backend.to_string(), driver, driver_info }
    }

    /// Products of cooperative matrices that the device has, of those our kernels can use.
    pub fn cooperative(&self) -> &[Cooperative] {
        &self.cooperative
    }

    /// Whether the device can run this form of a kernel.
    pub fn offers(&self, alternative: &Alternative) -> bool {
        let (features, limits) = (self.device.features(), self.device.limits());
        let enabled = |name: &&str| match *name {
            "f16" => features.contains(wgpu::Features::SHADER_F16),
            "wgpu_cooperative_matrix" => features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
            _ => false,
        };
        (self.is_cpu() || !alternative.software)
            && alternative.kernel.module.enables.iter().all(enabled)
            && alternative.cooperative.is_none_or(|product| self.cooperative.contains(&product))
            && alternative.workgroup_bytes <= limits.max_compute_workgroup_storage_size
            && alternative.invocations <= limits.max_compute_invocations_per_workgroup
            && alternative
                .subgroup()
                .is_none_or(|size| (self.info.subgroup_min_size..=self.info.subgroup_max_size).contains(&size))
    }

    /// Does something that the driver may refuse; also says why it did. A refusal here leaves the device usable.
    pub(super) fn guarded<T>(&self, work: impl FnOnce() -> T) -> (T, Option<String>) {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [OutOfMemory, Internal, Validation].map(|filter| self.device.push_error_scope(filter));
        let done = work();
        let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
        let first = errors.fold(None, |first: Option<wgpu::Error>, error| first.or(error));
        (done, first.map(|error| error.to_string()))
    }

    /// Whether this is a software driver on the CPU.
    pub fn is_cpu(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Bytes that one binding may span.
    pub fn max_binding(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// What was made on this device so far.
    pub fn made(&self) -> Made {
        *lock(&self.made)
    }

    pub(super) fn count(&self, what: impl FnOnce(&mut Made)) {
        what(&mut lock(&self.made));
    }

    /// Hands commands to the device, behind everything so far.
    pub(super) fn submit(&self, commands: impl IntoIterator<Item = wgpu::CommandBuffer>) -> Submission {
        Submission { index: self.queue.submit(commands), number: self.meter.submit() }
    }

    /// Waits for a submission (or all), then reports the first failure since the device was opened.
    pub(super) fn wait(&self, submission: Option<Submission>) -> Result<(), Error> {
        let (index, number) = submission.map(|submission| (submission.index, submission.number)).unzip();
        let poll = wgpu::PollType::Wait { submission_index: index, timeout: None };
        let polled = self.device.poll(poll);
        self.meter.done(number);
        match (lock(&self.failure).clone(), polled) {
            (Some(first), _) => Err(Error::Device(first)),
            (None, Err(e)) => Err(Error::Device(e.to_string())),
            (None, Ok(_)) => Ok(()),
        }
    }

    /// The compiled pipeline of `kernel` with these overrides, made on first use.
    pub(super) fn pipeline(
        &self,
        kernel: &'static Kernel,
        constants: &'static [(&'static str, f64)],
    ) -> Arc<Pipeline> {
        let key = (kernel.name, constants.iter().map(|(name, value)| (*name, value.to_bits())).collect());
        if let Some(pipeline) = lock(&self.pipelines).get(&key) {
            return pipeline.clone();
        }
        let module = lock(&self.modules)
            .entry(kernel.module.name)
            .or_insert_with(|| trusted::shader_module(&self.device, kernel.module))
            .clone();
        let entries: Vec<_> = kernel
            .bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: !binding.writable },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel.name),
            entries: &entries,
        });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: u32::try_from(kernel.params_size).unwrap_or(u32::MAX),
        });
        let raw = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Metal zeroes workgroup memory from a single thread; our kernels write before they read.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        self.count(|made| made.pipelines += 1);
        let pipeline = Arc::new(Pipeline { raw, layout });
        lock(&self.pipelines).insert(key, pipeline.clone());
        pipeline
    }
}
