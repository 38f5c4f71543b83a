//! Number formats that `underdog doctor` found wrong on this device: runs do not take them.

use super::{Context, Error};
use crate::{
    doctor,
    engine::Spec,
    gpu::{
        Gpu,
        tune::{self, Wrong},
    },
    ops,
    report::Event,
    tensor::Format,
};

/// What is wrong on this device.
pub(super) fn wrong(gpu: &Gpu) -> Wrong {
    let wrong = tune::cache_folder().map(|folder| tune::wrong(&folder, gpu, ops::families()));
    wrong.unwrap_or_default()
}

/// Tells the user what is wrong, if anything is.
///
/// # Errors
/// If it cannot be shown.
pub(super) fn tell(context: &mut Context<'_>, wrong: &Wrong) -> Result<(), Error> {
    if !wrong.is_empty() {
        let names: Vec<String> = wrong.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        let text =
            format!("`underdog doctor` found wrong on this device, and this run does without: {}", names.join(", "));
        context.report.event(&Event::Warning(&text))?;
    }
    Ok(())
}

/// `spec` without what is wrong: f32 instead of halves, which a run takes by itself.
///
/// # Errors
/// If the settings ask for a format that is wrong.
pub(super) fn heed(wrong: &Wrong, mut spec: Spec) -> Result<Spec, Error> {
    let why = |format| wrong.get(doctor::format_name(format));
    let others = spec.others.iter_mut().map(|other| &mut other.config.held);
    for held in [&mut spec.strong.held].into_iter().chain(others) {
        for format in [&mut held.linear, &mut held.table] {
            match why(*format) {
                Some(_) if matches!(format, Format::Bf16 | Format::F16) => *format = Format::F32,
                Some(why) => {
                    let name = doctor::format_name(*format);
                    return Err(Error::User(format!(
                        "{name} is not used on this device: doctor found that {why}; give another --quantize, or update \
                         the driver and run `underdog doctor` again"
                    )));
                }
                None => {}
            }
        }
    }
    Ok(spec)
}
