//! A run directory: whose it is, and who may write into it. `config.toml` appears first, whole, and says which run it is; the
//! process that works in it holds a lock on that file, which ends with the process.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{error::Error, key};
use crate::{
    formats::{self, files},
    settings::Config,
};

const SETTINGS: &str = "config.toml";
/// Settings of no more bytes than this are blank: whole ones name themselves in their first line.
const EMPTY: u64 = 4;
/// What runs of several phases were made from.
const INPUTS: &str = "inputs.json";
/// The last file of a model to appear.
const MODEL: &str = "config.json";
/// What every run may write beside its settings and its model, and the start of what it numbers.
const OWN: &[&str] = &["metrics.jsonl", "tuning.json", "profile.json", INPUTS];
const NUMBERED: &[&str] = &["checkpoint-", "weak-"];
/// What stands in a run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing that a run would touch.
    New,
    /// This very run, to go on.
    Unfinished,
    /// This very run with its model.
    Finished,
}

/// The directory of a run, locked where the run has begun.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    state: State,
    /// Its settings, open as long as this process works in it.
    lock: Option<File>,
}

impl Directory {
    /// Finds out whether `config.out` is free for this run. `goes_on`: whether a run that stands there may go on. `also`: names
    /// that the run writes beside those of every run. Touches nothing.
    ///
    /// # Errors
    /// If another run, a model or something of the user's is there already, or another process works there.
    pub fn open(config: &Config, goes_on: bool, also: &[String]) -> Result<Self, Error> {
        let (path, shown) = (config.out()?.to_owned(), config.out()?.display());
        let found = |state, lock| Ok(Self { path: path.clone(), state, lock });
        let begun = match begun(&path)? {
            Some((_, text))
                if text.len() as u64 <= EMPTY && text.trim().is_empty() && names(&path)?.iter().all(is_start) =>
            {
                None
            }
            begun => begun,
        };
        let Some((lock, _)) = begun else {
            check_free(&path, also)?;
            return found(State::New, None);
        };
        if let Some(change) = config.change_since(&Config::open(&path.join(SETTINGS))?) {
            return Err(Error::User(format!(
                "{shown} already holds another run ({change}); nothing was touched. Choose another --out"
            )));
        }
        match (is_model(&path), goes_on) {
            (true, true) => found(State::Finished, Some(lock)),
            (false, true) => found(State::Unfinished, Some(lock)),
            (true, false) => {
                Err(Error::User(format!("{shown} already holds this run, finished; choose another --out")))
            }
            (false, false) => Err(Error::User(format!(
                "{shown} already holds this run, unfinished; go on with --resume, or choose another --out"
            ))),
        }
    }

    /// What stood in it when it was opened.
    pub fn state(&self) -> State {
        self.state
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the settings into a new directory, which is this run's from then on.
    ///
    /// # Errors
    /// If it cannot be written, or another process was faster.
    pub fn create(&mut self, config: &Config) -> Result<(), Error> {
        if self.lock.is_some() {
            return Ok(());
        }
        let failed = |e: std::io::Error| Error::User(format!("cannot write into {}: {e}", self.path.display()));
        fs::create_dir_all(&self.path).map_err(failed)?;
        let (path, text) = (self.path.join(SETTINGS), config.to_toml()?);
        // What is empty stands for a start that was cut off.
        if fs::metadata(&path).is_ok_and(|file| file.len() <= EMPTY) {
            fs::remove_file(&path).map_err(failed)?;
        }
        match files::write_new(&path, |file| file.write_all(text.as_bytes())) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(busy(&self.path)),
            written => self.lock = Some(lock(written.map_err(failed)?, &self.path)?),
        }
        Ok(())
    }

    /// Checks that what stands in the directory of a run of several phases was made from the same as `inputs`; writes them into
    /// a new one.
    ///
    /// # Errors
    /// If it was made from something else; if they cannot be written.
    pub fn same_inputs(&self, inputs: &Map<String, Value>) -> Result<(), Error> {
        let path = self.path.join(INPUTS);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(|e| Error::User(format!("{}: {e}", path.display())))?,
        };
        let has_phases = || Ok::<_, Error>(names(&self.path)?.iter().any(|name| !is_start(name)));
        let was: Option<Map<String, Value>> = serde_json::from_str(&text).ok();
        let difference = match &was {
            None if !has_phases()? => return write(&path, Value::from(inputs.clone()).to_string().as_bytes()),
            None => Some(key::Difference::unreadable()),
            Some(was) => key::difference(was, inputs),
        };
        match difference {
            None => Ok(()),
            Some(difference) => Err(Error::User(format!(
                "{} already holds phases of other inputs: {difference}; nothing was touched. Choose another --out",
                self.path.display()
            ))),
        }
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

/// Writes a file of a run, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    files::write_aside(path, |file| file.write_all(bytes))
        .map_err(|e| Error::User(format!("cannot write {}: {e}", path.display())))
}

/// Removes what a kill left of a model that was being moved into a folder of this run.
///
/// # Errors
/// If a model stands there, or a file cannot be removed.
pub(crate) fn remove_partial(folder: &Path) -> Result<(), Error> {
    while !is_model(folder) {
        match formats::check_vacant(folder) {
            Err(formats::Error::Exists { path }) => fs::remove_file(&path)
                .map_err(|e| Error::User(format!("cannot remove the unfinished {}: {e}", path.display())))?,
            other => return Ok(other?),
        }
    }
    Ok(formats::check_vacant(folder)?)
}

/// The settings of the run that has begun in `folder`, and a lock on them.
fn begun(folder: &Path) -> Result<Option<(File, String)>, Error> {
    let path = folder.join(SETTINGS);
    if !path.is_file() {
        return Ok(None);
    }
    let failed = |e: std::io::Error| Error::User(format!("cannot read {}: {e}", path.display()));
    let mut file = lock(File::open(&path).map_err(failed)?, folder)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Some((file, text)))
}

/// Locks the settings of the run in `folder` for this process. File systems without locks have none to offer.
fn lock(file: File, folder: &Path) -> Result<File, Error> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(busy(folder)),
        _ => Ok(file),
    }
}

fn busy(folder: &Path) -> Error {
    Error::User(format!(
        "another process is working in {}; wait for it or stop it, or choose another --out",
        folder.display()
    ))
}

/// Checks that a new run would overwrite nothing in `folder`.
fn check_free(folder: &Path, also: &[String]) -> Result<(), Error> {
    let shown = folder.display();
    if let Some(file) = folder.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        return Err(Error::User(format!(
            "{shown}: {} is a file, not a folder; choose another --out",
            file.display()
        )));
    }
    formats::check_vacant(folder)?;
    let numbered = |name: &str| {
        NUMBERED
            .iter()
            .any(|start| name.strip_prefix(start).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
    };
    let is_own = |name: &String| OWN.contains(&name.as_str()) || also.contains(name) || numbered(name);
    match names(folder)?.into_iter().find(is_own) {
        None => Ok(()),
        Some(name) => Err(Error::User(format!(
            "{shown} holds a run without its {SETTINGS}, or files of yours: a new run would overwrite {name}; choose another \
             --out"
        ))),
    }
}

/// What a run that was killed while it began may have left.
fn is_start(name: &String) -> bool {
    name == SETTINGS || name == INPUTS || name.starts_with('.')
}

/// Names of what lies in a folder, sorted; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |e: std::io::Error| Error::User(format!("cannot read {}: {e}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    names.sort();
    Ok(names)
}
