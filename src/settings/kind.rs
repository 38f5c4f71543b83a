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

/// What help and messages say of a type of settings.
#[derive(Clone, Copy)]
pub struct About {
    /// What a value must be, as an error and the docs say it: "a number".
    pub what: &'static str,
    /// What stands for the value in help.
    pub value_name: &'static str,
    /// How its flag is given.
    pub shape: Shape,
    /// Whether it is a file or a folder, or a list of them.
    pub is_path: bool,
    /// The words it may be, each with what it means; none where it may be anything.
    pub words: fn() -> Vec<(&'static str, &'static str)>,
    /// A flag's text as TOML. Text that is no value of this type stays text, which is refused when it is read.
    pub parse: fn(&str) -> Value,
}

impl About {
    const fn new(what: &'static str, value_name: &'static str) -> Self {
        let parse = |text: &str| Value::String(text.to_owned());
        Self { what, value_name, shape: Shape::One, is_path: false, words: Vec::new, parse }
    }
}

/// A type of settings.
pub(super) trait Kind: Sized {
    /// What help and messages say of it.
    const ABOUT: About;

    /// The value, unless it is of another type.
    fn read(value: &Value) -> Option<Self>;

    /// The value as TOML; `None` if it is not set.
    fn write(&self) -> Option<Value>;
}

impl Kind for bool {
    const ABOUT: About = About { shape: Shape::Switch, ..About::new("true or false", "") };

    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Kind for f64 {
    const ABOUT: About = About {
        parse: |text| text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Float),
        ..About::new("a number", "X")
    };

    fn read(value: &Value) -> Option<Self> {
        value.as_float().or_else(|| value.as_integer().map(|number| number as Self))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Float(*self))
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Kind for $type {
            const ABOUT: About = About {
                parse: |text| text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer),
                ..About::new("a whole number, 0 or more", "N")
            };

            fn read(value: &Value) -> Option<Self> {
                value.as_integer().and_then(|number| number.try_into().ok())
            }

            fn write(&self) -> Option<Value> {
                i64::try_from(*self).ok().map(Value::Integer)
            }
        }
    )+};
}

whole_numbers!(u32, u64, usize);

impl Kind for String {
    const ABOUT: About = About::new("text", "TEXT");

    fn read(value: &Value) -> Option<Self> {
        // A device may be given by its index.
        value.as_str().map(str::to_owned).or_else(|| value.as_integer().map(|number| number.to_string()))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

impl Kind for PathBuf {
    const ABOUT: About = About { is_path: true, ..About::new("a path", "DIR") };

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_str()?.to_owned()))
    }
}

impl Kind for ByteSize {
    const ABOUT: About = About::new("a size like 8GiB, 512MiB or 8000000000", "SIZE");

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
    const ABOUT: About = About::new("auto, on, off or a number of blocks", "BLOCKS");

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
    const ABOUT: About = About {
        words: || T::ALL.iter().map(|(_, name, means)| (*name, means.trim())).collect(),
        ..About::new("one of its words", "WORD")
    };

    fn read(value: &Value) -> Option<Self> {
        Self::named(value.as_str()?)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.name().to_owned()))
    }
}

impl<T: Kind> Kind for Option<T> {
    const ABOUT: About = T::ABOUT;

    fn read(value: &Value) -> Option<Self> {
        T::read(value).map(Some)
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(T::write)
    }
}

/// A list; a list of one may be written without brackets. A path may hold a comma, so paths are given one by one.
impl<T: Kind> Kind for Vec<T> {
    const ABOUT: About = About { shape: Shape::Repeated, ..T::ABOUT };

    fn read(value: &Value) -> Option<Self> {
        match value.as_array() {
            Some(values) => values.iter().map(T::read).collect(),
            None => T::read(value).map(|value| vec![value]),
        }
    }

    fn write(&self) -> Option<Value> {
        self.iter().map(T::write).collect::<Option<Vec<_>>>().filter(|values| !values.is_empty()).map(Value::Array)
    }
}
