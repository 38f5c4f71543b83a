//! Grouped-query attention over packed documents and over a cache, with windows and capped scores.

use underdog::graph::ops::{self, Heads, Scores};

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Rng, compare, run},
};

/// Inputs: q `[T, H * D]`, k, v `[Tk, K * D]`.
pub(crate) struct Attention {
    pub(crate) heads: Heads,
    pub(crate) scores: Scores,
    /// The keys that each query sees, but for the window.
    pub(crate) spans: Vec<[u32; 2]>,
}

impl Attention {
    /// Calls `visit` with query, columns of q, columns of k, first key, and of each key its weight and the derivative of
    /// its score by the product of query and key.
    fn each(&self, q: &Mat, k: &Mat, mut visit: impl FnMut(usize, usize, usize, usize, &[f64], &[f64])) {
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let scale = f64::from(self.scores.scale);
        for (i, span) in self.spans.iter().enumerate() {
            let (start, last) = (span[0] as usize, span[1] as usize);
            let first = self.scores.window.map_or(start, |window| start.max(last.saturating_sub(window)));
            for head in 0..heads {
                let (at, kv) = (head * head_dim, head / (heads / kv_heads) * head_dim);
                let query = &q.row(i)[at..][..head_dim];
                let scored = |j: usize| {
                    let score = scale * dot(query, &k.row(j)[kv..][..head_dim]);
                    match self.scores.softcap.map(f64::from) {
                        None => (score, scale),
                        Some(cap) => (cap * (score / cap).tanh(), scale / (score / cap).cosh().powi(2)),
                    }
                };
                let (mut weights, slopes): (Vec<f64>, Vec<f64>) = (first..last).map(scored).unzip();
                let most = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                weights.iter_mut().for_each(|s| *s = (*s - most).exp());
                let sum: f64 = weights.iter().sum();
                weights.iter_mut().for_each(|s| *s /= sum);
                visit(i, at, kv, first, &weights, &slopes);
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_to(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

impl Oracle for Attention {
    fn forward(&self, x: &[Mat]) -> Mat {
        let d = self.heads.head_dim;
        let mut y = Mat::zeros(x[0].rows, x[0].cols);
        self.each(&x[0], &x[1], |i, at, kv, first, weights, _| {
            for (j, p) in weights.iter().enumerate() {
                add_to(&mut y.row_mut(i)[at..][..d], *p, &x[2].row(first + j)[kv..][..d]);
            }
        });
        y
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let d = self.heads.head_dim;
        let [mut dq, mut dk, mut dv] = [0, 1, 2].map(|i: usize| Mat::zeros(x[i].rows, x[i].cols));
        self.each(&x[0], &x[1], |i, at, kv, first, weights, slopes| {
            let upstream = &dy.row(i)[at..][..d];
            let dp: Vec<f64> = (0..weights.len()).map(|j| dot(upstream, &x[2].row(first + j)[kv..][..d])).collect();
            let mean = dot(&dp, weights);
            for (j, p) in weights.iter().enumerate() {
                let ds = p * (dp[j] - mean) * slopes[j];
                add_to(&mut dv.row_mut(first + j)[kv..][..d], *p, upstream);
                add_to(&mut dq.row_mut(i)[at..][..d], ds, &x[1].row(first + j)[kv..][..d]);
                add_to(&mut dk.row_mut(first + j)[kv..][..d], ds, &x[0].row(i)[at..][..d]);
            }
        });
        vec![dq, dk, dv]
    }
}

/// Causal spans within documents of these lengths.
pub(crate) fn spans(documents: &[usize]) -> Vec<[u32; 2]> {
    let mut start = 0;
    let mut spans = Vec::new();
    for length in documents {
        spans.extend((start..start + length).map(|t| [start as u32, t as u32 + 1]));
        start += length;
    }
    spans
}

pub(crate) fn ends(documents: &[usize]) -> Vec<u32> {
    let mut end = 0;
    let mut ends = Vec::new();
    for length in documents {
        end += length;
        ends.extend(std::iter::repeat_n(end as u32, *length));
    }
    ends
}

pub(crate) fn heads(heads: usize, kv_heads: usize, head_dim: usize) -> Heads {
    Heads { heads, kv_heads, head_dim }
}

fn check(cases: &mut Cases, documents: &[usize], shape: Heads, scores: Scores, sharpness: f64) {
    let t = documents.iter().sum();
    let mut rng = Rng((t + shape.head_dim) as u64);
    let Heads { heads, kv_heads, head_dim } = shape;
    let x = [
        rng.mat(t, heads * head_dim, 0.1, sharpness),
        rng.mat(t, kv_heads * head_dim, 0.1, 1.0),
        rng.mat(t, kv_heads * head_dim, 0.1, 1.0),
    ];
    let spans = spans(documents);
    let case = Case {
        name: format!("documents of {documents:?}, {shape:?}, {scores:?}"),
        indices: vec![(spans.concat(), t, 2), (ends(documents), 1, t)],
        oracle: &Attention { heads: shape, scores, spans },
        seeds_itself: None,
        record: &|tape, x, at| ops::attention(tape, [x[0], x[1], x[2]], shape, scores, at[0], at[1]),
    };
    cases.check(&case, &x);
}

/// exp amplifies the rounding of a score of about 10 by ten; dk and dv sum up to 1,757 terms a head.
pub(crate) const TOLERANCE: f64 = 5e-6;

#[test]
fn attention() {
    let mut cases = Cases::new("attention", TOLERANCE);
    for (documents, shape, sharpness) in [
        (vec![1], heads(1, 1, 4), 1.0),
        (vec![2], heads(2, 1, 4), 1.0),
        (vec![1, 1, 1], heads(2, 2, 4), 1.0),
        (vec![9], heads(4, 2, 8), 2.0),
        (vec![17, 3, 1, 8], heads(3, 1, 4), 1.0),
        (vec![127], heads(4, 2, 32), 1.0),
        (vec![40, 1, 64, 22], heads(2, 1, 128), 1.0),
        (vec![16, 16, 32, 64], heads(8, 1, 16), 1.0),
        (vec![130], heads(2, 2, 64), 4.0),
        (vec![1757], heads(1, 1, 4), 1.0),
        (vec![700, 1000, 57], heads(2, 1, 4), 1.0),
        // More tokens than one dispatch walks over: backward_kv's walk is cut at 488, then the others' too.
        (vec![100, 500], heads(8, 1, 128), 1.0),
        (vec![490, 490, 490, 490, 490, 490, 490, 490, 200], heads(1, 1, 128), 1.0),
    ] {
        check(&mut cases, &documents, shape, Scores::plain(shape.head_dim), sharpness);
    }
    cases.finish();
}

#[test]
fn windows_and_caps() {
    let mut cases = Cases::new("attention", TOLERANCE);
    let (few, many) = (heads(2, 1, 4), heads(4, 2, 8));
    let scores = |scale, softcap, window| Scores { scale, softcap, window };
    for (documents, shape, scores, sharpness) in [
        (vec![1], few, scores(0.5, None, Some(1)), 1.0),
        (vec![9, 3], few, scores(0.5, None, Some(1)), 1.0), // every query sees itself alone
        (vec![9, 3], few, scores(0.5, None, Some(2)), 1.0),
        (vec![17, 3, 1, 8], many, scores(0.3, None, Some(7)), 1.0),
        (vec![127], many, scores(0.35, None, Some(16)), 1.0),
        (vec![127], many, scores(0.35, None, Some(126)), 1.0),
        (vec![127], many, scores(0.35, None, Some(1 << 30)), 1.0),
        (vec![40, 1, 64, 22], heads(2, 1, 128), scores(0.07, None, Some(33)), 1.0),
        (vec![1757], heads(1, 1, 4), scores(0.5, None, Some(500)), 1.0),
        (vec![490, 490, 490, 490, 490, 490, 490, 490, 200], heads(1, 1, 128), scores(0.09, None, Some(300)), 1.0),
        (vec![9], few, scores(1.0, Some(50.0), None), 2.0),
        (vec![17, 3, 1, 8], many, scores(0.3, Some(1.0), None), 3.0), // most scores near the cap
        (vec![127], many, scores(0.35, Some(5.0), Some(16)), 4.0),
        (vec![700, 1000, 57], few, scores(0.5, Some(2.0), Some(400)), 1.0),
    ] {
        check(&mut cases, &documents, shape, scores, sharpness);
    }
    cases.finish();
}

/// Scores near 5,000 are known to about 1e-3, and so are their weights.
#[test]
fn large_scores_do_not_overflow() {
    let shape = heads(1, 1, 4);
    let scores = Scores::plain(4);
    let mut rng = Rng(8);
    let mut x = [0, 1, 2].map(|_| rng.mat(30, 4, 0.0, 1.0));
    for row in 0..30 {
        x[0].row_mut(row)[0] = 100.0;
        x[1].row_mut(row)[0] = 100.0;
    }
    let (seen, ends) = (spans(&[30]), ends(&[30]));
    let words = seen.concat();
    let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
    inputs.extend([Input::Index(&words, 30, 2), Input::Index(&ends, 1, 30)]);
    let dy = rng.mat(30, 4, 0.0, 1.0);
    let outcome =
        run(&inputs, Some(&dy), |tape, x| ops::attention(tape, [x[0], x[1], x[2]], shape, scores, x[3], x[4]));
    let want = Attention { heads: shape, scores, spans: seen }.forward(&x);
    compare("scores of 5,000", &outcome.value, &want, 3e-3).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(outcome.gradients.iter().flatten().flatten().all(|g| g.is_finite()));
}

#[test]
fn new_tokens_see_the_cache_rows_of_their_span() {
    let windowed = Scores { window: Some(70), softcap: Some(3.0), scale: 0.4 };
    for (spans, capacity, shape, scores) in [
        (vec![[0, 1]], 1, heads(1, 1, 4), None),
        (vec![[0, 100]], 127, heads(4, 2, 32), None),
        (vec![[0, 1757]], 1757, heads(2, 1, 8), None),
        // A walk over 128 columns is cut at 7,872 keys.
        (vec![[0, 9000], [0, 100], [8000, 9000], [7872, 7873], [7000, 8500]], 9000, heads(2, 1, 128), None),
        (vec![[3, 40], [3, 41], [3, 42]], 64, heads(2, 1, 128), None),
        (vec![[0, 5], [0, 6], [64, 70], [64, 71], [120, 127]], 127, heads(3, 1, 4), None),
        (vec![[0, 100], [0, 5], [40, 110], [40, 111], [127, 255]], 255, heads(2, 1, 8), Some(windowed)),
        (vec![[0, 9000], [8950, 9000], [7000, 7900]], 9000, heads(2, 1, 128), Some(windowed)),
    ] {
        let scores = scores.unwrap_or(Scores::plain(shape.head_dim));
        let mut rng = Rng(capacity as u64);
        let Heads { heads, kv_heads, head_dim } = shape;
        let q = rng.mat(spans.len(), heads * head_dim, 0.1, 1.0);
        let [mut k, mut v] = [0, 1].map(|_| rng.mat(capacity, kv_heads * head_dim, 0.1, 1.0));
        let name = format!("spans {spans:?} of {capacity}, {shape:?}, {scores:?}");
        let oracle = Attention { heads: shape, scores, spans: spans.clone() };
        let want = oracle.forward(&[q.clone(), k.clone(), v.clone()]);
        // Rows that nobody sees are leftovers of other texts.
        for row in (0..capacity).filter(|row| !spans.iter().any(|s| (s[0]..s[1]).contains(&(*row as u32)))) {
            k.row_mut(row).fill(1e30);
            v.row_mut(row).fill(1e30);
        }
        let words = spans.concat();
        let inputs = [Input::Frozen(&q), Input::Frozen(&k), Input::Frozen(&v), Input::Index(&words, spans.len(), 2)];
        let outcome =
            run(&inputs, None, |tape, x| ops::attention_forward(tape, [x[0], x[1], x[2]], shape, scores, x[3]));
        compare(&name, &outcome.value, &want, TOLERANCE).unwrap_or_else(|failure| panic!("{failure}"));
    }
}
