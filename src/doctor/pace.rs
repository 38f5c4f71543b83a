//! How long the device is busy at a time: what a watchdog ends, and what a display waits for.

use serde::Serialize;

use super::Error;
use crate::{bench, gpu::Gpu, graph::ops};

/// The product that the device's speed is told from.
const PRODUCT: &str = "gemm nt 512x512x512 f32";
/// The step whose largest dispatch counts.
const STEP: &str = "step qwen3-0.6b sft 2048 tokens f32";
/// Windows resets a device that is busy for so long; macOS allows a little more.
const WATCHDOG_MS: f64 = 2000.0;
/// What a display does not show as a stutter that bothers.
const DISPLAY_MS: f64 = 100.0;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Pace {
    /// Operations a second of a product in f32.
    pub gflops: f64,
    /// Milliseconds of the longest dispatch of a training step of Qwen3-0.6B with rows of 2,048 tokens, by its work.
    pub longest_ms: f64,
    /// Whether a watchdog may end a run.
    pub watchdog: bool,
    /// Whether a display that this device drives may stutter while it trains.
    pub stutters: bool,
}

/// Times a product and scales it.
pub(super) fn look(gpu: &Gpu) -> Result<Pace, Error> {
    let mut seconds = f64::INFINITY;
    let case = bench::kernel_cases().into_iter().find(|case| case.name == PRODUCT);
    let work = case.as_ref().map_or(0.0, |case| case.work);
    if let Some(case) = case {
        let loaded = case.load(gpu)?;
        for _ in 0..5 {
            seconds = seconds.min(loaded.time(gpu, 1)?.total.as_secs_f64());
        }
    }
    let rate = work / seconds;
    let step = bench::step_cases().into_iter().find(|case| case.name == STEP);
    let plan = step.map(|step| step.plan(gpu.max_binding(), 0)).transpose()?;
    let dispatches = plan.iter().flat_map(|plan| plan.work());
    let of = |(kernel, extents): (&crate::gpu::Kernel, crate::gpu::Extents)| {
        let group = ops::groups().find(|group| group.kernel.name == kernel.name);
        group.map_or(0.0, |group| (group.trial.work)(&extents.params))
    };
    let longest_ms = dispatches.map(of).fold(0.0, f64::max) * 2.0 / rate * 1e3;
    let drives_display = !gpu.is_cpu();
    Ok(Pace {
        gflops: rate / 1e9,
        longest_ms,
        watchdog: drives_display && longest_ms > WATCHDOG_MS / 2.0,
        stutters: drives_display && longest_ms > DISPLAY_MS,
    })
}
