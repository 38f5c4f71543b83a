//! Matrices that a source holds quantised already: by bitsandbytes (NF4) or by MLX (8 or 4 bits, affine).
//!
//! A matrix says by the tensors beside it how it is quantised, so that a folder may hold some and not others. Both layouts
//! are turned into one: codes in words, the first in the lowest bits, and a pair of scale and offset for every 64 of them.

use safetensors::Dtype;
use serde::Deserialize;

use super::error::Error;
use super::numbers::{find_plain, read_bytes, read_plain_vec};
use super::source::{Layout, Storage, Stored, TensorSource, missing, place};

/// Numbers that share a pair where codes are handed on.
const GROUP: usize = 64;
/// Codes handed on at a time.
const PIECE: usize = 64 << 10;
/// Largest description of a matrix that is read; real ones have 200 bytes.
const MAX_STATE_BYTES: usize = 16 << 10;
/// Largest block of bitsandbytes.
const MAX_BLOCK: usize = 4096;
/// What bitsandbytes appends to the name of a matrix for its description.
const STATE: &str = ".quant_state.bitsandbytes__";

/// Some of the numbers of a quantised matrix, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a> {
    /// The index of the first, a multiple of 64.
    pub start: usize,
    /// Their codes, the first in the lowest bits of the first word.
    pub words: &'a [u32],
    /// Scale and offset of every 64 of them.
    pub pairs: &'a [[f32; 2]],
}

/// A quantised matrix, checked against the shape that a model needs.
#[derive(Debug)]
pub(super) struct Quantised {
    pub(super) storage: Storage,
    name: String,
    count: usize,
    scales: Scales,
}

