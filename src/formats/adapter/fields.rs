//! Fields of an `adapter_config.json`, checked; an error names the file, the field and what it must be.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::error::Error;

/// Largest rank that is believed.
const MAX_RANK: usize = 1 << 12;

/// The fields of an `adapter_config.json`.
pub(super) struct Fields<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) path: &'a Path,
}

impl Fields<'_> {
    /// The value of a field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&self, name: &str, value: &Value, wants: &str) -> Error {
        let mut shown = value.to_string();
        if let Some((at, _)) = shown.char_indices().nth(60) {
            shown.truncate(at);
            shown += "...";
        }
        Error::Damaged { path: self.path.into(), reason: format!("`{name}` is {shown}; {wants}") }
    }

    pub(super) fn rank(&self, name: &str, value: &Value) -> Result<usize, Error> {
        let rank = value.as_u64().and_then(|rank| usize::try_from(rank).ok());
        let wants = || self.wrong(name, value, &format!("a rank is a whole number from 1 to {MAX_RANK}"));
        rank.filter(|rank| (1..=MAX_RANK).contains(rank)).ok_or_else(wants)
    }

    pub(super) fn number(&self, name: &str, value: &Value) -> Result<f64, Error> {
        let number = value.as_f64().filter(|number| number.abs() <= 1e6);
        number.ok_or_else(|| self.wrong(name, value, "it must be a number of at most a million"))
    }

    /// A share of 1; 0 where there is no such field.
    pub(super) fn share(&self, name: &str) -> Result<f64, Error> {
        let Some(value) = self.get(name) else { return Ok(0.0) };
        let share = value.as_f64().filter(|share| (0.0..1.0).contains(share));
        share.ok_or_else(|| self.wrong(name, value, "it must be 0 or more and below 1"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.wrong(name, value, "it must be true or false"))
    }

    /// One value or a list of them, each as `one` reads it.
    pub(super) fn list<T>(
        &self,
        name: &str,
        one: impl Fn(&Value) -> Option<T>,
        wants: &str,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let read = |item: &Value| one(item).ok_or_else(|| self.wrong(name, item, wants));
        items.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// One text or several.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(self.list(name, text, "it must be a name or a list of names")?.unwrap_or_default())
    }
}
