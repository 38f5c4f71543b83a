//! `underdog doctor`

use super::{
    verb::{Call, Verb},
    with_device,
};
use crate::{
    bench,
    doctor::{self, Error as Fault},
    gpu, platform,
    report::{self, Event, WarningCode},
    session::Error,
    settings::DOCTOR,
};

pub(super) const VERB: Verb = Verb {
    about: "Check in about a minute what this machine can train and how: driver, kernels, number formats, memory",
    help: "Prints a report to paste into an issue. Runs on this device do without what is wrong.",
    ..Verb::new(DOCTOR, run)
};

fn run(call: &Call<'_>) -> Result<(), Error> {
    let adapter = gpu::adapters(call.config.device.as_deref())?.into_iter().find(|adapter| adapter.chosen);
    let findings = with_device(call, |context| {
        let Some(adapter) = adapter else { return Err(gpu::Error::NoAdapter.into()) };
        let findings = doctor::examine(context.gpu, adapter, context.report, context.stop).map_err(failure)?;
        if let Some(folder) = platform::cache_folder()
            && let Err(error) = findings.keep(context.gpu, &folder)
        {
            let text = format!("what is wrong is not kept for later runs: {error}");
            context.report.event(&Event::Warning { code: WarningCode::Device, text: &text })?;
        }
        Ok(findings)
    })?;
    if call.json {
        report::json(&findings)?;
    } else {
        report::text(&findings.render())?;
    }
    match findings.has_faults() {
        false => Ok(()),
        true if findings.is_broken() => Err(Error::User("this device computes wrong numbers".into())),
        true => Err(Error::User("some of what this device offers is wrong; runs do without it".into())),
    }
}

fn failure(error: Fault) -> Error {
    match error {
        Fault::Gpu(error) | Fault::Bench(bench::Error::Gpu(error)) => error.into(),
        Fault::Engine(error) | Fault::Bench(bench::Error::Engine(error)) => error.into(),
        Fault::Shape(error) => error.into(),
        Fault::Interrupted => Error::Interrupted("; nothing was found out".into()),
        Fault::Bench(other) => Error::User(other.to_string()),
    }
}
