//! How long a micro-batch takes, as far as one plan is to be compared with another: each dispatch takes the longer of its
//! arithmetic and its memory traffic.

use std::collections::HashMap;

use crate::{graph::ops, train::engine::EnginePlan};

/// Multiply-adds in the time that a byte takes: 12 on common GPUs (an RTX 4090 has 41e12 and 1e12 a second, an H200 33e12
/// and 4.8e12, an Apple M3 Max 7e12 and 0.4e12).
const BALANCE: f64 = 12.0;

/// Of one micro-batch, in multiply-adds.
pub(super) fn of_micro_batch(plan: &EnginePlan) -> f64 {
    let work: HashMap<&str, fn(&[u8]) -> f64> =
        ops::groups().map(|group| (group.kernel.name, group.trial.work)).collect();
    let dispatch = |(kernel, extents): (&crate::gpu::Kernel, crate::gpu::Extents)| {
        let arithmetic = work.get(kernel.name).map_or(0.0, |work| work(&extents.params));
        arithmetic.max(BALANCE * extents.bytes.iter().sum::<u64>() as f64)
    };
    plan.micro_batch_work().map(dispatch).sum()
}
