//! LoRA, DoRA and the dropout before them.

use std::cell::Cell;

use underdog::graph::{
    ops::{self, Decomposed, Dropout},
    tape::Tape,
    tensor::Tensor,
};

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Rng, run},
    linear::{matmul_nn, matmul_nt, matmul_tn},
    noise::{pcg, words},
};

/// 1 / (1 - rate) or 0.
fn factor(key: u32, salt: u32, col: usize, rate: f64) -> f64 {
    let hash = pcg(pcg(key ^ salt).wrapping_add(col as u32)) >> 8;
    if f64::from(hash) < (rate * f64::from(1 << 24)).floor() { 0.0 } else { f64::from((1.0 / (1.0 - rate)) as f32) }
}

#[derive(Clone)]
struct Mask {
    keys: Vec<u32>,
    salt: u32,
    rate: f64,
}

impl Mask {
    fn kept(mask: &Option<Mask>, x: &Mat) -> Mat {
        let Some(Mask { keys, salt, rate }) = mask else { return x.clone() };
        let mut y = x.clone();
        for (t, key) in keys.iter().enumerate() {
            y.row_mut(t).iter_mut().enumerate().for_each(|(c, y)| *y *= factor(*key, *salt, c, *rate));
        }
        y
    }

    fn device(mask: &Option<Mask>, keys: &[Tensor]) -> Option<Dropout> {
        mask.as_ref().map(|m| Dropout { keys: keys[0], salt: m.salt, rate: m.rate })
    }

    fn indices(mask: &Option<Mask>) -> Vec<(Vec<u32>, usize, usize)> {
        mask.iter().map(|m| (m.keys.clone(), 1, m.keys.len())).collect()
    }
}

fn times(x: &Mat, factor: f64) -> Mat {
    Mat::new(x.rows, x.cols, x.data.iter().map(|x| x * factor).collect())
}

fn zip(a: &Mat, b: &Mat, f: impl Fn(f64, f64) -> f64) -> Mat {
    Mat::new(a.rows, a.cols, a.data.iter().zip(&b.data).map(|(a, b)| f(*a, *b)).collect())
}

fn plus(a: &Mat, b: &Mat) -> Mat {
    zip(a, b, |a, b| a + b)
}

/// `x` with every row times a row of factors.
fn columns(x: &Mat, factors: &[f64]) -> Mat {
    let at = |(i, x): (usize, &f64)| x * factors[i % x_cols(factors)];
    Mat::new(x.rows, x.cols, x.data.iter().enumerate().map(at).collect())
}

fn x_cols(factors: &[f64]) -> usize {
    factors.len()
}

fn column_sums(x: &Mat) -> Mat {
    let mut sums = Mat::zeros(1, x.cols);
    for t in 0..x.rows {
        sums.data.iter_mut().zip(x.row(t)).for_each(|(sum, x)| *sum += x);
    }
    sums
}

/// A bias, or a residual.
fn with_added(mut y: Mat, added: Option<&Mat>) -> Mat {
    for t in 0..y.rows {
        added.into_iter().for_each(|b| y.row_mut(t).iter_mut().zip(b.row(t % b.rows)).for_each(|(y, b)| *y += b));
    }
    y
}

/// Inputs: x `[T, K]`, A `[R, K]`, then W `[N, K]` and B^T `[R, N]` for each part, perhaps what is added to the first
/// part, a bias or a residual. The value is the sum of the parts, which have one size.
struct Lora {
    scale: f64,
    mask: Option<Mask>,
    parts: usize,
}

