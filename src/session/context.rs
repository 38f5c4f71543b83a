//! What every session works with.

use std::sync::atomic::AtomicBool;

use crate::{gpu::Gpu, report::Report};

/// The device, the reports and the user's wishes.
pub struct Context<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// Where events go.
    pub report: &'a mut Report,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
    /// Time the device by kernel in training phases.
    pub profile: bool,
}
