//! Defaults, file, flags and `--set` laid over each other. Every value keeps where it came from, so that an error can
//! name the line or the flag, also when it only shows once all layers are together.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{ADAPTER_LR, Config, Method, keys};

/// A file of settings is a page or two; more is a mistaken argument.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said otherwise.
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
    #[error("{origin}: unknown key `{key}`{}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A value of another type than its key's.
    #[error("{origin}: `{key}`: {message}")]
    WrongType {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// What came and what was expected.
        message: String,
    },
    /// A value that is not allowed.
    #[error("{origin}: `{key}` = {value}: {key} {allowed}")]
    NotAllowed {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A setting that this run needs.
    #[error(
        "`{key}` is not set: give {what} with `--{} {value_name}`, or as `{key} = \"{value_name}\"` in the run's TOML file",
        key.replace('_', "-")
    )]
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
    #[error("--set {argument}: wants key=value, as in --set lr=2e-5 or --set curriculum.beta=0.7")]
    SetForm {
        /// The argument.
        argument: String,
    },
    /// Settings that TOML cannot hold.
    #[error("the settings cannot be written as TOML: {message}; use paths in UTF-8 and whole numbers below 2^63")]
    Unwritable {
        /// What the writer said.
        message: String,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}

/// Settings in the making. Later layers win.
#[derive(Debug, Default)]
pub struct Layers {
    table: Table,
    config: Config,
    origins: HashMap<String, Origin>,
}

impl Layers {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings that are checked already.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub(super) fn over(config: &Config) -> Result<Self, Error> {
        let table = Table::try_from(config).map_err(|error| Error::Unwritable { message: error.to_string() })?;
        Ok(Self { table, config: config.clone(), origins: HashMap::new() })
    }

