//! Checked access to the fields of a `config.json`: every value has a type, a range and an error that names it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Error, Rope, RopeScaling};

/// An object of the file, and where it stands in it.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    origin: &'a Path,
    /// Name of the object with its dot, empty for the whole file.
    within: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, origin: &'a Path) -> Fields<'a> {
        Fields { map, origin, within: "" }
    }

    /// The field's value, unless it is missing or null.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    pub(super) fn is_null(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(Value::is_null)
    }

    /// A whole number from 1 to `most`.
    pub(super) fn size(&self, field: &str, default: usize, most: usize) -> Result<usize, Error> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=most).contains(size))
            .ok_or_else(|| self.wrong(field, value, format!("a whole number from 1 to {most}")))
    }

    /// A whole number from 0.
    pub(super) fn count(&self, field: &str, default: usize) -> Result<usize, Error> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.wrong(field, value, "a whole number"))
    }

    /// A number within `range`.
    pub(super) fn number(&self, field: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, Error> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
            let wants = format!("a number from {} to {}", range.start(), range.end());
            self.wrong(field, value, wants)
        })
    }

    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool, Error> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        value.as_bool().ok_or_else(|| self.wrong(field, value, "true or false"))
    }

    /// A token id; old files say -1 for none.
    pub(super) fn id(&self, field: &str) -> Result<Option<u32>, Error> {
        self.get(field).map_or(Ok(None), |value| self.to_id(field, value))
    }

    /// A token id or a list of them.
    pub(super) fn ids(&self, field: &str, default: Option<u32>) -> Result<Vec<u32>, Error> {
        match self.map.get(field) {
            None => Ok(default.into_iter().collect()),
            Some(Value::Array(values)) => {
                values.iter().filter_map(|value| self.to_id(field, value).transpose()).collect()
            }
            Some(_) => Ok(self.id(field)?.into_iter().collect()),
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
    fn object(&self, field: &'static str, within: &'static str) -> Result<Option<Self>, Error> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let map = value.as_object().ok_or_else(|| self.wrong(field, value, "an object"))?;
        Ok(Some(Fields { map, origin: self.origin, within }))
    }

    /// Rotary positions, in either form.
    pub(super) fn rope(&self) -> Result<Rope, Error> {
        const THETA: RangeInclusive<f64> = 1.0..=1e12;
        let outer = self.get("rope_theta").is_some();
        let theta = self.number("rope_theta", 10_000.0, THETA)?;
        // transformers 5 prefers the old name where a file has both.
        let parameters = match self.object("rope_scaling", "rope_scaling.")? {
            Some(old) => Some(old),
            None => self.object("rope_parameters", "rope_parameters.")?,
        };
        let Some(parameters) = parameters else {
            return Ok(Rope { theta, scaling: RopeScaling::Default });
        };
        let inner = parameters.number("rope_theta", theta, THETA)?;
        if outer && inner != theta {
            let wants = format!("the same as `rope_theta` = {theta}");
            return Err(parameters.wrong("rope_theta", inner, wants));
        }
        Ok(Rope { theta: inner, scaling: parameters.scaling()? })
    }

    fn scaling(&self) -> Result<RopeScaling, Error> {
        if let Some((field, value)) = self.map.iter().find(|(_, value)| value.is_object()) {
            return Err(self.unsupported(field, value, "positions must be the same in all layers"));
        }
        if let Some(value) = self.get("partial_rotary_factor")
            && value.as_f64() != Some(1.0)
        {
            return Err(self.unsupported("partial_rotary_factor", value, "only whole heads turn"));
        }
        let kind = self.get("rope_type").or_else(|| self.get("type"));
        match kind.map(|kind| (kind, kind.as_str())) {
            None | Some((_, Some("default"))) => Ok(RopeScaling::Default),
            Some((_, Some("llama3"))) => self.llama3(),
            Some((kind, _)) => Err(self.unsupported("rope_type", kind, "the types built are default and llama3")),
        }
    }

    fn llama3(&self) -> Result<RopeScaling, Error> {
        for field in ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"] {
            if self.get(field).is_none() {
                return Err(self.wrong(field, "missing", "given for rope_type llama3"));
            }
        }
        let low_freq_factor = self.number("low_freq_factor", 1.0, 1e-3..=1e6)?;
        let high_freq_factor = self.number("high_freq_factor", 4.0, 1e-3..=1e6)?;
        if high_freq_factor <= low_freq_factor {
            let wants = format!("more than low_freq_factor = {low_freq_factor}");
            return Err(self.wrong("high_freq_factor", high_freq_factor, wants));
        }
        Ok(RopeScaling::Llama3 {
            factor: self.number("factor", 1.0, 1.0..=1e6)?,
            low_freq_factor,
            high_freq_factor,
            original_max_positions: self.size("original_max_position_embeddings", 1, 1 << 30)?,
        })
    }

    pub(super) fn wrong(&self, field: &str, found: impl Display, wants: impl Into<String>) -> Error {
        Error::Field {
            path: self.origin.into(),
            field: format!("{}{field}", self.within),
            found: short(found),
            wants: wants.into(),
        }
    }

    pub(super) fn unsupported(&self, field: &str, found: &Value, reason: &str) -> Error {
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
