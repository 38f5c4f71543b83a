//! Checked access to the fields of a `config.json`: every value has a type, a range and an error that names it.

use std::{
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {}: {source}. A model folder must hold a config.json", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The file names an architecture that is not supported, or none.
    #[error("{}: {found}; the architectures that can be trained are {known}", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// The names that would be taken.
        known: String,
    },
    /// The file asks for a computation that is not supported.
    #[error("{}: `{field}` = {found} is not supported: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field that asks for it.
        field: String,
        /// Its value.
        found: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// A field has a value that makes no sense.
    #[error("{}: `{field}` is {found}; it must be {wants}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// What would be taken.
        wants: String,
    },
}

/// An object of the file, and where it stands in it.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// What the class of transformers assumes for fields that the file lacks.
    class: Option<&'a Map<String, Value>>,
    origin: &'a Path,
    /// Name of the object with its dot, empty for the whole file.
    within: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, class: &'a Map<String, Value>, origin: &'a Path) -> Self {
        Fields { map, class: Some(class), origin, within: "" }
    }

    /// The value in the file, unless it is missing or null.
    pub(super) fn given(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// The value that the class assumes.
    pub(super) fn class(&self, field: &str) -> Option<&'a Value> {
        self.class?.get(field)
    }

    /// The value in the file or, where that is missing or null, of the class.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.given(field).or_else(|| self.class(field))
    }

    /// The value in the file or, where that is missing, of the class: for fields where null says "none".
    pub(super) fn stated(&self, field: &str) -> Option<&'a Value> {
        if self.map.contains_key(field) { self.given(field) } else { self.class(field) }
    }

    /// A whole number from 1 to `most`, which the file or the class must give.
    pub(crate) fn size(&self, field: &str, most: usize) -> Result<usize, Error> {
        let value = self.get(field).unwrap_or(&Value::Null);
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=most).contains(size))
            .ok_or_else(|| self.wrong(field, value, format!("a whole number from 1 to {most}")))
    }

    /// As [`Self::size`], with a value for where neither gives one.
    pub(super) fn size_or(&self, field: &str, default: usize, most: usize) -> Result<usize, Error> {
        self.get(field).map_or(Ok(default), |_| self.size(field, most))
    }

    /// A whole number from 0.
    pub(crate) fn count(&self, field: &str) -> Result<usize, Error> {
        let value = self.get(field).unwrap_or(&Value::Null);
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.wrong(field, value, "a whole number"))
    }

    /// A number within `range`.
    pub(crate) fn number(&self, field: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, Error> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
            let wants = format!("a number from {} to {}", range.start(), range.end());
            self.wrong(field, value, wants)
        })
    }

    /// True or false; false where neither file nor class says.
    pub(crate) fn flag(&self, field: &str) -> Result<bool, Error> {
        let Some(value) = self.get(field) else {
            return Ok(false);
        };
        value.as_bool().ok_or_else(|| self.wrong(field, value, "true or false"))
    }

    /// What scores or logits are capped at; null: nothing.
    pub(crate) fn cap(&self, field: &str) -> Result<Option<f32>, Error> {
        self.stated(field).map(|_| Ok(self.number(field, 0.0, 1e-2..=1e6)? as f32)).transpose()
    }

    /// A list of `count` numbers within `range`.
    pub(super) fn numbers(&self, field: &str, count: usize, range: RangeInclusive<f64>) -> Result<Vec<f64>, Error> {
        let number = |value: &Value| value.as_f64().filter(|number| range.contains(number));
        let wants = || format!("a list of {count} numbers from {} to {}", range.start(), range.end());
        self.list(field, count, number, wants)
    }

    /// A list of `count` values, each as `value` reads it; `wants` describes what it must be.
    pub(crate) fn list<T>(
        &self,
        field: &str,
        count: usize,
        value: impl Fn(&Value) -> Option<T>,
        wants: impl Fn() -> String,
    ) -> Result<Vec<T>, Error> {
        let found = self.get(field).unwrap_or(&Value::Null);
        let list = found.as_array().filter(|values| values.len() == count);
        list.and_then(|values| values.iter().map(value).collect()).ok_or_else(|| self.wrong(field, found, wants()))
    }

    /// The first field that holds an object.
    pub(super) fn any_object(&self) -> Option<(&'a String, &'a Value)> {
        self.map.iter().find(|(_, value)| value.is_object())
    }

    /// A token id; old files say -1 for none.
    pub(super) fn id(&self, field: &str) -> Result<Option<u32>, Error> {
        self.stated(field).map_or(Ok(None), |value| self.to_id(field, value))
    }

    /// A token id or a list of them.
    pub(super) fn ids(&self, field: &str) -> Result<Vec<u32>, Error> {
        match self.stated(field) {
            Some(Value::Array(values)) => {
                values.iter().filter_map(|value| self.to_id(field, value).transpose()).collect()
            }
            _ => Ok(self.id(field)?.into_iter().collect()),
        }
    }

    fn to_id(&self, field: &str, value: &Value) -> Result<Option<u32>, Error> {
        match value.as_i64().map(u32::try_from) {
            Some(Ok(id)) => Ok(Some(id)),
            Some(Err(_)) if value.as_i64() == Some(-1) => Ok(None),
            _ => Err(self.wrong(field, value, "a token id")),
        }
    }

    /// The object in `field`, unless it is missing or null.
    pub(super) fn object(&self, field: &'static str, within: &'static str) -> Result<Option<Self>, Error> {
        let Some(value) = self.given(field) else {
            return Ok(None);
        };
        let map = value.as_object().ok_or_else(|| self.wrong(field, value, "an object"))?;
        Ok(Some(Fields { map, class: None, origin: self.origin, within }))
    }

    pub(crate) fn wrong(&self, field: &str, found: impl Display, wants: impl Into<String>) -> Error {
        Error::Field {
            path: self.origin.into(),
            field: format!("{}{field}", self.within),
            found: short(found),
            wants: wants.into(),
        }
    }

    pub(crate) fn unsupported(&self, field: &str, found: &Value, reason: &str) -> Error {
        Error::Unsupported {
            path: self.origin.into(),
            field: format!("{}{field}", self.within),
            found: short(found),
            reason: reason.into(),
        }
    }
}

/// A value as text, cut: a stranger's file may hold megabytes in a field.
fn short(found: impl Display) -> String {
    const MOST: usize = 80;
    let text = found.to_string();
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
