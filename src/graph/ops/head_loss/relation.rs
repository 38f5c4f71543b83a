//! How sets of logits become a loss: one shader each, whose `statistics` read a chunk's logits and whose `gradients` replace
//! them. A new relation is a shader beside these, a variant, and its two arms.

use super::side::{Head, Side, Targets, stride};
use crate::{
    graph::{
        tape::{Grid, Tape},
        tensor::{Tensor, size},
    },
    kernels::{
        head_distill,
        head_mix::{self, Params, ROUND, Synthesize},
        head_single,
    },
};

/// The second set of logits, if there is one.
#[derive(Clone, Debug)]
pub enum Second<'a> {
    /// None: the cross-entropy of `lambda z_s`.
    None,
    /// Mixed in. Those of several heads add up: scale their hidden states so that the shares make 1.
    Weak(Vec<Head<'a>>),
    /// As [`Self::Weak`], each token's weak logits turned around the vocabulary by its [`Targets::offsets`].
    Turned(Vec<Head<'a>>),
    /// Mixed in after they were replaced by logits of the same entropy that know nothing; nothing flows back.
    Synthetic(Vec<Head<'a>>),
    /// Distilled from; nothing flows back.
    Teacher(Head<'a>),
}

impl<'a> Second<'a> {
    /// Whether its models are part of what the gradient is taken of.
    pub(super) fn flows(&self) -> bool {
        matches!(self, Self::Weak(_) | Self::Turned(_))
    }

    pub(super) fn heads(&self) -> Vec<Head<'a>> {
        match self {
            Self::None => Vec::new(),
            Self::Weak(heads) | Self::Turned(heads) | Self::Synthetic(heads) => heads.clone(),
            Self::Teacher(head) => vec![*head],
        }
    }

    /// What its logits are replaced by before they meet the strong ones.
    pub(super) fn replace(&self, tape: &mut Tape, weak4: Tensor, chunk: &Chunk) {
        if matches!(self, Self::Synthetic(_)) {
            tape.run(Synthesize { weak4, offsets: chunk.offsets }, chunk.params, Grid::plane(chunk.rows, 1));
        }
    }

    /// Losses, entropies and so on of each token of the chunk, into its statistics.
    pub(super) fn statistics(&self, tape: &mut Tape, strong4: Tensor, weak4: Option<Tensor>, chunk: &Chunk) {
        let Chunk { targets, weights, scalars, offsets, watched, stats, params, rows } = *chunk;
        let grid = Grid::plane(rows, 1);
        match (self, weak4) {
            (Self::None, _) | (_, None) => {
                let launch = head_single::Statistics { strong4, targets, weights, scalars, stats, watched };
                tape.run(launch, params, grid);
            }
            (Self::Teacher(_), Some(weak4)) => {
                let launch =
                    head_distill::Statistics { strong4, weak4, targets, weights, scalars, stats, offsets, watched };
                tape.run(launch, params, grid);
            }
            (_, Some(weak4)) => {
                let launch =
                    head_mix::Statistics { strong4, weak4, targets, weights, scalars, stats, offsets, watched };
                tape.run(launch, params, grid);
            }
        }
    }

    /// The gradients of the chunk's logits, in place, by the statistics.
    pub(super) fn gradients(&self, tape: &mut Tape, strong4: Tensor, weak4: Option<Tensor>, chunk: &Chunk) {
        let Chunk { targets, weights, scalars, offsets, stats, params, rows, .. } = *chunk;
        let grid = Grid::plane(strong4.cols.div_ceil(4 * ROUND), rows);
        match (self, weak4) {
            (Self::None, _) | (_, None) => {
                tape.run(head_single::Gradients { strong4, targets, weights, scalars, stats }, params, grid);
            }
            (Self::Teacher(_), Some(weak4)) => {
                tape.run(head_distill::Gradients { strong4, weak4, targets, weights, scalars, stats }, params, grid);
            }
            (Self::Turned(_), Some(weak)) => {
                let launch =
                    head_mix::GradientsTurned { strong: strong4, weak, targets, weights, scalars, stats, offsets };
                tape.run(launch, params, Grid::plane(strong4.cols.div_ceil(ROUND), rows));
            }
            (_, Some(weak4)) => {
                tape.run(head_mix::Gradients { strong4, weak4, targets, weights, scalars, stats }, params, grid);
            }
        }
    }
}

/// The tensors of some tokens, and the immediates of their kernels.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    targets: Tensor,
    weights: Tensor,
    scalars: Tensor,
    offsets: Tensor,
    watched: Tensor,
    stats: Tensor,
    params: Params,
    rows: usize,
}

impl Chunk {
    /// `rows` tokens from `start`. `observed`: the columns of the loss stay as they are.
    pub(super) fn new(
        targets: Targets,
        sides: &[Side<'_>],
        second: &Second<'_>,
        [start, rows]: [usize; 2],
        observed: bool,
    ) -> Self {
        let part = |x: Tensor| x.reshape(x.len(), 1).slice_rows(start, rows);
        let per_cap = |side: Option<&Side<'_>>| side.and_then(Side::softcap).map_or(0.0, |cap| 1.0 / cap);
        let vocab = sides[0].vocab();
        let params = Params {
            vocab: size(vocab),
            stride: size(stride(vocab)),
            per_cap_strong: per_cap(sides.first()),
            per_cap_weak: per_cap(sides.get(1)),
            turned: u32::from(matches!(second, Second::Turned(_))),
            observed: u32::from(observed),
        };
        Self {
            targets: part(targets.ids),
            weights: part(targets.weights),
            scalars: targets.scalars,
            offsets: part(targets.offsets),
            watched: part(targets.watched),
            stats: targets.stats.slice_rows(start, rows),
            params,
            rows,
        }
    }
}
