//! Declared parameters by Hugging Face name: where each one's elements and gradients live.

use std::{collections::HashMap, ops::Range};

use super::{config::Config, parameter::Parameter};
use crate::{
    formats::{self, Codes, Layout, ReadTensors, Storage, TensorSource},
    gpu::{self, Gpu, Upload},
    graph::{
        ops::MAX_TERMS,
        tensor::{ELEMENT, Format, GROUP, Memory, QUANTILES, Role, Store, Tensor},
    },
};

/// A split table's shards have a multiple of this many rows, so that the logits of each can be bound.
const SHARD_ALIGN: usize = 64;
/// Rows of a shard: the gradient of hidden states sums over them in one loop, which drivers end silently when long.
const SHARD_ROWS: usize = 31 << 10;

/// Why a model's weights cannot be declared or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A matrix exceeds what the device can bind at once.
    #[error(
        "{name} has {bytes} bytes, and this device binds at most {limit} at a time; choose a smaller model or another device"
    )]
    TooLarge {
        /// Parameter.
        name: String,
        /// Its size.
        bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// A matrix is wider or taller than products can sum over.
    #[error(
        "{name} is {rows} by {cols}; models of more than {most} either way are not supported, choose a smaller one"
    )]
    TooWide {
        /// Parameter.
        name: String,
        /// Its outputs.
        rows: usize,
        /// Its inputs.
        cols: usize,
        /// The longest sum.
        most: usize,
    },
    /// A number is beyond what its format holds.
    #[error(
        "{name} holds a number of size {found}, and 8 or 4 bits are held up to {most} here; use the unquantised model, without --quantize"
    )]
    TooLargeNumber {
        /// Parameter.
        name: String,
        /// Its largest number.
        found: f32,
        /// The largest that can be held.
        most: f32,
    },
    /// A folder's weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] formats::Error),
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
}

/// One parameter's storage.
#[derive(Debug)]
pub struct Stored {
    /// Name, shape and initial distribution.
    pub parameter: Parameter,
    /// Its rows, in one tensor or several.
    pub shards: Vec<Tensor>,
    /// The gradient of each shard; empty if frozen.
    pub gradients: Vec<Tensor>,
    /// Its shards hold the parameter's rows as columns.
    pub transposed: bool,
}

/// All parameters of a model.
pub struct Weights {
    stored: Vec<Stored>,
    by_name: HashMap<String, usize>,
}

impl Weights {
    /// Declares those parameters of a model that are `wanted`.
    pub(super) fn declare(
        store: &mut Store,
        config: &Config,
        wanted: impl Fn(&Parameter) -> bool,
        role: Role,
        trained: bool,
        max_binding: u64,
    ) -> Result<Self, Error> {
        let mut stored = Vec::new();
        for parameter in config.parameters().into_iter().filter(wanted) {
            let shapes = shard_shapes(&parameter, max_binding)?;
            let name = &parameter.name;
            let mut declare = |role, format| -> Vec<Tensor> {
                shapes.iter().map(|[rows, cols]| store.declare_packed(name, role, *rows, *cols, format)).collect()
            };
            let format = config.format(&parameter, &shapes);
            let shards = declare(role, format);
            let gradients = if trained { declare(Role::Gradients, format) } else { Vec::new() };
            stored.push(Stored { parameter, shards, gradients, transposed: false });
        }
        Ok(Self::of(stored))
    }

    pub(super) fn of(stored: Vec<Stored>) -> Self {
        let by_name = stored.iter().enumerate().map(|(i, s)| (s.parameter.name.clone(), i)).collect();
        Self { stored, by_name }
    }

