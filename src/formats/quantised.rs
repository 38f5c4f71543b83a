//! Matrices that a folder holds quantised already: by bitsandbytes (NF4) or by MLX (8 or 4 bits, affine).
//!
//! A matrix says by the tensors beside it how it is quantised, so that a folder may hold some and not others. Both layouts
//! are turned into one: codes in words, the first in the lowest bits, and a pair of numbers for every 64 of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use safetensors::Dtype;
use serde::Deserialize;

use super::folder::{Folder, Stored};
use super::{Error, io};

/// Numbers that share a pair.
const GROUP: usize = 64;
/// Codes handed on at a time.
const PIECE: usize = 64 << 10;
/// Largest description of a matrix that is read; real ones have 200 bytes.
const MAX_STATE_BYTES: usize = 16 << 10;
/// Largest block of bitsandbytes.
const MAX_BLOCK: usize = 4096;
/// What bitsandbytes appends to the name of a matrix for its description.
const STATE: &str = ".quant_state.bitsandbytes__";

/// What a code stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Coding {
    /// 4 bits: an entry of the table times the first number of the pair.
    Table([f32; 16]),
    /// So many bits, 8 or 4: the code times the first number of the pair, and the second added.
    Affine(usize),
}

impl Coding {
    /// Bits of a code.
    pub fn bits(self) -> usize {
        match self {
            Self::Table(_) => 4,
            Self::Affine(bits) => bits,
        }
    }

    fn widen(self, code: u32, [scale, offset]: [f32; 2]) -> f32 {
        match self {
            Self::Table(table) => table[code as usize] * scale,
            Self::Affine(_) => code as f32 * scale + offset,
        }
    }
}

/// Some of the numbers of a quantised matrix, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a> {
    /// The number that they begin with, a multiple of 64.
    pub start: usize,
    /// Their codes.
    pub words: &'a [u32],
    /// Of every 64 of them.
    pub pairs: &'a [[f32; 2]],
}

/// How a matrix is quantised, checked against the shape that a model needs.
#[derive(Debug, Clone)]
pub struct Quantised {
    /// What its codes stand for.
    pub coding: Coding,
    name: String,
    count: usize,
    /// Codes that share a pair in the file, a multiple of 64.
    block: usize,
    /// Rows and columns of the pairs, as the file has them.
    pairs: [usize; 2],
    /// Of bitsandbytes' scales that are quantised themselves.
    nested: Option<Nested>,
}

#[derive(Debug, Clone, Copy)]
struct Nested {
    block: usize,
    offset: f32,
}

/// What bitsandbytes says of a matrix, as JSON.
#[derive(Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

impl Folder {
    /// How a matrix of this shape is quantised; `None`: it is not.
    ///
    /// # Errors
    /// Its parts are missing, do not go together or are of a kind that cannot be read.
    pub fn quantised(&self, name: &str, dims: &[usize]) -> Result<Option<Quantised>, Error> {
        let Some(stored) = self.tensor(name) else { return Ok(None) };
        let module = name.strip_suffix(".weight").unwrap_or(name);
        if let Some(kind) =
            ["nf4", "fp4"].into_iter().find(|kind| self.tensor(&format!("{name}{STATE}{kind}")).is_some())
        {
            return self.of_bitsandbytes(name, kind, stored, dims).map(Some);
        }
        if ["absmax", "quant_map"].iter().any(|part| self.tensor(&format!("{name}.{part}")).is_some()) {
            return Err(self.missing(&format!("{name}{STATE}nf4"), 0));
        }
        match stored.dtype {
            Dtype::U32 => self.of_mlx(name, module, stored, dims).map(Some),
            _ => Ok(None),
        }
    }

