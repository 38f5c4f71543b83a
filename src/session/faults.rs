//! Device faults: number formats that `underdog doctor` found wrong on this device, which runs avoid.

use super::{context::Context, error::Error};
use crate::{
    doctor,
    gpu::Gpu,
    graph::{ops, optim::Width, tensor::Format},
    kernels::tuner::Wrong,
    model::Config,
    platform::{self, tuning_cache},
    report::{Event, WarningCode},
    train::engine::Spec,
};

/// What is wrong on this device.
pub(super) fn of(gpu: &Gpu) -> Wrong {
    let wrong = platform::cache_folder().map(|folder| tuning_cache::wrong(&folder, gpu, ops::groups()));
    wrong.unwrap_or_default()
}

/// Warns of what is wrong, if anything is.
///
/// # Errors
/// If it cannot be shown.
pub(super) fn warn(context: &mut Context<'_>, wrong: &Wrong) -> Result<(), Error> {
    if !wrong.is_empty() {
        let names: Vec<String> = wrong.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        let text =
            format!("`underdog doctor` found wrong on this device, and this run does without: {}", names.join(", "));
        context.report.event(&Event::Warning { code: WarningCode::Device, text: &text })?;
    }
    Ok(())
}

/// `spec` without what is wrong: f32 instead of halves that a run takes by itself.
///
/// # Errors
/// If the settings ask for a format that is wrong.
pub(super) fn avoid(wrong: &Wrong, mut spec: Spec) -> Result<Spec, Error> {
    let auxiliaries = spec.auxiliaries.iter_mut().map(|other| &mut other.config);
    [&mut spec.model].into_iter().chain(auxiliaries).try_for_each(|config| avoid_in(wrong, config))?;
    let name = doctor::format_name(Format::Bf16);
    match wrong.get(name) {
        Some(why) if spec.train && spec.adapter.is_none() && spec.width != Width::Bits32 => {
            Err(refused(name, why, "--optimizer-bits"))
        }
        _ => Ok(spec),
    }
}

/// `config` without what is wrong: f32 instead of halves, and instead of what a folder holds.
///
/// # Errors
/// If a format was asked for that is wrong.
fn avoid_in(wrong: &Wrong, config: &mut Config) -> Result<(), Error> {
    let why = |format| wrong.get(doctor::format_name(format));
    for format in config.formats.values_mut().filter(|format| why(**format).is_some()) {
        *format = Format::F32;
    }
    for format in [&mut config.held.linear, &mut config.held.table] {
        match why(*format) {
            Some(_) if matches!(format, Format::Bf16 | Format::F16) => *format = Format::F32,
            Some(why) => return Err(refused(doctor::format_name(*format), why, "--quantize")),
            None => {}
        }
    }
    Ok(())
}

fn refused(name: &str, why: &str, flag: &str) -> Error {
    Error::User(format!(
        "{name} is not used on this device: doctor found that {why}; give another {flag}, or update the driver and run \
         `underdog doctor` again"
    ))
}
