//! One entry of the table of settings, and the macro that makes a table and the typed struct of its values.

use toml::Value;

use super::kind::{About, Kind, Shape};

/// A set of verbs of the command line, one bit each.
pub type Verbs = u32;

/// A default that follows from another setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cases {
    /// The usual one.
    pub usual: f64,
    /// When the other one holds, in words.
    pub when: &'static str,
    /// The other one.
    pub other: f64,
}

/// What a number may be.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    /// The least, and whether it is allowed itself.
    low: Option<(f64, bool)>,
    /// The most, likewise.
    high: Option<(f64, bool)>,
}

/// Ways in which a setting may differ from a plain one.
macro_rules! ways {
    ($($(#[$doc:meta])+ $way:ident($($argument:ident: $type:ty),*) $($($field:ident).+ = $value:expr),+;)+) => {$(
        $(#[$doc])+
        pub(super) const fn $way(mut self, $($argument: $type),*) -> Self {
            $(self.$($field).+ = $value;)+
            self
        }
    )+};
}

/// When a setting is taken, and what to say where it is not.
type Condition<C> = (fn(&C) -> bool, &'static str);

/// A setting of a table whose values are in a `C`.
pub struct Setting<C> {
    /// Its name in a TOML file, with its section: `max_length`, `adamw.beta1`.
    pub key: &'static str,
    /// The heading that it stands under in help.
    pub group: &'static str,
    /// Verbs that take it as a flag.
    pub verbs: Verbs,
    /// Whether it decides what a run computes, so that a resumed run must keep it.
    pub affects_result: bool,
    /// What help and messages say of its type.
    pub about: About,
    doc: &'static str,
    flag_doc: Option<&'static str>,
    default: Option<&'static str>,
    cases: Option<&'static Cases>,
    bounds: Bounds,
    hint: Option<&'static str>,
    condition: Option<Condition<C>>,
    set: fn(&mut C, &Value) -> bool,
    get: fn(&C) -> Option<Value>,
}

impl<C> Setting<C> {
    /// A setting that takes any value of its type and decides the result.
    #[allow(private_bounds, reason = "only this room makes settings")]
    pub(super) const fn new<T: Kind>(
        (group, verbs): (&'static str, Verbs),
        key: &'static str,
        doc: &'static str,
        set: fn(&mut C, &Value) -> bool,
        get: fn(&C) -> Option<Value>,
    ) -> Self {
        Self {
            key,
            group,
            verbs,
            affects_result: true,
            about: T::ABOUT,
            doc,
            flag_doc: None,
            default: None,
            cases: None,
            bounds: Bounds { low: None, high: None },
            hint: None,
            condition: None,
            set,
            get,
        }
    }

    ways! {
        /// Taken by these verbs instead of its group's.
        verbs(verbs: Verbs) verbs = verbs;
        /// Not part of what a resumed run must keep.
        free() affects_result = false;
        /// What stands for its value in help, instead of what its type says.
        value_name(value_name: &'static str) about.value_name = value_name;
        /// Given with commas between values.
        commas() about.shape = Shape::List, about.value_name = "LIST";
        /// A switch that is on, and what its flag does, which turns it off.
        on(doc: &'static str) flag_doc = Some(doc);
        /// What holds where it is not set, in words.
        otherwise(default: &'static str) default = Some(default);
        /// A default that follows from another setting.
        cases(cases: &'static Cases) cases = Some(cases);
        /// `low` or more.
        at_least(low: f64) bounds.low = Some((low, true));
        /// More than `low`.
        above(low: f64) bounds.low = Some((low, false));
        /// `high` or less.
        at_most(high: f64) bounds.high = Some((high, true));
        /// Less than `high`.
        below(high: f64) bounds.high = Some((high, false));
        /// What to do instead of giving a value that is out of bounds.
        hint(hint: &'static str) hint = Some(hint);
        /// Changed from its default only where `holds`; `reason` completes "KEY ...".
        only(holds: fn(&C) -> bool, reason: &'static str) condition = Some((holds, reason));
    }

    /// The last part of its key.
    pub fn name(&self) -> &'static str {
        self.key.rsplit('.').next().unwrap_or(self.key)
    }

    /// What it is, in a sentence without a full stop.
    pub fn help(&self) -> &'static str {
        self.doc.trim()
    }

    /// Its value as TOML; `None` if it is not set.
    pub fn get(&self, values: &C) -> Option<Value> {
        (self.get)(values)
    }

    /// Puts a value in its place.
    ///
    /// # Errors
    /// What a value must be, if this one is of another type.
    pub(super) fn set(&self, values: &mut C, value: &Value) -> Result<(), String> {
        if (self.set)(values, value) { Ok(()) } else { Err(format!("must be {}", self.allowed())) }
    }

    /// What its value must be, as a noun with its bounds.
    pub fn allowed(&self) -> String {
        let words: Vec<&str> = (self.about.words)().into_iter().map(|(name, _)| name).collect();
        match words.split_last() {
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => self.about.what.to_owned(),
        }
    }

    /// What numbers it may be: "must be 0 or more and below 1"; empty if any.
    pub fn bounds(&self) -> String {
        let low = self
            .bounds
            .low
            .map(|(low, itself)| if itself { format!("{low} or more") } else { format!("above {low}") });
        let high =
            self.bounds.high.map(|(high, itself)| format!("{} {high}", if itself { "at most" } else { "below" }));
        match (self.bounds.low, self.bounds.high) {
            (Some((low, true)), Some((high, true))) => format!("between {low} and {high}"),
            _ => low.into_iter().chain(high).collect::<Vec<_>>().join(" and "),
        }
    }

    /// What a number must be, to complete "KEY ...", if this one is out of bounds.
    pub(super) fn out_of_bounds(&self, values: &C) -> Option<String> {
        let inside = |number: f64| {
            let above = self.bounds.low.is_none_or(|(low, itself)| number > low || (itself && number == low));
            let below = self.bounds.high.is_none_or(|(high, itself)| number < high || (itself && number == high));
            number.is_finite() && above && below
        };
        let hint = || self.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let is_wrong = !numbers(&self.get(values)?).into_iter().all(inside);
        is_wrong.then(|| format!("must be {}{}", self.bounds(), hint()))
    }

    /// Why it must be left out, to complete "KEY ...", if it is set where other settings do not go with it.
    pub(super) fn condition(&self, values: &C, defaults: &C) -> Option<&'static str> {
        let (holds, reason) = self.condition?;
        (!holds(values) && self.get(values) != self.get(defaults)).then_some(reason)
    }

    /// Its flag, with dashes. A switch that is on by default has a flag that turns it off.
    pub fn flag_name(&self) -> String {
        let no = if self.flag_doc.is_some() { "no-" } else { "" };
        format!("--{no}{}", self.name().replace('_', "-"))
    }

    /// What its flag does, and its default.
    pub fn flag_help(&self, defaults: &C) -> String {
        let doc = self.flag_doc.unwrap_or(self.doc).trim();
        match self.default_text(defaults).filter(|_| self.about.shape != Shape::Switch) {
            Some(default) => format!("{doc} [default: {default}]"),
            None => doc.to_owned(),
        }
    }

    /// What holds where it is not given.
    pub fn default_text(&self, defaults: &C) -> Option<String> {
        // Rust's debug form: `1e-5`, where TOML has `0.00001`.
        match (self.cases, self.default) {
            (Some(Cases { usual, when, other }), _) => Some(format!("{usual:?}; {when}: {other:?}")),
            (None, Some(text)) => Some(text.to_owned()),
            (None, None) => Some(match self.get(defaults)? {
                Value::Float(number) => format!("{number:?}"),
                Value::String(text) => text,
                other => other.to_string(),
            }),
        }
    }
}

/// The numbers in a value.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Float(number) => vec![*number],
        Value::Integer(number) => vec![*number as f64],
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

/// Defines a struct of settings and its sections, their defaults, and `SETTINGS`, the table of all of them. Settings stand in
/// groups, which have a heading and the verbs that take them as flags:
///
/// ```text
/// in ("Optimizer", RUN) {
///     /// Peak learning rate
///     lr: f64 = 1e-5, .at_least(0.0).at_most(1.0);
/// }
/// ```
///
/// What follows the default is how it differs from a plain setting: see the methods of [`Setting`].
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $Config:ident {
            $(in $group:tt {
                $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(, $(.$how:ident($($with:tt)*))+)?;)+
            })+
        }
        $(
            $(#[$section_meta:meta])*
            pub struct $Section:ident as $section:ident in $section_group:tt {
                $($(#[doc = $sdoc:literal])+ $sfield:ident: $stype:ty = $sdefault:expr $(, $(.$show:ident($($swith:tt)*))+)?;)+
            }
        )*
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Config {
            $($($(#[doc = $doc])+ pub $field: $type,)+)+
            $($(#[$section_meta])* pub $section: $Section,)*
        }

        impl Default for $Config {
            fn default() -> Self {
                Self { $($($field: $default,)+)+ $($section: $Section::default(),)* }
            }
        }

        $(
            $(#[$section_meta])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Section { $($(#[doc = $sdoc])+ pub $sfield: $stype,)+ }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($sfield: $sdefault,)+ }
                }
            }
        )*

        /// Every setting.
        pub static SETTINGS: &[Setting<$Config>] = &[
            $($(Setting::<$Config>::new::<$type>(
                $group,
                stringify!($field),
                concat!($($doc),+),
                |values, value| <$type as Kind>::read(value).map(|value| values.$field = value).is_some(),
                |values| Kind::write(&values.$field),
            )$($(.$how($($with)*))+)?,)+)+
            $($(Setting::<$Config>::new::<$stype>(
                $section_group,
                concat!(stringify!($section), ".", stringify!($sfield)),
                concat!($($sdoc),+),
                |values, value| <$stype as Kind>::read(value).map(|value| values.$section.$sfield = value).is_some(),
                |values| Kind::write(&values.$section.$sfield),
            )$($(.$show($($swith)*))+)?,)+)*
        ];
    };
}

pub(super) use settings;
