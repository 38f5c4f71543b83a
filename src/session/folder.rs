//! A run's folder: who may write into it.

use std::{fs, io::ErrorKind, path::Path};

use serde_json::{Value, json};

use super::{Error, Source, fingerprint};
use crate::{data::Example, formats, settings::Config};

const SETTINGS: &str = "config.toml";
/// What runs of several phases were made from.
const INPUTS: &str = "inputs.json";
/// The last file of a model to appear.
const MODEL: &str = "config.json";
/// What runs leave beside their settings.
const TRACES: &[&str] = &["metrics.jsonl", "1-sft"];
/// What stands in the folder of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing that a run would touch.
    Vacant,
    /// This very run, to go on.
    Unfinished,
    /// This very run with its model.
    Finished,
}

/// Finds out whether `config.out` is free for this run. `goes_on`: whether a run that stands there may go on. Touches
/// nothing.
///
/// # Errors
/// If another run or a model is there already.
pub fn standing(config: &Config, goes_on: bool) -> Result<Standing, Error> {
    let out = config.out()?;
    let (path, shown) = (out.join(SETTINGS), out.display());
    if !path.exists() {
        formats::check_vacant(out)?;
        if let Some(file) = out.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
            return Err(Error::User(format!(
                "{shown}: {} is a file, not a folder; choose another --out",
                file.display()
            )));
        }
        let is_run = TRACES.iter().any(|trace| out.join(trace).exists())
            || formats::latest(out).is_ok_and(|latest| latest.found.is_some());
        return match is_run {
            true => Err(Error::User(format!("{shown} holds a run without its {SETTINGS}; choose another --out"))),
            false => Ok(Standing::Vacant),
        };
    }
    if let Some(change) = config.change_since(&Config::open(&path)?) {
        return Err(Error::User(format!(
            "{shown} already holds another run ({change}); nothing was touched. Choose another --out"
        )));
    }
    match (is_model(out), goes_on) {
        (true, true) => Ok(Standing::Finished),
        (false, true) => Ok(Standing::Unfinished),
        (true, false) => Err(Error::User(format!("{shown} already holds this run, finished; choose another --out"))),
        (false, false) => Err(Error::User(format!(
            "{shown} already holds this run, unfinished; go on with --resume, or choose another --out"
        ))),
    }
}

/// Makes `config.out` the folder of this run and writes the settings into it, unless this very run stands there.
///
/// # Errors
/// Those of [`standing`]; if the folder cannot be written.
pub(crate) fn claim(config: &Config, goes_on: bool) -> Result<(), Error> {
    if standing(config, goes_on)? != Standing::Vacant {
        return Ok(());
    }
    let out = config.out()?;
    let failed = |e: std::io::Error| Error::User(format!("cannot write into {}: {e}", out.display()));
    fs::create_dir_all(out).map_err(failed)?;
    fs::write(out.join(SETTINGS), config.to_toml()?).map_err(failed)
}

/// Checks that what stands in the folder of a run of several phases was made from these very samples and this model, of
/// which the settings tell only the names; notes them in a new folder.
///
/// # Errors
/// If it was made from others; if the folder cannot be written.
pub(crate) fn same_inputs(out: &Path, examples: &[Example], model: &Source) -> Result<(), Error> {
    let inputs = json!({ "data": fingerprint(examples), "model": model.fingerprint()? });
    let path = out.join(INPUTS);
    let failed = |e: std::io::Error| Error::User(format!("{}: {e}", path.display()));
    let was = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return fs::write(&path, inputs.to_string()).map_err(failed);
        }
        was => was.map_err(failed)?,
    };
    let was: Value = serde_json::from_str(&was).unwrap_or_default();
    match inputs.as_object().into_iter().flatten().find(|(key, is)| was.get(key.as_str()) != Some(*is)) {
        None => Ok(()),
        Some((key, _)) => Err(Error::User(format!(
            "{} already holds phases whose {key} had other contents; nothing was touched. Choose another --out",
            out.display()
        ))),
    }
}

/// Whether `folder` is that of a run.
pub(crate) fn is_claimed(folder: &Path) -> bool {
    folder.join(SETTINGS).exists()
}

/// Whether a finished model or adapter stands in `folder`.
pub(crate) fn is_model(folder: &Path) -> bool {
    folder.join(MODEL).exists() || formats::is_adapter(folder)
}

/// Removes what a kill left of a model that was being moved into a folder of this run.
///
/// # Errors
/// If a model stands there, or a file cannot be removed.
pub(crate) fn sweep(folder: &Path) -> Result<(), Error> {
    while !is_model(folder) {
        match formats::check_vacant(folder) {
            Err(formats::Error::Exists { path }) => fs::remove_file(&path)
                .map_err(|e| Error::User(format!("cannot remove the unfinished {}: {e}", path.display())))?,
            other => return Ok(other?),
        }
    }
    Ok(formats::check_vacant(folder)?)
}
