//! The rule of `weak = auto`: which of several earlier checkpoints serves as weak model.
//!
//! Eligible is a checkpoint whose loss on the held-out slice is above the strong model's: a weak model must be weaker,
//! else the mixture only pulls towards what the strong model should become or already is. Among these the one with the
//! largest amplification is chosen: the norm of the strong model's gradient on the logits that are not targets, with
//! the mixture, over that without it. The method is meant to work through this: a model that has saturated hardly
//! pushes its distractors down any more, and a weak model that still believes in them makes it do so again. Loss and
//! entropy say only how weak a checkpoint is, not whether its mistakes touch those of the strong model, so they do not
//! rank.
//!
//! What the rule cannot see: a checkpoint that knows nothing flattens the mixture, which amplifies as well. Candidates
//! should be checkpoints of the strong model's own training.

use super::super::error::Error;

/// A checkpoint as measured on a held-out slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What the user calls it.
    pub name: String,
    /// Mean cross-entropy over completion tokens, in nats.
    pub loss: f64,
    /// Mean predictive entropy over completion tokens, in nats. For the reader; it decides nothing.
    pub entropy: f64,
    /// Norm of the strong model's gradient on non-target logits with the mixture, over that without it.
    pub amplification: f64,
}

/// The position of the candidate that serves as weak model for a strong one with this loss (nats, same slice): among
/// those whose loss is finite and above `strong_loss` the one with the largest finite amplification, of equals the
/// first.
///
/// # Errors
/// No candidate is eligible; the error lists all the numbers.
pub fn choose_weak(candidates: &[Candidate], strong_loss: f64) -> Result<usize, Error> {
    let eligible = |c: &Candidate| c.loss.is_finite() && c.loss > strong_loss && c.amplification.is_finite();
    let mut best: Option<(usize, &Candidate)> = None;
    for (i, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| eligible(candidate)) {
        if best.is_none_or(|(_, best)| candidate.amplification > best.amplification) {
            best = Some((i, candidate));
        }
    }
    best.map(|(i, _)| i).ok_or_else(|| {
        Error::Argument(format!(
            "no candidate can be the weak model: its loss must be finite and above the strong model's {strong_loss:.4}, \
             and its amplification finite; give an earlier checkpoint, train the strong model further, or name the weak \
             model yourself. The candidates:{}",
            table(candidates)
        ))
    })
}

/// One line per candidate, for an error.
fn table(candidates: &[Candidate]) -> String {
    let line = |c: &Candidate| {
        let Candidate { name, loss, entropy, amplification } = c;
        format!("\n  {name}: loss {loss:.4}, entropy {entropy:.4}, amplification {amplification:.4}")
    };
    match candidates {
        [] => "\n  none was given".to_string(),
        some => some.iter().map(line).collect(),
    }
}
