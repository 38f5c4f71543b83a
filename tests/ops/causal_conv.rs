//! The causal convolution of each channel, over packed documents and over new tokens behind a ring of earlier ones.

use underdog::graph::ops::{self, Ring};

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Rng, compare, run},
};

/// Inputs: x `[T, C]`, weight `[C, L]`, and bias `[1, C]` if there is one.
struct CausalConv {
    /// First token of each token's document.
    start: Vec<usize>,
}

impl CausalConv {
    /// Documents of these lengths, one behind the other.
    fn of(lengths: &[usize]) -> Self {
        let mut start = Vec::new();
        for length in lengths {
            start.extend(vec![start.len(); *length]);
        }
        Self { start }
    }

    /// Calls `visit` with each token, an earlier one (or itself) that it looks at, and the column of their weight.
    fn each(&self, taps: usize, mut visit: impl FnMut(usize, usize, usize)) {
        for (t, start) in self.start.iter().enumerate() {
            (*start..=t).filter(|s| t - s < taps).for_each(|s| visit(t, s, taps - 1 - (t - s)));
        }
    }
}

impl Oracle for CausalConv {
    fn forward(&self, x: &[Mat]) -> Mat {
        let (x, weight) = (&x[0], (&x[1], x.get(2)));
        let mut y = Mat::zeros(x.rows, x.cols);
        for t in 0..x.rows {
            if let Some(bias) = weight.1 {
                y.row_mut(t).copy_from_slice(bias.row(0));
            }
        }
        self.each(weight.0.cols, |t, s, tap| {
            let row = y.row_mut(t).iter_mut().enumerate();
            row.for_each(|(c, y)| *y += weight.0.row(c)[tap] * x.row(s)[c]);
        });
        y
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let mut gradients: Vec<Mat> = x.iter().map(|x| Mat::zeros(x.rows, x.cols)).collect();
        self.each(x[1].cols, |t, s, tap| {
            for (c, dy) in dy.row(t).iter().enumerate() {
                gradients[0].row_mut(s)[c] += dy * x[1].row(c)[tap];
                gradients[1].row_mut(c)[tap] += dy * x[0].row(s)[c];
            }
        });
        if let Some(bias) = gradients.get_mut(2) {
            (0..dy.rows).for_each(|t| bias.row_mut(0).iter_mut().zip(dy.row(t)).for_each(|(sum, dy)| *sum += dy));
        }
        gradients
    }
}

/// Matrices of a case, the bias if wanted.
fn inputs(tokens: usize, channels: usize, taps: usize, bias: bool) -> Vec<Mat> {
    let mut rng = Rng((tokens * 31 + channels * 7 + taps) as u64);
    let mut x = vec![rng.mat(tokens, channels, 0.2, 1.0), rng.mat(channels, taps, 0.1, 0.5)];
    x.extend(bias.then(|| rng.mat(1, channels, -0.3, 1.0)));
    x
}

#[test]
fn causal_conv() {
    let mut cases = Cases::new("causal_conv", 4e-6);
    for (lengths, channels, taps, bias) in [
        (&[1][..], 1, 1, true),
        (&[1, 2, 3, 1], 5, 3, false),
        (&[2, 33, 1, 5], 7, 4, true),
        (&[40, 1, 24], 64, 3, true),
        (&[127], 4, 64, false),
        (&[700, 3, 1054], 33, 3, true),
    ] {
        let oracle = CausalConv::of(lengths);
        let tokens = oracle.start.len();
        let spans = (0..tokens).flat_map(|t| [oracle.start[t] as u32, t as u32 + 1]).collect();
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(vec![*end as u32; *length])
        });
        let case = Case {
            name: format!("documents of {lengths:?} [{channels}], {taps} taps, bias {bias}"),
            oracle: &oracle,
            indices: vec![(spans, tokens, 2), (ends.flatten().collect(), 1, tokens)],
            seeds_itself: None,
            record: &|tape, x, at| ops::causal_conv(tape, x[0], x[1], x.get(2).copied(), [at[0], at[1]]),
        };
        cases.check(&case, &inputs(tokens, channels, taps, bias));
    }
    cases.finish();
}

/// Two texts, up to `step` tokens of each at a time, beside a token of no text.
#[test]
fn causal_conv_of_new_tokens_is_that_of_the_whole_text() {
    const CAPACITY: usize = 13;
    let lengths = [CAPACITY, 7];
    for (taps, step, bias) in [(3, 1, false), (3, 4, true), (4, 2, true), (1, 3, false), (20, 5, true)] {
        let (oracle, channels) = (CausalConv::of(&lengths), 5);
        let x = inputs(oracle.start.len(), channels, taps, bias);
        let whole = oracle.forward(&x);
        let kept = (step + taps - 1).min(CAPACITY);
        let ring = Mat::new(2 * kept + 1, channels, vec![f64::NAN; (2 * kept + 1) * channels]);
        // Of each step: the rows of its tokens, and the tokens of `x` that they are.
        let steps: Vec<Vec<(u32, Option<usize>)>> = (0..CAPACITY)
            .step_by(step)
            .map(|first| {
                let of = |text: usize| {
                    let at = first..lengths[text].min(first + step);
                    at.map(move |p| ((text * CAPACITY + p) as u32, Some(text * lengths[0] + p)))
                };
                of(0).chain(of(1)).chain([(2 * CAPACITY as u32, None)]).collect()
            })
            .collect();
        let gather = |of: &Mat, tokens: &[(u32, Option<usize>)], other: f64| {
            let row = |(_, at): &(u32, Option<usize>)| at.map_or(vec![other; channels], |at| of.row(at).to_vec());
            Mat::new(tokens.len(), channels, tokens.iter().flat_map(row).collect())
        };
        let new: Vec<Mat> = steps.iter().map(|tokens| gather(&x[0], tokens, 9.0)).collect();
        let rows: Vec<Vec<u32>> = steps.iter().map(|tokens| tokens.iter().map(|(row, _)| *row).collect()).collect();
        let text = |row: &u32| [row / CAPACITY as u32 * CAPACITY as u32, row + 1];
        let spans: Vec<Vec<u32>> = rows.iter().map(|rows| rows.iter().flat_map(text).collect()).collect();
        let mut inputs = vec![Input::Frozen(&ring)];
        inputs.extend(x[1..].iter().map(Input::Frozen));
        let first = inputs.len();
        for i in 0..steps.len() {
            inputs.push(Input::Frozen(&new[i]));
            inputs.push(Input::Index(&rows[i], 1, rows[i].len()));
            inputs.push(Input::Index(&spans[i], rows[i].len(), 2));
        }
        // Rows of a tensor may be bound from every 64th on.
        let padded = |tokens: &Vec<(u32, Option<usize>)>| [&tokens[..], &vec![(0, None); 64 - tokens.len()]].concat();
        let want: Vec<_> = steps.iter().flat_map(padded).collect();
        let outcome = run(&inputs, None, |tape, x| {
            let all = tape.transient(want.len(), channels);
            for (i, of) in x[first..].chunks(3).enumerate() {
                let ring = Ring { cache: x[0], rows: of[1], capacity: CAPACITY, kept };
                let y = ops::causal_conv_cached(tape, of[0], x[1], bias.then(|| x[2]), of[2], ring);
                tape.copy(y, all.slice_rows(64 * i, y.rows));
            }
            all
        });
        let what = format!("{taps} taps, {step} tokens at a time, bias {bias}");
        compare(&what, &outcome.value, &gather(&whole, &want, f64::NAN), 1e-6)
            .unwrap_or_else(|failure| panic!("{failure}"));
    }
}
