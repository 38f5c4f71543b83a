//! AdamW (Loshchilov & Hutter 2019), as torch.optim.AdamW with one parameter group: decay applies to every tensor.

use super::groups::{Group, Width};
use crate::{
    graph::{
        tape::{Grid, Tape},
        tensor::{Format, Role, Store, Tensor, size},
    },
    kernels::{adamw as kernels, adamw_bf16},
};

/// The optimizer's state over a set of parameters.
pub struct AdamW {
    parameters: Vec<Group>,
    groups: Vec<Group>,
    partials: Tensor,
    norm: Tensor,
    scalars: Tensor,
}

/// Squares that one workgroup sums.
const SQUARES: usize = 4 * kernels::LANES * kernels::BLOCK;

impl AdamW {
    /// Declares moments of this width for `(weight, gradient)` pairs. `scalars` is read at every step.
    pub fn declare(store: &mut Store, pairs: &[(Tensor, Tensor)], scalars: Tensor, width: Width) -> Self {
        let parameters = Group::declare(store, pairs, width);
        let groups = Group::of(&parameters, store);
        let blocks: usize = groups.iter().map(|group| group.grad.len().div_ceil(SQUARES)).sum();
        let partials = store.declare("norm partials", Role::Inputs, 1, blocks.max(1));
        let norm = store.declare("gradient norm", Role::Inputs, 1, 3);
        Self { parameters, groups, partials, norm, scalars }
    }

    /// Moments of each parameter, in the order of the pairs.
    pub fn moments(&self) -> impl Iterator<Item = [Tensor; 2]> {
        self.parameters.iter().map(|parameter| parameter.moments)
    }

    /// What the moments of each parameter are scaled by, `[blocks, 2]`, where they are codes.
    pub fn scales(&self) -> impl Iterator<Item = Option<Tensor>> {
        self.parameters.iter().map(|parameter| parameter.scales)
    }

    /// `[norm, scale, loss scale]` of the last step's gradient, before clipping; a negative scale: it or one before was not
    /// finite and the step changed nothing. Where the loss scale was above 1, it is halved and the next step may be good;
    /// else no step changes anything until zeros are written here.
    pub fn norm(&self) -> Tensor {
        self.norm
    }

    /// Records one update of all parameters, after which all gradients are 0.
    pub fn record(&self, tape: &mut Tape) {
        let (partials, scalars, norm) = (self.partials, self.scalars, self.norm);
        let params = |n: usize, first: usize| kernels::Params { n: size(n), first: size(first) };
        let mut first = 0;
        for &Group { grad, .. } in &self.groups {
            let kernel = if grad.format == Format::F32 { &kernels::SQUARE_SUM } else { &adamw_bf16::SQUARE_SUM };
            let grid = Grid::items(grad.len(), SQUARES);
            tape.run_kernel(kernel, vec![grad, partials], &params(grad.len() / 4, first), grid);
            first += grad.len().div_ceil(SQUARES);
        }
        let clip = kernels::Clip { partials, scaling: scalars, norm };
        tape.run(clip, params(partials.len(), 0), Grid::linear(1));
        for group in &self.groups {
            let Group { weight, grad, moments: [moment1, moment2], .. } = *group;
            let mut bindings = vec![grad, scalars, weight, moment1, moment2, norm];
            bindings.extend(group.scales);
            // Of moments that are codes, a workgroup steps a block: 64 fours as well.
            let grid = Grid::items(grad.len() / 4, 64);
            // Of the first, only what it adds to draws matters, modulo 2^32.
            let params = kernels::Params { n: size(grad.len() / 4), first: group.first as u32 };
            tape.run_kernel(group.kernel(), bindings, &params, grid);
            tape.clear(grad); // cheaper than from within the kernel on software drivers, and the same to a GPU's memory
        }
    }
}
