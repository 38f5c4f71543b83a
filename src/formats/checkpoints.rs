//! Checkpoints of a training run: `checkpoint-N/`, whole or not there at all.
//!
//! Each is the folder of a model or an adapter in f32, further files of named tensors (optimizer moments, a second model), `state.json` with
//! whatever the run keeps beside tensors, and `MANIFEST.json`, written last, with the length and SHA-256 of every
//! file. One process at a time may save into a run's folder; whoever runs the training sees to that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::adapter::{AdapterFolder, is_adapter};
use super::aside::{Aside, Record, remove_partial};
use super::encode::{Dtype, write_tensors};
use super::error::{BoxError, Error, io};
use super::export::{Contents, SHARD_BYTES};
use super::files::{MARK, folders, hash, hidden, is_basename, read_regular};
use super::folder::Folder;
use super::source::Entry;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

const PREFIX: &str = "checkpoint-";
const STATE: &str = "state.json";
const MANIFEST: &str = "MANIFEST.json";
const FORMAT: u32 = 1;
/// Largest manifest or state that is read.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// What a checkpoint holds, apart from the values.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Optimizer steps taken.
    pub step: u64,
    /// The model or the adapter, saved in f32 so that a resumed run has the same bits.
    pub contents: Contents<'a>,
    /// Further tensors.
    pub tensors: &'a [TensorFile<'a>],
    /// Everything else that the run needs to go on.
    pub state: &'a Value,
}

/// A safetensors file beside the model, in f32.
#[derive(Debug, Clone, Copy)]
pub struct TensorFile<'a> {
    /// The file's name without `.safetensors`, e.g. `optimizer`; not `model`.
    pub stem: &'a str,
    /// Its tensors.
    pub entries: &'a [Entry],
}

/// A whole checkpoint.
#[derive(Debug)]
pub struct Restored {
    /// Optimizer steps taken.
    pub step: u64,
    /// The checkpoint's folder.
    pub path: PathBuf,
    /// What was given as [`Run::state`].
    pub state: Value,
    /// What was trained.
    pub saved: Saved,
}

/// The weights in a checkpoint.
#[derive(Debug)]
pub enum Saved {
    /// Of a model.
    Model(Folder),
    /// Of an adapter.
    Adapter(Box<AdapterFolder>),
}

/// A checkpoint that cannot be used.
#[derive(Debug)]
pub struct Skipped {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: Error,
}

/// What [`latest`] found.
#[derive(Debug)]
pub struct Latest {
    /// The newest whole checkpoint.
    pub found: Option<Restored>,
    /// Newer ones that are damaged, newest first. They are left as they are.
    pub skipped: Vec<Skipped>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    step: u64,
    files: BTreeMap<String, Record>,
}

/// Writes `folder/checkpoint-N` and returns its path.
///
/// `read` is asked once for each tensor, in order: first with the file `model`, then with each [`TensorFile::stem`].
/// A checkpoint of the same step is replaced, a folder of its name that is none is not ([`Error::Exists`]); a kill at any moment leaves every other one whole. What killed saves left
/// behind is removed.
///
/// # Errors
/// The disk refuses, `read` fails or gives another number of values than the entry has, or a value is not finite. No
/// checkpoint is then lost or half written.
pub fn save_run<E: Into<BoxError>>(
    folder: &Path,
    run: &Run,
    mut read: impl FnMut(&str, &Entry) -> Result<Vec<f32>, E>,
) -> Result<PathBuf, Error> {
    remove_partial(folder, is_leftover)?;
    let name = format!("{PREFIX}{}", run.step);
    let path = folder.join(&name);
    let replaces = path.symlink_metadata().is_ok();
    if replaces && !path.join(MANIFEST).exists() {
        return Err(Error::Exists { path }); // whatever it is, it is not ours to replace
    }
    let mut aside = Aside::create(folder, &name)?;
    let model = &mut |entry: &Entry| read("model", entry).map_err(Into::into);
    run.contents.put(&mut aside, Dtype::F32, SHARD_BYTES, model)?;
    for TensorFile { stem, entries } in run.tensors {
        let file = format!("{stem}.safetensors");
        let read = &mut |entry: &Entry| read(stem, entry).map_err(Into::into);
        aside.write(&file, |file| write_tensors(file, entries, Dtype::F32, read))?;
    }
    aside.put(STATE, run.state.to_string().as_bytes())?;
    let manifest = Manifest { format: FORMAT, step: run.step, files: aside.files.clone() };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Error::Damaged { path: folder.join(MANIFEST), reason: error.to_string() })?;
    aside.put(MANIFEST, &text)?;
    let old = set_aside(folder, &name);
    if replaces {
        std::fs::rename(&path, &old).map_err(io(&path, "replace"))?;
    }
    if let Err(error) = aside.rename(&path) {
        if replaces {
            // Best effort: the error that led here is the one to report.
            let _ = std::fs::rename(&old, &path);
        }
        return Err(error);
    }
    if replaces {
        std::fs::remove_dir_all(&old).map_err(io(&old, "remove"))?;
    }
    Ok(path)
}

