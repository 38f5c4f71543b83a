//! The chunked loss head: logits, loss, entropies and gradients of a chunk of tokens in one visit, so that nothing of
//! size `[T, V]` ever exists. A second set of logits is mixed in (`z = lambda z_s + (1 - lambda) z_w`, WMSS, arXiv
//! 2602.08222) or distilled from (Hinton et al. 2015); formulas stand in the shader's head.
//!
//! `dh = dz W`, `dW = dz^T h` for every model; one that is frozen wants no gradient. Unlike the other ops this one ends the
//! forward pass: it seeds the gradients of its hidden states itself.

use super::matmul::{self, Product};
use crate::{
    gpu::kernels::head_loss::{
        self as kernels, Cap, GradientDistill, GradientMix, GradientSingle, GradientTurned, Params, StatsDistill,
        StatsMix, StatsSingle, Synthesize,
    },
    graph::{
        tape::{Grid, Tape},
        tensor::{Tensor, size},
    },
};

pub use kernels::{
    DISTRACTOR, DISTRACTOR_LOGIT, ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, LOSS, MARGIN, MEAN, MEAN_WEAK, PULL,
    PULL_ALONE, STATS, TARGET, TARGET_WEAK, WATCHED,
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
    fn flows(&self) -> bool {
        matches!(self, Self::Weak(_) | Self::Turned(_))
    }

    fn heads(&self) -> Vec<Head<'a>> {
        match self {
            Self::None => Vec::new(),
            Self::Weak(heads) | Self::Turned(heads) | Self::Synthetic(heads) => heads.clone(),
            Self::Teacher(head) => vec![*head],
        }
    }
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
    /// The step's scalars.
    pub schedule: Tensor,
    /// `[1, T]` where weak logits are turned: token v meets that of `v + offset`, modulo `V`; where they are synthetic:
    /// their one likely token.
    pub offsets: Tensor,
    /// `[1, T]` a token whose strong logit is wanted in [`WATCHED`].
    pub watched: Tensor,
    /// `[T, STATS]` per token: [`LOSS`], [`MARGIN`], [`ENTROPY`] and so on.
    pub stats: Tensor,
    /// Whether, where logits are mixed, the statistics of each set alone are wanted: [`ENTROPY_STRONG`], [`ENTROPY_WEAK`],
    /// [`PULL_ALONE`] and the distractor. Else they mean nothing.
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
        let params = Params { cap, ..params(logits, logits.cols, rows) };
        tape.run(Cap { strong: logits }, params, Grid::items(rows * logits.cols, 64));
    }
}

/// Records the loss of `strong`, with a second set of logits if there is one, over chunks of `chunk` tokens, and seeds
/// gradients wherever the tape wants them. A chunk is run only if a replay has more rows in use than it starts at: put
/// targets first ([`super::pick()`]).
pub fn head_loss(tape: &mut Tape, strong: Head<'_>, second: &Second<'_>, targets: Targets, chunk: usize) {
    let (tokens, vocab) = (strong.hidden.rows, strong.vocab());
    let others = second.heads();
    for other in &others {
        assert_eq!((other.hidden.rows, other.vocab()), (tokens, vocab), "head_loss: [T, V] of the second model");
    }
    let sides = [(vec![strong], true), (others, second.flows())].into_iter().filter(|(heads, _)| !heads.is_empty());
    let sides: Vec<Side<'_>> = sides.map(|(heads, flows)| Side::new(tape, heads, flows, chunk)).collect();
    for start in (0..tokens).step_by(chunk) {
        let rows = chunk.min(tokens - start);
        tape.rows_from(start);
        for side in &sides {
            side.logits(tape, start, rows);
        }
        loss(tape, &sides, second, targets, start, rows);
        for side in &sides {
            side.gradients(tape, start, rows);
        }
    }
    tape.rows_from(0);
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

    fn logits(&self, tape: &mut Tape, start: usize, rows: usize) {
        for (i, (head, _)) in self.heads.iter().enumerate() {
            let hidden = head.hidden.slice_rows(start, rows);
            raw_logits(tape, Head { hidden, ..*head }, self.logits, u32::from(i > 0));
        }
        cap_logits(tape, self.logits, rows, self.softcap());
    }

    fn gradients(&self, tape: &mut Tape, start: usize, rows: usize) {
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

fn params(logits: Tensor, vocab: usize, rows: usize) -> Params {
    Params {
        rows: size(rows),
        vocab: size(vocab),
        stride: size(logits.cols),
        cap: 0.0,
        per_cap_strong: 0.0,
        per_cap_weak: 0.0,
        turned: 0,
        alone: 1,
    }
}

fn loss(
    tape: &mut Tape,
    sides: &[Side<'_>],
    second: &Second<'_>,
    Targets { ids, weights, schedule, offsets, watched, stats, alone }: Targets,
    start: usize,
    rows: usize,
) {
    let part = |x: Tensor| x.reshape(x.len(), 1).slice_rows(start, rows);
    let (targets, weights, offsets, watched) = (part(ids), part(weights), part(offsets), part(watched));
    let stats = stats.slice_rows(start, rows);
    let strong4 = sides[0].logits;
    let wanted = sides.iter().any(|side| side.learns(tape));
    let each_row = Grid::plane(rows, 1);
    let each_logit = Grid::plane(strong4.cols.div_ceil(4 * kernels::ROUND), rows);
    let per_cap = |side: &Side<'_>| side.softcap().map_or(0.0, |cap| 1.0 / cap);
    let mut params = params(strong4, sides[0].heads[0].0.vocab(), rows);
    params.per_cap_strong = per_cap(&sides[0]);
    let Some(side) = sides.get(1) else {
        tape.run(StatsSingle { strong4, targets, weights, schedule, stats, watched }, params, each_row);
        if wanted {
            tape.run(GradientSingle { strong4, targets, weights, schedule, stats }, params, each_logit);
        }
        return;
    };
    let weak4 = side.logits;
    params.per_cap_weak = per_cap(side);
    params.turned = u32::from(matches!(second, Second::Turned(_)));
    params.alone = u32::from(alone);
    if matches!(second, Second::Synthetic(_)) {
        tape.run(Synthesize { weak4, offsets }, params, each_row);
    }
    match second {
        Second::Teacher(_) => {
            let launch = StatsDistill { strong4, weak4, targets, weights, schedule, stats, offsets, watched };
            tape.run(launch, params, each_row);
            if wanted {
                tape.run(GradientDistill { strong4, weak4, targets, weights, schedule, stats }, params, each_logit);
            }
        }
        _ => {
            let launch = StatsMix { strong4, weak4, targets, weights, schedule, stats, offsets, watched };
            tape.run(launch, params, each_row);
            if wanted && params.turned == 0 {
                tape.run(GradientMix { strong4, weak4, targets, weights, schedule, stats }, params, each_logit);
            } else if wanted {
                let (strong, weak) = (strong4, weak4);
                let launch = GradientTurned { strong, weak, targets, weights, schedule, stats, offsets };
                tape.run(launch, params, Grid::plane(strong.cols.div_ceil(kernels::ROUND), rows));
            }
        }
    }
}
