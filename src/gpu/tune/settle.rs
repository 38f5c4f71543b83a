//! From the dispatches of a program to a form for each: what the cache knows, then what is measured, then the cache again.

use std::path::Path;

use super::{
    super::{Error, Extents, Family, Gpu, Kernel},
    Book, Options, Outcome, Tuner,
};

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Worth knowing.
    Note(String),
    /// Perhaps not as wanted.
    Warning(String),
}

/// Chooses a form for every dispatch of a program whose class has none yet; `None` takes the portable ones. `folder` is
/// that of the cache; `go_on` is asked before each class.
///
/// # Errors
/// If the device is lost on the way. The next attempt passes over the form that did it.
pub fn settle(
    gpu: &Gpu,
    families: impl IntoIterator<Item = &'static Family>,
    dispatches: impl IntoIterator<Item = (&'static Kernel, Extents)>,
    options: Option<Options>,
    folder: Option<&Path>,
    go_on: impl Fn() -> bool,
    mut tell: impl FnMut(Told),
) -> Result<(), Error> {
    let mut tuner = Tuner::new(gpu, families, dispatches);
    let Some(options) = options.filter(|_| !tuner.is_empty()) else {
        tuner.portable();
        return Ok(());
    };
    let opened = folder.map(|folder| Book::cache(folder, gpu));
    let (mut cache, why) = opened.unwrap_or_else(|| (Book::empty(gpu), None));
    if let Some(why) = why {
        tell(Told::Warning(format!("kernels are tuned anew: {why}")));
    }
    tuner.recall(&cache, options);
    if tuner.is_empty() {
        return Ok(());
    }
    tell(Told::Note(format!("tuning {} kernel shapes (cached for the next time)", tuner.len())));
    let (entries, done) = match tuner.tune(&cache, options, go_on) {
        Ok(outcome) => (outcome.entries.clone(), Ok(outcome)),
        Err((entries, error)) => (entries, Err(error)),
    };
    if !entries.is_empty()
        && let Err(error) = cache.add(entries)
    {
        tell(Told::Warning(format!("the choice of kernels is not kept for the next time: {error}")));
    }
    match done {
        Ok(outcome) => tell(Told::Note(outcome.to_string())),
        Err(Error::Device(reason)) => {
            return Err(Error::Device(format!(
                "{reason}; it was trying kernels. The same command passes over the one that did it, and --autotune off \
                 over all"
            )));
        }
        Err(other) => return Err(other),
    }
    Ok(())
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tuned, changed) = (self.entries.len(), self.entries.iter().filter(|entry| entry.form.is_some()).count());
        write!(f, "kernels: {changed} of {tuned} shapes take another form than the portable one")?;
        let [portable, chosen] = self.seconds;
        if changed > 0 && chosen > 0.0 {
            write!(f, ", {:.2} times as fast", portable / chosen)?;
        }
        let mut wrong: Vec<&String> = self.entries.iter().flat_map(|entry| entry.rejected.keys()).collect();
        wrong.sort();
        wrong.dedup();
        if !wrong.is_empty() {
            write!(
                f,
                "; not right on this device: {}",
                wrong.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
            )?;
        }
        match self.left {
            0 => Ok(()),
            left => write!(f, "; {left} smaller ones were left as they are"),
        }
    }
}