/// The newest checkpoint in `folder` whose every file has the length and hash of its manifest.
///
/// # Errors
/// The folder cannot be read. A damaged checkpoint is no error: it is passed over and listed.
pub fn latest(folder: &Path) -> Result<Latest, Error> {
    let mut skipped = Vec::new();
    for (_, path) in list(folder)? {
        match Restored::open(&path) {
            Ok(restored) => {
                return Ok(Latest { found: Some(restored), skipped });
            }
            Err(error) => skipped.push(Skipped { path, error }),
        }
    }
    Ok(Latest { found: None, skipped })
}

/// Removes all but the `keep` newest whole checkpoints, and at least one stays. Returns what was removed.
///
/// Folders without a manifest that fits are not ours to remove and do not count.
///
/// # Errors
/// The folder cannot be read or a checkpoint cannot be removed.
pub fn prune(folder: &Path, keep: usize) -> Result<Vec<PathBuf>, Error> {
    remove_partial(folder, is_leftover)?;
    let whole = list(folder)?.into_iter().filter(|(_, path)| check_sizes(path).is_ok());
    let mut removed = Vec::new();
    for (step, path) in whole.skip(keep.max(1)) {
        // Hidden first, so that a kill halfway leaves no checkpoint that looks damaged.
        let doomed = set_aside(folder, &format!("{PREFIX}{step}"));
        std::fs::rename(&path, &doomed).map_err(io(&path, "remove"))?;
        std::fs::remove_dir_all(&doomed).map_err(io(&doomed, "remove"))?;
        removed.push(path);
    }
    Ok(removed)
}

impl Restored {
    /// Opens one checkpoint, verifying length and hash of every file.
    ///
    /// # Errors
    /// A file is missing, cannot be read or is not what the manifest says.
    pub fn open(path: &Path) -> Result<Restored, Error> {
        let manifest = check_sizes(path)?;
        for (name, record) in &manifest.files {
            let file = path.join(name);
            if hash(&file).map_err(io(&file, "read"))? != record.sha256 {
                let reason = "its contents have changed since it was saved (SHA-256)".into();
                return Err(Error::Damaged { path: file, reason });
            }
        }
        let state = read_json(&path.join(STATE))?;
        let saved = match is_adapter(path) {
            true => Saved::Adapter(Box::new(AdapterFolder::open(path)?)),
            false => Saved::Model(Folder::open(path)?),
        };
        Ok(Restored { step: manifest.step, path: path.into(), state, saved })
    }

    /// Opens the tensors that were saved as [`TensorFile::stem`].
    ///
    /// # Errors
    /// As [`Folder::open_file`].
    pub fn tensors(&self, stem: &str) -> Result<Folder, Error> {
        Folder::open_file(&self.path.join(format!("{stem}.safetensors")))
    }
}

/// Where a checkpoint goes that is about to be removed.
fn set_aside(folder: &Path, name: &str) -> PathBuf {
    let mut hidden = hidden(name);
    hidden.push("old");
    folder.join(hidden)
}

/// The checkpoints in `folder`, newest first, whole or not.
fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found: Vec<_> = folders(folder)
        .map_err(io(folder, "read"))?
        .into_iter()
        .filter_map(|(name, path)| Some((step_of(&name)?, path)))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The step of the checkpoint in a folder of this name.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(PREFIX)?.parse().ok()?;
    (name == format!("{PREFIX}{step}")).then_some(step)
}

/// Whether a hidden folder is a checkpoint that a kill left half written or half removed.
fn is_leftover(name: &str) -> bool {
    name.starts_with(&format!(".{PREFIX}")) && name.contains(MARK)
}

/// The manifest of a checkpoint, if every file has the length that it says.
fn check_sizes(path: &Path) -> Result<Manifest, Error> {
    let at = path.join(MANIFEST);
    let damaged = |reason| Error::Damaged { path: at.clone(), reason };
    let manifest: Manifest = read_json(&at)?;
    if manifest.format != FORMAT {
        return Err(damaged(format!("format {} is not one this version reads", manifest.format)));
    }
    if step_of(&path.file_name().unwrap_or_default().to_string_lossy()).is_some_and(|step| step != manifest.step) {
        return Err(damaged(format!("it is of step {}, and the folder's name says another", manifest.step)));
    }
    for (name, record) in &manifest.files {
        if !is_basename(name) {
            return Err(damaged(format!("{name:?} is not the name of a file in this folder")));
        }
        let file = path.join(name);
        let actual = std::fs::metadata(&file).map_err(io(&file, "read"))?.len();
        if actual != record.bytes {
            return Err(Error::Length { path: file, expected: record.bytes, actual });
        }
    }
    Ok(manifest)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = read_regular(path, MAX_JSON_BYTES).map_err(io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Damaged { path: path.into(), reason: error.to_string() })
}
