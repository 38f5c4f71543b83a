//! Ops over random inputs, outside of a model. Every tensor has a buffer of its own and every command is kept, so that an
//! op can be measured whose result nobody reads.

use crate::{
    gpu::{BatchTime, Buffer, Error, Extents, Gpu, Kernel, KernelGroup, Program, Slice, Step, Variant},
    graph::{
        tape::{Command, Recording, Tape},
        tensor::{ELEMENT, Memory, Place, Role, Store, Tensor, allocation},
    },
};

/// SplitMix64 (Steele, Lea & Flood 2014): the same inputs everywhere.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[-1, 1)`, one of 2^24 numbers.
    pub(super) fn number(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    pub(super) fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
}

/// Records ops over inputs that it declares and fills.
pub(super) struct Recorder {
    pub(super) store: Store,
    pub(super) tape: Tape,
    rng: Rng,
    inputs: Vec<(Tensor, Vec<u32>)>,
    /// Tensors of the tape that are filled once, before the first run.
    seeds: Vec<(Tensor, Vec<u32>)>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { store: Store::default(), tape: Tape::new(), rng: Rng(1), inputs: Vec::new(), seeds: Vec::new() }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

impl Recorder {
    /// `[rows, cols]` random numbers.
    pub(super) fn random(&mut self, rows: usize, cols: usize) -> Tensor {
        let values = self.rng.numbers(rows * cols);
        self.floats(rows, cols, &values)
    }

    pub(super) fn floats(&mut self, rows: usize, cols: usize, values: &[f32]) -> Tensor {
        self.words(rows, cols, bits(values))
    }

    /// Random numbers where a model's parameters and their gradients would lie.
    pub(super) fn stored(&mut self, role: Role, rows: usize, cols: usize) -> Tensor {
        let tensor = self.store.declare("bench", role, rows, cols);
        self.inputs.push((tensor, bits(&self.rng.numbers(tensor.len()))));
        tensor
    }

    pub(super) fn words(&mut self, rows: usize, cols: usize, values: Vec<u32>) -> Tensor {
        let tensor = self.empty(rows, cols);
        self.inputs.push((tensor, values));
        tensor
    }

    /// Zeros.
    pub(super) fn empty(&mut self, rows: usize, cols: usize) -> Tensor {
        self.store.declare("bench", Role::Inputs, rows, cols)
    }

    /// Wants the gradient of `x`; returns it. It is added to, from zeros.
    pub(super) fn train(&mut self, x: Tensor) -> Tensor {
        let gradient = self.empty(x.rows, x.cols);
        self.tape.train(x, gradient);
        gradient
    }

    /// Walks backward from a random gradient of `y`.
    pub(super) fn backward(&mut self, y: Tensor) {
        let values = self.rng.numbers(y.len());
        self.backward_from(y, &values);
    }

    pub(super) fn backward_from(&mut self, y: Tensor, dy: &[f32]) {
        if let Some(gradient) = self.tape.gradient(y) {
            self.seeds.push((gradient.tensor, bits(dy)));
        }
        self.tape.backward();
    }

    /// Ends the recording.
    pub(super) fn finish(self) -> Recorded {
        let Self { store, tape, inputs, seeds, .. } = self;
        Recorded { store, recording: tape.finish(), inputs, seeds }
    }

    /// Allocates and fills; see [`Recorded::load`].
    pub(super) fn load(self, gpu: &Gpu, poison: bool) -> Result<Loaded, Error> {
        self.finish().load(gpu, poison)
    }
}

/// Recorded ops and their inputs.
pub(super) struct Recorded {
    store: Store,
    recording: Recording,
    inputs: Vec<(Tensor, Vec<u32>)>,
    seeds: Vec<(Tensor, Vec<u32>)>,
}

impl Recorded {
    /// The dispatches, without memory.
    pub(super) fn dispatches(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.recording.commands.iter().filter_map(Command::dispatch)
    }

    /// Allocates and fills. `poison` fills what the ops have to write with NaN.
    pub(super) fn load(self, gpu: &Gpu, poison: bool) -> Result<Loaded, Error> {
        let Self { store, recording, inputs, seeds } = self;
        let memory = Memory::allocate(gpu, &store)?;
        let buffer = |elements: &usize| gpu.buffer("bench", allocation(*elements));
        let transients = recording.transients.iter().map(buffer).collect::<Result<Vec<Buffer>, _>>()?;
        if poison {
            for (buffer, elements) in transients.iter().zip(&recording.transients) {
                gpu.write(buffer, 0, bytemuck::cast_slice(&vec![f32::NAN; *elements]));
            }
        }
        let place = Places { memory, transients };
        for (tensor, values) in inputs.iter().chain(&seeds) {
            let slice = place.slice(*tensor);
            gpu.write(&slice.buffer, slice.offset, bytemuck::cast_slice(values));
            gpu.flush()?;
        }
        let steps = recording.commands.iter().map(|command| place.step(command)).collect();
        Ok(Loaded { program: Program::new(gpu, steps), place })
    }

    /// As [`Self::load`], the group's dispatches, which must be of one class, as a variant that the device may not have chosen.
    pub(super) fn load_as(
        self,
        gpu: &Gpu,
        group: &'static KernelGroup,
        variant: &'static Variant,
    ) -> Result<Loaded, Error> {
        let class = self.dispatches().find(|(kernel, _)| kernel.name == group.kernel.name);
        let class = class.map(|(_, extents)| (group.class)(&extents.params)).unwrap_or_default();
        gpu.with_choice(group, &class, Some(variant), || self.load(gpu, false))
    }
}

struct Places {
    memory: Memory,
    transients: Vec<Buffer>,
}

impl Places {
    fn slice(&self, tensor: Tensor) -> Slice {
        match tensor.place {
            Place::Store(_) => self.memory.slice(tensor),
            Place::Tape(i) => Slice {
                buffer: self.transients[i as usize].clone(),
                offset: tensor.offset as u64 * ELEMENT,
                size: tensor.bytes(),
            },
        }
    }

    fn step(&self, command: &Command) -> Step {
        match command {
            Command::Dispatch { kernel, bindings, params, grid, from } => Step::Dispatch {
                kernel,
                bindings: bindings.iter().map(|tensor| self.slice(*tensor)).collect(),
                params: params.clone(),
                grid: grid.0,
                from: *from,
            },
            Command::Clear(tensor) => Step::Clear(self.slice(*tensor)),
            Command::Copy(from, to) => Step::Copy(self.slice(*from), self.slice(*to)),
        }
    }
}

/// Recorded ops on a device.
pub struct Loaded {
    program: Program,
    place: Places,
}

impl Loaded {
    /// Runs everything `times` times in one submission.
    ///
    /// # Errors
    /// If the device fails.
    pub fn time(&self, gpu: &Gpu, times: usize) -> Result<BatchTime, Error> {
        self.program.time_batch(gpu, times)
    }

    pub(super) fn read(&self, gpu: &Gpu, tensor: Tensor) -> Result<Vec<f32>, Error> {
        let slice = self.place.slice(tensor);
        let bytes = gpu.read(&slice.buffer, slice.offset, slice.size)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}
