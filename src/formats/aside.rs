//! A folder that is written aside under a hidden name, synced, and then put in its place in one step. It is removed when
//! writing fails.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::error::{Error, io};
use super::files::{self, folders, hex, hidden, sync_folder};

/// Length and hash of a written file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A folder under a hidden name, removed on drop unless it got its own.
pub(super) struct Aside {
    folder: TempDir,
    pub(super) files: BTreeMap<String, Record>,
}

impl Aside {
    /// Makes a hidden folder in `parent`; `name` is the one it is meant to get.
    pub(super) fn create(parent: &Path, name: &str) -> Result<Aside, Error> {
        std::fs::create_dir_all(parent).map_err(io(parent, "create"))?;
        let folder = files::builder(&hidden(name), 0o777).tempdir_in(parent).map_err(io(parent, "write into"))?;
        Ok(Aside { folder, files: BTreeMap::new() })
    }

    /// Writes a small file.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(name, |file| file.write(bytes))
    }

    /// Writes a file as `write` does.
    pub(super) fn write(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut Output) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.folder.path().join(name);
        let file = File::create_new(&path).map_err(io(&path, "create"))?;
        let mut file = Output { path, file: BufWriter::new(file), hash: Sha256::new(), bytes: 0 };
        write(&mut file)?;
        file.file.flush().map_err(io(&file.path, "write"))?;
        file.file.get_ref().sync_all().map_err(io(&file.path, "sync"))?;
        self.files.insert(name.into(), Record { bytes: file.bytes, sha256: hex(&file.hash.finalize()) });
        Ok(())
    }

    /// Gives the folder its name. Nothing may stand there.
    pub(super) fn rename(self, to: &Path) -> Result<(), Error> {
        let path = self.folder.path();
        sync_folder(path).map_err(io(path, "sync"))?;
        std::fs::rename(path, to).map_err(io(to, "create"))?;
        let _ = self.folder.keep();
        let parent = files::parent(to);
        sync_folder(parent).map_err(io(parent, "sync"))
    }

    /// Moves the files into a folder that is already there, `last` after all others.
    pub(super) fn move_into(self, to: &Path, last: &str) -> Result<(), Error> {
        let first = self.files.keys().map(String::as_str).filter(|name| *name != last);
        for name in first.chain([last]) {
            let target = to.join(name);
            std::fs::rename(self.folder.path().join(name), &target).map_err(io(&target, "create"))?;
        }
        sync_folder(to).map_err(io(to, "sync"))
    }
}

/// Removes what killed saves left in `folder`: hidden folders whose name is `ours`.
pub(super) fn remove_partial(folder: &Path, ours: impl Fn(&str) -> bool) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    for (_, path) in folders(folder).map_err(io(folder, "read"))?.iter().filter(|(name, _)| ours(name)) {
        std::fs::remove_dir_all(path).map_err(io(path, "remove"))?;
    }
    Ok(())
}

/// A file that is hashed as it is written.
pub(super) struct Output {
    pub(super) path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Output {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(io(&self.path, "write"))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
