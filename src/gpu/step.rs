//! A step of a program with everything that its replay needs.

use std::sync::Arc;

use super::{
    device::{Gpu, Pipeline},
    memory::Buffer,
    slice::{Slice, Step},
};

/// A step with everything that its replay needs.
pub(super) enum Prepared {
    Dispatch(Dispatch),
    Clear(Slice),
    Copy(Slice, Slice),
}

pub(super) struct Dispatch {
    name: &'static str,
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    params: Vec<u8>,
    grid: [u32; 3],
    pub(super) from: usize,
    /// What the group binds, which counts as there as long as this is.
    _memory: Vec<Buffer>,
}

impl Prepared {
    /// Its kernel's name, or what else it does.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Dispatch(dispatch) => dispatch.name,
            Self::Clear(_) => "clear",
            Self::Copy(..) => "copy",
        }
    }

    /// Records it alone; timestamps go to the query given and the one after it.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder, timestamps: Option<(&wgpu::QuerySet, u32)>) {
        let writes = |begin: bool, end: bool| {
            let writes = |(query_set, at): (_, u32)| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: begin.then_some(at),
                end_of_pass_write_index: end.then_some(at + 1),
            };
            wgpu::ComputePassDescriptor { label: None, timestamp_writes: timestamps.map(writes) }
        };
        if let Self::Dispatch(dispatch) = self {
            return dispatch.record(&mut encoder.begin_compute_pass(&writes(true, true)));
        }
        // Timestamps belong to passes: empty ones stand before and after.
        if timestamps.is_some() {
            encoder.begin_compute_pass(&writes(true, false));
        }
        match self {
            Self::Clear(slice) => encoder.clear_buffer(&slice.buffer.raw, slice.offset, Some(slice.size)),
            Self::Copy(from, to) => {
                let (source, target) = (&from.buffer.raw, &to.buffer.raw);
                encoder.copy_buffer_to_buffer(source, from.offset, target, to.offset, from.size);
            }
            Self::Dispatch(_) => {}
        }
        if timestamps.is_some() {
            encoder.begin_compute_pass(&writes(false, true));
        }
    }
}

impl Dispatch {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.raw);
        pass.set_bind_group(0, &self.group, &[]);
        if !self.params.is_empty() {
            pass.set_immediates(0, &self.params);
        }
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

pub(super) fn prepare(gpu: &Gpu, step: Step) -> Prepared {
    match step {
        Step::Clear(slice) => Prepared::Clear(slice),
        Step::Copy(from, to) => Prepared::Copy(from, to),
        Step::Dispatch { kernel, bindings, params, grid, from } => {
            let chosen = gpu.variant(kernel, &params);
            let (constants, kernel, grid) =
                chosen.map_or((&[][..], kernel, grid), |(variant, grid)| (variant.constants, variant.kernel, grid));
            let pipeline = gpu.pipeline(kernel, constants);
            let entries: Vec<_> = kernel
                .bindings
                .iter()
                .zip(&bindings)
                .map(|(binding, slice)| wgpu::BindGroupEntry {
                    binding: binding.index,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &slice.buffer.raw,
                        offset: slice.offset,
                        size: std::num::NonZeroU64::new(slice.size),
                    }),
                })
                .collect();
            gpu.count(|made| made.bind_groups += 1);
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            });
            let memory = bindings.into_iter().map(|slice| slice.buffer).collect();
            Prepared::Dispatch(Dispatch { name: kernel.name, pipeline, group, params, grid, from, _memory: memory })
        }
    }
}
