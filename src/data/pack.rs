//! Packing: the examples of an optimizer step, side by side in rows of a fixed number of tokens.
//!
//! No example is split, and a document's span keeps attention inside it, so the result of a step does not depend on
//! who shares a row with whom.

use super::dataset::Example;
use super::error::Error;

/// One packed row. `T` is its length; every vector but `examples` has `T` entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Token ids; 0 on padding.
    pub tokens: Vec<u32>,
    /// Position within the document.
    pub positions: Vec<u32>,
    /// Row index of the document's first token. A padding token is a document of its own.
    pub start: Vec<u32>,
    /// One past the row index of the document's last token.
    pub end: Vec<u32>,
    /// The id that is to be predicted here: the document's next token; 0 where the weight is 0.
    pub targets: Vec<u32>,
    /// 1/N where the document's next token is trained, else 0. N is the number of targets of the whole step, so the
    /// weights of all its rows sum to 1.
    pub weights: Vec<f32>,
    /// Which examples lie where.
    pub examples: Vec<Placed>,
}

/// An example's place in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its index in the list that was packed.
    pub example: usize,
    /// Its number in the data.
    pub idx: u64,
    /// Row index of its first token.
    pub start: usize,
    /// Its tokens.
    pub len: usize,
}

/// Packs the examples of one step into as few rows of `row` tokens as first-fit decreasing finds. The same list gives
/// the same rows, always. Errors on an example that is longer than a row.
pub fn pack(examples: &[&Example], row: usize) -> Result<Vec<Batch>, Error> {
    pack_groups(examples, 1, row)
}

/// As [`pack()`], with every `group` neighbours of the list in one row: a pair, say, whose loss needs both.
pub fn pack_groups(examples: &[&Example], group: usize, row: usize) -> Result<Vec<Batch>, Error> {
    if u32::try_from(row).is_err() {
        return Err(Error::Argument(format!("a row of {row} tokens is longer than positions can count")));
    }
    let targets: usize = examples.iter().map(|example| example.targets()).sum();
    let weight = if targets == 0 { 0.0 } else { (1.0 / targets as f64) as f32 };
    let rows = place(examples, group, row)?;
    Ok(rows.into_iter().map(|placed| Batch::fill(examples, placed, row, weight)).collect())
}

/// First-fit decreasing; groups of equal length keep their order.
fn place(examples: &[&Example], group: usize, row: usize) -> Result<Vec<Vec<Placed>>, Error> {
    let length = |first: usize| examples[first..].iter().take(group).map(|example| example.ids.len()).sum::<usize>();
    let mut by_length: Vec<usize> = (0..examples.len()).step_by(group).collect();
    by_length.sort_by_key(|&first| std::cmp::Reverse(length(first)));
    let mut rows: Vec<(usize, Vec<Placed>)> = Vec::new();
    for example in by_length {
        let len = length(example);
        if len > row {
            let line = examples[example].line;
            return Err(Error::Argument(format!(
                "the example of line {line} has {len} tokens, more than a row's {row}"
            )));
        }
        let at = rows.iter().position(|(used, _)| used + len <= row).unwrap_or(rows.len());
        if at == rows.len() {
            rows.push((0, Vec::new()));
        }
        let (used, placed) = &mut rows[at];
        for (example, of) in examples.iter().enumerate().skip(example).take(group) {
            let len = of.ids.len();
            placed.push(Placed { example, idx: of.idx, start: *used, len });
            *used += len;
        }
    }
    Ok(rows.into_iter().map(|(_, placed)| placed).collect())
}

impl Batch {
    fn fill(examples: &[&Example], placed: Vec<Placed>, row: usize, weight: f32) -> Self {
        let mut batch = Self {
            tokens: vec![0; row],
            positions: vec![0; row],
            start: (0..row as u32).collect(),
            end: (1..=row as u32).collect(),
            targets: vec![0; row],
            weights: vec![0.0; row],
            examples: Vec::new(),
        };
        for place in &placed {
            batch.write(examples[place.example], place, weight);
        }
        batch.examples = placed;
        batch
    }

    fn write(&mut self, example: &Example, place: &Placed, weight: f32) {
        for i in 0..place.len {
            let t = place.start + i;
            self.tokens[t] = example.ids[i];
            self.positions[t] = i as u32;
            self.start[t] = place.start as u32;
            self.end[t] = (place.start + place.len) as u32;
            if i + 1 < place.len && example.trained[i + 1] {
                self.targets[t] = example.ids[i + 1];
                self.weights[t] = weight;
            }
        }
    }
}

/// The indices of `tokens` sorted by token id, equal ids in their order: each embedding row's gradient is then a sum
/// over neighbours, in one fixed order.
pub fn order(tokens: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
    order.sort_by_key(|&t| tokens[t as usize]);
    order
}