    fn of_bitsandbytes(&self, name: &str, kind: &str, stored: &Stored, dims: &[usize]) -> Result<Quantised, Error> {
        let refused = |reason: String| self.refused(name, stored, reason);
        if kind != "nf4" {
            let reason = format!("{kind}; NF4 can be read, or take the unquantised model with --quantize 4bit");
            return Err(refused(reason));
        }
        let state = self.state(&format!("{name}{STATE}{kind}"), name)?;
        let count: usize = dims.iter().product();
        if state.shape != dims {
            let (expected, found) = (dims.to_vec(), state.shape);
            return Err(Error::Shape { path: self.path_of(stored), name: name.into(), expected, found });
        }
        if state.quant_type != kind || stored.bytes() != count.div_ceil(2) {
            let reason =
                format!("{} bytes of {:?} for {count} numbers, {kind} wanted", stored.bytes(), state.quant_type);
            return Err(refused(reason));
        }
        if !state.blocksize.is_multiple_of(GROUP) || !(GROUP..=MAX_BLOCK).contains(&state.blocksize) {
            let reason = format!("blocks of {}; 64 and multiples up to {MAX_BLOCK} can be read", state.blocksize);
            return Err(refused(reason));
        }
        let nested = match self.tensor(&format!("{name}.nested_absmax")).is_some() {
            false => None,
            true => match (state.nested_blocksize, state.nested_offset) {
                (Some(block @ 1..=MAX_BLOCK), Some(offset)) if offset.is_finite() => Some(Nested { block, offset }),
                _ => return Err(refused("`nested_blocksize` or `nested_offset` is missing or no size".into())),
            },
        };
        let mut table = [0.0; 16];
        table.copy_from_slice(&self.read_plain_vec(&format!("{name}.quant_map"), &[16])?);
        let pairs = [1, count.div_ceil(state.blocksize)];
        let found = Quantised {
            coding: Coding::Table(table),
            name: name.into(),
            count,
            block: state.blocksize,
            pairs,
            nested,
        };
        self.check_scales(&found)?;
        Ok(found)
    }

    /// The JSON text that bitsandbytes keeps as a tensor of bytes.
    fn state(&self, tensor: &str, name: &str) -> Result<State, Error> {
        let stored = self.tensor(tensor).ok_or_else(|| self.missing(tensor, 0))?;
        if stored.bytes() > MAX_STATE_BYTES {
            let reason = format!("a description of {} bytes; {MAX_STATE_BYTES} are read at most", stored.bytes());
            return Err(self.refused(name, stored, reason));
        }
        let text = self.read_bytes(stored)?;
        serde_json::from_slice(&text)
            .map_err(|error| self.refused(name, stored, format!("damaged description: {error}")))
    }

    fn of_mlx(&self, name: &str, module: &str, stored: &Stored, dims: &[usize]) -> Result<Quantised, Error> {
        let refused = |reason: String| Err(self.refused(name, stored, reason));
        let scales = format!("{module}.scales");
        let scales = &self.tensor(&scales).ok_or_else(|| self.missing(&scales, 0))?.dims;
        let (&[rows, cols], &[stored_rows, words], &[scale_rows, groups]) = (dims, &stored.dims[..], &scales[..])
        else {
            return refused(format!("codes of {:?} and scales of {scales:?} for {dims:?} numbers", stored.dims));
        };
        let divides = |parts: usize, whole: usize| parts > 0 && whole.is_multiple_of(parts);
        let alike = stored_rows == rows && scale_rows == rows && divides(cols, words.saturating_mul(32));
        if !alike || !divides(groups, cols) {
            return refused(format!("codes of {:?} and scales of {scales:?} for {dims:?} numbers", stored.dims));
        }
        let (bits, block) = (words * 32 / cols, cols / groups);
        if ![4, 8].contains(&bits) || !block.is_multiple_of(GROUP) {
            return refused(format!(
                "{bits} bits in groups of {block}; 4 and 8 bits in groups of 64 or 128 can be read: convert the model again, \
                 or take the unquantised one with --quantize 4bit"
            ));
        }
        let coding = Coding::Affine(bits);
        let found =
            Quantised { coding, name: name.into(), count: rows * cols, block, pairs: [rows, groups], nested: None };
        let [scales, biases] = found.affine_names();
        self.find(&scales, &found.pairs)?;
        self.find(&biases, &found.pairs)?;
        Ok(found)
    }

    fn check_scales(&self, quantised: &Quantised) -> Result<(), Error> {
        let Quantised { name, pairs: [_, blocks], nested, .. } = quantised;
        let absmax = format!("{name}.absmax");
        let Some(Nested { block, .. }) = nested else { return self.find(&absmax, &[*blocks]).map(|_| ()) };
        let stored = self.tensor(&absmax).ok_or_else(|| self.missing(&absmax, 0))?;
        if stored.dtype != Dtype::U8 || stored.bytes() != *blocks {
            let reason = format!("{} scales of {}, {blocks} of U8 wanted", stored.bytes(), stored.dtype);
            return Err(self.refused(name, stored, reason));
        }
        self.find(&format!("{name}.nested_absmax"), &[blocks.div_ceil(*block)])?;
        self.find(&format!("{name}.nested_quant_map"), &[256]).map(|_| ())
    }

