//! The multiply-add kernel: in trips of its loop that take long enough to be timed.

use super::{
    error::Error,
    recorder::{Loaded, Recorder},
};
use crate::{
    gpu::{Gpu, KernelGroup, Variant},
    graph::{tape::Grid, tensor::size},
    kernels::ceiling::{CHAINS, MultiplyAdd, Params, ROUNDS},
};

/// Invocations and workgroups of the multiply-add kernel: enough to fill the largest GPUs.
pub(super) const INVOCATIONS: usize = GROUPS as usize * 64;
pub(super) const GROUPS: u32 = 8192;
/// Operations of one of them in one trip of its loop.
pub(super) const FLOPS_PER_TRIP: usize = 2 * CHAINS * ROUNDS;
/// Trips of the multiply-add kernel are raised until a run takes so many seconds.
const LONG_ENOUGH: f64 = 0.004;
/// Most trips of that kernel's outer loop, far from where drivers end loops.
pub const MOST_TRIPS: usize = 1024;

/// Multiply-adds as a variant of that kernel, and the trips of its loop: as many as take long enough.
pub(super) fn multiply_adds(
    gpu: &Gpu,
    variant: Option<(&'static KernelGroup, &'static Variant)>,
) -> Result<(Loaded, usize), Error> {
    let mut trips = 4;
    loop {
        let mut r = Recorder::default();
        let (x4, y4) = (r.random(4, 4), r.empty(INVOCATIONS, 4));
        r.tape.run(MultiplyAdd { y4, x4 }, Params { n: size(trips) }, Grid::items(INVOCATIONS, 64));
        let loaded = match variant {
            Some((group, variant)) => r.finish().load_as(gpu, group, variant)?,
            None => r.load(gpu, false)?,
        };
        loaded.time(gpu, 1)?;
        if trips >= MOST_TRIPS || loaded.time(gpu, 1)?.total.as_secs_f64() >= LONG_ENOUGH {
            return Ok((loaded, trips));
        }
        trips *= 4;
    }
}
