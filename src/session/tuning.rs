//! The variants of kernels that a run computes with: chosen before its memory is allocated, and written down in its folder, so
//! that a run that goes on computes with the same and gives the same bits.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use super::{context::Context, directory, error::Error, faults};
use crate::{
    doctor,
    gpu::{Extents, Gpu, Kernel},
    graph::ops,
    kernels::tuner::{Cache, Effort, Message, Options},
    platform::{self, tuning_cache},
    report::{Event, WarningCode},
    settings::{Autotune, Config, Precision},
};

/// The choices of a run.
const RECORD: &str = "tuning.json";

/// Chooses the variants of a program's kernels. `planned`: device memory of the run, which is not allocated yet.
///
/// # Errors
/// If the device is lost on the way.
pub(super) fn tune(
    context: &mut Context<'_>,
    config: &Config,
    work: impl IntoIterator<Item = (&'static Kernel, Extents)>,
    planned: u64,
) -> Result<(), Error> {
    recall(context, config)?;
    let half = context.gpu.allows_half();
    let options = effort(config.autotune, context.gpu).map(|effort| Options { effort, half, planned });
    let Context { gpu, report, stop, .. } = context;
    let mut shown = Ok(());
    tuning_cache::choose(
        gpu,
        ops::groups(),
        work,
        options,
        platform::cache_folder().as_deref(),
        || !stop.load(Ordering::Relaxed),
        |what| {
            let event = match &what {
                Message::Note(text) => Event::Note(text),
                Message::Warning(text) => Event::Warning { code: WarningCode::Device, text },
            };
            shown = std::mem::replace(&mut shown, Ok(())).and(report.event(&event));
        },
    )?;
    Ok(shown?)
}

/// What a setting comes to on a device: the portable kernels are made for software drivers.
pub fn effort(autotune: Autotune, gpu: &Gpu) -> Option<Effort> {
    match autotune {
        Autotune::Off => None,
        Autotune::Quick => Some(Effort::Quick).filter(|_| !gpu.is_cpu()),
        Autotune::Full => Some(Effort::Full),
    }
}

/// Whether variants that round factors to f16 may be taken.
///
/// # Errors
/// If they are asked for, and the device has none or `underdog doctor` found them wrong.
pub fn half(config: &Config, gpu: &Gpu) -> Result<bool, Error> {
    if config.precision == Precision::F32 {
        return Ok(false);
    }
    let mut variants = ops::groups().flat_map(|group| group.variants);
    let why = match faults::of(gpu).remove(doctor::HALF) {
        Some(why) => format!("`underdog doctor` found that {why}"),
        None if variants.any(|variant| variant.half && gpu.offers(variant)) => return Ok(true),
        None => "no f16 arithmetic that underdog can use".into(),
    };
    let adapter = gpu.identity().adapter;
    Err(Error::User(format!("precision f16 on {adapter}: {why}; leave the setting out, or choose another --device")))
}

/// Takes the choices that the run in `config.out` has made so far, if one stands there; those that were made in another
/// precision are forgotten.
///
/// # Errors
/// If the device has no f16 and the settings want it, or a warning cannot be shown.
pub fn recall(context: &mut Context<'_>, config: &Config) -> Result<(), Error> {
    let half = half(config, context.gpu)?;
    if context.gpu.allow_half(half) && half && effort(config.autotune, context.gpu).is_none() {
        let text = "precision f16: no kernel is tried on this device with this --autotune, so that only those that the run \
            began with round to f16, if any; on a software driver, --autotune full tries them";
        context.report.event(&Event::Note(text))?;
    }
    let Some(path) = file(config).filter(|path| path.exists()) else { return Ok(()) };
    let (record, why) = tuning_cache::read(&path, context.gpu);
    let why = match why {
        Some(why) => Some(why.to_string()),
        None if record.apply(context.gpu, ops::groups()) => None,
        None => Some(format!("{} names kernels that are not offered here any more", path.display())),
    };
    if let Some(why) = why {
        let text = format!("kernels are chosen anew, so results may differ in their last digits: {why}");
        context.report.event(&Event::Warning { code: WarningCode::Device, text: &text })?;
    }
    Ok(())
}

/// Writes down what is chosen, where the folder is the run's already.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn record(context: &Context<'_>, config: &Config) -> Result<(), Error> {
    let Some(path) = file(config) else { return Ok(()) };
    let chosen = Cache::chosen(context.gpu);
    if path.exists() && tuning_cache::read(&path, context.gpu).0 == chosen {
        return Ok(());
    }
    tuning_cache::write(&path, context.gpu, &chosen).map_err(|e| Error::User(e.to_string()))
}

/// The record of the run that stands in `config.out`.
fn file(config: &Config) -> Option<PathBuf> {
    let out: &Path = config.out.as_deref()?;
    directory::is_claimed(out).then(|| out.join(RECORD))
}
