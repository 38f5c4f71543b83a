//! The one door to files: regular files only, of a bounded size; and files that appear whole or not at all.
//!
//! Opening a FIFO could wait forever and a device may never end, so what is neither file nor link to one is refused before
//! it is opened. Errors are plain [`io::Error`]s without the path, which the caller adds.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile};

/// Follows the name in the hidden name of what is still being written.
pub(super) const MARK: &str = ".tmp-";
/// Bytes hashed at a time.
const PIECE: usize = 1 << 20;

/// Opens a regular file of at most `most` bytes for reading.
///
/// # Errors
/// There is none, it is something else (a folder, a FIFO, a device), or larger ([`ErrorKind::FileTooLarge`]).
pub fn open_regular(path: &Path, most: u64) -> io::Result<File> {
    let metadata = std::fs::metadata(path)?;
    match metadata.len() {
        _ if !metadata.is_file() => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
        bytes if bytes > most => Err(too_large(bytes, most)),
        _ => File::open(path),
    }
}

fn too_large(bytes: u64, most: u64) -> io::Error {
    let reason = format!("{bytes} bytes is too large; {most} are read at most");
    io::Error::new(ErrorKind::FileTooLarge, reason)
}

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open_regular`]; it grows beyond `most` or cannot be read.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path, most)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(bytes.len() as u64, most)) } else { Ok(bytes) }
}

/// As [`read_regular`]; `None` where there is no file of this name.
///
/// # Errors
/// As [`read_regular`].
pub fn read_if_there(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    match read_regular(path, most) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Writes a file beside `path` under a hidden name, syncs it and gives it the name, so that whoever opens `path` finds the
/// old file or the whole new one. A failed sync is never retried: the system may report success the second time.
///
/// # Errors
/// What `write` reports; the file cannot be written or renamed. What was there is then untouched.
pub fn write_aside(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<()> {
    written(path, write)?.persist(path)?;
    sync_folder(parent(path))
}

/// As [`write_aside`] of a file that must not be there yet; returns the file, open for reading and writing.
///
/// # Errors
/// As [`write_aside`]; something has the name already ([`ErrorKind::AlreadyExists`]).
pub fn write_new(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<File> {
    let file = written(path, write)?.persist_noclobber(path)?;
    sync_folder(parent(path))?;
    Ok(file)
}

/// A file beside `path` that is written and synced.
fn written(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<NamedTempFile> {
    let name = hidden(path.file_name().unwrap_or_default());
    let file = builder(&name, 0o666).tempfile_in(parent(path))?;
    let mut writer = BufWriter::new(file.as_file());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    Ok(file)
}

/// The folder that a path lies in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// How the hidden name of what is to be called `name` begins.
pub(super) fn hidden(name: impl AsRef<OsStr>) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(MARK);
    hidden
}

/// Makes hidden files and folders with the rights that a plain `create` gives, not those of private temporary files.
pub(super) fn builder(prefix: &OsString, mode: u32) -> Builder<'_, 'static> {
    let mut builder = Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Folders, not links to folders, directly in `folder`: name and path.
pub(super) fn folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// Makes the names in a folder durable. Windows has no such call and needs none.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Fills `into` with a file's bytes from byte `start` on.
pub(super) fn read_at(file: &File, start: u64, into: &mut [u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, into, start);
    #[cfg(not(unix))]
    {
        use std::io::Seek;
        let mut file = file.try_clone()?;
        file.seek(io::SeekFrom::Start(start))?;
        file.read_exact(into)
    }
}

/// SHA-256 of a regular file, in hexadecimal.
///
/// # Errors
/// As [`open_regular`]; it cannot be read.
pub fn hash(path: &Path) -> io::Result<String> {
    let mut file = open_regular(path, u64::MAX)?;
    let (mut hash, mut bytes) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&bytes[..count]),
        }
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a name from a file may be joined to a folder: one plain component on every system.
pub(super) fn is_basename(name: &str) -> bool {
    let plain = !name.contains(['/', '\\', ':', '\0']);
    plain && !name.is_empty() && name != "." && name != ".."
}