impl Oracle for Lora {
    fn forward(&self, x: &[Mat]) -> Mat {
        let down = times(&matmul_nt(&Mask::kept(&self.mask, &x[0]), &x[1]), self.scale);
        let part = |i: usize| plus(&matmul_nt(&x[0], &x[2 + 2 * i]), &matmul_nn(&down, &x[3 + 2 * i]));
        let y = (1..self.parts).fold(part(0), |sum, i| plus(&sum, &part(i)));
        with_added(y, x.get(2 + 2 * self.parts))
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let kept = Mask::kept(&self.mask, &x[0]);
        let down = times(&matmul_nt(&kept, &x[1]), self.scale);
        let (mut dx, mut ddown) = (Mat::zeros(x[0].rows, x[0].cols), Mat::zeros(down.rows, down.cols));
        let mut of_parts = Vec::new();
        for i in 0..self.parts {
            let (w, b) = (&x[2 + 2 * i], &x[3 + 2 * i]);
            dx = plus(&dx, &matmul_nn(dy, w));
            ddown = plus(&ddown, &matmul_nt(dy, b));
            of_parts.extend([matmul_tn(dy, &x[0]), matmul_tn(&down, dy)]);
        }
        let du = times(&ddown, self.scale);
        dx = plus(&dx, &Mask::kept(&self.mask, &matmul_nn(&du, &x[1])));
        let mut gradients = vec![dx, matmul_tn(&du, &kept)];
        gradients.extend(of_parts);
        let of_added = |added: &Mat| if added.rows == 1 { column_sums(dy) } else { dy.clone() };
        gradients.extend(x.get(2 + 2 * self.parts).map(of_added));
        gradients
    }
}

impl Lora {
    fn record(&self, tape: &mut Tape, x: &[Tensor], keys: &[Tensor]) -> Tensor {
        let down = ops::lora_down(tape, x[0], x[1], self.scale as f32, Mask::device(&self.mask, keys));
        let mut sum = None;
        for i in 0..self.parts {
            let added = x.get(2 + 2 * self.parts).copied().filter(|_| i == 0);
            let y = ops::lora_up(tape, x[0], x[2 + 2 * i], added, [down, x[3 + 2 * i]]);
            sum = Some(sum.map_or(y, |sum| ops::add(tape, sum, y)));
        }
        sum.expect("a part")
    }
}

/// Tokens, rank, inputs, outputs, bias, dropout.
const SHAPES: [(usize, usize, usize, usize, bool, Option<f64>); 12] = [
    (1, 1, 1, 3, false, None),
    (5, 3, 7, 2, true, Some(0.3)),
    (4, 4, 8, 8, false, None),
    (4, 2, 8, 4, true, Some(0.5)),
    (31, 5, 13, 9, true, None),
    (32, 8, 16, 36, false, Some(0.1)),
    (127, 16, 33, 5, false, None),
    (128, 16, 36, 132, true, Some(0.05)),
    (64, 13, 40, 24, false, Some(0.999)),
    (12, 64, 8, 12, true, None),
    (1757, 4, 3, 8, false, Some(0.25)),
    (8, 127, 1757, 1, true, None),
];

fn mask(rng: &mut Rng, tokens: usize, rate: Option<f64>) -> Option<Mask> {
    rate.map(|rate| Mask { keys: (0..tokens).map(|_| rng.next() as u32).collect(), salt: rng.next() as u32, rate })
}

#[test]
fn lora() {
    let mut cases = Cases::new("lora", 4e-6); // sums of up to 1,757 products
    for (t, r, k, n, bias, rate) in SHAPES {
        for parts in [1, 2] {
            let mut rng = Rng((t * 31 + n * 7 + k + parts) as u64);
            let mut x = vec![rng.mat(t, k, 0.2, 1.0), rng.mat(r, k, 0.1, 0.5)];
            (0..parts).for_each(|_| x.extend([rng.mat(n, k, 0.1, 0.5), rng.mat(r, n, -0.1, 0.5)]));
            // One part's is a bias, that of several a residual.
            x.extend(bias.then(|| rng.mat(if parts == 1 { 1 } else { t }, n, -0.3, 1.0)));
            let oracle = Lora { scale: 0.375, mask: mask(&mut rng, t, rate), parts };
            // In a recomputed segment the gradient must be found even where nothing before it wants one.
            for recompute in [false, true] {
                let case = Case {
                    name: format!(
                        "[{t}, {k}] to [{t}, {n}], rank {r}, bias {bias}, dropout {rate:?}, {parts} parts, recomputed {recompute}"
                    ),
                    oracle: &oracle,
                    indices: Mask::indices(&oracle.mask),
                    seeds_itself: None,
                    record: &|tape, x, keys| match recompute {
                        true => tape.recompute(|tape| oracle.record(tape, x, keys)),
                        false => oracle.record(tape, x, keys),
                    },
                };
                cases.check(&case, &x);
            }
        }
    }
    cases.finish();
}

