//! Tensors as a safetensors file, one after the other, so that a model never stands in host memory twice.

use half::bf16;
use safetensors::tensor::{Metadata, TensorInfo};

use super::aside::Output;
use super::error::{BoxError, Error};
use super::header::LENGTH_BYTES;
use super::source::Entry;

/// Values converted and written at a time.
const PIECE: usize = 1 << 18;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// As they are trained: exact.
    F32,
    /// Rounded to nearest even: half the size.
    Bf16,
}

impl Dtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        self.stored().bitsize() / 8
    }

    fn stored(self) -> safetensors::Dtype {
        match self {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::Bf16 => safetensors::Dtype::BF16,
        }
    }

    /// `values` in little-endian order, rounded to nearest even; the index of the first that is not finite then.
    fn encode(self, values: &[f32], bytes: &mut Vec<u8>) -> Option<usize> {
        bytes.resize(self.size() * values.len(), 0);
        match self {
            Dtype::F32 => {
                let (fours, _) = bytes.as_chunks_mut::<4>();
                fours.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
                values.iter().position(|value| !value.is_finite())
            }
            Dtype::Bf16 => {
                let (pairs, _) = bytes.as_chunks_mut::<2>();
                pairs.iter_mut().zip(values).for_each(|(to, value)| *to = bf16::from_f32(*value).to_le_bytes());
                values.iter().position(|value| !bf16::from_f32(*value).is_finite())
            }
        }
    }
}

/// Where a tensor's values come from.
pub(super) type Read<'a> = &'a mut dyn FnMut(&Entry) -> Result<Vec<f32>, BoxError>;

/// Writes `entries` as a safetensors file, asking `read` for one tensor after the other.
pub(super) fn write_tensors(file: &mut Output, entries: &[Entry], dtype: Dtype, read: Read) -> Result<(), Error> {
    let header = header(entries, dtype).map_err(|reason| Error::Damaged { path: file.path.clone(), reason })?;
    file.write(&(header.len() as u64).to_le_bytes())?;
    file.write(&header)?;
    let mut bytes = Vec::new();
    for entry in entries {
        let source = |source| Error::Source { name: entry.name.clone(), source };
        let values = read(entry).map_err(source)?;
        if values.len() != entry.count() {
            let (found, wants) = (values.len(), entry.count());
            return Err(source(format!("{found} values came, {wants} are needed").into()));
        }
        for (piece, at) in values.chunks(PIECE).zip((0..).step_by(PIECE)) {
            if let Some(bad) = dtype.encode(piece, &mut bytes) {
                // The hidden folder has gone when this is read: only the file's name means something.
                let path = file.path.file_name().unwrap_or_default().into();
                let name = entry.name.clone();
                return Err(Error::NotFinite { path, name, index: at + bad, value: piece[bad] });
            }
            file.write(&bytes)?;
        }
    }
    Ok(())
}

/// The safetensors header of `entries`, padded so that the data is aligned.
fn header(entries: &[Entry], dtype: Dtype) -> Result<Vec<u8>, String> {
    let mut at = 0;
    let infos = entries.iter().map(|entry| {
        let start = at;
        at += entry.count() * dtype.size();
        let (shape, data_offsets) = (entry.dims.clone(), (start, at));
        (entry.name.clone(), TensorInfo { dtype: dtype.stored(), shape, data_offsets })
    });
    // What transformers asks for: tensors in PyTorch's layout.
    let format = [("format".to_string(), "pt".to_string())].into();
    let metadata = Metadata::new(Some(format), infos.collect()).map_err(|e| e.to_string())?;
    let mut text = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    text.resize(text.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
    Ok(text)
}
