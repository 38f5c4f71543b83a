//! Reading tensors out of a model folder.
//!
//! Plain reads at an offset rather than a memory map: as fast from a disk, no `unsafe`, and a file that shrinks while it
//! is read is an error instead of a signal.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::Dtype;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::header::{self, UniqueMap};
use super::{Entry, Error, io, is_basename, read_small};

/// The weights of a model in one file.
pub(super) const SINGLE: &str = "model.safetensors";
/// Which shard holds which tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// Largest index that is read.
const MAX_INDEX_BYTES: u64 = 32 << 20;
/// Values converted and handed on at a time: 256 KiB of f32, which stay in a processor's cache.
const PIECE: usize = 64 << 10;
/// Bytes of each tensor that tell one training of a model from another.
const LOOKED_AT: u64 = 4096;
/// What names of the full model start with and names of a headless base model do not.
const BASE_PREFIX: &str = "model.";

/// A folder of safetensors whose headers have been checked.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    files: Vec<PathBuf>,
    tensors: HashMap<String, Stored>,
}

/// How a tensor lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its shape, outermost dimension first.
    pub dims: Vec<usize>,
    file: usize,
    /// Bytes before its first element.
    pub(super) start: u64,
}

impl Stored {
    /// Its size on disk; the header was checked against the file.
    pub(super) fn bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: UniqueMap<String>,
}

