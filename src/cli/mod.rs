//! Verbs: each file holds one, with its arguments, its call of the room that does the work, and how its result is shown.
//! Errors are rendered once, here.

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
mod verb;
mod wmss;

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::{Arg, ArgAction, ArgMatches, Command};
use verb::{Call, Verb};

use crate::{
    platform,
    report::{self, Console, Report},
    session::{Context, Error},
};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// The verbs, in the order of help.
static VERBS: [Verb; 15] = [
    demo::VERB,
    devices::VERB,
    doctor::VERB,
    init::VERB,
    train::VERB,
    score::VERB,
    curriculum::VERB,
    wmss::VERB,
    compare::VERB,
    eval::VERB,
    merge::VERB,
    generate::VERB,
    data::VERB,
    bench::VERB,
    plan::VERB,
];

const ABOUT: &str = "Trains language models on any GPU through Vulkan, Metal or DirectX 12";

const LONG_ABOUT: &str = "\
Trains language models on any GPU through Vulkan, Metal or DirectX 12: Hugging Face folders in, Hugging Face folders \
out. Its heart is weak-driven learning (WMSS, arXiv 2602.08222), where an earlier, weaker checkpoint of a model makes \
the model stronger.";

const HELP: &str = "\
First steps:
  underdog demo                                  the whole method on a built-in task, nothing needed
  underdog devices                               which GPU would be used, and why
  underdog doctor                                whether this machine computes what it should
  underdog data --model DIR --data FILE          what the model will see of your data
  underdog plan --model DIR                      the memory a run needs, before it runs
  underdog bench                                 how fast this machine trains
  underdog train --model DIR --data FILE --out DIR
  underdog wmss --model DIR --data FILE --out DIR

Data is JSONL: a row has `prompt` and `completion`, or `messages`, or `text`.

Exit codes:
  0    done
  1    failed
  2    a mistake in the command line or the settings
  130  interrupted, after saving";

/// The command line: verbs and their flags.
fn command() -> Command {
    let json = Arg::new("json").long("json").global(true).display_order(1000).action(ArgAction::SetTrue);
    Command::new("underdog")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_help(HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(json.help("Print the result as JSON on stdout; progress stays on stderr"))
        .subcommands(VERBS.iter().map(Verb::command))
}

/// Reads the command line, does it, and says how it went.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let stop = Arc::new(AtomicBool::new(false));
    let done = match interruptible(&stop) {
        Ok(()) => run(&matches, &stop),
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

fn run(matches: &ArgMatches, stop: &AtomicBool) -> Result<(), Error> {
    let (verb, matches) = chosen(matches);
    verb.call(matches, matches.get_flag("json"), stop)
}

/// The verb that was given, and its arguments.
fn chosen(matches: &ArgMatches) -> (&'static Verb, &ArgMatches) {
    let given = VERBS.iter().find_map(|verb| Some((verb, matches.subcommand_matches(verb.name())?)));
    given.expect("clap requires one of the verbs")
}

/// Opens the device and does something with it.
fn with_device<T>(call: &Call<'_>, work: impl FnOnce(&mut Context<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let gpu = platform::open(call.config.device.as_deref())?;
    let mut report = Report::new(Console::stderr());
    work(&mut Context { gpu: &gpu, report: &mut report, stop: call.stop, profile: false })
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

#[cfg(test)]
mod tests;
