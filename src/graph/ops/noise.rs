//! Uniform noise on embeddings (NEFTune, Jain et al. 2023, arXiv 2310.05914):
//! `y[t,c] = x[t,c] + amplitudes[t] (2 u - 1)`, `u` in [0, 1) from a hash of the token's key and the channel. `dx = dy`.

use super::add::add_gradient;
use crate::{
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::noise::{Forward, Params},
};

/// What the noise of a row of tokens is made from.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// `[1, T]` where the randomness of each token starts.
    pub keys: Tensor,
    /// `[1, T]` the largest noise on it; 0: none.
    pub amplitudes: Tensor,
}

/// `x` `[T, C]` with noise.
pub fn noise(tape: &mut Tape, x: Tensor, noise: Noise) -> Tensor {
    tape.apply(noise, &[x])
}

impl Op for Noise {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let y = tape.transient(x.rows, x.cols);
        let launch = Forward { x, keys: self.keys, amplitudes: self.amplitudes, y };
        tape.run(launch, Params { tokens: size(x.rows), cols: size(x.cols) }, Grid::items(x.len(), 64));
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        add_gradient(back, 0);
    }
}