    /// In the order of Hugging Face.
    pub fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.stored.iter()
    }

    /// Copies all weights to the device.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or damaged, or the device fails.
    pub fn load(&self, gpu: &Gpu, memory: &Memory, source: &dyn TensorSource) -> Result<(), Error> {
        let mut upload = Upload::new(gpu);
        self.read(&mut upload, memory, source, |parameter| Some(parameter.name.clone()))?;
        Ok(upload.finish()?)
    }

    /// Copies the tensors that `named` names for parameters to the device, through `upload`.
    pub(super) fn read(
        &self,
        upload: &mut Upload<'_>,
        memory: &Memory,
        source: &dyn TensorSource,
        named: impl Fn(&Parameter) -> Option<String>,
    ) -> Result<(), Error> {
        for stored in &self.stored {
            let Some(name) = named(&stored.parameter) else { continue };
            let storage = source.storage(&name, &stored.parameter.dims)?;
            let as_held = stored.format() != Format::F32 && stored.shards.iter().all(|s| s.format == format(storage));
            match as_held && storage.group > 1 {
                true => stored.load_codes(upload, memory, source, &name)?,
                false => stored.load_numbers(upload, memory, source, &name)?,
            }
        }
        Ok(())
    }

    /// Copies weights that exist in no file to the device: `values` gives those of a parameter from an element on, at least
    /// one and at most as many as there are.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fill(
        &self,
        gpu: &Gpu,
        memory: &Memory,
        mut values: impl FnMut(&Parameter, usize) -> Vec<f32>,
    ) -> Result<(), gpu::Error> {
        let mut upload = Upload::new(gpu);
        for stored in &self.stored {
            let mut start = 0;
            while start < stored.parameter.count() {
                let part = values(&stored.parameter, start);
                stored.write(&mut upload, memory, start, &part)?;
                start += part.len().max(1);
            }
        }
        upload.finish()
    }

    /// The tensors of a parameter; none if it is not there.
    pub(super) fn shards(&self, name: &str) -> &[Tensor] {
        self.by_name.get(name).map_or(&[], |i| &self.stored[*i].shards)
    }
}

impl Stored {
    /// Its tensors with their gradients; none if frozen.
    pub(super) fn trained(&self) -> impl Iterator<Item = (Tensor, Tensor)> {
        self.shards.iter().copied().zip(self.gradients.iter().copied())
    }

    /// How its shards are held.
    fn format(&self) -> Format {
        self.shards.first().map_or(Format::F32, |shard| shard.format)
    }

    /// Copies numbers of a folder to the device.
    fn load_numbers(
        &self,
        upload: &mut Upload<'_>,
        memory: &Memory,
        source: &dyn TensorSource,
        name: &str,
    ) -> Result<(), Error> {
        let (mut written, mut largest) = (Ok(()), 0.0f32);
        source.read_f32(name, &self.parameter.dims, |start, values| {
            largest = values.iter().fold(largest, |largest, x| largest.max(x.abs()));
            if written.is_ok() {
                written = self.write(upload, memory, start, values);
            }
        })?;
        self.check_size(largest)?;
        Ok(written?)
    }

    /// Copies the codes of a quantised matrix to the device, where it is held like that.
    fn load_codes(
        &self,
        upload: &mut Upload<'_>,
        memory: &Memory,
        source: &dyn TensorSource,
        name: &str,
    ) -> Result<(), Error> {
        let (mut written, mut largest) = (Ok(()), 0.0f32);
        source.read_codes(name, &self.parameter.dims, |codes| {
            largest = codes.pairs.as_flattened().iter().fold(largest, |largest, x| largest.max(x.abs()));
            if written.is_ok() {
                written = self.write_codes(upload, memory, codes);
            }
        })?;
        self.check_size(largest)?;
        Ok(written?)
    }

    fn check_size(&self, largest: f32) -> Result<(), Error> {
        let most = self.format().largest();
        match largest <= most {
            true => Ok(()),
            false => Err(Error::TooLargeNumber { name: self.parameter.name.clone(), found: largest, most }),
        }
    }

    fn write_codes(&self, upload: &mut Upload<'_>, memory: &Memory, codes: Codes<'_>) -> Result<(), gpu::Error> {
        let Codes { start, words, pairs } = codes;
        let format = self.format();
        let groups: Vec<u32> = pairs.iter().map(|[scale, offset]| format.group(*scale, *offset)).collect();
        self.each_shard(start, pairs.len() * GROUP, |shard, at, part| {
            let words = &words[format.number_words(part.start)..format.number_words(part.end)];
            memory.upload_packed(upload, shard, at, words, &groups[part.start / GROUP..part.end / GROUP])
        })
    }

