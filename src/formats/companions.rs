//! The files beside the weights that make a model folder usable: tokenizer, chat template, generation settings.

use std::path::{Path, PathBuf};

use super::{Error, io, read_small};

/// Copied as they are where the source has them.
const NAMES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];
/// Largest of them that is copied; the largest known tokenizer.json has 35 MB.
const MAX_BYTES: u64 = 128 << 20;

/// The companions of a model folder, in memory, so that a run can save even when its source has gone.
#[derive(Debug, Clone, Default)]
pub struct Companions {
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
}

impl Companions {
    /// Reads what `folder` has of tokenizer, chat template and generation settings. Call it before any long work.
    ///
    /// A link is followed within the folder, and out of it only as the Hugging Face cache lays its files out
    /// (`snapshots/<commit>/name -> ../../blobs/<hash>`): a stranger's folder must not get other files published.
    ///
    /// # Errors
    /// The folder or a file cannot be read, is no regular file, is too large, or links elsewhere.
    pub fn read(folder: &Path) -> Result<Companions, Error> {
        let root = root(folder)?;
        let mut files = Vec::new();
        for name in NAMES {
            let path = folder.join(name);
            // A dangling link is there too, and is an error.
            if path.symlink_metadata().is_err() {
                continue;
            }
            let target = path.canonicalize().map_err(io(&path, "read"))?;
            if !target.starts_with(&root) {
                let target = target.display();
                let reason = format!("links to {target}, outside the model folder; put a copy there");
                return Err(Error::Damaged { path, reason });
            }
            files.push((*name, read_small(&target, MAX_BYTES)?));
        }
        Ok(Companions { files })
    }

    /// Names of the files that were found.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| *name)
    }

    /// Whether `name` is a file that a saved model may have.
    pub(super) fn is_one(name: &str) -> bool {
        NAMES.contains(&name)
    }
}

/// The folder that links may not leave: the model folder, or its whole entry in the Hugging Face cache.
fn root(folder: &Path) -> Result<PathBuf, Error> {
    let own = folder.canonicalize().map_err(io(folder, "read"))?;
    let snapshots = own.parent().filter(|parent| parent.ends_with("snapshots"));
    let entry = snapshots.and_then(Path::parent).filter(|entry| entry.join("blobs").is_dir());
    Ok(entry.map_or(own.clone(), Path::to_path_buf))
}