/// Where the scales of a quantised matrix are.
#[derive(Debug)]
enum Scales {
    /// MLX: scales and offsets, rows and columns of each.
    Affine([usize; 2]),
    /// bitsandbytes: so many scales.
    Absmax(usize),
    /// bitsandbytes: so many scales that are quantised themselves.
    Nested { blocks: usize, block: usize, offset: f32 },
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

/// How the matrix `name` of this shape is quantised; `None`: it is not, or is not there.
///
/// # Errors
/// Its parts are missing, do not go together or are of a kind that cannot be read.
pub(super) fn find<S>(source: &S, name: &str, dims: &[usize]) -> Result<Option<Quantised>, Error>
where
    S: TensorSource + ?Sized,
{
    let Some((_, stored)) = source.tensor(name) else { return Ok(None) };
    let has = |end: &str| source.tensor(&format!("{name}{end}")).is_some();
    if has(&format!("{STATE}fp4")) && !has(&format!("{STATE}nf4")) {
        let reason = "fp4; NF4 can be read, or take the unquantised model with --quantize 4bit";
        return Err(refused(name, stored, reason.into()));
    }
    if has(&format!("{STATE}nf4")) {
        return of_bitsandbytes(source, name, stored, dims).map(Some);
    }
    if has(".absmax") || has(".quant_map") {
        return Err(missing(source, &format!("{name}{STATE}nf4"), 0));
    }
    match stored.dtype {
        Dtype::U32 => of_mlx(source, name, stored, dims).map(Some),
        _ => Ok(None),
    }
}

fn of_bitsandbytes<S>(source: &S, name: &str, stored: &Stored, dims: &[usize]) -> Result<Quantised, Error>
where
    S: TensorSource + ?Sized,
{
    let refused = |reason: String| Err(refused(name, stored, reason));
    let description = format!("{name}{STATE}nf4");
    let text = match source.tensor(&description) {
        None => return Err(missing(source, &description, 0)),
        Some((_, text)) if text.bytes() > MAX_STATE_BYTES => {
            return refused(format!("a description of {} bytes; {MAX_STATE_BYTES} are read at most", text.bytes()));
        }
        Some((name, text)) => read_bytes(source, name, text)?,
    };
    let state: State = match serde_json::from_slice(&text) {
        Ok(state) => state,
        Err(error) => return refused(format!("damaged description: {error}")),
    };
    let count: usize = dims.iter().product();
    if state.shape != dims {
        let (expected, found) = (dims.to_vec(), state.shape);
        return Err(Error::Shape { path: place(stored), name: name.into(), expected, found });
    }
    if state.quant_type != "nf4" || stored.bytes() != count.div_ceil(2) {
        return refused(format!(
            "{} bytes of {:?} for {count} numbers, nf4 wanted",
            stored.bytes(),
            state.quant_type
        ));
    }
    if !state.blocksize.is_multiple_of(GROUP) || !(GROUP..=MAX_BLOCK).contains(&state.blocksize) {
        return refused(format!("blocks of {}; 64 and multiples up to {MAX_BLOCK} can be read", state.blocksize));
    }
    let blocks = count.div_ceil(state.blocksize);
    let nested = source.tensor(&format!("{name}.nested_absmax")).is_some();
    let scales = match (nested, state.nested_blocksize, state.nested_offset) {
        (false, ..) => Scales::Absmax(blocks),
        (true, Some(block @ 1..=MAX_BLOCK), Some(offset)) if offset.is_finite() => {
            Scales::Nested { blocks, block, offset }
        }
        (true, ..) => return refused("`nested_blocksize` or `nested_offset` is missing or no size".into()),
    };
    let mut table = [0.0; 16];
    table.copy_from_slice(&read_plain_vec(source, &format!("{name}.quant_map"), &[16])?);
    let absmax = format!("{name}.absmax");
    match scales {
        Scales::Nested { block, .. } => {
            let stored = source.tensor(&absmax).ok_or_else(|| missing(source, &absmax, 0))?.1;
            if stored.dtype != Dtype::U8 || stored.bytes() != blocks {
                return refused(format!("{} scales of {}, {blocks} of U8 wanted", stored.bytes(), stored.dtype));
            }
            find_plain(source, &format!("{name}.nested_absmax"), &[blocks.div_ceil(block)])?;
            find_plain(source, &format!("{name}.nested_quant_map"), &[256])?;
        }
        _ => drop(find_plain(source, &absmax, &[blocks])?),
    }
    let storage = Storage { bits: 4, group: state.blocksize, layout: Layout::Table(table) };
    Ok(Quantised { storage, name: name.into(), count, scales })
}

fn of_mlx<S>(source: &S, name: &str, stored: &Stored, dims: &[usize]) -> Result<Quantised, Error>
where
    S: TensorSource + ?Sized,
{
    let [scales, biases] = affine_names(name);
    let scale_dims = &source.tensor(&scales).ok_or_else(|| missing(source, &scales, 0))?.1.dims;
    let unlike = || {
        let reason = format!("codes of {:?} and scales of {scale_dims:?} for {dims:?} numbers", stored.dims);
        Err(refused(name, stored, reason))
    };
    let (&[rows, cols], &[stored_rows, words], &[scale_rows, groups]) = (dims, &stored.dims[..], &scale_dims[..])
    else {
        return unlike();
    };
    let divides = |parts: usize, whole: usize| parts > 0 && whole.is_multiple_of(parts);
    let alike = stored_rows == rows && scale_rows == rows && divides(cols, words.saturating_mul(32));
    if !alike || !divides(groups, cols) {
        return unlike();
    }
    let (bits, group) = (words * 32 / cols, cols / groups);
    if ![4, 8].contains(&bits) || !group.is_multiple_of(GROUP) {
        let reason = format!(
            "{bits} bits in groups of {group}; 4 and 8 bits in groups of 64 or 128 can be read: convert the model again, \
             or take the unquantised one with --quantize 4bit"
        );
        return Err(refused(name, stored, reason));
    }
    find_plain(source, &scales, &[rows, groups])?;
    find_plain(source, &biases, &[rows, groups])?;
    let (storage, scales) = (Storage { bits, group, layout: Layout::Affine }, Scales::Affine([rows, groups]));
    Ok(Quantised { storage, name: name.into(), count: rows * cols, scales })
}

impl Quantised {
    /// A pair for every group of the source.
    fn pairs<S: TensorSource + ?Sized>(&self, source: &S) -> Result<Vec<[f32; 2]>, Error> {
        let name = &self.name;
        let read = |end: &str, count: usize| read_plain_vec(source, &format!("{name}.{end}"), &[count]);
        let without_offset = |scales: Vec<f32>| scales.into_iter().map(|scale| [scale, 0.0]).collect();
        match self.scales {
            Scales::Affine(dims) => {
                let [scales, biases] = affine_names(name).map(|name| read_plain_vec(source, &name, &dims));
                Ok(scales?.into_iter().zip(biases?).map(|(scale, bias)| [scale, bias]).collect())
            }
            Scales::Absmax(blocks) => Ok(without_offset(read("absmax", blocks)?)),
            Scales::Nested { blocks, block, offset } => {
                let (outer, table) = (read("nested_absmax", blocks.div_ceil(block))?, read("nested_quant_map", 256)?);
                let absmax = format!("{name}.absmax");
                let (own, stored) = source.tensor(&absmax).ok_or_else(|| missing(source, &absmax, 0))?;
                let codes = read_bytes(source, own, stored)?;
                let scale = |(code, i): (&u8, usize)| table[usize::from(*code)] * outer[i / block] + offset;
                let scales: Vec<f32> = codes.iter().zip(0..).map(scale).collect();
                match scales.iter().all(|scale| scale.is_finite()) {
                    true => Ok(without_offset(scales)),
                    false => Err(refused(name, stored, "a scale that is no finite number".into())),
                }
            }
        }
    }

