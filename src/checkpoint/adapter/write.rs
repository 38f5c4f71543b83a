//! Writing a PEFT folder.

use std::path::Path;

use super::{AdapterConfig, CONFIG, TENSORS, peft};
use crate::checkpoint::aside::{Aside, MARK, Read, sweep};
use crate::checkpoint::save::pretty;
use crate::checkpoint::{BoxError, Companions, Dtype, Entry, Error, check_vacant, io};

/// What an adapter's folder is made of, apart from the values.
#[derive(Debug, Clone, Copy)]
pub struct AdapterFiles<'a> {
    /// Its settings; `targets` names every adapted module.
    pub config: &'a AdapterConfig,
    /// Name or folder of the base, as PEFT notes it.
    pub base: &'a str,
    /// Tokenizer and chat template.
    pub companions: &'a Companions,
    /// Every tensor by PEFT's name, in the order in which it is asked for.
    pub entries: &'a [Entry],
}

/// Writes an adapter's folder in f32. `read` is asked once for each entry, in order, for its values in PEFT's layout.
///
/// As [`crate::checkpoint::save_model`]: whole or not at all; into a folder that is there, with `adapter_config.json` last.
///
/// # Errors
/// A model or an adapter is already in `out`, the disk refuses, `read` fails or gives another number of values than the entry
/// has, a value is not finite. `out` is then as it was.
pub fn save_adapter<E: Into<BoxError>>(
    out: &Path,
    files: &AdapterFiles,
    mut read: impl FnMut(&Entry) -> Result<Vec<f32>, E>,
) -> Result<(), Error> {
    check_vacant(out)?;
    let out = &std::path::absolute(out).map_err(io(out, "create"))?;
    let there = out.is_dir();
    let parent = if there { out } else { out.parent().unwrap_or(out) };
    let name = out.file_name().unwrap_or(CONFIG.as_ref()).to_string_lossy();
    sweep(parent, |hidden| hidden.starts_with(&format!(".{name}{MARK}")))?;
    let mut aside = Aside::create(parent, &name)?;
    put_adapter(&mut aside, files, &mut |entry| read(entry).map_err(Into::into))?;
    check_vacant(out)?;
    if there { aside.move_into(out, CONFIG) } else { aside.rename(out) }
}

/// Writes the files of an adapter into `aside`.
pub(in crate::checkpoint) fn put_adapter(aside: &mut Aside, files: &AdapterFiles, read: Read) -> Result<(), Error> {
    aside.put(CONFIG, &pretty(&peft::write(files.config, files.base)))?;
    for (name, bytes) in &files.companions.files {
        aside.put(name, bytes)?;
    }
    aside.put_tensors(TENSORS, files.entries, Dtype::F32, read)
}