/// Inputs: x, A, B^T, m `[1, N]`, perhaps a bias. W is frozen, and so are the lengths of the rows, as the op has them.
struct Dora {
    w: Mat,
    scale: f64,
    mask: Option<Mask>,
    lengths: Vec<f64>,
}

impl Dora {
    fn lengths(w: &Mat, a: &Mat, b: &Mat, scale: f64) -> Vec<f64> {
        let sum = plus(w, &times(&matmul_tn(b, a), scale));
        (0..w.rows).map(|n| sum.row(n).iter().map(|x| x * x).sum::<f64>().sqrt()).collect()
    }

    fn product(&self, x: &[Mat]) -> Mat {
        let kept = Mask::kept(&self.mask, &x[0]);
        let down = times(&matmul_nt(&kept, &x[1]), self.scale);
        plus(&matmul_nt(&kept, &self.w), &matmul_nn(&down, &x[2]))
    }

    fn inverse(&self) -> Vec<f64> {
        self.lengths.iter().map(|length| if *length > 0.0 { 1.0 / length } else { 0.0 }).collect()
    }
}

impl Oracle for Dora {
    fn forward(&self, x: &[Mat]) -> Mat {
        let scaled = columns(&columns(&self.product(x), &x[3].data), &self.inverse());
        let rest = zip(&x[0], &Mask::kept(&self.mask, &x[0]), |x, kept| x - kept);
        with_added(plus(&scaled, &matmul_nt(&rest, &self.w)), x.get(4))
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let over = columns(dy, &self.inverse());
        let dz = columns(&over, &x[3].data);
        let kept = Mask::kept(&self.mask, &x[0]);
        let down = times(&matmul_nt(&kept, &x[1]), self.scale);
        let du = times(&matmul_nt(&dz, &x[2]), self.scale);
        let dkept = plus(&matmul_nn(&dz, &self.w), &matmul_nn(&du, &x[1]));
        let drest = matmul_nn(dy, &self.w);
        let through = plus(&Mask::kept(&self.mask, &dkept), &drest);
        let dx = zip(&through, &Mask::kept(&self.mask, &drest), |a, b| a - b);
        let dm = column_sums(&zip(&over, &self.product(x), |a, b| a * b));
        let mut gradients = vec![dx, matmul_tn(&du, &kept), matmul_tn(&down, &dz), dm];
        gradients.extend(x.get(4).map(|_| column_sums(dy)));
        gradients
    }
}

fn check_dora(cases: &mut Cases, name: &str, oracle: &Dora, x: &[Mat]) {
    let (n, k) = (oracle.w.rows, oracle.w.cols);
    for recompute in [false, true] {
        let mut indices = vec![(words(&oracle.w.data), n, k)];
        indices.extend(Mask::indices(&oracle.mask));
        let record = |tape: &mut Tape, x: &[Tensor], at: &[Tensor]| {
            let (scale, dropout) = (oracle.scale as f32, Mask::device(&oracle.mask, &at[1..]));
            let down = ops::lora_down(tape, x[0], x[1], scale, dropout);
            let parts = Decomposed { a: x[1], down, b: x[2], magnitude: x[3], scale, dropout };
            ops::dora(tape, x[0], at[0], x.get(4).copied(), parts)
        };
        let case = Case {
            name: format!("{name}, recomputed {recompute}"),
            oracle,
            indices,
            seeds_itself: None,
            record: &|tape, x, at| match recompute {
                true => tape.recompute(|tape| record(tape, x, at)),
                false => record(tape, x, at),
            },
        };
        cases.check(&case, x);
    }
}

