//! One thing to measure: a name, the work of a run, and what its rate is a share of.

use super::{
    recorder::{Loaded, Recorded, Recorder},
    results::Unit,
};
use crate::gpu::{Error, Gpu, KernelGroup, Variant};

/// The ceiling that a rate is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// f32 multiply-adds outside of matrix units; work is counted in operations.
    FmaF32,
    /// Products of matrix units with factors in f16; work is counted in operations.
    UnitsF16,
    /// Products of matrix units in f32; work is counted in operations.
    UnitsF32,
    /// Copying memory; work is counted in the bytes that must move at least.
    Copy,
}

impl Limit {
    /// The unit of rates that are shares of it, and how much work a second makes one.
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::FmaF32 | Self::UnitsF16 | Self::UnitsF32 => Unit::GigaFlops,
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
    /// As which variant, if not as the one that the device takes by itself.
    pub(super) variant: Option<(&'static KernelGroup, &'static Variant)>,
    pub(super) record: Box<dyn Fn(&mut Recorder)>,
}

impl Case {
    /// Whether it is measured on software drivers too.
    pub fn is_small(&self) -> bool {
        self.tier == Tier::Always
    }

    /// Whether the device has what it needs.
    pub fn is_offered(&self, gpu: &Gpu) -> bool {
        self.variant.is_none_or(|(_, variant)| gpu.offers(variant))
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
        self.load_recorded(gpu, self.recorded())
    }

    /// The same of what it has recorded.
    pub(super) fn load_recorded(&self, gpu: &Gpu, recorded: Recorded) -> Result<Loaded, Error> {
        match self.variant {
            Some((group, variant)) => recorded.load_as(gpu, group, variant),
            None => recorded.load(gpu, false),
        }
    }
}
