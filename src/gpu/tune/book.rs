//! Choices in a file: the user's cache, and the record of a run.
//!
//! A file is read as a stranger's: what is damaged, of another device, driver or version, or of other shaders, is not used.
//! It is written aside and renamed, so that no reader ever sees half of one; of two writers, one may lose entries.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    super::{Family, Form, Gpu, Identity},
    Effort,
};

/// Longest file that is read.
const MOST_BYTES: u64 = 4 << 20;
/// Entries that are kept, the newest.
const MOST_ENTRIES: usize = 2000;

/// The form that shapes of a class take, and how that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The portable kernel's name.
    pub family: String,
    /// Digest of the shaders of all forms.
    pub sources: String,
    /// Which shapes.
    pub class: String,
    /// The chosen form; `None` is the portable one.
    pub form: Option<String>,
    /// Whether forms that round to f16 were allowed.
    #[serde(default)]
    pub half: bool,
    /// How thoroughly it was measured; `None` where nothing was.
    #[serde(default)]
    pub effort: Option<Effort>,
    /// Seconds of one dispatch, by form; the portable one's name is empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seconds: BTreeMap<String, f64>,
    /// Forms that are not to be taken on this device, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, String>,
}

impl Entry {
    /// A choice that nothing was measured for.
    pub(super) fn new(family: &'static Family, class: &str, form: Form) -> Self {
        Self {
            family: family.kernel.name.into(),
            sources: sources(family),
            class: class.into(),
            form: form.map(|form| form.name.into()),
            half: false,
            effort: None,
            seconds: BTreeMap::new(),
            rejected: BTreeMap::new(),
        }
    }

    /// The same question, perhaps with another answer.
    fn is_about(&self, other: &Self) -> bool {
        (&self.family, &self.class, self.half) == (&other.family, &other.class, other.half)
    }
}

/// Why a file of choices is not used, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not one of ours.
    #[error("{} is no file of kernel choices: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Made elsewhere.
    #[error("{} was made on {}, version {version}", path.display(), device.adapter)]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Where.
        device: Box<Identity>,
        /// By which version of this program.
        version: String,
    },
    /// The system's own words.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The contents of a file.
#[derive(Serialize, Deserialize)]
struct Page {
    device: Identity,
    version: String,
    entries: Vec<Entry>,
}

/// Choices for one device, most often those of a file.
pub struct Book {
    /// `None`: they are not kept.
    path: Option<PathBuf>,
    device: Identity,
    entries: Vec<Entry>,
}

impl Book {
    /// The file at `path` for a device; empty if there is none. What cannot be used is left out, and the second result says
    /// why; it is replaced when something is added.
    pub fn open(path: &Path, gpu: &Gpu) -> (Self, Option<Error>) {
        let device = gpu.identity();
        let (entries, why) = match read(path, &device) {
            Ok(entries) => (entries, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        (Self { path: Some(path.into()), device, entries }, why)
    }

    /// One without a file.
    pub(super) fn empty(gpu: &Gpu) -> Self {
        Self { path: None, device: gpu.identity(), entries: Vec::new() }
    }

    /// The cache of a device in a folder: one file for each device, driver and version of this program.
    pub fn cache(folder: &Path, gpu: &Gpu) -> (Self, Option<Error>) {
        let key = serde_json::json!([gpu.identity(), version()]).to_string();
        Self::open(&folder.join(format!("kernels-{}.json", digest([key.as_str()]))), gpu)
    }

    /// What is in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Replaces or adds entries; what others have added meanwhile stays.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let there = self.path.as_ref().and_then(|path| read(path, &self.device).ok());
        let mut all = there.unwrap_or_else(|| std::mem::take(&mut self.entries));
        all.retain(|old| !entries.iter().any(|new| new.is_about(old)));
        all.extend(entries);
        all.drain(..all.len().saturating_sub(MOST_ENTRIES));
        self.set(all)
    }

    /// Replaces everything.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        self.entries = entries;
        let Some(path) = &self.path else { return Ok(()) };
        let page = Page { device: self.device.clone(), version: version().into(), entries: self.entries.clone() };
        let text = serde_json::to_string_pretty(&page).unwrap_or_default();
        write(path, &text).map_err(|source| Error::Io { path: path.clone(), source })
    }
}

/// Where choices are kept between runs: `UNDERDOG_CACHE`, or the user's cache folder; `None` if there is neither.
pub fn cache_folder() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    match std::env::var_os("UNDERDOG_CACHE") {
        Some(folder) => Some(PathBuf::from(folder)).filter(|folder| !folder.as_os_str().is_empty()),
        None => Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("underdog")),
    }
}

pub(super) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Digest of everything that decides what the forms of a family compute.
pub(super) fn sources(family: &Family) -> String {
    let forms = family.alternatives.iter().flat_map(|form| {
        let constants = format!("{:?}", form.constants);
        [form.name.to_owned(), form.kernel.name.to_owned(), constants, form.kernel.module.source.to_owned()]
    });
    let all: Vec<String> = [family.kernel.module.source.to_owned()].into_iter().chain(forms).collect();
    digest(all.iter().map(String::as_str))
}

pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a file of ours, if there is one that is not too long.
pub(super) fn text(path: &Path) -> Option<String> {
    let bytes = fs::metadata(path).ok()?.len();
    if bytes > MOST_BYTES { None } else { fs::read_to_string(path).ok() }
}

fn read(path: &Path, device: &Identity) -> Result<Vec<Entry>, Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let damaged = |reason: String| Error::Damaged { path: path.into(), reason };
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?.len(),
    };
    if bytes > MOST_BYTES {
        return Err(damaged(format!("it has {bytes} bytes")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let page: Page = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    if page.device != *device || page.version != version() {
        return Err(Error::Foreign { path: path.into(), device: Box::new(page.device), version: page.version });
    }
    Ok(page.entries)
}

pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = folder.join(format!(".{name}.tmp-{}-{count}", std::process::id()));
    let written = fs::write(&aside, text).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}
