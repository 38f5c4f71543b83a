//! Verbs: each reads its flags, calls the room that does the work, and prints the result. Errors are rendered once, here.

pub mod args;
mod bench;
mod compare;
mod curriculum;
mod data;
mod demo;
mod devices;
mod doctor;
mod eval;
mod generate;
mod init;
mod merge;
mod plan;
mod score;
mod train;
mod wmss;

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use args::{Cli, Verb};

use crate::{
    gpu::Gpu,
    report::{self, Console, Report},
    session::{Context, Error},
};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// Reads the command line, does it, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    let stop = Arc::new(AtomicBool::new(false));
    let done = match interruptible(&stop) {
        Ok(()) => run(&cli, &stop),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error(&error);
            ExitCode::from(match error {
                Error::Interrupted(_) => INTERRUPTED,
                Error::Config(_) | Error::Usage(_) => USAGE,
                _ => FAILED,
            })
        }
    }
}

/// The first Ctrl-C asks to stop after saving; the second stops at once.
fn interruptible(stop: &Arc<AtomicBool>) -> Result<(), Error> {
    let stop = stop.clone();
    let handler = move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::User(format!("cannot listen for Ctrl-C: {e}")))
}

fn run(cli: &Cli, stop: &AtomicBool) -> Result<(), Error> {
    let json = cli.json;
    match &cli.verb {
        Verb::Demo(args) => demo::run(args, json, stop),
        Verb::Devices(args) => devices::run(args, json),
        Verb::Doctor(args) => doctor::run(args, json, stop),
        Verb::Init(args) => init::run(args, json),
        Verb::Train(args) => train::run(args, json, stop),
        Verb::Score(args) => score::run(args, json, stop),
        Verb::Curriculum(args) => curriculum::run(args, json),
        Verb::Wmss(args) => wmss::run(args, json, stop),
        Verb::Compare(args) => compare::run(args, json, stop),
        Verb::Eval(args) => eval::run(args, json, stop),
        Verb::Merge(args) => merge::run(args, json),
        Verb::Generate(args) => generate::run(args, json, stop),
        Verb::Data(args) => data::run(args, json, stop),
        Verb::Bench(args) => bench::run(args, json, stop),
        Verb::Plan(args) => plan::run(args, json),
    }
}

/// Opens the device and does something with it.
fn with_device<T>(
    device: Option<&str>,
    stop: &AtomicBool,
    work: impl FnOnce(&mut Context<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let gpu = Gpu::open(device)?;
    let mut report = Report::new(Console::stderr());
    work(&mut Context { gpu: &gpu, report: &mut report, stop, profile: false })
}

/// Checks that a result can be written to `path` and overwrites nothing there.
fn check_new_file(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    if path.symlink_metadata().is_ok() {
        return Err(Error::User(format!("{shown} is already there; nothing was overwritten. Choose another --out")));
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => Err(Error::User(format!("{shown}: there is no folder {}; make it first", folder.display()))),
        None => Ok(()),
    }
}
