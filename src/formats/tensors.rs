//! What every source of tensors offers: checks, numbers, codes and digests.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::error::Error;
use super::files::hex;
use super::numbers::{find_plain, read_plain};
use super::quantised::{self, Codes};
use super::source::{Entry, Storage, Stored, TensorSource, missing};

/// Bytes of each tensor that tell one training of a model from another.
const LOOKED_AT: usize = 4096;

/// Reading tensors by name and shape from any source.
pub trait ReadTensors: TensorSource {
    /// How a tensor of this shape is stored.
    ///
    /// # Errors
    /// It is missing, has another shape, or is stored as cannot be read.
    fn storage(&self, name: &str, dims: &[usize]) -> Result<Storage, Error> {
        match quantised::find(self, name, dims)? {
            Some(found) => Ok(found.storage),
            None => find_plain(self, name, dims).map(|(_, stored)| Storage::plain(stored.dtype)),
        }
    }

    /// Checks that every entry can be read, before any long work. Tensors that are not asked for do not matter.
    ///
    /// # Errors
    /// A missing tensor, another shape, a type that cannot be read.
    fn check(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut absent = entries.iter().filter(|entry| self.tensor(&entry.name).is_none());
        if let Some(first) = absent.next() {
            return Err(missing(self, &first.name, absent.count()));
        }
        entries.iter().try_for_each(|Entry { name, dims }| self.storage(name, dims).map(|_| ()))
    }

    /// Reads a tensor as f32, a piece at a time: `sink` gets the index of the piece's first value and the piece.
    ///
    /// F16 and BF16 are widened, which is exact; what is quantised is dequantized as the library that wrote it does, in f32.
    ///
    /// # Errors
    /// The tensor is missing, has another shape or a type that cannot be read, holds NaN or infinity, or the source cannot
    /// be read.
    fn read_f32(&self, name: &str, dims: &[usize], sink: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        match quantised::find(self, name, dims)? {
            Some(found) => found.read_f32(self, sink),
            None => read_plain(self, name, dims, sink),
        }
    }

    /// Reads a whole tensor as f32.
    ///
    /// # Errors
    /// As [`Self::read_f32`].
    fn read_vec(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, Error> {
        self.storage(name, dims)?;
        let mut values = Vec::with_capacity(dims.iter().product());
        self.read_f32(name, dims, |_, piece| values.extend_from_slice(piece))?;
        Ok(values)
    }

    /// Reads the codes of a quantised matrix, a piece at a time; none of what is not quantised.
    ///
    /// # Errors
    /// As [`Self::read_f32`].
    fn read_codes(&self, name: &str, dims: &[usize], sink: impl FnMut(Codes<'_>)) -> Result<(), Error> {
        quantised::find(self, name, dims)?.map_or(Ok(()), |found| found.read(self, sink))
    }

    /// A digest of every tensor's name and first values: enough to tell one training of a model from another.
    ///
    /// # Errors
    /// The source cannot be read.
    fn fingerprint(&self) -> Result<String, Error> {
        digest(self, self.entries().iter().map(|(name, stored)| (name.as_str(), name.as_str(), stored)))
    }

    /// A digest of these tensors, behind the types that they are stored in: marks of one model that is stored in two ways
    /// cannot be compared. Neither other tensors nor the shards that they lie in matter.
    ///
    /// # Errors
    /// The source cannot be read.
    fn mark(&self, entries: &[Entry]) -> Result<String, Error> {
        let found = || entries.iter().filter_map(|entry| Some((entry.name.as_str(), self.tensor(&entry.name)?)));
        let types: BTreeSet<String> = found().map(|(_, (_, stored))| stored.dtype.to_string()).collect();
        let digest = digest(self, found().map(|(name, (own, stored))| (name, own, stored)))?;
        Ok(format!("{} {digest}", types.into_iter().collect::<Vec<_>>().join("+")))
    }
}

impl<S: TensorSource + ?Sized> ReadTensors for S {}

/// Of tensors with the name that is hashed, the one in the source and how each is stored.
fn digest<'a, S>(source: &S, tensors: impl Iterator<Item = (&'a str, &'a str, &'a Stored)>) -> Result<String, Error>
where
    S: TensorSource + ?Sized,
{
    let mut hash = Sha256::new();
    for (name, own, stored) in tensors {
        let mut bytes = vec![0; stored.bytes().min(LOOKED_AT)];
        source.read(own, 0, &mut bytes)?;
        hash.update(name.as_bytes());
        hash.update(&bytes);
    }
    Ok(hex(&hash.finalize()[..16]))
}
