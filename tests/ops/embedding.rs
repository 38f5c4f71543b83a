//! Rows by index: of a table by token (the table whole or in shards), chosen rows, rows of a cache, rows of rotary tables.

use underdog::graph::ops;

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Rng, run},
};

/// Inputs: the shards of a `[V, C]` table.
struct Embedding {
    tokens: Vec<u32>,
    scale: f32,
}

impl Oracle for Embedding {
    fn forward(&self, x: &[Mat]) -> Mat {
        let table: Vec<&[f64]> = x.iter().flat_map(|shard| (0..shard.rows).map(|r| shard.row(r))).collect();
        let rows: Vec<&[f64]> = self.tokens.iter().map(|t| table[*t as usize]).collect();
        let scaled = rows.concat().iter().map(|x| f64::from(self.scale) * x).collect();
        Mat::new(rows.len(), x[0].cols, scaled)
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let mut first = 0;
        let shard = |shard: &Mat| {
            let mut gradient = Mat::zeros(shard.rows, shard.cols);
            for (t, token) in self.tokens.iter().enumerate() {
                if let Some(row) = (*token as usize).checked_sub(first).filter(|row| *row < shard.rows) {
                    gradient
                        .row_mut(row)
                        .iter_mut()
                        .zip(dy.row(t))
                        .for_each(|(g, d)| *g += f64::from(self.scale) * d);
                }
            }
            first += shard.rows;
            gradient
        };
        x.iter().map(shard).collect()
    }
}

/// Positions sorted by token, ties in order.
fn order(tokens: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
    order.sort_by_key(|t| tokens[*t as usize]);
    order
}

fn check(cases: &mut Cases, name: &str, tokens: Vec<u32>, shards: &[usize], c: usize, scale: f32) {
    let mut rng = Rng((tokens.len() + c) as u64);
    let table: Vec<Mat> = shards.iter().map(|rows| rng.mat(*rows, c, 0.0, 1.0)).collect();
    let (order, t) = (order(&tokens), tokens.len());
    let case = Case {
        name: format!("{name}: [{t}] of {shards:?} rows of {c}, times {scale}"),
        indices: vec![(tokens.clone(), 1, t), (order, 1, t)],
        oracle: &Embedding { tokens, scale },
        seeds_itself: None,
        record: &|tape, table, at| ops::embedding(tape, at[0], at[1], table, scale),
    };
    cases.check(&case, &table);
}

#[test]
fn embedding() {
    // Copies forward; sums over at most 1,757 equal tokens backward.
    let mut cases = Cases::new("embedding", 2e-6);
    for (t, shards, c, scale) in [
        (1, vec![1], 1, 1.0),
        (127, vec![1], 5, 2.25),
        (127, vec![300], 127, 1.0),
        (1757, vec![7], 3, 1.0),
        (1757, vec![64, 64, 40], 4, 33.94),
        (200, vec![128, 64, 1], 65, 8.1),
        (5, vec![64, 64, 64], 128, 1.0),
    ] {
        let tokens = Rng(t as u64).indices(t, shards.iter().sum());
        check(&mut cases, "random", tokens, &shards, c, scale);
    }
    check(&mut cases, "one token", vec![70; 1757], &[64, 64], 3, 1.0);
    let edges = vec![0, 63, 64, 127, 128, 130, 63, 128];
    check(&mut cases, "first and last of each shard", edges, &[64, 64, 3], 2, 1.0);
    cases.finish();
}

/// Input: x.
struct Pick {
    rows: Vec<u32>,
}

impl Oracle for Pick {
    fn forward(&self, x: &[Mat]) -> Mat {
        let mut y = Mat::zeros(self.rows.len(), x[0].cols);
        for (i, row) in self.rows.iter().map(|row| *row as usize).enumerate() {
            if row < x[0].rows {
                y.row_mut(i).copy_from_slice(x[0].row(row));
            }
        }
        y
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let mut dx = Mat::zeros(x[0].rows, x[0].cols);
        for (i, row) in self.rows.iter().map(|row| *row as usize).enumerate() {
            if row < dx.rows {
                dx.row_mut(row).copy_from_slice(dy.row(i));
            }
        }
        vec![dx]
    }
}

/// Where each of `0..t` stands in `rows`.
pub(crate) fn slots(rows: &[u32], t: usize) -> Vec<u32> {
    let at = |row: u32| rows.iter().position(|r| *r == row).map_or(u32::MAX, |at| at as u32);
    (0..t as u32).map(at).collect()
}