    /// Reads the codes, a piece at a time.
    pub(super) fn read<S>(&self, source: &S, mut sink: impl FnMut(Codes<'_>)) -> Result<(), Error>
    where
        S: TensorSource + ?Sized,
    {
        let Self { storage: Storage { bits, group: block, layout }, name, count, .. } = self;
        let pairs = self.pairs(source)?;
        let (own, _) = source.tensor(name).ok_or_else(|| missing(source, name, 0))?;
        for start in (0..*count).step_by(PIECE) {
            let numbers = (count - start).min(PIECE);
            let size = (numbers * bits).div_ceil(8);
            let mut bytes = vec![0; size.next_multiple_of(4)];
            source.read(own, start * bits / 8, &mut bytes[..size])?;
            if let Layout::Table(_) = layout {
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

    /// Reads the numbers that the codes stand for, in f32 as the library that wrote them does, a piece at a time.
    pub(super) fn read_f32<S>(&self, source: &S, mut sink: impl FnMut(usize, &[f32])) -> Result<(), Error>
    where
        S: TensorSource + ?Sized,
    {
        let Storage { bits, layout, .. } = self.storage;
        let number = |code: u32, [scale, offset]: [f32; 2]| match layout {
            Layout::Table(table) => table[code as usize] * scale,
            _ => code as f32 * scale + offset,
        };
        self.read(source, |Codes { start, words, pairs }| {
            let code = |i: usize| words[i * bits / 32] >> (i * bits % 32) & (u32::MAX >> (32 - bits));
            let numbers = (self.count - start).min(PIECE);
            let values: Vec<f32> = (0..numbers).map(|i| number(code(i), pairs[i / GROUP])).collect();
            sink(start, &values);
        })
    }
}

/// MLX's tensors of scales and offsets beside the matrix `name`.
fn affine_names(name: &str) -> [String; 2] {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    ["scales", "biases"].map(|part| format!("{module}.{part}"))
}

fn refused(name: &str, stored: &Stored, reason: String) -> Error {
    Error::Quantised { path: place(stored), name: name.into(), reason }
}