impl Folder {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, and checks every header.
    ///
    /// # Errors
    /// No weights, an unreadable or damaged file, a file shorter or longer than its header says, a shard outside the
    /// folder, a tensor in two shards or in none.
    pub fn open(path: &Path) -> Result<Folder, Error> {
        let (single, index) = (path.join(SINGLE), path.join(INDEX));
        if single.exists() {
            Folder::open_file(&single)
        } else if index.exists() {
            Folder::open_shards(path, &index)
        } else {
            std::fs::read_dir(path).map_err(io(path, "read"))?;
            Err(Error::NoWeights { folder: path.into(), hint: hint(path) })
        }
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_file(file: &Path) -> Result<Folder, Error> {
        let path = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut folder = Folder { path, files: Vec::new(), tensors: HashMap::new() };
        folder.add(file)?;
        Ok(folder)
    }

    fn open_shards(path: &Path, index: &Path) -> Result<Folder, Error> {
        let damaged = |reason: String| Error::Damaged { path: index.into(), reason };
        let text = read_small(index, MAX_INDEX_BYTES)?;
        let parsed: Index = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let map = parsed.weight_map.0;
        let shards: BTreeSet<&str> = map.iter().map(|(_, shard)| shard.as_str()).collect();
        let mut folder = Folder { path: path.into(), files: Vec::new(), tensors: HashMap::new() };
        for shard in &shards {
            if !is_basename(shard) || !shard.ends_with(".safetensors") {
                return Err(damaged(format!("{shard:?} is not the name of a shard in this folder")));
            }
            folder.add(&path.join(shard))?;
        }
        for (name, shard) in &map {
            let stored = folder.tensors.get(name).map(|stored| &folder.files[stored.file]);
            if stored.is_none_or(|file| !file.ends_with(shard)) {
                return Err(damaged(format!("`{name}` is not in {shard}, where the index has it")));
            }
        }
        Ok(folder)
    }

    fn add(&mut self, file: &Path) -> Result<(), Error> {
        let header = header::read(file)?;
        for (name, info) in header.metadata.tensors() {
            let stored = Stored {
                dtype: info.dtype,
                dims: info.shape.clone(),
                file: self.files.len(),
                start: header.data_start + info.data_offsets.0 as u64,
            };
            if let Some(other) = self.tensors.insert(name.clone(), stored) {
                let other = self.files[other.file].display();
                let reason = format!("tensor `{name}` stands in {other} as well");
                return Err(Error::Damaged { path: file.into(), reason });
            }
        }
        self.files.push(file.into());
        Ok(())
    }

    /// How a tensor lies on disk, if it is there.
    ///
    /// A folder saved from a headless base model lacks the prefix `model.`; its tensors are found all the same.
    pub fn tensor(&self, name: &str) -> Option<&Stored> {
        let base = || self.tensors.get(name.strip_prefix(BASE_PREFIX)?);
        self.tensors.get(name).or_else(base)
    }

    /// Names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Checks that every entry can be read, before any long work. Tensors that are not asked for do not matter.
    ///
    /// # Errors
    /// A missing tensor, another shape, a type that cannot be read.
    pub fn check(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut missing = entries.iter().filter(|entry| self.tensor(&entry.name).is_none());
        if let Some(first) = missing.next() {
            return Err(self.missing(&first.name, missing.count()));
        }
        entries.iter().try_for_each(|Entry { name, dims }| match self.quantised(name, dims)? {
            Some(_) => Ok(()),
            None => self.find(name, dims).map(|_| ()),
        })
    }

    /// Reads a tensor as f32, a piece at a time: `sink` gets the index of the piece's first value and the piece.
    ///
    /// F16 and BF16 are widened, which is exact; what is quantised is widened as the library that wrote it does, in f32.
    ///
    /// # Errors
    /// The tensor is missing, has another shape or a type that cannot be read, holds NaN or infinity, or the file
    /// cannot be read.
    pub fn read_f32(&self, name: &str, dims: &[usize], sink: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        if let Some(quantised) = self.quantised(name, dims)? {
            return self.read_widened(&quantised, sink);
        }
        self.read_plain(name, dims, sink)
    }

    /// As [`Self::read_f32`], of what is not quantised.
    fn read_plain(&self, name: &str, dims: &[usize], mut sink: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        let stored = self.find(name, dims)?;
        let path = &self.files[stored.file];
        let mut file = File::open(path).map_err(io(path, "read"))?;
        file.seek(SeekFrom::Start(stored.start)).map_err(io(path, "read"))?;
        let count: usize = dims.iter().product();
        let size = stored.dtype.bitsize() / 8;
        let mut bytes = vec![0; size * count.min(PIECE)];
        let mut values = vec![0.0; count.min(PIECE)];
        for at in (0..count).step_by(PIECE) {
            let values = &mut values[..(count - at).min(PIECE)];
            let bytes = &mut bytes[..size * values.len()];
            file.read_exact(bytes).map_err(io(path, "read"))?;
            widen(stored.dtype, bytes, values);
            if let Some(bad) = first_not_finite(values) {
                let (name, value) = (name.into(), values[bad]);
                return Err(Error::NotFinite { path: path.clone(), name, index: at + bad, value });
            }
            sink(at, values);
        }
        Ok(())
    }

    /// Reads a whole tensor as f32.
    ///
    /// # Errors
    /// As [`Folder::read_f32`].
    pub fn read_vec(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, Error> {
        self.check(&[Entry { name: name.into(), dims: dims.into() }])?;
        let mut values = Vec::with_capacity(dims.iter().product());
        self.read_f32(name, dims, |_, piece| values.extend_from_slice(piece))?;
        Ok(values)
    }

    /// As [`Self::read_vec`], of what is not quantised.
    pub(super) fn read_plain_vec(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, Error> {
        let mut values = Vec::new();
        self.read_plain(name, dims, |_, piece| values.extend_from_slice(piece))?;
        Ok(values)
    }

    /// A digest of every tensor's name and first values: enough to tell one training of a model from another.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn fingerprint(&self) -> Result<String, Error> {
        let mut tensors: Vec<(&str, &Stored)> = self.tensors.iter().map(|(name, stored)| (&**name, stored)).collect();
        tensors.sort_by_key(|(name, _)| *name);
        self.digest(tensors)
    }

    /// A digest of these tensors, behind the types that they are stored in: marks of one model that is stored in two ways
    /// cannot be compared. Neither other tensors nor the shards that they lie in matter.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn mark(&self, entries: &[Entry]) -> Result<String, Error> {
        let found = |entry: &'_ Entry| self.tensor(&entry.name).map(|stored| stored.dtype.to_string());
        let types: BTreeSet<String> = entries.iter().filter_map(found).collect();
        let tensors = entries.iter().filter_map(|entry| Some((&*entry.name, self.tensor(&entry.name)?)));
        let digest = self.digest(tensors)?;
        Ok(format!("{} {digest}", types.into_iter().collect::<Vec<_>>().join("+")))
    }

    fn digest<'a>(&self, tensors: impl IntoIterator<Item = (&'a str, &'a Stored)>) -> Result<String, Error> {
        let mut hash = Sha256::new();
        for (name, stored) in tensors {
            let path = &self.files[stored.file];
            let mut file = File::open(path).map_err(io(path, "read"))?;
            file.seek(SeekFrom::Start(stored.start)).map_err(io(path, "read"))?;
            let mut bytes = Vec::new();
            file.take(LOOKED_AT.min(stored.bytes() as u64)).read_to_end(&mut bytes).map_err(io(path, "read"))?;
            hash.update(name.as_bytes());
            hash.update(&bytes);
        }
        Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn find(&self, name: &str, dims: &[usize]) -> Result<&Stored, Error> {
        let stored = self.tensor(name).ok_or_else(|| self.missing(name, 0))?;
        let path = || self.path_of(stored);
        if stored.dims != dims {
            let (expected, found) = (dims.to_vec(), stored.dims.clone());
            return Err(Error::Shape { path: path(), name: name.into(), expected, found });
        }
        match stored.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(stored),
            other => {
                let found = other.to_string();
                Err(Error::Dtype { path: path(), name: name.into(), found })
            }
        }
    }

    /// The file that holds a tensor.
    pub(super) fn path_of(&self, stored: &Stored) -> PathBuf {
        self.files[stored.file].clone()
    }

    pub(super) fn missing(&self, name: &str, others: usize) -> Error {
        Error::Missing { folder: self.path.clone(), name: name.into(), others }
    }
}

/// Little-endian `bytes` as f32. [`Folder::find`] lets only these three types through.
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

/// What to say about a folder that has weights in another form.
fn hint(folder: &Path) -> String {
    let others = [
        ("pytorch_model.bin", "PyTorch pickles are not read (they can run code)"),
        ("pytorch_model.bin.index.json", "PyTorch pickles are not read (they can run code)"),
        ("adapter_model.safetensors", "this is an adapter, not a model; merge it into its base"),
    ];
    let found = others.iter().find(|(name, _)| folder.join(name).exists());
    found.map_or(String::new(), |(name, what)| {
        format!("; there is {name}, but {what}: save the model as safetensors first")
    })
}
