//! Memory for one dispatch alone: random inputs, and poison in what it is to write and behind everything.

use super::compare::Output;
use crate::gpu::{Buffer, Choice, Error, Extents, Gpu, KernelGroup, Program, Slice, Step};

/// Not a number, and no pattern that arithmetic makes.
const POISON: u32 = 0x7fc0_5eed;
/// Poisoned bytes behind every binding: what a tile may reach beyond the edge.
const BEHIND: u64 = 256 << 10;
/// Words copied at a time; odd, so that rows of a power of two differ.
const PIECE: u64 = (1 << 20) - 3;
/// Words by which the noise of one binding is ahead of the last one's.
const APART: u64 = 977;
/// Bindings whose noise differs.
const MOST_BINDINGS: u64 = 16;
/// Bytes of an output that are looked at; of a longer one, evenly spaced parts.
const LOOKED_AT: u64 = 64 << 20;
/// Those parts.
const PARTS: u64 = 64;
const WORD: u64 = 4;

/// What buffers are filled from, on the device.
pub(super) struct Fills {
    noise: Buffer,
    poison: Buffer,
}

impl Fills {
    pub(super) fn new(gpu: &Gpu) -> Result<Self, Error> {
        let words = PIECE + APART * MOST_BINDINGS;
        let mut state = 1u64;
        let noise: Vec<f32> = (0..words).map(|_| number(&mut state)).collect();
        let fill = |label: &str, words: &[u8]| -> Result<Buffer, Error> {
            let buffer = gpu.buffer(label, words.len() as u64)?;
            gpu.write(&buffer, 0, words);
            Ok(buffer)
        };
        let poison = vec![POISON; PIECE as usize];
        Ok(Self {
            noise: fill("noise", bytemuck::cast_slice(&noise))?,
            poison: fill("poison", bytemuck::cast_slice(&poison))?,
        })
    }

    /// Device memory of these.
    pub(super) fn bytes() -> u64 {
        (2 * PIECE + APART * MOST_BINDINGS) * WORD
    }

    /// Copies that fill `bytes` of `target` from `offset` on.
    fn copies(&self, noise: Option<usize>, target: &Buffer, offset: u64, bytes: u64) -> Vec<Step> {
        let (source, first) = match noise {
            Some(binding) => (&self.noise, binding as u64 % MOST_BINDINGS * APART * WORD),
            None => (&self.poison, 0),
        };
        let starts = (0..bytes).step_by((PIECE * WORD) as usize);
        starts
            .map(|start| {
                let size = (bytes - start).min(PIECE * WORD);
                let from = Slice { buffer: source.clone(), offset: first, size };
                Step::Copy(from, Slice { buffer: target.clone(), offset: offset + start, size })
            })
            .collect()
    }
}

/// Uniform in `[-1, 1)`: SplitMix64 (Steele, Lea & Flood 2014), the same everywhere.
fn number(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

/// One dispatch's own memory.
pub(super) struct Scratch<'g> {
    gpu: &'g Gpu,
    group: &'static KernelGroup,
    class: String,
    extents: Extents,
    buffers: Vec<Buffer>,
    /// Fill outputs with poison, or with random numbers.
    resets: [Program; 2],
}

impl<'g> Scratch<'g> {
    /// Device memory that a dispatch of these extents is tried in.
    pub(super) fn bytes(extents: &Extents) -> u64 {
        let own = extents.same.iter().enumerate().filter(|(i, same)| i == *same);
        own.map(|(i, _)| length(extents, i) + BEHIND).sum()
    }

