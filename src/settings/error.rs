//! What can be wrong with settings, and where a value came from.

use std::{fmt, io, path::PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was not given.
    Default,
    /// A line, from 1, of a file.
    File(PathBuf, usize),
    /// A flag, with its dashes.
    Flag(String),
    /// An argument of `--set`.
    Set(String),
    /// The verb itself.
    Verb,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("defaults"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
            Self::Set(argument) => write!(f, "--set {argument}"),
            Self::Verb => f.write_str("this verb"),
        }
    }
}

/// What can be wrong with settings. All are the user's to mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`{}", suggestion.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A value that is not allowed: of another type, out of bounds, or not with the other settings.
    #[error("{origin}: `{key}` = {value}: {key} {allowed}")]
    NotAllowed {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A setting that this run needs.
    #[error("`{key}` is not set: give it with `--{} {value_name}`, or as `{key} = \"{value_name}\"` in the run's TOML file ({what})", key.replace('_', "-"))]
    Missing {
        /// The setting.
        key: &'static str,
        /// What stands for its value.
        value_name: &'static str,
        /// What it is.
        what: &'static str,
    },
    /// All phases asked of a verb that runs one.
    #[error("method `wmss` is all phases at once, which `underdog train` does not run; use `underdog wmss`")]
    WrongVerb,
    /// An argument of `--set` without `=`.
    #[error("--set {argument}: needs key=value, as in --set lr=2e-5 or --set curriculum.beta=0.7")]
    SetForm {
        /// The argument.
        argument: String,
    },
    /// Settings that TOML cannot hold.
    #[error("the settings cannot be written as TOML: {message}")]
    Unwritable {
        /// What the writer said.
        message: String,
    },
}
