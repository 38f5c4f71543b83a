//! Models whose logits add up: a chunk of their logits, and what flows back from its gradients.

use crate::{
    graph::{
        ops::matmul::{self, Product},
        tape::{Grid, Tape},
        tensor::{ELEMENT, Tensor, size},
    },
    kernels::softcap,
};

/// Chunks start at multiples of this many tokens, so that every chunk of every tensor can be bound.
const CHUNK_ALIGN: usize = 64;

/// Final hidden states and the matrix that turns them into logits.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `[T, C]`
    pub hidden: Tensor,
    /// Shards of `[V, C]`, each some rows; all but the last have a multiple of 64 rows.
    pub weight: &'a [Tensor],
    /// Logits become `cap tanh(logit / cap)` (Gemma 2).
    pub softcap: Option<f32>,
}

impl Head<'_> {
    pub(super) fn vocab(&self) -> usize {
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

/// What the loss is taken of.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// `[1, T]` next token.
    pub ids: Tensor,
    /// `[1, T]` weight in the loss; 0: no target, its statistics are 0.
    pub weights: Tensor,
    /// The row of step scalars.
    pub scalars: Tensor,
    /// `[1, T]` where weak logits are turned: token v meets that of `v + offset`, modulo `V`; where they are synthetic:
    /// their one likely token.
    pub offsets: Tensor,
    /// `[1, T]` a token whose strong logit is wanted in [`super::WATCHED`].
    pub watched: Tensor,
    /// `[T, STATS]` per token: [`super::LOSS`], [`super::MARGIN`], [`super::ENTROPY`] and so on.
    pub stats: Tensor,
}

/// Logits are read four at a time: rows of them start at multiples of four.
pub(super) fn stride(vocab: usize) -> usize {
    vocab.next_multiple_of(4)
}

/// Tokens of a chunk such that the logits of one model stay within `bytes`.
pub fn chunk_rows(tokens: usize, vocab: usize, bytes: u64) -> usize {
    let fit = usize::try_from(bytes / (stride(vocab) as u64 * ELEMENT)).unwrap_or(usize::MAX);
    let aligned = (fit / CHUNK_ALIGN).max(1) * CHUNK_ALIGN;
    aligned.min(tokens)
}

/// Records the logits of every row of the hidden states, before any cap, into `to` `[T, V]`; `accumulate` 1 adds them.
fn raw_logits(tape: &mut Tape, head: Head<'_>, to: Tensor, accumulate: u32) {
    let (rows, width) = (head.hidden.rows, head.hidden.cols);
    head.shards(|first, shard| {
        let product = Product::dense(rows, shard.rows, width).strides(width, shard.cols, to.cols);
        matmul::nt(tape, head.hidden, shard, None, to.from(first), product.accumulate(accumulate));
    });
}

/// Records the logits of every row of the hidden states into `to` `[T, V]`.
pub fn logits(tape: &mut Tape, head: Head<'_>, to: Tensor) {
    raw_logits(tape, head, to, 0);
    cap_logits(tape, to, to.rows, head.softcap);
}

/// Caps the first `rows` rows of logits.
fn cap_logits(tape: &mut Tape, logits: Tensor, rows: usize, cap: Option<f32>) {
    if let Some(cap) = cap {
        let n = rows * logits.cols;
        tape.run(softcap::Forward { logits }, softcap::Params { n: size(n), cap }, Grid::items(n, softcap::LANES));
    }
}

/// Models whose logits add up: their heads, the logits, where gradients go, if any `flows` to them.
pub(super) struct Side<'a> {
    pub(super) heads: Vec<(Head<'a>, Option<Tensor>)>,
    pub(super) logits: Tensor,
    flows: bool,
}

impl<'a> Side<'a> {
    pub(super) fn new(tape: &mut Tape, heads: Vec<Head<'a>>, flows: bool, chunk: usize) -> Self {
        let logits = tape.transient(chunk, stride(heads[0].vocab()));
        let mut dhidden = |head: &Head<'_>| {
            let gradient = if flows { tape.gradient(head.hidden)? } else { return None };
            assert_eq!(gradient.accumulate, 0, "head_loss: these hidden states feed another op too");
            Some(gradient.tensor)
        };
        Self { heads: heads.into_iter().map(|head| (head, dhidden(&head))).collect(), logits, flows }
    }

    pub(super) fn vocab(&self) -> usize {
        self.heads[0].0.vocab()
    }

    /// # Panics
    /// If one of several heads caps its logits: only their sum exists.
    pub(super) fn softcap(&self) -> Option<f32> {
        let cap = self.heads[0].0.softcap;
        assert!(
            self.heads.len() == 1 || self.heads.iter().all(|(head, _)| head.softcap.is_none()),
            "head_loss: caps"
        );
        cap
    }

    pub(super) fn learns(&self, tape: &Tape) -> bool {
        let wanted = |head: &Head<'_>| head.weight.iter().any(|w| tape.needs(*w));
        self.flows && self.heads.iter().any(|(head, dhidden)| dhidden.is_some() || wanted(head))
    }

    pub(super) fn logits(&self, tape: &mut Tape, [start, rows]: [usize; 2]) {
        for (i, (head, _)) in self.heads.iter().enumerate() {
            let hidden = head.hidden.slice_rows(start, rows);
            raw_logits(tape, Head { hidden, ..*head }, self.logits, u32::from(i > 0));
        }
        cap_logits(tape, self.logits, rows, self.softcap());
    }

    pub(super) fn gradients(&self, tape: &mut Tape, [start, rows]: [usize; 2]) {
        let stride = self.logits.cols;
        for (head, dhidden) in self.heads.iter().filter(|_| self.flows) {
            let hidden = head.hidden.slice_rows(start, rows);
            head.shards(|first, shard| {
                let dlogits = self.logits.from(first);
                if let Some(dhidden) = dhidden {
                    let to = dhidden.slice_rows(start, rows);
                    let product = Product::dense(rows, shard.cols, shard.rows).accumulate(u32::from(first > 0));
                    matmul::nn(tape, dlogits, shard, to, product.strides(stride, shard.cols, to.cols));
                }
                if let Some(dw) = tape.gradient(shard) {
                    let product = Product::dense(shard.rows, shard.cols, rows).accumulate(dw.accumulate);
                    matmul::tn(tape, dlogits, hidden, dw.tensor, product.strides(stride, hidden.cols, shard.cols));
                }
            });
        }
    }
}
