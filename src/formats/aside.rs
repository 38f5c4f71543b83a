//! A folder that is written aside, synced, and then put in its place in one step.
//!
//! Until then it bears a hidden name, and it is removed when writing fails. A failed sync is never retried: the system
//! may have dropped the pages and report success the second time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use half::bf16;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::header::LENGTH_BYTES;
use super::save::Dtype;
use super::{BoxError, Entry, Error, io};

/// Marks a folder's name as one that is still being written.
pub(super) const MARK: &str = ".tmp-";
/// Values converted and written at a time.
const PIECE: usize = 1 << 18;

/// Length and hash of a written file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Where a tensor's values come from.
pub(super) type Read<'a> = &'a mut dyn FnMut(&Entry) -> Result<Vec<f32>, BoxError>;

/// A folder under a hidden name, removed on drop unless it was published.
pub(super) struct Aside {
    path: PathBuf,
    pub(super) files: BTreeMap<String, Record>,
}

impl Aside {
    /// Makes a hidden folder in `parent`; `name` is the one it is meant to get.
    pub(super) fn create(parent: &Path, name: &str) -> Result<Aside, Error> {
        std::fs::create_dir_all(parent).map_err(io(parent, "create"))?;
        let path = parent.join(hidden(name));
        std::fs::create_dir(&path).map_err(io(&path, "create"))?;
        Ok(Aside { path, files: BTreeMap::new() })
    }

    /// Writes a small file.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = Output::create(self.path.join(name))?;
        file.write(bytes)?;
        self.files.insert(name.into(), file.finish()?);
        Ok(())
    }

    /// Writes `entries` as one safetensors file, asking `read` for one tensor after the other.
    pub(super) fn put_tensors(
        &mut self,
        name: &str,
        entries: &[Entry],
        dtype: Dtype,
        read: Read,
    ) -> Result<(), Error> {
        let path = self.path.join(name);
        let mut file = Output::create(path.clone())?;
        let header = header(entries, dtype).map_err(|reason| Error::Damaged { path: path.clone(), reason })?;
        file.write(&(header.len() as u64).to_le_bytes())?;
        file.write(&header)?;
        for entry in entries {
            let source = |source| Error::Source { name: entry.name.clone(), source };
            let values = read(entry).map_err(source)?;
            if values.len() != entry.count() {
                let (found, wants) = (values.len(), entry.count());
                return Err(source(format!("{found} values came, {wants} are needed").into()));
            }
            file.write_values(entry, &values, dtype)?;
        }
        self.files.insert(name.into(), file.finish()?);
        Ok(())
    }

    /// Gives the folder its name. Nothing may stand there.
    pub(super) fn rename(mut self, to: &Path) -> Result<(), Error> {
        sync_folder(&self.path)?;
        std::fs::rename(&self.path, to).map_err(io(to, "create"))?;
        self.path = PathBuf::new();
        sync_folder(to.parent().unwrap_or(Path::new(".")))
    }

    /// Moves the files into a folder that is already there, `last` after all others.
    pub(super) fn move_into(self, to: &Path, last: &str) -> Result<(), Error> {
        let first = self.files.keys().map(String::as_str).filter(|name| *name != last);
        for name in first.chain([last]) {
            let target = to.join(name);
            std::fs::rename(self.path.join(name), &target).map_err(io(&target, "create"))?;
        }
        sync_folder(to)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // The error that led here is the one to report; a leftover is swept by the next save.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A hidden name for `name` that no other folder of this or another process has.
pub(super) fn hidden(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".{name}{MARK}{}-{count}", std::process::id())
}

/// Removes what killed saves left in `folder`: hidden folders whose name is `ours`.
pub(super) fn sweep(folder: &Path, ours: impl Fn(&str) -> bool) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    for (_, path) in folders(folder)?.iter().filter(|(name, _)| ours(name)) {
        std::fs::remove_dir_all(path).map_err(io(path, "remove"))?;
    }
    Ok(())
}

/// Folders, not links to folders, directly in `folder`: name and path.
pub(super) fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io(folder, "read"))? {
        let entry = entry.map_err(io(folder, "read"))?;
        if entry.file_type().map_err(io(folder, "read"))?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// Makes the names in a folder durable. Windows has no such call and needs none.
pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path).and_then(|folder| folder.sync_all()).map_err(io(path, "sync"))?;
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

/// A file that is hashed as it is written.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Output {
    fn create(path: PathBuf) -> Result<Output, Error> {
        let file = File::create_new(&path).map_err(io(&path, "create"))?;
        Ok(Output { path, file: BufWriter::new(file), hash: Sha256::new(), bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(io(&self.path, "write"))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn write_values(&mut self, entry: &Entry, values: &[f32], dtype: Dtype) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(dtype.size() * values.len().min(PIECE));
        for (piece, at) in values.chunks(PIECE).zip((0..).step_by(PIECE)) {
            if let Some(bad) = narrow(piece, dtype, &mut bytes) {
                // The folder aside has gone when this is read: only the file's name means something.
                let path = self.path.file_name().unwrap_or_default().into();
                let name = entry.name.clone();
                return Err(Error::NotFinite { path, name, index: at + bad, value: piece[bad] });
            }
            self.write(&bytes)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Record, Error> {
        self.file.flush().map_err(io(&self.path, "write"))?;
        self.file.get_ref().sync_all().map_err(io(&self.path, "sync"))?;
        Ok(Record { bytes: self.bytes, sha256: hex(&self.hash.finalize()) })
    }
}

/// `values` as little-endian `dtype`, rounded to nearest even; the index of the first that is not finite there.
fn narrow(values: &[f32], dtype: Dtype, bytes: &mut Vec<u8>) -> Option<usize> {
    bytes.resize(dtype.size() * values.len(), 0);
    match dtype {
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

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
