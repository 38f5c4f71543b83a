//! What follows from settings.

use std::path::{Path, PathBuf};

use super::{
    choices::{Dtype, Method, WeakSource},
    error::Error,
    table::{Config, HARD_SHARE, SETTINGS},
};

impl Config {
    /// Whether the run is a single phase.
    pub fn is_one_phase(&self) -> bool {
        self.method != Method::Wmss
    }

    /// Whether logits are mixed with those of a weak model.
    pub fn mixes(&self) -> bool {
        matches!(self.method, Method::Mix | Method::Wmss)
    }

    /// Whether the targets are a teacher's.
    pub fn distills(&self) -> bool {
        matches!(self.method, Method::Undial | Method::Distill | Method::SelfDistill)
    }

    /// Whether the targets are the data's alone.
    pub fn has_own_targets(&self) -> bool {
        !self.distills()
    }

    /// Whether another model is run beside the one that is kept.
    pub fn has_auxiliary_model(&self) -> bool {
        self.distills() || (self.mixes() && self.weak_source != WeakSource::Uniform)
    }

    /// Whether a new adapter is trained instead of the model.
    pub fn has_new_adapter(&self) -> bool {
        self.lora_rank.is_some()
    }

    /// Whether an adapter is trained instead of the model.
    pub fn trains_adapter(&self) -> bool {
        self.adapter.is_some() || self.has_new_adapter()
    }

    /// Whether some model of the run does not learn.
    pub fn has_frozen_weights(&self) -> bool {
        self.trains_adapter() || self.distills() || (self.freeze_weak && self.mixes())
    }

    /// Whether a weak model learns beside the strong one. Nothing flows back through logits that only match an entropy, and
    /// where an adapter learns, it alone does.
    pub fn trains_weak(&self) -> bool {
        let flows_back = self.weak_source != WeakSource::EntropyMatched;
        self.mixes() && !self.freeze_weak && !self.trains_adapter() && flows_back
    }

    /// Whether the weak model is chosen among candidates.
    pub fn chooses_weak(&self) -> bool {
        self.weak == [Path::new("auto")]
    }

    /// The number format of what the run writes: where weights are trained as bfloat16, that is their own.
    pub fn written(&self) -> Dtype {
        match self.dtype {
            Dtype::Auto if self.optimizer_bits < 32 && !self.trains_adapter() => Dtype::Bf16,
            dtype => dtype,
        }
    }

    /// Share of the cross-entropy in a distilled loss.
    pub fn hard_share(&self) -> f64 {
        let usual = if self.method == Method::Undial { HARD_SHARE.other } else { HARD_SHARE.usual };
        self.hard_share.unwrap_or(usual)
    }

    /// What a new adapter of this rank is scaled by: the scale that most published settings come to.
    pub fn lora_alpha(&self, rank: usize) -> f64 {
        self.lora_alpha.unwrap_or(2.0 * rank as f64)
    }

    /// The folders of the weak models.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none and the mixture needs one.
    pub fn weak(&self) -> Result<&[PathBuf], Error> {
        match self.weak_source {
            WeakSource::Uniform => Ok(&[]),
            _ => required("weak", self.weak.first()).map(|_| self.weak.as_slice()),
        }
    }
}

/// Paths that must be set.
macro_rules! required {
    ($($path:ident)+) => {
        impl Config {$(
            #[doc = concat!("`", stringify!($path), "`, which must be set.")]
            ///
            /// # Errors
            /// [`Error::Missing`] if it is not.
            pub fn $path(&self) -> Result<&Path, Error> {
                required(stringify!($path), self.$path.as_ref())
            }
        )+}
    };
}

required! { model teacher held_out data out }

fn required<'a>(key: &'static str, value: Option<&'a PathBuf>) -> Result<&'a Path, Error> {
    let missing = || {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let (value_name, what) = setting.map_or(("", ""), |setting| (setting.about.value_name, setting.help()));
        Error::Missing { key, value_name, what }
    };
    value.map(PathBuf::as_path).ok_or_else(missing)
}
