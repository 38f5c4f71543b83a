//! The types that a setting may have: how each is read from TOML and from a flag's text, and written again.

use std::path::PathBuf;

use toml::Value;

use super::{bytes::ByteSize, recompute::Recompute};
use crate::choice::Choice;

/// How often a flag is given, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A switch without a value.
    Switch,
    /// One value.
    One,
    /// A value each time it is given.
    Repeated,
    /// Values with commas between them.
    List,
}

/// A type of settings.
pub(super) trait Kind: Sized {
    /// What a value must be, as an error and the docs say it: "a number".
    const WHAT: &'static str;
    /// What stands for the value in help.
    const VALUE_NAME: &'static str = "TEXT";
    /// How its flag is given.
    const SHAPE: Shape = Shape::One;
    /// How a list of these is given.
    const LIST: Shape = Shape::Repeated;
    /// Whether it is a file or a folder.
    const IS_PATH: bool = false;

    /// The value, unless it is of another type.
    fn read(value: &Value) -> Option<Self>;

    /// The value as TOML; `None` if it is not set.
    fn write(&self) -> Option<Value>;

    /// A flag's text as TOML: text that is no value of this type stays text, which [`Self::read`] refuses.
    fn parse(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    /// The words it may be, each with what it means; none where it may be anything.
    fn words() -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

impl Kind for bool {
    const WHAT: &'static str = "true or false";
    const SHAPE: Shape = Shape::Switch;

    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Kind for f64 {
    const WHAT: &'static str = "a number";
    const VALUE_NAME: &'static str = "X";

    fn read(value: &Value) -> Option<Self> {
        value.as_float().or_else(|| value.as_integer().map(|number| number as Self))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Float(*self))
    }

    fn parse(text: &str) -> Value {
        text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Float)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Kind for $type {
            const WHAT: &'static str = "a whole number, 0 or more";
            const VALUE_NAME: &'static str = "N";

            fn read(value: &Value) -> Option<Self> {
                value.as_integer().and_then(|number| number.try_into().ok())
            }

            fn write(&self) -> Option<Value> {
                i64::try_from(*self).ok().map(Value::Integer)
            }

            fn parse(text: &str) -> Value {
                text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer)
            }
        }
    )+};
}

whole_numbers!(u32, u64, usize);

impl Kind for String {
    const WHAT: &'static str = "text";
    const LIST: Shape = Shape::List;

    fn read(value: &Value) -> Option<Self> {
        // A device may be given by its index.
        value.as_str().map(str::to_owned).or_else(|| value.as_integer().map(|number| number.to_string()))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

impl Kind for PathBuf {
    const WHAT: &'static str = "a path";
    const VALUE_NAME: &'static str = "DIR";
    const IS_PATH: bool = true;

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_str()?.to_owned()))
    }
}

impl Kind for ByteSize {
    const WHAT: &'static str = "a size like 8GiB, 512MiB or 8000000000";
    const VALUE_NAME: &'static str = "SIZE";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok().map(Self),
            other => other.as_str()?.parse().ok(),
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
}

impl Kind for Recompute {
    const WHAT: &'static str = "auto, on, off or a number of blocks";
    const VALUE_NAME: &'static str = "BLOCKS";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(blocks) => usize::try_from(*blocks).ok().map(Self::Blocks),
            other => other.as_str()?.parse().ok(),
        }
    }

    fn write(&self) -> Option<Value> {
        match self {
            Self::Blocks(blocks) => blocks.write(),
            word => Some(Value::String(word.to_string())),
        }
    }
}

impl<T: Choice> Kind for T {
    const WHAT: &'static str = "one of its words";
    const VALUE_NAME: &'static str = "WORD";

    fn read(value: &Value) -> Option<Self> {
        Self::named(value.as_str()?)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.name().to_owned()))
    }

    fn words() -> Vec<(&'static str, &'static str)> {
        T::ALL.iter().map(|(_, name, means)| (*name, means.trim())).collect()
    }
}

impl<T: Kind> Kind for Option<T> {
    const WHAT: &'static str = T::WHAT;
    const VALUE_NAME: &'static str = T::VALUE_NAME;
    const SHAPE: Shape = T::SHAPE;
    const IS_PATH: bool = T::IS_PATH;

    fn read(value: &Value) -> Option<Self> {
        T::read(value).map(Some)
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(T::write)
    }

    fn parse(text: &str) -> Value {
        T::parse(text)
    }

    fn words() -> Vec<(&'static str, &'static str)> {
        T::words()
    }
}

/// A list; a list of one may be written without brackets.
impl<T: Kind> Kind for Vec<T> {
    const WHAT: &'static str = T::WHAT;
    const VALUE_NAME: &'static str = T::VALUE_NAME;
    const SHAPE: Shape = T::LIST;
    const IS_PATH: bool = T::IS_PATH;

    fn read(value: &Value) -> Option<Self> {
        match value.as_array() {
            Some(values) => values.iter().map(T::read).collect(),
            None => T::read(value).map(|value| vec![value]),
        }
    }

    fn write(&self) -> Option<Value> {
        self.iter().map(T::write).collect::<Option<Vec<_>>>().filter(|values| !values.is_empty()).map(Value::Array)
    }

    fn parse(text: &str) -> Value {
        T::parse(text)
    }
}
