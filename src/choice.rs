//! Values that are one of a few words. The words and what they mean stand once, at the type.

/// A value that settings and flags call by a name.
pub trait Choice: Copy + PartialEq + Send + Sync + 'static {
    /// Every value, its name, and a line on what it means.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// Its name.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(value, ..)| *value == self).map_or("", |(_, name, _)| name)
    }

    /// The value of this name.
    fn named(wanted: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name, _)| *name == wanted).map(|(value, ..)| *value)
    }
}

/// Defines an enum with a name for each variant. It is a [`Choice`], whose lines are the variants' docs, and is shown and
/// serialised as its name.
macro_rules! choices {
    (
        $(#[$meta:meta])*
        pub enum $type:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[doc = $doc])+ $variant,)+ }

        impl $crate::choice::Choice for $type {
            const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $name, concat!($($doc),+)),)+];
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::choice::Choice::name(*self))
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::choice::Choice::name(*self))
            }
        }
    };
}

pub(crate) use choices;
