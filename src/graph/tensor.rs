//! Shapes and storage handles. A [`Tensor`] is a name for memory, not the memory.
//!
//! Every tensor is a matrix `[rows, cols]`, row-major and dense. Its elements are four bytes (f32 or u32), but for weights,
//! their gradients and moments, which may be packed ([`Format`]). Nothing here needs a GPU except [`Memory`], so a plan can be made for a
//! machine that is not here.

mod format;

pub use format::{Format, GROUP, Packed, QUANTILES};

use crate::gpu::{self, BINDING_ALIGN, Buffer, Gpu, Slice, Upload};

/// Bytes of an element.
pub const ELEMENT: u64 = 4;

/// Where a tensor's elements live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Declared in a [`Store`]: lives as long as the run.
    Store(u32),
    /// Made by a tape: the plan decides which memory it shares with whom.
    Tape(u32),
}

/// A matrix `[rows, cols]`, or some of the rows of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Its storage.
    pub place: Place,
    /// Elements before the first; only of f32.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Its storage format.
    pub format: Format,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same elements as `[rows, cols]`.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn reshape(self, rows: usize, cols: usize) -> Self {
        assert_eq!(self.len(), rows * cols, "reshape {self:?} to [{rows}, {cols}]");
        Self { rows, cols, ..self }
    }

    /// Rows `start..start + count`.
    ///
    /// # Panics
    /// If they are not inside, or do not start where a binding may start ([`BINDING_ALIGN`]).
    pub fn slice_rows(self, start: usize, count: usize) -> Self {
        let offset = self.offset + start * self.cols;
        assert!(start + count <= self.rows, "rows {start}+{count} of {self:?}");
        assert!(self.format == Format::F32, "rows of the packed {self:?}");
        assert!((offset as u64 * ELEMENT).is_multiple_of(BINDING_ALIGN), "rows {start} of {self:?} not aligned");
        Self { offset, rows: count, ..self }
    }

    /// The elements from `start` on, as one row: what kernels take that have strides of their own.
    ///
    /// # Panics
    /// If it is not inside, or no binding may start there ([`BINDING_ALIGN`]).
    #[must_use]
    pub fn from(self, start: usize) -> Self {
        let offset = self.offset + start;
        assert!(start < self.len() && self.format == Format::F32, "elements from {start} of {self:?}");
        assert!((offset as u64 * ELEMENT).is_multiple_of(BINDING_ALIGN), "element {start} of {self:?} not aligned");
        Self { offset, rows: 1, cols: self.len() - start, ..self }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.format.words(self.len()) as u64 * ELEMENT
    }
}

/// What a stored tensor is for; the lines of an itemised plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Trained or frozen parameters.
    Weights,
    /// Their gradients.
    Gradients,
    /// Adam's moments.
    Optimizer,
    /// Weights of the weak model.
    Weak,
    /// Batches, tables and results.
    Inputs,
    /// Keys and values of generated tokens.
    Cache,
}

impl Role {
    /// Whether tensors of this role and one format lie side by side, so that one dispatch can step many. No kernel reads one of them while
    /// it writes another, which WebGPU forbids within a buffer.
    fn shares(self) -> bool {
        matches!(self, Self::Weights | Self::Gradients | Self::Optimizer | Self::Weak)
    }
}

/// Elements after which tensors that lie side by side begin another buffer: 64 MiB, which every device can bind.
const SHARED: usize = 16 << 20;
/// Elements between places where a binding may start.
const ALIGN: usize = (BINDING_ALIGN / ELEMENT) as usize;

#[derive(Debug)]
struct Shelf {
    label: String,
    role: Role,
    format: Format,
    elements: usize,
}

/// The declared tensors of a run: shapes and roles, no memory. Which of them share a buffer, and where, follows from the
/// order of their declaration alone.
#[derive(Debug, Default)]
pub struct Store {
    shelves: Vec<Shelf>,
    /// Of each tensor: the shelf, and the element of it where the tensor begins.
    entries: Vec<(usize, usize)>,
}

impl Store {
    /// Declares `[rows, cols]` elements.
    pub fn declare(&mut self, label: impl Into<String>, role: Role, rows: usize, cols: usize) -> Tensor {
        self.declare_packed(label, role, rows, cols, Format::F32)
    }

    /// As [`Self::declare`], in this storage format.
    pub fn declare_packed(
        &mut self,
        label: impl Into<String>,
        role: Role,
        rows: usize,
        cols: usize,
        format: Format,
    ) -> Tensor {
        let place = Place::Store(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let elements = format.words(rows * cols);
        let open = self
            .shelves
            .iter()
            .rposition(|shelf| (shelf.role, shelf.format) == (role, format))
            .filter(|_| role.shares());
        let beside = open.map(|at| (at, self.shelves[at].elements.next_multiple_of(ALIGN)));
        let (shelf, start) = beside.filter(|(_, start)| start + elements <= SHARED).unwrap_or_else(|| {
            self.shelves.push(Shelf { label: label.into(), role, format, elements: 0 });
            (self.shelves.len() - 1, 0)
        });
        self.shelves[shelf].elements = start + elements;
        self.entries.push((shelf, start));
        Tensor { place, offset: 0, rows, cols, format }
    }

    /// What lies between the first element of `first` and the last of `last`, filled up to a multiple of four words, if
    /// both share a buffer. Between tensors there are zeros, unless somebody writes there.
    pub fn span(&self, first: Tensor, last: Tensor) -> Option<Tensor> {
        let at = |tensor: Tensor| match tensor.place {
            Place::Store(i) => Some(self.entries[i as usize]).map(|(shelf, start)| (shelf, start + tensor.offset)),
            Place::Tape(_) => None,
        };
        let ((shelf, start), (other, end)) = (at(first)?, at(last)?);
        let words = (end + last.format.words(last.len())).checked_sub(start)?.next_multiple_of(4);
        let cols = words * (u32::BITS as usize) / first.format.bits();
        (shelf == other).then_some(Tensor { rows: 1, cols, ..first })
    }

    /// Bytes of everything declared as `role`.
    pub fn bytes(&self, role: Role) -> u64 {
        let of_role = self.shelves.iter().filter(|shelf| shelf.role == role);
        of_role.map(|shelf| allocation(shelf.elements)).sum()
    }
}

/// A size as kernels take it.
///
/// # Panics
/// If it does not fit: shapes are bounded when a model is declared.
pub fn size(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("{n} does not fit in a kernel's parameter"))
}

