//! Dropout (Srivastava et al. 2014) as part of another op: `y = f x` with `f` 0 or `1 / (1 - p)` by a hash of the token's
//! key, the module and the column. Nothing is kept for backward: the same hash gives the same mask, however tokens are
//! packed and in whichever pass they are.

use crate::{
    graph::{
        tape::{Gradient, Grid, Tape},
        tensor::{Tensor, size},
    },
    kernels::dropout::{Forward, Params},
};

/// Values of a hash.
const HASHES: f64 = (1u32 << 24) as f64;

/// What the inputs of a module are dropped by.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// `[1, T]` where the randomness of each token starts.
    pub keys: Tensor,
    /// Tells one module from another.
    pub salt: u32,
    /// Share that is dropped, below 1.
    pub rate: f64,
}

/// Which part of the input a mask lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `f x`
    Kept,
    /// `x - f x`
    Rest,
}

impl Dropout {
    /// `to (+)=` a part of `x`, both `[T, C]`.
    pub(super) fn apply(&self, tape: &mut Tape, x: Tensor, part: Part, to: Gradient) {
        let params = Params {
            tokens: size(x.rows),
            cols: size(x.cols),
            salt: self.salt,
            dropped: (self.rate * HASHES) as u32,
            scale: (1.0 / (1.0 - self.rate)) as f32,
            complement: u32::from(part == Part::Rest),
            accumulate: to.accumulate,
        };
        tape.run(Forward { x, keys: self.keys, y: to.tensor }, params, Grid::items(x.len(), 64));
    }

    /// A part of `x` in memory of its own.
    pub(super) fn part(&self, tape: &mut Tape, x: Tensor, part: Part) -> Tensor {
        let y = tape.transient(x.rows, x.cols);
        self.apply(tape, x, part, Gradient { tensor: y, accumulate: 0 });
        y
    }
}
