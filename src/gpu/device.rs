//! An open device, and what is made on it once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{
    adapters::{Identity, choose, cooperative, enumerate, kind},
    error::Error,
    experimental,
    kernel::Kernel,
    meter::{Made, Meter},
    sync::lock,
    trusted,
    variant::{Choices, Cooperative, Variant},
    wait::{self, Submission},
};
use crate::clock::Clock;

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

/// An open device.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) info: wgpu::AdapterInfo,
    pub(super) clock: &'static dyn Clock,
    cooperative: Vec<Cooperative>,
    pub(super) choices: Mutex<Choices>,
    modules: Mutex<HashMap<&'static str, wgpu::ShaderModule>>,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    made: Mutex<Made>,
    pub(super) meter: Arc<Meter>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens the adapter that `wanted` names (index or part of its name), or the best there is. `clock` times what runs on it.
    ///
    /// # Errors
    /// If there is no such adapter, or none that can be used.
    pub fn open(wanted: Option<&str>, clock: &'static dyn Clock) -> Result<Self, Error> {
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
        let (device, queue) = wait::answered(adapter.request_device(&descriptor))
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
            clock,
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

    /// The clock that the device was opened with.
    pub fn clock(&self) -> &'static dyn Clock {
        self.clock
    }

    /// Where the device is on the PCI bus; empty where that is not known.
    pub fn bus(&self) -> String {
        self.info.device_pci_bus_id.clone()
    }

    /// The PCI id of its maker; 0 where that is not known.
    pub fn vendor(&self) -> u32 {
        self.info.vendor
    }

    /// Products of cooperative matrices that the device has, of those our kernels can use.
    pub fn cooperative(&self) -> &[Cooperative] {
        &self.cooperative
    }

    /// Whether the device can run this variant.
    pub fn offers(&self, variant: &Variant) -> bool {
        let (features, limits) = (self.device.features(), self.device.limits());
        let enabled = |name: &&str| match *name {
            "f16" => features.contains(wgpu::Features::SHADER_F16),
            "wgpu_cooperative_matrix" => features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
            _ => false,
        };
        let subgroups = self.info.subgroup_min_size..=self.info.subgroup_max_size;
        (self.is_cpu() || !variant.software)
            && variant.kernel.module.enables.iter().all(enabled)
            && variant.cooperative.is_none_or(|product| self.cooperative.contains(&product))
            && variant.workgroup_bytes <= limits.max_compute_workgroup_storage_size
            && variant.invocations <= limits.max_compute_invocations_per_workgroup
            && variant.subgroup().is_none_or(|size| subgroups.contains(&size))
    }

    /// Does something that the driver may refuse; also says why it did. A refusal here leaves the device usable.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> T) -> (T, Option<String>) {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [OutOfMemory, Internal, Validation].map(|filter| self.device.push_error_scope(filter));
        let done = work();
        let errors = scopes.into_iter().rev().map(|scope| wait::answered(scope.pop()));
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
        let waited = wait::done(&self.device, &self.meter, submission);
        lock(&self.failure).clone().map_or(waited, |first| Err(Error::Device(first)))
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
