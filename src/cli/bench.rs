//! `underdog bench`

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    check_new_file,
    verb::{Call, Verb},
    with_device,
};
use crate::{
    bench::{self, Comparison, Options, Results, Suite},
    report,
    session::{self, Error},
    settings::BENCH,
};

pub(super) const VERB: Verb = Verb {
    about: "Measure how fast this GPU trains, and compare machines",
    help: "\
Measures what the device does at best (multiply-adds, copying, dispatches), then kernels as shares of that, then training \
steps of named model shapes with random weights; nothing is downloaded. Close other programs, and plug a laptop in. Then \
the numbers are checked against the CPU: where one is wrong, the exit code is 1.

Examples:
  underdog bench --out mine.json
  underdog bench --filter qwen3-0.6b
  underdog bench compare mine.json yours.json --svg both.svg",
    arguments: Arguments::augment_args,
    ..Verb::new(BENCH, run)
};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Also>,
    /// How thorough
    #[arg(long, value_name = "SUITE", value_enum, default_value_t)]
    suite: Suite,
    /// Measure only what has this in its name; a model so named is measured whatever the device
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// JSON file to write as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Also {
    /// Say how many times faster each machine is than the first
    Compare {
        /// What `bench --out` wrote
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Picture to write as well
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let args: Arguments = call.arguments()?;
    if let Some(Also::Compare { files, svg }) = &args.verb {
        return compare(files, svg.as_deref(), call.json);
    }
    args.out.iter().try_for_each(|out| check_new_file(out))?;
    let results = with_device(call, |context| {
        let options = Options {
            suite: args.suite,
            filter: args.filter.clone(),
            memory: call.config.memory.map(|size| size.0),
            autotune: session::effort(call.config.autotune, context.gpu),
        };
        bench::run(context.gpu, &options, context.report, context.stop).map_err(failure)
    })?;
    if let Some(out) = &args.out {
        let text = serde_json::to_string_pretty(&results).map_err(|e| Error::User(e.to_string()))?;
        write(out, &(text + "\n"))?;
    }
    if call.json {
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
