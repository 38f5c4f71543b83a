//! One thing to measure: a name, the work of a run, and what its rate is a share of.

use super::{
    recorder::{Loaded, Recorded, Recorder},
    results::Unit,
};
use crate::gpu::{Error, Gpu};

/// The ceiling that a rate is a share of. Number types and matrix units to come have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// f32 multiply-adds outside of matrix units; work is counted in operations.
    FmaF32,
    /// Copying memory; work is counted in the bytes that must move at least.
    Copy,
}

impl Limit {
    /// The unit of rates that are shares of it, and how much work a second makes one.
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::FmaF32 => Unit::GigaFlops,
            Self::Copy => Unit::GigaBytes,
        }
    }
}

/// On which devices and in which suites something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Always.
    Always,
    /// Not on software drivers.
    Gpu,
    /// In the full suite, not on software drivers.
    Full,
}

impl Tier {
    pub(super) fn holds(self, software: bool, full: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Gpu => !software,
            Self::Full => !software && full,
        }
    }
}

/// A kernel, or a few that belong together, at one shape.
pub struct Case {
    /// Unique; ends in the number type.
    pub name: String,
    /// The heading it stands under.
    pub group: &'static str,
    /// Operations or bytes of one run.
    pub work: f64,
    /// What it is a share of.
    pub limit: Limit,
    pub(super) tier: Tier,
    pub(super) record: Box<dyn Fn(&mut Recorder)>,
}

impl Case {
    /// Whether it is measured on software drivers too.
    pub fn is_small(&self) -> bool {
        self.tier == Tier::Always
    }

    /// What it runs, and with what, before it has memory.
    pub(super) fn recorded(&self) -> Recorded {
        let mut recorder = Recorder::default();
        (self.record)(&mut recorder);
        recorder.finish()
    }

    /// Allocates it and fills its inputs with random numbers.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn load(&self, gpu: &Gpu) -> Result<Loaded, Error> {
        self.recorded().load(gpu, false)
    }
}
