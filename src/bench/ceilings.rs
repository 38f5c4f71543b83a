//! What the device can do at best: the figures that everything else is a share of.

use super::{
    case::Limit,
    engines,
    error::Error,
    measure::{Budget, Samples, sample},
    multiply_add::{FLOPS_PER_TRIP, INVOCATIONS, multiply_adds},
    recorder::{Loaded, Recorder},
    results::{Entry, Unit},
};
use crate::{
    gpu::Gpu,
    graph::{
        tape::Grid,
        tensor::{ELEMENT, size},
    },
    kernels::ceiling::{Copy, Params, Touch},
};

/// Bytes that are copied where a binding may be as large: more than caches hold.
const COPIED: u64 = 256 << 20;
/// Dispatches in a row whose cost is measured.
const DISPATCHES: usize = 1000;

/// What a device does at best.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// f32 operations a second in the fastest run, a multiply-add being two.
    pub fma_f32: f64,
    /// Operations a second of the fastest matrix units that take f16, if there are any.
    pub units_f16: Option<f64>,
    /// Of those that take f32.
    pub units_f32: Option<f64>,
    /// Bytes a second, read and written.
    pub copy: f64,
    /// Seconds from the submission of next to nothing until the host knows that it is done: in every timing.
    pub submission: f64,
}

impl Ceilings {
    /// The rate that is 1 for `limit`.
    pub(super) fn of(&self, limit: Limit) -> Option<f64> {
        match limit {
            Limit::FmaF32 => Some(self.fma_f32),
            Limit::UnitsF16 => self.units_f16,
            Limit::UnitsF32 => self.units_f32,
            Limit::Copy => Some(self.copy),
        }
    }
}

/// Measures them; the entries are those of the table.
pub(super) fn measure(gpu: &Gpu, budget: Budget) -> Result<(Ceilings, Vec<Entry>), Error> {
    let budget = Budget { limit: f64::INFINITY, ..budget };
    let all = |run: &mut dyn FnMut(usize) -> Result<f64, Error>| -> Result<Samples, Error> {
        Ok(sample(budget, run)?.unwrap_or_else(|seconds| Samples { seconds: vec![seconds], times: 1 }))
    };
    let (fma, flops) = fma(gpu)?;
    let fma = all(&mut |times| Ok(fma.time(gpu, times)?.total.as_secs_f64()))?;
    let (copy, bytes) = copy(gpu)?;
    let copied = all(&mut |times| Ok(copy.time(gpu, times)?.total.as_secs_f64()))?;
    drop(copy);

    let many = touches(gpu, DISPATCHES)?;
    let dispatch = all(&mut |times| Ok(many.time(gpu, times)?.total.as_secs_f64()))?;
    let recording = all(&mut |times| Ok(many.time(gpu, times)?.recording.as_secs_f64()))?;
    let one = touches(gpu, 1)?;
    let submission = all(&mut |times| (0..times).map(|_| Ok(one.time(gpu, 1)?.total.as_secs_f64())).sum())?;
    let small = gpu.buffer("bench", 16)?;
    let readback = all(&mut |times| {
        let start = std::time::Instant::now();
        for _ in 0..times {
            one.time(gpu, 1)?;
            gpu.read(&small, 0, 16)?;
        }
        Ok(start.elapsed().as_secs_f64())
    })?;

    let rate =
        |name: &str, samples: &Samples, work: f64, unit| Entry::of_rate(name, "ceiling", samples, work, unit, None);
    let micros = |name: &str, samples: &Samples, parts: usize| Entry::of_time(name, "ceiling", samples, parts);
    let (units, engines) =
        engines::measure(gpu, |loaded| all(&mut |times| Ok(loaded.time(gpu, times)?.total.as_secs_f64())))?;
    let mut entries = vec![rate("multiply-add f32", &fma, flops, Unit::GigaFlops)];
    entries.extend(engines);
    entries.extend([
        rate("copy", &copied, bytes, Unit::GigaBytes),
        micros("dispatch, recorded", &recording, DISPATCHES),
        micros("dispatch, end to end", &dispatch, DISPATCHES),
        micros("submission and wait", &submission, 1),
        micros("submission and readback", &readback, 1),
    ]);
    let ceilings = Ceilings {
        fma_f32: flops / fma.fastest(),
        units_f16: units.f16,
        units_f32: units.f32,
        copy: bytes / copied.fastest(),
        submission: submission.fastest(),
    };
    Ok((ceilings, entries))
}

/// The rate of multiply-adds once more, briefly: whether the device is as fast as it was.
pub(super) fn fma_again(gpu: &Gpu) -> Result<f64, Error> {
    let (fma, flops) = fma(gpu)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..10 {
        fastest = fastest.min(fma.time(gpu, 1)?.total.as_secs_f64());
    }
    Ok(flops / fastest)
}

/// Multiply-adds and their operations.
fn fma(gpu: &Gpu) -> Result<(Loaded, f64), Error> {
    let (loaded, trips) = multiply_adds(gpu, None)?;
    Ok((loaded, (INVOCATIONS * FLOPS_PER_TRIP * trips) as f64))
}

/// A copy and the bytes that it moves.
fn copy(gpu: &Gpu) -> Result<(Loaded, f64), Error> {
    let rows = usize::try_from(COPIED.min(gpu.max_binding()) / (4 * ELEMENT)).unwrap_or(0);
    let mut r = Recorder::default();
    let (x4, y4) = (r.empty(rows, 4), r.empty(rows, 4));
    r.tape.run(Copy { y4, x4 }, Params { n: size(rows) }, Grid::items(rows, 64));
    Ok((r.load(gpu, false)?, (2 * rows * 4) as f64 * ELEMENT as f64))
}

/// Dispatches that do next to nothing, each of which waits for the one before.
fn touches(gpu: &Gpu, count: usize) -> Result<Loaded, Error> {
    let mut r = Recorder::default();
    let y4 = r.empty(1, 4);
    for _ in 0..count {
        r.tape.run(Touch { y4 }, Params { n: 0 }, Grid::linear(1));
    }
    Ok(r.load(gpu, false)?)
}