    /// Lays a TOML file over what is there.
    ///
    /// # Errors
    /// Names the file and the line of bad TOML, an unknown key or a value of the wrong type.
    pub fn file(&mut self, path: &Path) -> Result<(), Error> {
        let text = read_capped(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let syntax = |error: toml::de::Error| Error::Syntax {
            path: path.to_path_buf(),
            line: error.span().map_or(1, |span| line_of(&text, span.start)),
            message: error.message().to_owned(),
        };
        let spanned = DeTable::parse(&text).map_err(syntax)?;
        let values: Table = text.parse().map_err(syntax)?;
        let mut leaves = Vec::new();
        collect_leaves("", spanned.get_ref(), &values, &mut leaves);
        for (key, offset, value) in leaves {
            self.put(&key, value, Origin::File(path.to_path_buf(), line_of(&text, offset)))?;
        }
        Ok(())
    }

    /// Lays flags over what is there: a struct whose fields bear the names of keys; a field that is None says nothing.
    ///
    /// # Errors
    /// A path that is not UTF-8, a whole number beyond 2^63, or a value of the wrong type.
    pub fn flags(&mut self, flags: &impl Serialize) -> Result<(), Error> {
        let flags = Table::try_from(flags).map_err(|error| Error::Unwritable { message: error.to_string() })?;
        for (key, value) in flags {
            let name = key.rsplit('.').next().unwrap_or(&key).replace('_', "-");
            self.put(&key, value, Origin::Flag(format!("--{name}")))?;
        }
        Ok(())
    }

    /// Lays one `key=value` over what is there. The value is read as TOML where that fits the key, else as a string.
    ///
    /// # Errors
    /// No `=`, an unknown key, or a value of the wrong type.
    pub fn set(&mut self, argument: &str) -> Result<(), Error> {
        let form = || Error::SetForm { argument: argument.to_owned() };
        let (key, text) = argument.split_once('=').ok_or_else(form)?;
        let (key, text) = (key.trim(), text.trim());
        let origin = Origin::Set(argument.to_owned());
        let as_text = Value::String(text.to_owned());
        let parsed = DeValue::parse(text).ok().and_then(|_| format!("value = {text}").parse::<Table>().ok());
        match parsed.and_then(|mut table| table.remove("value")) {
            Some(value) => {
                let first = self.put(key, value, origin.clone());
                first.or_else(|error| self.put(key, as_text, origin).map_err(|_| error))
            }
            None => self.put(key, as_text, origin),
        }
    }

    /// What the verb decides by itself: it wins over the file.
    pub fn method(&mut self, method: Method) -> Result<(), Error> {
        self.put("method", Value::String(method.to_string()), Origin::Verb)
    }

    /// The settings, checked.
    ///
    /// # Errors
    /// The first value that is not allowed, with where it came from.
    pub fn resolve(&self) -> Result<Config, Error> {
        match self.config.first_fault() {
            None if self.config.trains_adapter() && !self.table.contains_key("lr") => {
                Ok(Config { lr: ADAPTER_LR, ..self.config.clone() })
            }
            None => Ok(self.config.clone()),
            Some((key, allowed)) => Err(Error::NotAllowed {
                origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
                key,
                value: look_up(&self.table, key).map_or_else(|| "unset".to_owned(), Value::to_string),
                allowed,
            }),
        }
    }

    fn put(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), Error> {
        if !keys().iter().any(|known| known == key) {
            return Err(Error::UnknownKey { origin, key: key.to_owned(), suggestion: suggest(key) });
        }
        let mut table = self.table.clone();
        insert(&mut table, key, value);
        self.config = match table.clone().try_into::<Config>() {
            Ok(config) => config,
            Err(error) => {
                return Err(Error::WrongType { origin, key: key.to_owned(), message: plain(error.message()) });
            }
        };
        self.table = table;
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }
}

fn read_capped(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    match read as u64 > MAX_FILE_BYTES {
        true => Err(io::Error::other("larger than 1 MiB, which no file of settings is")),
        false => Ok(text),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// Dotted key, offset in the text and value of everything that is not a table. An empty table counts as a value, so
/// that a misspelt one does not go unnoticed.
fn collect_leaves(prefix: &str, spanned: &DeTable<'_>, values: &Table, leaves: &mut Vec<(String, usize, Value)>) {
    for (key, node) in spanned {
        let name = key.get_ref().as_ref();
        let dotted = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        match (node.get_ref().as_table(), values.get(name)) {
            (Some(inner), Some(Value::Table(table))) if !table.is_empty() => {
                collect_leaves(&dotted, inner, table, leaves);
            }
            (_, Some(value)) if !is_empty_section(&dotted, value) => {
                leaves.push((dotted, key.span().start, value.clone()))
            }
            _ => {}
        }
    }
}

fn is_empty_section(key: &str, value: &Value) -> bool {
    value.as_table().is_some_and(Table::is_empty) && keys().iter().any(|known| known.starts_with(&format!("{key}.")))
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                insert(section, rest, value);
            }
        }
    }
}

fn look_up<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => look_up(table.get(section)?.as_table()?, rest),
    }
}

/// The known key that `key` most likely means: the same name in another table, or one that is spelt alike.
fn suggest(key: &str) -> Option<String> {
    const ALIKE: f64 = 0.8;
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let wanted = key.replace('-', "_").to_lowercase();
    let likeness = |known: &str| {
        let whole = strsim::jaro_winkler(known, &wanted);
        whole.max(strsim::jaro_winkler(&last(known), &last(&wanted)))
    };
    let scored = keys().into_iter().map(|known| (likeness(&known), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// Rust's names of types mean nothing to a reader of TOML.
fn plain(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    [("expected f64", "expected a number"), ("floating point", "number"), ("a boolean", "true or false")]
        .iter()
        .chain(&[
            ("expected u64", "expected a whole number, 0 or more"),
            ("expected usize", "expected a whole number, 0 or more"),
        ])
        .fold(message.to_owned(), |text, (from, to)| text.replace(from, to))
}
