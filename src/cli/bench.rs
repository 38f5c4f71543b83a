//! `underdog bench`

use std::{fs, path::Path, sync::atomic::AtomicBool};

use serde_json::json;

use super::{
    args::{BenchArgs, BenchVerb, DeviceFlags},
    check_new_file, with_device,
};
use crate::{
    bench::{self, Comparison, Options, Results},
    report,
    session::{self, Error},
    settings::Config,
};

pub(super) fn run(args: &BenchArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    if let Some(BenchVerb::Compare(args)) = &args.verb {
        return compare(&args.files, args.svg.as_deref(), json);
    }
    args.out.iter().try_for_each(|out| check_new_file(out))?;
    let DeviceFlags { device, memory, autotune } = &args.device;
    let autotune = autotune.unwrap_or(Config::default().autotune);
    let results = with_device(device.as_deref(), stop, |context| {
        let options = Options {
            suite: args.suite,
            filter: args.filter.clone(),
            memory: memory.map(|size| size.0),
            autotune: session::effort(autotune, context.gpu),
        };
        bench::run(context.gpu, &options, context.report, context.stop).map_err(failure)
    })?;
    if let Some(out) = &args.out {
        let text = serde_json::to_string_pretty(&results).map_err(|e| Error::User(e.to_string()))?;
        write(out, &(text + "\n"))?;
    }
    if json {
        report::json(&results)?;
    } else {
        report::text(&results.render())?;
    }
    match results.failed().as_slice() {
        [] => Ok(()),
        failed => {
            let names: Vec<&str> = failed.iter().map(|check| check.name.as_str()).collect();
            Err(Error::User(format!("this device computes wrong numbers; checks that failed: {}", names.join(", "))))
        }
    }
}

fn compare(files: &[impl AsRef<Path>], svg: Option<&Path>, json: bool) -> Result<(), Error> {
    svg.iter().try_for_each(|svg| check_new_file(svg))?;
    let read = files.iter().map(|file| Results::open(file.as_ref()));
    let results = read.collect::<Result<Vec<_>, _>>().map_err(|e| Error::User(e.to_string()))?;
    let comparison = Comparison::new(results);
    if let Some(path) = svg {
        write(path, &comparison.svg())?;
    }
    if json {
        return Ok(report::json(&json!({ "machines": comparison.legend(), "entries": comparison.lines() }))?);
    }
    Ok(report::text(&comparison.render())?)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|e| Error::User(format!("{}: {e}", path.display())))
}

fn failure(error: bench::Error) -> Error {
    match error {
        bench::Error::Gpu(error) => error.into(),
        bench::Error::Engine(error) => error.into(),
        bench::Error::Interrupted => Error::Interrupted("; nothing was written".into()),
        other => Error::User(other.to_string()),
    }
}
