//! Checks a machine in about a minute: what its driver offers, whether every kernel computes what it should, whether models in
//! every number format learn the right thing, how long the device is busy at a time, and how much memory there is.
//!
//! It decides nothing for runs but leaves what it found wrong beside the tuner's choices ([`Findings::keep`]); runs do not
//! take a format that stands there. It prints nothing.

mod formats;
mod pace;
mod room;
mod told;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use serde::Serialize;

pub use formats::{HALF, Learned, name as format_name};
pub use pace::Pace;
pub use room::Room;

use crate::{
    bench::{self, Check},
    gpu::{self, AdapterSummary, Gpu},
    graph::ops,
    kernels::tuner::{Validation, validate},
    model,
    platform::tuning_cache,
    report::{Event, Report},
    train::engine,
};

/// What can stop an examination.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// A model's memory or shape.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The shape of the small model.
    #[error(transparent)]
    Shape(#[from] model::config::Error),
    /// A check.
    #[error(transparent)]
    Bench(#[from] bench::Error),
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Of this program.
    pub version: String,
    /// The operating system and the processor's architecture.
    pub system: String,
    /// The adapter, its driver, its limits and features.
    pub adapter: AdapterSummary,
    /// Ops in portable form against the CPU in f64.
    pub checks: Vec<Check>,
    /// The other forms of kernels against the portable ones.
    pub forms: Vec<Validation>,
    /// Gradients of a small model in each number format.
    pub formats: Vec<Learned>,
    /// How long the device is busy at a time.
    pub pace: Pace,
    /// How much memory there is.
    pub memory: Room,
    /// Time taken.
    pub seconds: f64,
}

/// Examines a device; `adapter` is what was said of it before it was opened.
///
/// # Errors
/// If the device fails so that nothing more can be found out, or `stop` is set.
pub fn examine(
    gpu: &Gpu,
    adapter: AdapterSummary,
    report: &mut Report,
    stop: &AtomicBool,
) -> Result<Findings, Error> {
    let began = Instant::now();
    let mut tell = |what: &str| {
        // Only a step's metrics can fail, and there are none.
        let _ = report.event(&Event::Note(what));
        if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    };
    tell("memory")?;
    let memory = room::look(gpu)?;
    tell("kernels in portable form, against the CPU")?;
    let checks = bench::check(gpu)?;
    tell("other variants of kernels")?;
    let mut forms = Vec::new();
    for group in ops::groups() {
        forms.extend(validate(gpu, group)?);
        tell_nothing(stop)?;
    }
    tell("gradients in every number format")?;
    let formats = formats::look(gpu, &forms)?;
    tell("how long the device is busy at a time")?;
    let pace = pace::look(gpu)?;
    Ok(Findings {
        version: env!("CARGO_PKG_VERSION").into(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        adapter,
        checks,
        forms,
        formats,
        pace,
        memory,
        seconds: began.elapsed().as_secs_f64(),
    })
}

fn tell_nothing(stop: &AtomicBool) -> Result<(), Error> {
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

impl Findings {
    /// Whether training by default computes wrong numbers here.
    pub fn is_broken(&self) -> bool {
        let plain = self.formats.iter().any(|learned| !learned.passed && learned.format == formats::PLAIN);
        plain || self.checks.iter().any(|check| !check.passed)
    }

    /// Whether anything is wrong at all.
    pub fn has_faults(&self) -> bool {
        self.is_broken()
            || self.formats.iter().any(|learned| !learned.passed)
            || self.forms.iter().any(|form| form.wrong.is_some())
    }

    /// Leaves the formats that failed beside the tuner's choices in `folder`, which runs then do without.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&self, gpu: &Gpu, folder: &Path) -> Result<(), tuning_cache::Error> {
        let failed = self.formats.iter().filter(|learned| !learned.passed);
        let wrong = failed.map(|learned| (learned.format.clone(), learned.found()));
        tuning_cache::keep_wrong(folder, gpu, ops::groups(), wrong.collect())
    }
}
