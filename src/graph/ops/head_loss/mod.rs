//! The chunked loss head: logits, loss, entropies and gradients of a chunk of tokens at a time, so that nothing of size
//! `[T, V]` ever exists. [`Second`] says how a second set of logits takes part: mixed in (`z = lambda z_s + (1 - lambda) z_w`,
//! WMSS, arXiv 2602.08222) or distilled from (Hinton et al. 2015); formulas stand in the shaders' heads.
//!
//! A chunk is visited for its statistics and for its gradients, which need them. Both follow one another on the same logits,
//! unless something stands between ([`weighted`]): then every chunk has its statistics before the first gradient, and
//! logits are computed a second time.
//!
//! `dh = dz W`, `dW = dz^T h` for every model; one that is frozen wants no gradient. Unlike the other ops this one ends the
//! forward pass: it seeds the gradients of its hidden states itself.

mod relation;

use super::matmul::{self, Product};
use crate::{
    gpu::kernels::{head_distill, head_mix as kernels, softcap},
    graph::{
        tape::{Grid, Tape},
        tensor::{Tensor, size},
    },
};

pub use head_distill::{CE_WEIGHT, TARGET_LOGIT_PENALTY, TEMPERATURE};
pub use kernels::{
    DISTRACTOR, DISTRACTOR_LOGIT, ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, GRAD_NON_TARGET as PULL,
    GRAD_NON_TARGET_ALONE as PULL_ALONE, LAMBDA, LOSS, MARGIN, MEAN, MEAN_WEAK, SMOOTHING, STATS, TARGET,
    TARGET_WEAK, WATCHED,
};
use relation::Chunk;
pub use relation::Second;

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

/// What the loss is taken of.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// `[1, T]` next token.
    pub ids: Tensor,
    /// `[1, T]` weight in the loss; 0: no target, its statistics are 0.
    pub weights: Tensor,
    /// The row of step scalars.
    pub schedule: Tensor,
    /// `[1, T]` where weak logits are turned: token v meets that of `v + offset`, modulo `V`; where they are synthetic:
    /// their one likely token.
    pub offsets: Tensor,
    /// `[1, T]` a token whose strong logit is wanted in [`WATCHED`].
    pub watched: Tensor,
    /// `[T, STATS]` per token: [`LOSS`], [`MARGIN`], [`ENTROPY`] and so on.
    pub stats: Tensor,
    /// Always true.
    pub alone: bool,
}

/// Logits are read four at a time: rows of them start at multiples of four.
fn stride(vocab: usize) -> usize {
    vocab.next_multiple_of(4)
}

/// Tokens of a chunk such that the logits of one model stay within `bytes`.
pub fn chunk_rows(tokens: usize, vocab: usize, bytes: u64) -> usize {
    let fit = usize::try_from(bytes / (stride(vocab) as u64 * crate::graph::tensor::ELEMENT)).unwrap_or(usize::MAX);
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

/// Records the loss of `strong`, with a second set of logits if there is one, over chunks of `chunk` tokens, and seeds
/// gradients wherever the tape wants them. A chunk is run only if a replay has more rows in use than it starts at: put
/// targets first ([`super::pick()`]).
pub fn head_loss(tape: &mut Tape, strong: Head<'_>, second: &Second<'_>, targets: Targets, chunk: usize) {
    let visits = Visits::new(tape, strong, second, chunk);
    let learns = visits.learns(tape);
    visits.each(tape, targets, false, |tape, visits, part, range| {
        visits.statistics(tape, part);
        if learns {
            visits.gradients(tape, part, range);
        }
    });
}

/// As [`head_loss`], where the weight of a token depends on the statistics of others, as in a loss of pairs of sequences:
/// `weigh` records what reads the statistics of all tokens and gives the weights of the gradients, `[1, T]`. It may change
/// [`LOSS`] too. Of tokens whose weight in `targets` is 0 there are no statistics.
pub fn weighted(
    tape: &mut Tape,
    strong: Head<'_>,
    second: &Second<'_>,
    targets: Targets,
    chunk: usize,
    weigh: impl FnOnce(&mut Tape, Targets) -> Tensor,
) {
    let visits = Visits::new(tape, strong, second, chunk);
    visits.each(tape, targets, false, |tape, visits, part, _| visits.statistics(tape, part));
    let weights = weigh(tape, targets);
    if visits.learns(tape) {
        visits.each(tape, Targets { weights, ..targets }, false, |tape, visits, part, range| {
            visits.gradients(tape, part, range);
        });
    }
}

/// Records the statistics of each model alone, for the tokens of a [`head_loss`] that was recorded before: columns of what
/// the loss is taken of ([`LOSS`], [`MARGIN`], [`ENTROPY`], [`PULL`]) stay as they are. Nothing learns from it.
pub fn observe(tape: &mut Tape, strong: Head<'_>, second: &Second<'_>, targets: Targets, chunk: usize) {
    let visits = Visits::frozen(tape, strong, second, chunk);
    visits.each(tape, targets, true, |tape, visits, part, _| visits.statistics(tape, part));
}

/// The sets of logits that meet, and how.
struct Visits<'a> {
    sides: Vec<Side<'a>>,
    second: &'a Second<'a>,
    chunk: usize,
}