#[test]
fn dora() {
    let mut cases = Cases::new("dora", 6e-6); // as lora, with a length of as many terms
    for (t, r, k, n, bias, rate) in SHAPES {
        let mut rng = Rng((t * 31 + n * 7 + k) as u64);
        let w = rng.mat(n, k, 0.1, 0.5);
        let mut x = vec![rng.mat(t, k, 0.2, 1.0), rng.mat(r, k, 0.1, 0.5), rng.mat(r, n, -0.1, 0.5)];
        x.push(rng.mat(1, n, 1.5, 0.5));
        x.extend(bias.then(|| rng.mat(1, n, -0.3, 1.0)));
        let scale = 0.375;
        let lengths = Dora::lengths(&w, &x[1], &x[2], scale);
        let oracle = Dora { w, scale, mask: mask(&mut rng, t, rate), lengths };
        check_dora(
            &mut cases,
            &format!("[{t}, {k}] to [{t}, {n}], rank {r}, bias {bias}, dropout {rate:?}"),
            &oracle,
            &x,
        );
    }
    cases.finish();
}

/// A row of W without length, under an adapter that adds nothing to it yet.
#[test]
fn a_row_without_length_gives_its_bias() {
    let mut rng = Rng(5);
    let (t, r, k, n) = (6, 4, 8, 8);
    let mut w = rng.mat(n, k, 0.1, 0.5);
    w.row_mut(3).fill(0.0);
    let x = [
        rng.mat(t, k, 0.2, 1.0),
        rng.mat(r, k, 0.1, 0.5),
        Mat::zeros(r, n),
        rng.mat(1, n, 1.5, 0.5),
        rng.mat(1, n, 0.0, 1.0),
    ];
    let lengths = Dora::lengths(&w, &x[1], &x[2], 2.0);
    assert_eq!(lengths[3], 0.0);
    check_dora(&mut Cases::new("dora", 4e-6), "a row of zeros", &Dora { w, scale: 2.0, mask: None, lengths }, &x);
}

/// On ones and unit weights, `down` shows the mask: about the wanted share is dropped, in other places for another token or
/// module, and the rest is scaled so that the mean stays.
#[test]
fn dropout_drops_its_share() {
    let (t, k) = (64, 96);
    let ones = Mat::new(t, k, vec![1.0; t * k]);
    let mut unit = Mat::zeros(k, k);
    (0..k).for_each(|i| unit.row_mut(i)[i] = 1.0);
    let keys: Vec<u32> = (0..t as u32).collect();
    let masks: Cell<Vec<Vec<f32>>> = Cell::default();
    for (salt, rate) in [(0, 0.1), (1, 0.1), (0, 0.5)] {
        let inputs = [Input::Frozen(&ones), Input::Frozen(&unit), Input::Index(&keys, 1, t)];
        let outcome = run(&inputs, None, |tape, x| {
            ops::lora_down(tape, x[0], x[1], 1.0, Some(Dropout { keys: x[2], salt, rate }))
        });
        let dropped = outcome.value.iter().filter(|x| **x == 0.0).count() as f64 / (t * k) as f64;
        let deviation = (rate * (1.0 - rate) / (t * k) as f64).sqrt();
        assert!((dropped - rate).abs() < 4.0 * deviation, "rate {rate}: {dropped} dropped");
        assert!(outcome.value.iter().all(|x| *x == 0.0 || *x == (1.0 / (1.0 - rate)) as f32));
        let row = |token: usize| &outcome.value[token * k..][..k];
        assert_ne!(row(0), row(1), "tokens share a mask");
        let mut seen = masks.take();
        assert!(!seen.contains(&outcome.value), "modules share a mask");
        seen.push(outcome.value);
        masks.set(seen);
    }
}