/// Bytes that `elements` occupy on a device.
pub fn allocation(elements: usize) -> u64 {
    (elements as u64 * ELEMENT).max(16).next_multiple_of(16)
}

/// The memory of a [`Store`] on a device.
pub struct Memory {
    buffers: Vec<Buffer>,
    /// Of each tensor: its buffer, and the byte of it where the tensor begins.
    entries: Vec<(usize, u64)>,
}

impl Memory {
    /// Allocates everything declared so far, zeroed.
    pub fn allocate(gpu: &Gpu, store: &Store) -> Result<Self, gpu::Error> {
        let mut memory = Self { buffers: Vec::new(), entries: Vec::new() };
        memory.extend(gpu, store)?;
        Ok(memory)
    }

    /// Allocates what was declared since.
    ///
    /// # Panics
    /// If some of it shares a buffer with what was allocated before.
    pub fn extend(&mut self, gpu: &Gpu, store: &Store) -> Result<(), gpu::Error> {
        let grown = self.buffers.iter().zip(&store.shelves).any(|(b, shelf)| b.size() != allocation(shelf.elements));
        assert!(!grown, "tensors declared beside others that are allocated");
        for shelf in &store.shelves[self.buffers.len()..] {
            self.buffers.push(gpu.buffer(&shelf.label, allocation(shelf.elements))?);
        }
        self.entries = store.entries.iter().map(|&(shelf, start)| (shelf, start as u64 * ELEMENT)).collect();
        Ok(())
    }

    /// The bytes of a stored tensor.
    ///
    /// # Panics
    /// If the tensor belongs to a tape.
    pub fn slice(&self, tensor: Tensor) -> Slice {
        let Place::Store(index) = tensor.place else {
            panic!("{tensor:?} is not stored");
        };
        let (buffer, start) = self.entries[index as usize];
        Slice {
            buffer: self.buffers[buffer].clone(),
            offset: start + tensor.offset as u64 * ELEMENT,
            size: tensor.bytes(),
        }
    }

    /// Copies `data` to the elements of `tensor` from `start` on.
    pub fn write<T: bytemuck::NoUninit>(&self, gpu: &Gpu, tensor: Tensor, start: usize, data: &[T]) {
        let slice = self.slice(tensor);
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let offset = start as u64 * ELEMENT;
        debug_assert!(offset + bytes.len() as u64 <= slice.size, "write past the end of {tensor:?}");
        gpu.write(&slice.buffer, slice.offset + offset, bytes);
    }

    /// Copies numbers to the elements of `tensor` from `start` on, as its format holds them; `start` and their count are
    /// multiples of [`GROUP`] where that is not f32.
    ///
    /// # Errors
    /// If the device fails.
    pub fn upload(
        &self,
        upload: &mut Upload<'_>,
        tensor: Tensor,
        start: usize,
        values: &[f32],
    ) -> Result<(), gpu::Error> {
        if tensor.format == Format::F32 {
            let place = self.slice(tensor);
            return upload.write(&place.buffer, place.offset + start as u64 * ELEMENT, bytemuck::cast_slice(values));
        }
        let Packed { words, groups } = tensor.format.pack(values);
        self.upload_packed(upload, tensor, start, &words, &groups)
    }

    /// As [`Self::upload`], of numbers as the tensor's format has them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn upload_packed(
        &self,
        upload: &mut Upload<'_>,
        tensor: Tensor,
        start: usize,
        words: &[u32],
        groups: &[u32],
    ) -> Result<(), gpu::Error> {
        let (place, format) = (self.slice(tensor), tensor.format);
        let at = |word: usize| place.offset + word as u64 * ELEMENT;
        let whole = start.is_multiple_of(GROUP) && words.len().is_multiple_of(format.number_words(GROUP));
        assert!(whole, "{} words of {tensor:?} from {start}: no whole groups", words.len());
        upload.write(&place.buffer, at(format.number_words(start)), bytemuck::cast_slice(words))?;
        if groups.is_empty() {
            return Ok(());
        }
        let first = format.number_words(tensor.len()) + start / GROUP;
        upload.write(&place.buffer, at(first), bytemuck::cast_slice(groups))
    }

    /// The numbers of a stored tensor, whatever holds them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read_numbers(&self, gpu: &Gpu, tensor: Tensor) -> Result<Vec<f32>, gpu::Error> {
        let mut words: Vec<u32> = self.read(gpu, tensor)?;
        let groups = words.split_off(tensor.format.number_words(tensor.len()));
        Ok(tensor.format.unpack(&Packed { words, groups }))
    }

    /// Reads a stored tensor back.
    pub fn read<T: bytemuck::Pod>(&self, gpu: &Gpu, tensor: Tensor) -> Result<Vec<T>, gpu::Error> {
        let slice = self.slice(tensor);
        let bytes = gpu.read(&slice.buffer, slice.offset, slice.size)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}