impl<'a> Visits<'a> {
    fn new(tape: &mut Tape, strong: Head<'a>, second: &'a Second<'a>, chunk: usize) -> Self {
        Self::of(tape, [(vec![strong], true), (second.heads(), second.flows())], second, chunk)
    }

    /// Nothing flows to any model.
    fn frozen(tape: &mut Tape, strong: Head<'a>, second: &'a Second<'a>, chunk: usize) -> Self {
        Self::of(tape, [(vec![strong], false), (second.heads(), false)], second, chunk)
    }

    fn of(tape: &mut Tape, sides: [(Vec<Head<'a>>, bool); 2], second: &'a Second<'a>, chunk: usize) -> Self {
        let strong = sides[0].0[0];
        for other in &sides[1].0 {
            let shape = (strong.hidden.rows, strong.vocab());
            assert_eq!((other.hidden.rows, other.vocab()), shape, "head_loss: [T, V] of the second model");
        }
        let sides = sides.into_iter().filter(|(heads, _)| !heads.is_empty());
        Self { sides: sides.map(|(heads, flows)| Side::new(tape, heads, flows, chunk)).collect(), second, chunk }
    }

    fn learns(&self, tape: &Tape) -> bool {
        self.sides.iter().any(|side| side.learns(tape))
    }

    fn logits(&self) -> (Tensor, Option<Tensor>) {
        (self.sides[0].logits, self.sides.get(1).map(|side| side.logits))
    }

    /// Computes the logits of one chunk after the other, each followed by a visit to its tokens `[start, rows]`.
    fn each(
        &self,
        tape: &mut Tape,
        targets: Targets,
        observed: bool,
        visit: impl Fn(&mut Tape, &Self, &Chunk, [usize; 2]),
    ) {
        let tokens = self.sides[0].heads[0].0.hidden.rows;
        for start in (0..tokens).step_by(self.chunk) {
            let range = [start, self.chunk.min(tokens - start)];
            let part = Chunk::new(targets, &self.sides, self.second, range, observed);
            tape.rows_from(start);
            for side in &self.sides {
                side.logits(tape, range);
            }
            if let (_, Some(weak)) = self.logits() {
                self.second.replace(tape, weak, &part);
            }
            visit(tape, self, &part, range);
        }
        tape.rows_from(0);
    }

    fn statistics(&self, tape: &mut Tape, part: &Chunk) {
        let (strong, weak) = self.logits();
        self.second.statistics(tape, strong, weak, part);
    }

    fn gradients(&self, tape: &mut Tape, part: &Chunk, range: [usize; 2]) {
        let (strong, weak) = self.logits();
        self.second.gradients(tape, strong, weak, part);
        for side in &self.sides {
            side.gradients(tape, range);
        }
    }
}

/// Models whose logits add up: their heads, the logits, where gradients go, if any `flows` to them.
struct Side<'a> {
    heads: Vec<(Head<'a>, Option<Tensor>)>,
    logits: Tensor,
    flows: bool,
}

impl<'a> Side<'a> {
    fn new(tape: &mut Tape, heads: Vec<Head<'a>>, flows: bool, chunk: usize) -> Self {
        let logits = tape.transient(chunk, stride(heads[0].vocab()));
        let mut dhidden = |head: &Head<'_>| {
            let gradient = if flows { tape.gradient(head.hidden)? } else { return None };
            assert_eq!(gradient.accumulate, 0, "head_loss: these hidden states feed another op too");
            Some(gradient.tensor)
        };
        Self { heads: heads.into_iter().map(|head| (head, dhidden(&head))).collect(), logits, flows }
    }

    fn vocab(&self) -> usize {
        self.heads[0].0.vocab()
    }

    /// # Panics
    /// If one of several heads caps its logits: only their sum exists.
    fn softcap(&self) -> Option<f32> {
        let cap = self.heads[0].0.softcap;
        assert!(
            self.heads.len() == 1 || self.heads.iter().all(|(head, _)| head.softcap.is_none()),
            "head_loss: caps"
        );
        cap
    }

    fn learns(&self, tape: &Tape) -> bool {
        let wanted = |head: &Head<'_>| head.weight.iter().any(|w| tape.needs(*w));
        self.flows && self.heads.iter().any(|(head, dhidden)| dhidden.is_some() || wanted(head))
    }

    fn logits(&self, tape: &mut Tape, [start, rows]: [usize; 2]) {
        for (i, (head, _)) in self.heads.iter().enumerate() {
            let hidden = head.hidden.slice_rows(start, rows);
            raw_logits(tape, Head { hidden, ..*head }, self.logits, u32::from(i > 0));
        }
        cap_logits(tape, self.logits, rows, self.softcap());
    }

    fn gradients(&self, tape: &mut Tape, [start, rows]: [usize; 2]) {
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
