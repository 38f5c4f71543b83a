//! Settings written down: the file of a run, and what a resumed run must keep.

use std::{fmt, path::Path};

use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use super::{
    choices::Method,
    error::Error,
    layers::{Layers, of_runs},
    table::Config,
};

/// A setting that is not what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its key.
    pub key: String,
    /// Its former value; null if it was not set.
    pub was: Json,
    /// Its value now.
    pub now: Json,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Json| match value {
            Json::Null => "not set".to_owned(),
            // Rust's debug form: `1e-5`, where JSON has `0.00001`.
            Json::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap_or_default()),
            other => other.to_string(),
        };
        write!(f, "`{}` was {}, is now {}", self.key, shown(&self.was), shown(&self.now))
    }
}

impl Config {
    /// The settings of the run as TOML, with a head that says how to run them again. What is not set is left out.
    ///
    /// # Errors
    /// A path that is not UTF-8, which TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, Error> {
        let mut table = Table::new();
        for setting in of_runs() {
            let Some(value) = setting.get(self) else { continue };
            match setting.key.split_once('.') {
                None => table.insert(setting.key.into(), value),
                Some((section, name)) => {
                    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                    section.as_table_mut().and_then(|section| section.insert(name.into(), value))
                }
            };
        }
        let body = toml::to_string(&table).map_err(|error| Error::Unwritable { message: error.to_string() })?;
        let verb = if self.method == Method::Wmss { "wmss" } else { "train" };
        let version = env!("CARGO_PKG_VERSION");
        Ok(format!(
            "# Settings as resolved by underdog {version}. Again: underdog {verb} config.toml --out DIR\n\n{body}"
        ))
    }

    /// The settings of a run, as [`Self::to_toml`] wrote them; whether they go together is not asked again.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut layers = Layers::new();
        layers.file(path)?;
        layers.resolve_values()
    }

    /// These settings with others laid over them, each as `key=value`.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn with(&self, settings: &[String]) -> Result<Self, Error> {
        let mut layers = Layers::over(self);
        settings.iter().try_for_each(|setting| layers.set(setting))?;
        layers.resolve()
    }

    /// The settings that decide what a run computes, by key. What is not set is left out, and so are files and folders:
    /// of these the contents decide, not the names.
    pub fn result_values(&self) -> Map<String, Json> {
        values(self, |setting| setting.affects_result && !setting.about.is_path)
    }

    /// The first setting, files and folders among them, in which `self` is another run than `was`.
    pub fn change_since(&self, was: &Self) -> Option<Change> {
        let all = |config| values(config, |setting| setting.affects_result);
        changed(&all(was), &all(self))
    }
}

/// The first difference between two maps of [`Config::result_values`]. A key that one of them lacks counts as its default,
/// so that a setting which did not exist when `was` was written may be left as it is.
pub fn changed(was: &Map<String, Json>, now: &Map<String, Json>) -> Option<Change> {
    let defaults = values(&Config::default(), |_| true);
    let value = |map: &Map<String, Json>, key: &str| map.get(key).or(defaults.get(key)).cloned().unwrap_or_default();
    let change = |key: &String| Change { key: key.clone(), was: value(was, key), now: value(now, key) };
    now.keys().chain(was.keys()).map(change).find(|change| change.was != change.now)
}

fn values(config: &Config, wanted: impl Fn(&super::setting::Setting<Config>) -> bool) -> Map<String, Json> {
    let json = |value: Value| serde_json::to_value(value).unwrap_or_default();
    of_runs().filter(|s| wanted(s)).filter_map(|s| Some((s.key.to_owned(), json(s.get(config)?)))).collect()
}
