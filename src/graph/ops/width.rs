//! Kernels that take four numbers at a time, or one where sizes do not come in fours: `build.rs` makes both of a shader that
//! imports `width/*`. Loads and stores of four cost CPUs little more than those of one, and GPUs like them too.

use crate::{
    gpu::{Kernel, Launch},
    graph::{
        tape::{Grid, Tape},
        tensor::Tensor,
    },
    kernels::MODULES,
};

/// How many numbers a kernel takes at a time: four where all of these counts come in fours, else one.
pub(super) fn width(counts: &[usize]) -> usize {
    if counts.iter().all(|n| n.is_multiple_of(4)) { 4 } else { 1 }
}

/// Records a kernel of four numbers at a time, or where `width` is 1 its scalar twin.
pub(super) fn run<L: Launch<Tensor>>(tape: &mut Tape, width: usize, launch: L, params: L::Params, grid: Grid) {
    let kernel = if width == 1 { scalar(L::KERNEL) } else { L::KERNEL };
    tape.run_kernel(kernel, launch.bindings(), &params, grid);
}

/// As [`run`], with an invocation for every `width` of `n` elements.
pub(super) fn run_items<L: Launch<Tensor>>(tape: &mut Tape, n: usize, launch: L, params: L::Params) {
    let width = width(&[n]);
    run(tape, width, launch, params, Grid::items(n / width, 64));
}

/// The same entry point of the module that takes numbers one by one.
fn scalar(kernel: &Kernel) -> &'static Kernel {
    let of = kernel.module.name.strip_suffix("vec4");
    let twin = MODULES.iter().find(|module| of.is_some() && module.name.strip_suffix("scalar") == of);
    twin.unwrap_or_else(|| panic!("{}: no scalar twin", kernel.name)).entry(kernel.entry)
}
