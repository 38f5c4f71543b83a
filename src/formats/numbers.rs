//! Tensors that are stored as plain numbers, read from any source.

use half::f16;
use safetensors::Dtype;

use super::error::Error;
use super::source::{Stored, TensorSource, missing, place};

/// Values converted and handed on at a time: 256 KiB of f32, which stay in a processor's cache.
const PIECE: usize = 64 << 10;

/// A tensor of this shape that is stored as F32, F16 or BF16, and its name in the source.
///
/// # Errors
/// It is missing, has another shape or another type.
pub(super) fn find_plain<'a, S>(source: &'a S, name: &str, dims: &[usize]) -> Result<(&'a str, &'a Stored), Error>
where
    S: TensorSource + ?Sized,
{
    let (own, stored) = source.tensor(name).ok_or_else(|| missing(source, name, 0))?;
    if stored.dims != dims {
        let (expected, found) = (dims.to_vec(), stored.dims.clone());
        return Err(Error::Shape { path: place(stored), name: name.into(), expected, found });
    }
    match stored.dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok((own, stored)),
        other => Err(Error::Dtype { path: place(stored), name: name.into(), found: other.to_string() }),
    }
}

/// Reads a tensor of plain numbers as f32, a piece at a time: `sink` gets the index of a piece's first value and the piece.
///
/// # Errors
/// As [`find_plain`]; a value is not finite; the source cannot be read.
pub(super) fn read_plain<S>(
    source: &S,
    name: &str,
    dims: &[usize],
    mut sink: impl FnMut(usize, &[f32]),
) -> Result<(), Error>
where
    S: TensorSource + ?Sized,
{
    let (own, stored) = find_plain(source, name, dims)?;
    let count: usize = dims.iter().product();
    let size = stored.dtype.bitsize() / 8;
    let mut bytes = vec![0; size * count.min(PIECE)];
    let mut values = vec![0.0; count.min(PIECE)];
    for at in (0..count).step_by(PIECE) {
        let values = &mut values[..(count - at).min(PIECE)];
        let bytes = &mut bytes[..size * values.len()];
        source.read(own, size * at, bytes)?;
        widen(stored.dtype, bytes, values);
        if let Some(bad) = first_not_finite(values) {
            let (name, value) = (name.into(), values[bad]);
            return Err(Error::NotFinite { path: place(stored), name, index: at + bad, value });
        }
        sink(at, values);
    }
    Ok(())
}

/// A whole tensor of plain numbers.
///
/// # Errors
/// As [`read_plain`].
pub(super) fn read_plain_vec<S>(source: &S, name: &str, dims: &[usize]) -> Result<Vec<f32>, Error>
where
    S: TensorSource + ?Sized,
{
    let mut values = Vec::new();
    read_plain(source, name, dims, |_, piece| values.extend_from_slice(piece))?;
    Ok(values)
}

/// All bytes of a small tensor, by its name in the source.
pub(super) fn read_bytes<S>(source: &S, name: &str, stored: &Stored) -> Result<Vec<u8>, Error>
where
    S: TensorSource + ?Sized,
{
    let mut bytes = vec![0; stored.bytes()];
    source.read(name, 0, &mut bytes)?;
    Ok(bytes)
}

/// Little-endian `bytes` as f32. [`find_plain`] lets only these three types through.
fn widen(dtype: Dtype, bytes: &[u8], values: &mut [f32]) {
    let (pairs, _) = bytes.as_chunks::<2>();
    let (fours, _) = bytes.as_chunks::<4>();
    let from_bf16 = |pair: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(pair)) << 16);
    match dtype {
        Dtype::F16 => values.iter_mut().zip(pairs).for_each(|(to, pair)| *to = f16::from_le_bytes(*pair).to_f32()),
        Dtype::BF16 => values.iter_mut().zip(pairs).for_each(|(to, pair)| *to = from_bf16(*pair)),
        _ => values.iter_mut().zip(fours).for_each(|(to, four)| *to = f32::from_le_bytes(*four)),
    }
}

/// The index of the first value that is NaN or infinite. Looks at all of them first, which compilers do many at a time.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    let largest = values.iter().fold(0, |largest: u32, value| largest.max(value.abs().to_bits()));
    if largest < f32::INFINITY.to_bits() {
        return None;
    }
    values.iter().position(|value| !value.is_finite())
}
