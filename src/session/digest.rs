//! Digests of files, remembered by where a file is and how it looks, so that large ones are read once.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::{
    formats::files::{self, hex},
    platform,
};
use sha2::{Digest, Sha256};

/// In the user's cache folder.
const FILE: &str = "digests.json";
/// Entries that are remembered.
const MOST: usize = 4096;
/// A file that changed so recently may change again without looking different.
const SETTLED: Duration = Duration::from_secs(2);

/// How a file looks, and what was read of it then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    bytes: u64,
    /// Nanoseconds since 1970 of the last change of its contents, and of its entry in the file system.
    modified: i128,
    changed: i128,
    inode: u64,
    sha256: String,
}

impl Known {
    fn of(metadata: &Metadata) -> Option<Self> {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|time| time.as_nanos() as i128);
        let modified = since(metadata.modified().ok()?)?;
        #[cfg(unix)]
        let (changed, inode) = {
            use std::os::unix::fs::MetadataExt;
            (i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()), metadata.ino())
        };
        #[cfg(not(unix))]
        let (changed, inode) = (modified, 0);
        Some(Self { bytes: metadata.len(), modified, changed, inode, sha256: String::new() })
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
        now - self.modified.max(self.changed) > SETTLED.as_nanos() as i128
    }

    fn looks_like(&self, other: &Self) -> bool {
        Self { sha256: String::new(), ..self.clone() } == *other
    }
}

/// SHA-256 over the names and contents of some files.
///
/// # Errors
/// If one cannot be read.
pub(super) fn of_files<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<String, Error> {
    let cache = platform::cache_folder().map(|folder| folder.join(FILE));
    let mut known: BTreeMap<PathBuf, Known> =
        cache.as_ref().and_then(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).unwrap_or_default();
    let mut paths: Vec<&Path> = paths.into_iter().collect();
    paths.sort_unstable();
    let (mut hash, mut is_new) = (Sha256::new(), false);
    for path in paths {
        let failed = |e: std::io::Error| Error::User(format!("cannot read {}: {e}", path.display()));
        let place = fs::canonicalize(path).map_err(failed)?;
        let looks = Known::of(&fs::metadata(&place).map_err(failed)?);
        let found = known.get(&place).zip(looks.as_ref()).filter(|(known, looks)| known.looks_like(looks));
        let sha256 = match found {
            Some((known, _)) => known.sha256.clone(),
            None => files::hash(&place).map_err(failed)?,
        };
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(&sha256);
        if let Some(looks) = looks.filter(|looks| known.get(&place).is_none_or(|known| !known.looks_like(looks))) {
            known.remove(&place);
            if looks.is_settled() {
                known.insert(place, Known { sha256, ..looks });
            }
            is_new = true;
        }
    }
    if let Some(cache) = cache.filter(|_| is_new) {
        while known.len() > MOST {
            known.pop_first();
        }
        // Best effort: without it, files are read again.
        let folder = cache.parent().unwrap_or(Path::new("."));
        let text = serde_json::to_vec(&known).unwrap_or_default();
        let _ = fs::create_dir_all(folder).and_then(|()| files::write_aside(&cache, |file| file.write_all(&text)));
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_names_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let digest = |paths: &[&PathBuf]| of_files(paths.iter().map(|path| path.as_path())).unwrap();
        let (a, b) = (file("a", "1"), file("b", "2"));
        let both = digest(&[&a, &b]);
        assert_eq!(both, digest(&[&b, &a]));
        assert_ne!(both, digest(&[&a]));
        file("a", "3");
        assert_ne!(both, digest(&[&a, &b]), "as long, and just as old");
        file("a", "1");
        assert_eq!(both, digest(&[&a, &b]));
        assert!(of_files([folder.path().join("c").as_path()]).unwrap_err().to_string().contains("cannot read"));
    }
}