#[test]
fn pick() {
    let mut cases = Cases::new("pick", 1.2e-7); // copies, and one rounding where a gradient is added to
    const NONE: u32 = u32::MAX;
    for (t, c, rows) in [
        (1, 1, vec![0]),
        (1, 1, vec![1]),
        (40, 33, vec![39, 0, 7, 8, NONE]),
        (3, 127, vec![NONE, 2, NONE, 0, NONE, NONE, 1]),
        (127, 5, (0..127).rev().collect()),
        (1757, 3, (0..1757).step_by(3).collect()),
    ] {
        let (n, slots) = (rows.len(), slots(&rows, t));
        let case = Case {
            name: format!("{n} of [{t}, {c}]"),
            indices: vec![(rows.clone(), 1, n), (slots, 1, t)],
            oracle: &Pick { rows },
            seeds_itself: None,
            record: &|tape, x, at| ops::pick(tape, x[0], at[0], at[1]),
        };
        cases.check(&case, &[Rng(t as u64).mat(t, c, 0.0, 1.0)]);
    }
    cases.finish();
}

#[test]
fn append_writes_rows_and_leaves_the_others() {
    let (x, before) = (Rng(6).mat(3, 10, 0.0, 1.0), Rng(7).mat(8, 10, 0.0, 1.0));
    let rows = [5, 0, 6];
    let inputs = [Input::Frozen(&x), Input::Index(&rows, 1, 3), Input::Frozen(&before)];
    let outcome = run(&inputs, None, |tape, tensors| {
        ops::append(tape, tensors[0], tensors[1], tensors[2]);
        tensors[2]
    });
    let mut want = before.clone();
    for (t, row) in rows.iter().enumerate() {
        want.row_mut(*row as usize).copy_from_slice(x.row(t));
    }
    assert_eq!(outcome.value, want.f32());
}

#[test]
fn the_first_of_the_largest_logits_is_the_likeliest() {
    for (rows, vocab) in [(1, 1), (3, 127), (2, 256), (5, 1757)] {
        // Few different numbers, so that many are equal.
        let x = Rng(vocab as u64).mat(rows, vocab, 0.0, 1.0);
        let x = Mat::new(rows, vocab, x.f32().iter().map(|x| f64::from((2.0 * x).round())).collect());
        let outcome = run(&[Input::Frozen(&x)], None, |tape, tensors| {
            let ids = tape.transient(1, rows);
            ops::likeliest(tape, tensors[0], ids);
            ids
        });
        let found: Vec<u32> = outcome.value.iter().map(|id| id.to_bits()).collect();
        let first = |row: &[f64]| (0..vocab).fold(0, |best, v| if row[v] > row[best] { v } else { best }) as u32;
        let want: Vec<u32> = (0..rows).map(|row| first(x.row(row))).collect();
        assert_eq!(found, want, "[{rows}, {vocab}]");
    }
}

#[test]
fn tokens_of_long_texts_look_further_on() {
    // Texts of 4, 3 and 5 tokens; more than 3 is long. Transients are four bytes whatever they hold, and copies keep them.
    let positions = [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4];
    let documents = [[0, 4]; 4].into_iter().chain([[4, 7]; 3]).chain([[7, 12]; 5]);
    let (spans, ends): (Vec<[u32; 2]>, Vec<u32>) =
        documents.zip(0..).map(|([start, end], t)| ([start, t + 1], end)).unzip();
    let words = spans.concat();
    let inputs = [Input::Index(&positions, 1, 12), Input::Index(&words, 12, 2), Input::Index(&ends, 1, 12)];
    let outcome = run(&inputs, None, |tape, x| ops::text_positions(tape, x[0], [x[1], x[2]], 3, 100));
    let found: Vec<u32> = outcome.value.iter().map(|row| row.to_bits()).collect();
    assert_eq!(found, [100, 101, 102, 103, 0, 1, 2, 100, 101, 102, 103, 104]);
}

#[test]
fn numbers_kept_as_bf16_are_widened() {
    // Rows of 1 to 127 numbers, odd counts of which end in half a word; normal numbers, of any size.
    for (rows, cols) in [(1usize, 1usize), (3, 5), (127, 1), (5, 64), (2, 127)] {
        let halves: Vec<u16> = (0..rows * cols).map(|i| (i as u16).wrapping_mul(40_503) & 0xff7f | 0x100).collect();
        let mut words: Vec<u32> = halves
            .chunks(2)
            .map(|pair| u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0x7f80)) << 16)
            .collect();
        let width = cols.div_ceil(2);
        words.resize(rows * width, u32::MAX);
        let outcome = run(&[Input::Index(&words, rows, width)], None, |tape, x| ops::dequantize(tape, x[0], cols));
        let found: Vec<u32> = outcome.value.iter().map(|x| x.to_bits()).collect();
        let want: Vec<u32> = halves.iter().map(|half| u32::from(*half) << 16).collect();
        assert_eq!(found, want, "[{rows}, {cols}]");
    }
}
