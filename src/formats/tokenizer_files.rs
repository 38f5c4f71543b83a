//! The files beside the weights that make a model folder usable: tokenizer, chat template, generation settings.

use std::path::{Path, PathBuf};

use super::error::{Error, io};
use super::files::read_regular;
use super::source::TokenizerFiles;

/// Largest of them that is copied; the largest known tokenizer.json has 35 MB.
const MAX_BYTES: u64 = 128 << 20;

/// Reads what `folder` has of tokenizer, chat template and generation settings. Call it before any long work.
///
/// A link is followed within the folder, and out of it only as the Hugging Face cache lays its files out
/// (`snapshots/<commit>/name -> ../../blobs/<hash>`): a stranger's folder must not get other files published.
///
/// # Errors
/// The folder or a file cannot be read, is no regular file, is too large, or links elsewhere.
pub fn read_tokenizer(folder: &Path) -> Result<TokenizerFiles, Error> {
    let root = root(folder)?;
    let mut files = Vec::new();
    for name in TokenizerFiles::NAMES {
        let path = folder.join(name);
        // A dangling link is there too, and is an error.
        if path.symlink_metadata().is_err() {
            continue;
        }
        let target = path.canonicalize().map_err(io(&path, "read"))?;
        if !target.starts_with(&root) {
            let reason = format!("links to {}, outside the model folder; put a copy there", target.display());
            return Err(Error::Damaged { path, reason });
        }
        files.push((name, read_regular(&target, MAX_BYTES).map_err(io(&path, "read"))?));
    }
    Ok(TokenizerFiles { files })
}

/// The folder that links may not leave: the model folder, or its whole entry in the Hugging Face cache.
fn root(folder: &Path) -> Result<PathBuf, Error> {
    let own = folder.canonicalize().map_err(io(folder, "read"))?;
    let snapshots = own.parent().filter(|parent| parent.ends_with("snapshots"));
    let entry = snapshots.and_then(Path::parent).filter(|entry| entry.join("blobs").is_dir());
    Ok(entry.map_or(own.clone(), Path::to_path_buf))
}
