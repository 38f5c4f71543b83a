//! Chooses what changes memory and time but never the result: tokens of a packed row, and recomputation.

use crate::{
    data::{Example, pack},
    engine::{Blueprint, Error, Spec},
    report,
};

/// Rows are multiples of this many tokens, so that few shapes occur.
const ROW_ALIGN: usize = 64;
/// Longest row that is chosen unless an example is longer: beyond it, longer rows save little and cost memory.
const ROW_MOST: usize = 2048;
/// What starting a pass costs, in tokens.
const PASS_COST: usize = 64;
/// Optimizer steps that are looked at to choose a row.
const STEPS_LOOKED_AT: usize = 32;

/// What the choice is bound by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Most bytes of device memory; `None`: unknown.
    pub memory: Option<u64>,
    /// Tokens of a row, if the user says so.
    pub tokens: Option<usize>,
    /// Recomputation, if the user says so.
    pub recompute: Option<bool>,
}

/// The fastest arrangement of `spec` that fits: longer rows before shorter where they pack better, recomputation last.
/// `batches` are the examples of some optimizer steps, the longest of all among them. `spec`'s own `tokens` and `recompute` are ignored.
///
/// # Errors
/// If the models do not go together, or nothing fits; says what the least arrangement needs.
pub fn choose(spec: &Spec, batches: &[Vec<&Example>], bounds: Bounds) -> Result<(Spec, Blueprint), Error> {
    let longest = batches.iter().flatten().map(|example| example.ids.len()).max().unwrap_or(1);
    let rows = match bounds.tokens {
        Some(tokens) if tokens < longest => return Err(Error::ShortRow { tokens, longest }),
        Some(tokens) => vec![tokens],
        None => row_lengths(batches, longest),
    };
    let recompute = match bounds.recompute {
        Some(choice) => vec![choice],
        None if spec.train => vec![false, true],
        None => vec![false],
    };
    let mut least = u64::MAX;
    for recompute in recompute {
        for &tokens in &rows {
            let spec = Spec { tokens, recompute, ..spec.clone() };
            let blueprint = match Blueprint::new(&spec) {
                Err(Error::Row { .. }) if tokens > rows.iter().copied().min().unwrap_or(tokens) => continue,
                other => other?,
            };
            let needed = blueprint.footprint().total();
            if bounds.memory.is_none_or(|most| needed <= most) {
                return Ok((spec, blueprint));
            }
            least = least.min(needed);
        }
    }
    let advice = if spec.train && bounds.recompute == Some(false) {
        "allow --recompute, lower --max-length, or take a smaller model"
    } else {
        "lower --max-length, take a smaller model, or give more --memory"
    };
    let available = report::bytes(bounds.memory.unwrap_or(0));
    Err(Error::Memory { needed: report::bytes(least), available, advice: advice.into() })
}

/// Candidate row lengths, those that compute fewest tokens first.
fn row_lengths(batches: &[Vec<&Example>], longest: usize) -> Vec<usize> {
    let tokens = |batch: &Vec<&Example>| batch.iter().map(|example| example.ids.len()).sum::<usize>();
    let shortest_row = longest.next_multiple_of(ROW_ALIGN);
    let most = batches.iter().map(tokens).max().unwrap_or(1).next_multiple_of(ROW_ALIGN).min(ROW_MOST);
    let mut rows: Vec<(usize, usize)> = (shortest_row..=most.max(shortest_row))
        .step_by(ROW_ALIGN)
        .map(|row| {
            let passes = |batch: &Vec<&Example>| pack::pack(batch, row).map_or(0, |rows| rows.len());
            let passes: usize = batches.iter().take(STEPS_LOOKED_AT).map(passes).sum();
            (passes * (row + PASS_COST), row)
        })
        .collect();
    rows.sort_unstable();
    rows.into_iter().map(|(_, row)| row).collect()
}
