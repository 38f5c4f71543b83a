//! Kernels in two forms: one reads four numbers at a time, the other takes any sizes, number by number. Loads and stores of
//! four cost CPUs little more than those of one, and GPUs like them too.

use crate::{
    gpu::{Kernel, Launch},
    graph::{
        tape::{Grid, Tape},
        tensor::Tensor,
    },
};

/// How many numbers a kernel takes at a time: four where all of these counts come in fours, else one.
pub(super) fn width(counts: &[usize]) -> usize {
    if counts.iter().all(|n| n.is_multiple_of(4)) { 4 } else { 1 }
}

/// Records a kernel, or where numbers are taken one by one `any`, which has the same bindings and immediates.
pub(super) fn run<L: Launch<Tensor>>(
    tape: &mut Tape,
    width: usize,
    (launch, any): (L, &'static Kernel),
    params: L::Params,
    grid: Grid,
) {
    let kernel = if width == 1 { any } else { L::KERNEL };
    tape.run_kernel(kernel, launch.bindings(), &params, grid);
}

/// As [`run`], with an invocation for every `width` of `n` elements.
pub(super) fn run_items<L: Launch<Tensor>>(
    tape: &mut Tape,
    n: usize,
    forms: (L, &'static Kernel),
    params: L::Params,
) {
    let width = width(&[n]);
    run(tape, width, forms, params, Grid::items(n / width, 64));
}
