//! Every setting of a run, its default and what is allowed: the only place where a default stands.
//!
//! The [table](SETTINGS) makes the typed [`Config`], the flags and their help, the TOML keys, the messages,
//! `docs/settings.md` and what a resumed run must keep. A [`Config`] is made by [`Layers`]: defaults, then a TOML file, then
//! flags, then `--set key=value`. Keys are flat (`lr = 1e-5`) and named like the flags, but for the tables `[curriculum]`
//! and `[adamw]`. Paths are relative to the working directory, wherever the file lies. This room checks values by
//! themselves; it opens no file but the configuration and knows nothing of models, data or devices.

mod bytes;
mod choices;
mod derived;
mod docs;
mod error;
mod kind;
mod layers;
mod recompute;
mod resume;
mod rules;
mod setting;
mod table;

pub use bytes::ByteSize;
pub use choices::{Autotune, CurriculumRule, Dtype, LambdaSchedule, Method, Precision, Quantize, WeakSource};
pub use docs::markdown;
pub use error::{Error, Origin};
pub use kind::{About, Shape};
pub use layers::Layers;
pub use recompute::Recompute;
pub use resume::{Change, changed};
pub use setting::{Setting, Verbs};
pub use table::*;
