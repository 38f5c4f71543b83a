//! The chunked loss head: logits, loss, entropies and gradients of a chunk of tokens at a time, so that nothing of size
//! `[T, V]` ever exists. [`Second`] says how a second set of logits takes part: mixed in (`z = lambda z_s + (1 - lambda) z_w`,
//! WMSS, arXiv 2602.08222) or distilled from (Hinton et al. 2015); formulas stand in the shaders' heads.
//!
//! A chunk is visited for its statistics and for its gradients, which need them. Both follow one another on the same logits,
//! unless something stands between ([`weighted`]): then every chunk has its statistics before the first gradient, and
//! logits are computed a second time.
//!
//! `dh = dz W`, `dW = dz^T h` for every model; one that is frozen gets none. Unlike the other ops this one ends the
//! forward pass: it seeds the gradients of its hidden states itself.

mod relation;
mod side;

use crate::{
    graph::{tape::Tape, tensor::Tensor},
    kernels::{head_distill, head_mix as kernels},
};

pub use head_distill::{CE_WEIGHT, TARGET_LOGIT_PENALTY, TEMPERATURE};
pub use kernels::{
    DISTRACTOR, DISTRACTOR_LOGIT, ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, GRAD_NON_TARGET, GRAD_NON_TARGET_ALONE,
    LAMBDA, LOSS, MARGIN, MEAN, MEAN_WEAK, SMOOTHING, STATS, TARGET, TARGET_WEAK, WATCHED,
};
use relation::Chunk;
pub use relation::Second;
use side::Side;
pub use side::{Head, Targets, chunk_rows, logits};

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
/// the loss is taken of ([`LOSS`], [`MARGIN`], [`ENTROPY`], [`GRAD_NON_TARGET`]) stay as they are. Nothing learns from it.
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
