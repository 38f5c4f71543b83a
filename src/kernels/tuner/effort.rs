//! How thoroughly variants are measured.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::benchmark::Pace;
use crate::gpu::{Extents, KernelGroup};

/// How much is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// What makes up most of the work, for about ten seconds.
    Quick,
    /// Everything, as long as it takes.
    Full,
}

impl Effort {
    /// Share of the work that is tuned.
    pub(super) fn share(self) -> f64 {
        if self == Self::Quick { 0.95 } else { 1.0 }
    }

    /// After this, no shape is begun.
    pub(super) fn limit(self) -> Duration {
        if self == Self::Quick { Duration::from_secs(10) } else { Duration::MAX }
    }

    /// Different dispatches of a class that variants are compared at.
    pub(super) fn dispatches(self) -> usize {
        if self == Self::Quick { 2 } else { 8 }
    }

    pub(super) fn pace(self) -> Pace {
        match self {
            Self::Quick => Pace { rounds: 3, turn: Duration::from_millis(10) },
            Self::Full => Pace { rounds: 7, turn: Duration::from_millis(20) },
        }
    }
}

/// What may be chosen, and at what cost.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time.
    pub effort: Effort,
    /// Whether variants that round factors to f16 may be taken.
    pub half: bool,
    /// Device memory that the run was planned for, in bytes. It is not allocated yet.
    pub planned: u64,
}

/// Dispatches of one class.
pub(super) struct Class {
    pub(super) group: &'static KernelGroup,
    pub(super) name: String,
    /// How often each occurs.
    pub(super) dispatches: Vec<(Extents, usize)>,
}

impl Class {
    pub(super) fn work(&self) -> f64 {
        let each = self.dispatches.iter();
        each.map(|(extents, count)| (self.group.trial.work)(&extents.params) * *count as f64).sum()
    }
}
