//! The chunked loss head: logits, loss, entropies and gradients of a chunk of tokens in one visit, so that nothing of
//! size `[T, V]` ever exists. With a weak model the logits are mixed, `z = lambda z_s + (1 - lambda) z_w`.
//!
//! `dh_s = lambda g W_s`, `dW_s = lambda g^T h_s`, likewise for the weak model with `1 - lambda`, where
//! `g = w (softmax(z) - e_y)` (WMSS, arXiv 2602.08222; a frozen weak model simply wants no gradient). Unlike the other ops
//! this one ends the forward pass: it seeds the gradients of its hidden states itself.

use super::matmul::{self, Product};
use crate::{
    gpu::kernels::head_loss::{self as kernels, GradientMix, GradientSingle, Params, StatsMix, StatsSingle},
    tape::{Grid, Tape},
    tensor::{Tensor, size},
};

pub use kernels::{ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, LOSS, MARGIN, STATS};

/// Chunks start at multiples of this many tokens, so that every chunk of every tensor can be bound.
const CHUNK_ALIGN: usize = 64;

/// Final hidden states and the matrix that turns them into logits.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `[T, C]`
    pub hidden: Tensor,
    /// Shards of `[V, C]`, each some rows; all but the last have a multiple of 64 rows.
    pub weight: &'a [Tensor],
}

impl Head<'_> {
    fn vocab(&self) -> usize {
        self.weight.iter().map(|shard| shard.rows).sum()
    }

    /// Visits the shards with the row at which each begins.
    fn shards(&self, mut each: impl FnMut(usize, Tensor)) {
        let mut first = 0;
        for &shard in self.weight {
            each(first, shard);
            first += shard.rows;
        }
    }
}

/// The columns of `logits` from `first` on, as a matrix of its row stride.
fn columns(logits: Tensor, first: usize) -> Tensor {
    Tensor { offset: logits.offset + first, rows: 1, cols: logits.len() - first, ..logits }
}

/// What the loss is taken of.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// `[1, T]` next token.
    pub ids: Tensor,
    /// `[1, T]` weight in the loss; 0: no target, its statistics are 0.
    pub weights: Tensor,
    /// Step scalars; the first is lambda.
    pub schedule: Tensor,
    /// `[T, STATS]` per token: [`LOSS`], [`MARGIN`], [`ENTROPY`], [`ENTROPY_STRONG`], [`ENTROPY_WEAK`].
    pub stats: Tensor,
}

/// Tokens of a chunk such that the logits of one model stay within `bytes`.
pub fn chunk_rows(tokens: usize, vocab: usize, bytes: u64) -> usize {
    let fit = usize::try_from(bytes / (vocab as u64 * crate::tensor::ELEMENT)).unwrap_or(usize::MAX);
    let aligned = (fit / CHUNK_ALIGN).max(1) * CHUNK_ALIGN;
    aligned.min(tokens)
}

/// Records the logits of every row of the hidden states into `to` `[T, V]`.
pub fn logits(tape: &mut Tape, head: Head<'_>, to: Tensor) {
    let (rows, width) = (head.hidden.rows, head.hidden.cols);
    head.shards(|first, shard| {
        let product = Product::dense(rows, shard.rows, width).strides(width, shard.cols, to.cols);
        matmul::nt(tape, head.hidden, shard, None, columns(to, first), product);
    });
}

/// Records the loss of `strong`, mixed with `weak` if there is one, over chunks of `chunk` tokens, and seeds gradients
/// wherever the tape wants them. A chunk is run only if a replay has more rows in use than it starts at: put targets
/// first ([`super::pick()`]).
pub fn head_loss(tape: &mut Tape, strong: Head<'_>, weak: Option<Head<'_>>, targets: Targets, chunk: usize) {
    let (tokens, vocab) = (strong.hidden.rows, strong.vocab());
    if let Some(weak) = weak {
        assert_eq!((weak.hidden.rows, weak.vocab()), (tokens, vocab), "head_loss: [T, V] of the weak model");
    }
    let heads = std::iter::once(strong).chain(weak);
    let sides: Vec<Side<'_>> = heads.map(|head| Side::new(tape, head, chunk)).collect();
    for start in (0..tokens).step_by(chunk) {
        let rows = chunk.min(tokens - start);
        tape.rows_from(start);
        for side in &sides {
            side.logits(tape, start, rows);
        }
        loss(tape, &sides, targets, start, rows);
        for side in &sides {
            side.gradients(tape, start, rows);
        }
    }
    tape.rows_from(0);
}

/// One model's part: its head, its logits, where its gradients go.
struct Side<'a> {
    head: Head<'a>,
    logits: Tensor,
    dhidden: Option<Tensor>,
}

impl<'a> Side<'a> {
    fn new(tape: &mut Tape, head: Head<'a>, chunk: usize) -> Self {
        let dhidden = tape.gradient(head.hidden).map(|gradient| {
            assert_eq!(gradient.accumulate, 0, "head_loss: these hidden states feed another op too");
            gradient.tensor
        });
        Self { head, logits: tape.transient(chunk, head.vocab()), dhidden }
    }

    fn logits(&self, tape: &mut Tape, start: usize, rows: usize) {
        let hidden = self.head.hidden.slice_rows(start, rows);
        logits(tape, Head { hidden, ..self.head }, self.logits);
    }

    fn gradients(&self, tape: &mut Tape, start: usize, rows: usize) {
        let hidden = self.head.hidden.slice_rows(start, rows);
        let vocab = self.logits.cols;
        self.head.shards(|first, shard| {
            let dlogits = columns(self.logits, first);
            if let Some(dhidden) = self.dhidden {
                let to = dhidden.slice_rows(start, rows);
                let product = Product::dense(rows, shard.cols, shard.rows).accumulate(u32::from(first > 0));
                matmul::nn(tape, dlogits, shard, to, product.strides(vocab, shard.cols, to.cols));
            }
            if let Some(dw) = tape.gradient(shard) {
                let product = Product::dense(shard.rows, shard.cols, rows).accumulate(dw.accumulate);
                matmul::tn(tape, dlogits, hidden, dw.tensor, product.strides(vocab, hidden.cols, shard.cols));
            }
        });
    }
}

fn loss(tape: &mut Tape, sides: &[Side<'_>], targets: Targets, start: usize, rows: usize) {
    let params = Params { rows: size(rows), vocab: size(sides[0].logits.cols) };
    let part = |x: Tensor| x.reshape(x.len(), 1).slice_rows(start, rows);
    let (ids, weights) = (part(targets.ids), part(targets.weights));
    let (schedule, stats) = (targets.schedule, targets.stats.slice_rows(start, rows));
    let wanted = sides.iter().any(|side| side.dhidden.is_some() || side.head.weight.iter().any(|w| tape.needs(*w)));
    let (stats_grid, gradient_grid) = (Grid::plane(rows, 1), Grid::plane(sides[0].logits.cols.div_ceil(64), rows));
    let strong = sides[0].logits;
    if let Some(side) = sides.get(1) {
        let weak = side.logits;
        tape.run(StatsMix { strong, weak, targets: ids, weights, schedule, stats }, params, stats_grid);
        if wanted {
            tape.run(GradientMix { strong, weak, targets: ids, weights, schedule, stats }, params, gradient_grid);
        }
    } else {
        tape.run(StatsSingle { strong, targets: ids, weights, stats }, params, stats_grid);
        if wanted {
            tape.run(GradientSingle { strong, targets: ids, weights, stats }, params, gradient_grid);
        }
    }
}
