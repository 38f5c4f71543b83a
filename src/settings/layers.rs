//! Defaults, file, flags and `--set` laid over each other. Every value keeps where it came from, so that an error can
//! name the line or the flag, also when it only shows once all layers are together.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    choices::Method,
    error::{Error, Origin},
    setting::Setting,
    table::{Config, LR, RUN, SETTINGS},
};
use crate::choice::Choice;

/// A file of settings is a page or two; more is a mistaken argument.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Settings in the making. Later layers win.
#[derive(Debug, Default)]
pub struct Layers {
    config: Config,
    given: HashMap<&'static str, (Value, Origin)>,
}

impl Layers {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings that are checked already.
    pub fn over(config: &Config) -> Self {
        let value = |setting: &Setting<Config>| Some((setting.key, (setting.get(config)?, Origin::Default)));
        Self { config: config.clone(), given: SETTINGS.iter().filter_map(value).collect() }
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
        leaves.into_iter().try_for_each(|(key, offset, value)| {
            let origin = Origin::File(path.to_path_buf(), line_of(&text, offset));
            self.put(known(&key, &origin)?, value, origin)
        })
    }

    /// Lays a flag over what is there. `texts`: its values; none for a switch, which turns the setting from its default.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn flag(&mut self, setting: &'static Setting<Config>, texts: &[&str]) -> Result<(), Error> {
        let value = match (texts, setting.get(&Config::default())) {
            ([], Some(Value::Boolean(default))) => Value::Boolean(!default),
            ([text], _) => (setting.about.parse)(text),
            (texts, _) => Value::Array(texts.iter().map(|text| (setting.about.parse)(text)).collect()),
        };
        self.put(setting, value, Origin::Flag(setting.flag_name()))
    }

    /// Lays one `key=value` over what is there. The value is read as TOML where that fits the key, else as text.
    ///
    /// # Errors
    /// No `=`, an unknown key, or a value of the wrong type.
    pub fn set(&mut self, argument: &str) -> Result<(), Error> {
        let form = || Error::SetForm { argument: argument.to_owned() };
        let (key, text) = argument.split_once('=').ok_or_else(form)?;
        let text = text.trim();
        let origin = Origin::Set(argument.to_owned());
        let setting = known(key.trim(), &origin)?;
        let parsed = DeValue::parse(text).ok().and_then(|_| format!("value = {text}").parse::<Table>().ok());
        if let Some(value) = parsed.and_then(|mut table| table.remove("value"))
            && self.put(setting, value, origin.clone()).is_ok()
        {
            return Ok(());
        }
        self.put(setting, Value::String(text.to_owned()), origin)
    }

    /// What the verb decides by itself: it wins over the file.
    pub fn method(&mut self, method: Method) {
        self.config.method = method;
        self.given.insert("method", (Value::String(method.name().into()), Origin::Verb));
    }

    /// The settings of a run, checked, each by itself and with the others.
    ///
    /// # Errors
    /// The first value that is not allowed, with where it came from.
    pub fn resolve(&self) -> Result<Config, Error> {
        let config = self.resolve_values()?;
        self.allowed(config.conflict())?;
        match config.trains_adapter() && !self.given.contains_key("lr") {
            true => Ok(Config { lr: LR.other, ..config }),
            false => Ok(config),
        }
    }

    /// The settings of a verb that trains nothing, each checked by itself.
    ///
    /// # Errors
    /// The first value that is not allowed, with where it came from.
    pub fn resolve_values(&self) -> Result<Config, Error> {
        self.allowed(SETTINGS.iter().find_map(|setting| Some((setting.key, setting.out_of_bounds(&self.config)?))))?;
        Ok(self.config.clone())
    }

    fn allowed(&self, fault: Option<(&'static str, String)>) -> Result<(), Error> {
        let Some((key, allowed)) = fault else { return Ok(()) };
        let (value, origin) = match self.given.get(key) {
            Some((value, origin)) => (value.to_string(), origin.clone()),
            None => ("unset".to_owned(), Origin::Default),
        };
        Err(Error::NotAllowed { origin, key, value, allowed })
    }

    fn put(&mut self, setting: &'static Setting<Config>, value: Value, origin: Origin) -> Result<(), Error> {
        let key = setting.key;
        match setting.set(&mut self.config, &value) {
            Err(allowed) => Err(Error::NotAllowed { origin, key, value: value.to_string(), allowed }),
            Ok(()) => {
                self.given.insert(key, (value, origin));
                Ok(())
            }
        }
    }
}

/// The settings that a TOML file and `--set` may hold: those of a run.
pub(super) fn of_runs() -> impl Iterator<Item = &'static Setting<Config>> {
    SETTINGS.iter().filter(|setting| setting.verbs == 0 || setting.verbs & RUN != 0)
}

fn known(key: &str, origin: &Origin) -> Result<&'static Setting<Config>, Error> {
    of_runs().find(|setting| setting.key == key).ok_or_else(|| Error::UnknownKey {
        origin: origin.clone(),
        key: key.to_owned(),
        suggestion: suggest(key),
    })
}

/// The known key that `key` most likely means: the same name in another table, or one that is spelt alike.
fn suggest(key: &str) -> Option<&'static str> {
    const ALIKE: f64 = 0.8;
    let wanted = key.replace('-', "_").to_lowercase();
    let last = wanted.rsplit('.').next().unwrap_or(&wanted);
    let likeness = |setting: &Setting<Config>| {
        strsim::jaro_winkler(setting.key, &wanted).max(strsim::jaro_winkler(setting.name(), last))
    };
    let scored = of_runs().map(|setting| (likeness(setting), setting.key));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, key)| key)
}

fn read_capped(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
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
    let is_section = |key: &str| of_runs().any(|known| known.key.starts_with(&format!("{key}.")));
    for (key, node) in spanned {
        let name = key.get_ref().as_ref();
        let dotted = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        match (node.get_ref().as_table(), values.get(name)) {
            (Some(inner), Some(Value::Table(table))) if !table.is_empty() => {
                collect_leaves(&dotted, inner, table, leaves);
            }
            (Some(_), _) if is_section(&dotted) => {}
            (_, Some(value)) => leaves.push((dotted, key.span().start, value.clone())),
            _ => {}
        }
    }
}