    /// Allocates everything and fills the inputs.
    pub(super) fn new(
        gpu: &'g Gpu,
        fills: &Fills,
        group: &'static KernelGroup,
        extents: &Extents,
    ) -> Result<Self, Error> {
        let mut buffers: Vec<Buffer> = Vec::with_capacity(extents.bytes.len());
        let (mut once, mut poison, mut known) = (Vec::new(), Vec::new(), Vec::new());
        let mut given = Vec::new();
        for (i, binding) in group.kernel.bindings.iter().enumerate() {
            if extents.same[i] != i {
                buffers.push(buffers[extents.same[i]].clone());
                continue;
            }
            let bytes = length(extents, i);
            let buffer = gpu.buffer(binding.name, bytes + BEHIND)?;
            let is_output = is_output(group, extents, i);
            if is_output {
                poison.extend(fills.copies(None, &buffer, 0, bytes + BEHIND));
                known.extend(fills.copies(Some(i), &buffer, 0, bytes));
                known.extend(fills.copies(None, &buffer, bytes, BEHIND));
            } else {
                once.extend(fills.copies(Some(i), &buffer, 0, bytes));
                once.extend(fills.copies(None, &buffer, bytes, BEHIND));
            }
            let words = usize::try_from(bytes / WORD).unwrap_or(usize::MAX);
            if let Some(words) = (group.trial.fill)(&extents.params, binding.name, words).filter(|_| !is_output) {
                given.push((i, words));
            }
            buffers.push(buffer);
        }
        Program::new(gpu, once).run(gpu)?;
        for (i, words) in given {
            let words: &[u8] = bytemuck::cast_slice(&words);
            let fitting = words.len().min(length(extents, i) as usize);
            gpu.write(&buffers[i], 0, &words[..fitting]);
        }
        gpu.flush()?;
        let resets = [poison, known].map(|steps| Program::new(gpu, steps));
        Ok(Self { gpu, group, class: (group.class)(&extents.params), extents: extents.clone(), buffers, resets })
    }

    /// The dispatch as this variant.
    pub(super) fn program(&self, choice: Choice) -> Program {
        // What lies behind is bound too: some drivers give zeros beyond a binding, and drop what is written there.
        let most = self.gpu.max_binding() / WORD * WORD;
        let slice = |(buffer, size): (&Buffer, &u64)| Slice {
            buffer: buffer.clone(),
            offset: 0,
            size: (size + BEHIND).min(most).max(*size),
        };
        let step = Step::Dispatch {
            kernel: self.group.kernel,
            bindings: self.buffers.iter().zip(&self.extents.bytes).map(slice).collect(),
            params: self.extents.params.clone(),
            grid: self.extents.grid,
            from: 0,
        };
        self.gpu.with_choice(self.group, &self.class, choice, || Program::new(self.gpu, vec![step]))
    }

    /// What the dispatch leaves in its outputs. They hold random numbers before it, always the same, where `known`, else
    /// poison.
    pub(super) fn run(&mut self, program: &mut Program, known: bool) -> Result<Vec<Output>, Error> {
        self.resets[usize::from(known)].run(self.gpu)?;
        program.run(self.gpu)?;
        let outputs = (0..self.buffers.len()).filter(|i| is_output(self.group, &self.extents, *i));
        outputs.filter(|i| self.extents.same[*i] == *i).map(|i| self.output(i)).collect()
    }

    fn output(&self, i: usize) -> Result<Output, Error> {
        let (buffer, bytes) = (&self.buffers[i], length(&self.extents, i));
        let mut values = Vec::new();
        for (offset, size) in parts(bytes) {
            let read = self.gpu.read(buffer, offset, size)?;
            values.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&read));
        }
        let behind = bytemuck::pod_collect_to_vec::<u8, u32>(&self.gpu.read(buffer, bytes, BEHIND)?);
        let clean = behind.iter().all(|word| *word == POISON);
        Ok(Output { name: self.group.kernel.bindings[i].name, values, clean })
    }
}

/// Bytes that the bindings of the same memory as `i` span.
fn length(extents: &Extents, i: usize) -> u64 {
    let alike = extents.bytes.iter().zip(&extents.same).filter(|(_, same)| **same == i);
    alike.map(|(bytes, _)| *bytes).max().unwrap_or(0)
}

/// Whether something writes to the memory of binding `i`.
fn is_output(group: &KernelGroup, extents: &Extents, i: usize) -> bool {
    let bindings = group.kernel.bindings.iter().zip(&extents.same);
    bindings.filter(|(_, same)| **same == extents.same[i]).any(|(binding, _)| binding.writable)
}

/// Offsets and lengths of what is looked at.
fn parts(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= LOOKED_AT {
        return vec![(0, bytes)];
    }
    let size = LOOKED_AT / PARTS;
    (0..PARTS).map(|part| ((bytes - size) * part / (PARTS - 1) / WORD * WORD, size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_span_a_long_output_from_end_to_end() {
        assert_eq!(parts(1000), [(0, 1000)]);
        let bytes = 1_000_000_004;
        let long = parts(bytes);
        assert_eq!((long[0].0, long.len()), (0, 64));
        assert!(long.iter().all(|(offset, size)| offset % 4 == 0 && offset + size <= bytes));
        assert_eq!(long[63].0 + long[63].1, bytes);
        assert_eq!(long.iter().map(|(_, size)| size).sum::<u64>(), LOOKED_AT);
    }
}