    /// Of `count` numbers of the parameter from `start` on, which of them belong to a shard, and where in it they begin.
    fn each_shard(
        &self,
        start: usize,
        count: usize,
        mut write: impl FnMut(Tensor, usize, Range<usize>) -> Result<(), gpu::Error>,
    ) -> Result<(), gpu::Error> {
        let mut first = 0;
        for shard in &self.shards {
            let (from, to) = (start.max(first), (start + count).min(first + shard.len()));
            if from < to {
                write(*shard, from - first, from - start..to - start)?;
            }
            first += shard.len();
        }
        Ok(())
    }

    /// Copies `values`, which begin at element `start` of the parameter, to the device. Of a transposed parameter they must
    /// be all.
    pub(super) fn write(
        &self,
        upload: &mut Upload<'_>,
        memory: &Memory,
        start: usize,
        values: &[f32],
    ) -> Result<(), gpu::Error> {
        if self.transposed {
            let mut first = 0;
            for shard in &self.shards {
                let part = transposed(&values[first..first + shard.len()], shard.rows);
                let place = memory.slice(*shard);
                upload.write(&place.buffer, place.offset, bytemuck::cast_slice(&part))?;
                first += shard.len();
            }
            return Ok(());
        }
        self.each_shard(start, values.len(), |shard, at, part| memory.upload(upload, shard, at, &values[part]))
    }

    /// Reads the parameter back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&self, gpu: &Gpu, memory: &Memory) -> Result<Vec<f32>, gpu::Error> {
        self.read_all(gpu, memory, &self.shards)
    }

    /// Reads its gradient back; empty if frozen.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read_gradient(&self, gpu: &Gpu, memory: &Memory) -> Result<Vec<f32>, gpu::Error> {
        self.read_all(gpu, memory, &self.gradients)
    }

    fn read_all(&self, gpu: &Gpu, memory: &Memory, shards: &[Tensor]) -> Result<Vec<f32>, gpu::Error> {
        let read = |shard: &Tensor| -> Result<Vec<f32>, gpu::Error> {
            let values = memory.read_numbers(gpu, *shard)?;
            Ok(if self.transposed { transposed(&values, shard.cols) } else { values })
        };
        Ok(shards.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// A matrix of rows of `cols`, columns first.
fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len() / cols.max(1);
    (0..values.len()).map(|i| values[i % rows * cols + i / rows]).collect()
}

/// Rows and columns of each shard of a parameter: its parts, or as many rows as can be bound at once of a table.
pub(super) fn shard_shapes(parameter: &Parameter, max_binding: u64) -> Result<Vec<[usize; 2]>, Error> {
    let row = parameter.cols() as u64 * ELEMENT;
    let (rows, cols, splittable) = (parameter.rows(), parameter.cols(), parameter.is_table());
    let shards: Vec<[usize; 2]> = if splittable {
        let fit = usize::try_from(max_binding / row).unwrap_or(usize::MAX).min(SHARD_ROWS);
        let most = (fit / SHARD_ALIGN * SHARD_ALIGN).max(SHARD_ALIGN);
        (0..rows).step_by(most).map(|start| [most.min(rows - start), cols]).collect()
    } else {
        parameter.part_shapes()
    };
    let largest = shards.iter().map(|[rows, _]| *rows).max().unwrap_or(0);
    if cols > MAX_TERMS || largest > MAX_TERMS {
        return Err(Error::TooWide { name: parameter.name.clone(), rows: largest, cols, most: MAX_TERMS });
    }
    let bytes = row * largest as u64;
    if bytes > max_binding && !splittable {
        return Err(Error::TooLarge { name: parameter.name.clone(), bytes, limit: max_binding });
    }
    Ok(shards)
}

/// What holds numbers as they are stored; f32 where nothing does.
pub(super) fn format(storage: Storage) -> Format {
    use safetensors::Dtype::{BF16, F16};
    match (storage.layout, storage.bits) {
        (Layout::Plain(BF16), _) => Format::Bf16,
        (Layout::Plain(F16), _) => Format::F16,
        (Layout::Table(QUANTILES), _) => Format::Nf4,
        (Layout::Affine, 4) => Format::Q4,
        (Layout::Affine, 8) => Format::Q8,
        _ => Format::F32,
    }
}
