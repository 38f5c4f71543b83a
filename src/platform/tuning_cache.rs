//! Files of the tuner: the user's cache of choices, the record of a run, what `underdog doctor` found wrong.

use std::{
    cell::RefCell,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    formats::files,
    gpu::{self, Extents, Gpu, Kernel, KernelGroup},
    kernels::tuner::{self, Cache, Message, Options, Unusable, Wrong},
};

/// Longest file that is read.
const MOST_BYTES: u64 = 4 << 20;

/// Why a file of choices is not used, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not for this device, version and shaders.
    #[error("{} {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: Unusable,
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

/// The choices in a file; none if it is not there. What cannot be used is left out, and the second result says why.
pub fn read(path: &Path, gpu: &Gpu) -> (Cache, Option<Error>) {
    let found = text(path).and_then(|text| {
        let unusable = |why| Error::Unusable { path: path.into(), why };
        text.map_or(Ok(Cache::default()), |text| Cache::parse(&text, gpu).map_err(unusable))
    });
    match found {
        Ok(cache) => (cache, None),
        Err(why) => (Cache::default(), Some(why)),
    }
}

fn text(path: &Path) -> Result<Option<String>, Error> {
    let damaged = |reason: String| Error::Unusable { path: path.into(), why: Unusable::Damaged(reason) };
    match files::read_if_there(path, MOST_BYTES) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => String::from_utf8(bytes).map(Some).map_err(|e| damaged(e.to_string())),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(damaged(error.to_string())),
        Err(source) => Err(Error::Io { path: path.into(), source }),
    }
}

/// Writes choices as a whole file. Of two writers at once, one may lose entries.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, gpu: &Gpu, cache: &Cache) -> Result<(), Error> {
    write_text(path, &cache.text(gpu))
}

fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = made.and_then(|()| files::write_aside(path, |file| file.write_all(text.as_bytes())));
    written.map_err(|source| Error::Io { path: path.into(), source })
}

/// The cache of a device in a folder: one file for each device, driver and version of this program.
pub fn file(folder: &Path, gpu: &Gpu) -> PathBuf {
    folder.join(format!("kernels-{}.json", tuner::device_key(gpu)))
}

/// As [`tuner::choose`], with the cache in `folder`.
///
/// # Errors
/// If the device is lost on the way. The next attempt passes over the variant that did it.
pub fn choose(
    gpu: &Gpu,
    groups: impl IntoIterator<Item = &'static KernelGroup>,
    dispatches: impl IntoIterator<Item = (&'static Kernel, Extents)>,
    options: Option<Options>,
    folder: Option<&Path>,
    go_on: impl Fn() -> bool,
    emit: impl FnMut(Message),
) -> Result<(), gpu::Error> {
    let path = folder.map(|folder| file(folder, gpu));
    let emit = RefCell::new(emit);
    let emit = |message| (emit.borrow_mut())(message);
    let cache = || {
        let (cache, why) = path.as_ref().map_or_else(Default::default, |path| read(path, gpu));
        if let Some(why) = why {
            emit(Message::Warning(format!("kernels are tuned anew: {why}")));
        }
        cache
    };
    let (entries, done) = tuner::choose(gpu, groups, dispatches, options, cache, go_on, emit);
    if let Some(path) = path.filter(|_| !entries.is_empty()) {
        // What others have added meanwhile stays.
        let (mut cache, _) = read(&path, gpu);
        cache.add(entries);
        if let Err(error) = write(&path, gpu, &cache) {
            emit(Message::Warning(format!("the choice of kernels is not kept for the next time: {error}")));
        }
    }
    done
}

fn wrong_file(folder: &Path, gpu: &Gpu) -> PathBuf {
    folder.join(format!("doctor-{}.json", tuner::device_key(gpu)))
}

/// What was found wrong on this device; nothing where nothing was looked for, or where the file cannot be used.
pub fn wrong<'a>(folder: &Path, gpu: &Gpu, groups: impl IntoIterator<Item = &'a KernelGroup>) -> Wrong {
    let text = text(&wrong_file(folder, gpu)).ok().flatten();
    text.map(|text| tuner::wrong(&text, gpu, groups)).unwrap_or_default()
}

/// Keeps what was found wrong.
///
/// # Errors
/// If the file cannot be written.
pub fn keep_wrong<'a>(
    folder: &Path,
    gpu: &Gpu,
    groups: impl IntoIterator<Item = &'a KernelGroup>,
    wrong: Wrong,
) -> Result<(), Error> {
    write_text(&wrong_file(folder, gpu), &tuner::wrong_text(wrong, gpu, groups))
}
