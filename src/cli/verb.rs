//! What a verb is, and the command line made of all verbs and the table of settings.

use std::{path::PathBuf, sync::atomic::AtomicBool};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches,
    builder::{PossibleValue, PossibleValuesParser},
    parser::ValueSource,
};

use crate::{
    session::Error,
    settings::{self, Config, Layers, Method, RUN, SETTINGS, Setting, Shape, VERBS, Verbs, WMSS},
};

/// A verb of the command line.
pub(super) struct Verb {
    /// Its bit in the table of settings, which says what settings it takes as flags.
    pub(super) bit: Verbs,
    /// What it does, in a line.
    pub(super) about: &'static str,
    /// What stands below its flags.
    pub(super) help: &'static str,
    /// Settings that must be given.
    pub(super) needs: &'static [&'static str],
    /// Adds arguments that are no settings, and changes those that mean something of their own here.
    pub(super) arguments: fn(Command) -> Command,
    /// Does it.
    pub(super) run: fn(&Call<'_>) -> Result<(), Error>,
}

/// A verb with what it was given.
pub(super) struct Call<'a> {
    /// Settings.
    pub(super) config: Config,
    /// Whether the result is printed as JSON.
    pub(super) json: bool,
    /// Set when the user asks to stop.
    pub(super) stop: &'a AtomicBool,
    matches: &'a ArgMatches,
}

/// Where the settings of a run come from besides flags.
#[derive(Args)]
struct Sources {
    /// A TOML file of settings
    #[arg(value_name = "RUN.TOML")]
    file: Option<PathBuf>,
    /// Set any key of the TOML file, as in --set curriculum.beta=0.7; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", display_order = 900)]
    set: Vec<String>,
}

const RUN_HELP: &str = "\
Settings come from the defaults, then the TOML file, then the flags, then --set; later ones win. A setting is named in \
the file as its flag, with underscores: --max-length 512 is `max_length = 512`. The run's folder holds them all as \
config.toml. Exit codes: 0 done, 1 failed, 2 a mistake in flags or settings, 130 interrupted after saving (go on with \
--resume).";

impl Verb {
    /// A verb without arguments of its own.
    pub(super) const fn new(bit: Verbs, run: fn(&Call<'_>) -> Result<(), Error>) -> Self {
        Self { bit, about: "", help: "", needs: &[], arguments: |command| command, run }
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        VERBS.iter().find(|(bit, _)| *bit == self.bit).map_or("", |(_, name)| name)
    }

    fn is_run(&self) -> bool {
        self.bit & RUN != 0
    }

    fn settings(&self) -> impl Iterator<Item = &'static Setting<Config>> {
        SETTINGS.iter().filter(|setting| setting.verbs & self.bit != 0)
    }

    /// Its part of the command line.
    pub(super) fn command(&self) -> Command {
        let flags = self.settings().map(|setting| {
            let heading = Some(setting.group).filter(|group| self.is_run() && !group.is_empty());
            flag(setting).help_heading(heading).required(self.needs.contains(&setting.key))
        });
        let command = Command::new(self.name()).args(flags);
        let command = if self.is_run() { Sources::augment_args(command) } else { command };
        let long = if self.is_run() { format!("{}\n\n{RUN_HELP}", self.help) } else { self.help.to_owned() };
        (self.arguments)(command).about(self.about).long_about(None).after_help(self.help).after_long_help(long)
    }

    /// Does it with these arguments.
    pub(super) fn call(&self, matches: &ArgMatches, json: bool, stop: &AtomicBool) -> Result<(), Error> {
        (self.run)(&Call { config: self.config(matches)?, json, stop, matches })
    }

    /// The settings that these arguments make.
    pub(super) fn config(&self, matches: &ArgMatches) -> Result<Config, settings::Error> {
        let mut layers = Layers::new();
        let sources = if self.is_run() { Sources::from_arg_matches(matches).ok() } else { None };
        let (file, set) = sources.map_or((None, Vec::new()), |sources| (sources.file, sources.set));
        file.iter().try_for_each(|file| layers.file(file))?;
        for setting in self.settings() {
            if matches.value_source(setting.key) != Some(ValueSource::CommandLine) {
                continue;
            }
            let texts: Vec<&str> = match setting.about.shape {
                Shape::Switch => Vec::new(),
                _ => matches.get_many::<String>(setting.key).into_iter().flatten().map(String::as_str).collect(),
            };
            layers.flag(setting, &texts)?;
        }
        set.iter().try_for_each(|argument| layers.set(argument))?;
        if self.bit == WMSS {
            layers.method(Method::Wmss);
        }
        if self.is_run() { layers.resolve() } else { layers.resolve_values() }
    }
}

impl Call<'_> {
    /// Its arguments that are no settings.
    pub(super) fn arguments<T: FromArgMatches>(&self) -> Result<T, Error> {
        T::from_arg_matches(self.matches).map_err(|error| Error::Usage(error.to_string()))
    }
}

/// A setting as a flag.
fn flag(setting: &'static Setting<Config>) -> Arg {
    let flag = Arg::new(setting.key).long(setting.flag_name().split_off(2));
    let flag = flag.help(setting.flag_help(&Config::default()));
    let flag = match setting.about.shape {
        Shape::Switch => return flag.action(ArgAction::SetTrue),
        Shape::One => flag,
        Shape::Repeated => flag.action(ArgAction::Append),
        Shape::List => flag.action(ArgAction::Append).value_delimiter(','),
    };
    let words = (setting.about.words)();
    match words.is_empty() {
        true => flag.value_name(setting.about.value_name),
        false => flag.value_name(setting.about.value_name).value_parser(one_of(&words)),
    }
}

/// Takes one of these words.
pub(super) fn one_of(words: &[(&'static str, &'static str)]) -> PossibleValuesParser {
    PossibleValuesParser::new(words.iter().map(|(name, means)| PossibleValue::new(*name).help(*means)))
}