    /// A pair for every block of the file.
    fn pairs(&self, quantised: &Quantised) -> Result<Vec<[f32; 2]>, Error> {
        let Quantised { coding, name, pairs, nested, .. } = quantised;
        if let Coding::Affine(_) = coding {
            let [scales, biases] = quantised.affine_names().map(|name| self.read_plain_vec(&name, pairs));
            return Ok(scales?.into_iter().zip(biases?).map(|(scale, bias)| [scale, bias]).collect());
        }
        let absmax = format!("{name}.absmax");
        let Some(Nested { block, offset }) = nested else {
            return Ok(self.read_plain_vec(&absmax, &pairs[1..])?.into_iter().map(|scale| [scale, 0.0]).collect());
        };
        let stored = self.tensor(&absmax).ok_or_else(|| self.missing(&absmax, 0))?;
        let outer = self.read_plain_vec(&format!("{name}.nested_absmax"), &[pairs[1].div_ceil(*block)])?;
        let table = self.read_plain_vec(&format!("{name}.nested_quant_map"), &[256])?;
        let codes = self.read_bytes(stored)?;
        let scales = codes.iter().zip(0..).map(|(code, i)| table[usize::from(*code)] * outer[i / block] + offset);
        let scales: Vec<[f32; 2]> = scales.map(|scale| [scale, 0.0]).collect();
        match scales.iter().all(|[scale, _]| scale.is_finite()) {
            true => Ok(scales),
            false => Err(self.refused(name, stored, "a scale that is no finite number".into())),
        }
    }

    /// Reads the codes of a quantised matrix, a piece at a time.
    ///
    /// # Errors
    /// A file cannot be read, or a scale is not finite.
    pub fn read_codes(&self, quantised: &Quantised, mut sink: impl FnMut(Codes<'_>)) -> Result<(), Error> {
        let Quantised { coding, name, count, block, .. } = quantised;
        let pairs = self.pairs(quantised)?;
        let stored = self.tensor(name).ok_or_else(|| self.missing(name, 0))?;
        let path = self.path_of(stored);
        let mut file = File::open(&path).map_err(io(&path, "read"))?;
        file.seek(SeekFrom::Start(stored.start)).map_err(io(&path, "read"))?;
        for start in (0..*count).step_by(PIECE) {
            let numbers = (count - start).min(PIECE);
            let size = (numbers * coding.bits()).div_ceil(8);
            let mut bytes = vec![0; size.next_multiple_of(4)];
            file.read_exact(&mut bytes[..size]).map_err(io(&path, "read"))?;
            if let Coding::Table(_) = coding {
                bytes.iter_mut().for_each(|byte| *byte = byte.rotate_left(4)); // bitsandbytes has the first number above
            }
            let (fours, _) = bytes.as_chunks::<4>();
            let words: Vec<u32> = fours.iter().map(|four| u32::from_le_bytes(*four)).collect();
            let groups = start / GROUP..(start + numbers).div_ceil(GROUP);
            let pairs: Vec<[f32; 2]> = groups.map(|group| pairs[group * GROUP / block]).collect();
            sink(Codes { start, words: &words, pairs: &pairs });
        }
        Ok(())
    }

    /// As `read_f32`, of a quantised matrix.
    pub(super) fn read_widened(
        &self,
        quantised: &Quantised,
        mut sink: impl FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        let Quantised { coding, count, .. } = *quantised;
        let (bits, per_word) = (coding.bits(), 32 / coding.bits());
        self.read_codes(quantised, |Codes { start, words, pairs }| {
            let code = |i: usize| words[i / per_word] >> (i % per_word * bits) & (u32::MAX >> (32 - bits));
            let numbers = (count - start).min(PIECE);
            let values: Vec<f32> = (0..numbers).map(|i| coding.widen(code(i), pairs[i / GROUP])).collect();
            sink(start, &values);
        })
    }

    fn refused(&self, name: &str, stored: &Stored, reason: String) -> Error {
        Error::Quantised { path: self.path_of(stored), name: name.into(), reason }
    }

    /// All bytes of a tensor, which is small.
    fn read_bytes(&self, stored: &Stored) -> Result<Vec<u8>, Error> {
        let path = self.path_of(stored);
        let mut file = File::open(&path).map_err(io(&path, "read"))?;
        file.seek(SeekFrom::Start(stored.start)).map_err(io(&path, "read"))?;
        let mut bytes = vec![0; stored.bytes()];
        file.read_exact(&mut bytes).map_err(io(&path, "read"))?;
        Ok(bytes)
    }
}

impl Quantised {
    /// MLX's tensors of scales and offsets.
    fn affine_names(&self) -> [String; 2] {
        let module = self.name.strip_suffix(".weight").unwrap_or(&self.name);
        ["scales", "biases"].map(|part| format!("{module}.{part}"))
    }
}
