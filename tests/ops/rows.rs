//! Ops that work element by element or row by row: rms_norm, also of a sum, rope, both in one, gated_mlp, add.

use underdog::graph::{
    ops::{self, Activation, Norm},
    scalars::Scalars,
};

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Rng, run},
};

/// Inputs: x, weight `[1, D]`; rows of D, several of which make a row of x.
struct RmsNorm(Norm);

impl RmsNorm {
    fn rstd(&self, row: &[f64]) -> f64 {
        1.0 / (row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64 + f64::from(self.0.eps)).sqrt()
    }
}

impl Oracle for RmsNorm {
    fn forward(&self, x: &[Mat]) -> Mat {
        let (mut y, offset) = (x[0].clone(), f64::from(self.0.offset));
        for row in y.data.chunks_mut(x[1].cols) {
            let r = self.rstd(row);
            row.iter_mut().zip(&x[1].data).for_each(|(x, w)| *x = *x * r * (w + offset));
        }
        y
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let (x, weight, offset) = (&x[0], &x[1], f64::from(self.0.offset));
        let mut dx = Mat::zeros(x.rows, x.cols);
        let mut dw = Mat::zeros(1, weight.cols);
        let d = weight.cols;
        for (at, row) in x.data.chunks(d).enumerate() {
            let r = self.rstd(row);
            let dy = &dy.data[at * d..][..d];
            // y_i = x_i r w_i and dr/dx_j = -r^3 x_j / d.
            let dr: f64 = (0..d).map(|i| dy[i] * (weight.data[i] + offset) * row[i]).sum();
            for j in 0..d {
                dx.data[at * d + j] = dy[j] * (weight.data[j] + offset) * r - dr * r.powi(3) * row[j] / d as f64;
                dw.data[j] += dy[j] * row[j] * r;
            }
        }
        vec![dx, dw]
    }
}

#[test]
fn rms_norm() {
    // Sums of up to 1,757 terms, and for the weight over up to 3,514 rows.
    let mut cases = Cases::new("rms_norm", 3e-6);
    for (t, cols, d, eps, offset) in [
        (1, 1, 1, 0.5, 0.0), // with a small eps the gradient of a single number is all rounding
        (1, 127, 127, 1e-6, 0.0),
        (127, 1, 1, 1e-2, 1.0),
        (3, 1757, 1757, 1e-5, 1.0),
        (1757, 5, 5, 0.5, 0.0),
        (4, 64, 64, 1e-6, 0.0),
        (127, 128, 128, 1e-6, 1.0),
        (70, 96, 32, 1e-6, 1.0),
        (1757, 6, 3, 0.1, 1.0),
        (2, 12, 2, 1e-6, 0.0),
        (6, 1028, 1028, 1e-6, 0.0),
    ] {
        let mut rng = Rng((t * 3 + cols) as u64);
        let x = [rng.mat(t, cols, 0.3, 1.5), rng.mat(1, d, 0.7 - f64::from(offset), 0.4)];
        let norm = Norm { eps, offset };
        let case = Case {
            name: format!("[{t}, {cols}] by {d}, {norm:?}"),
            oracle: &RmsNorm(norm),
            indices: Vec::new(),
            seeds_itself: None,
            record: &|tape, x, _| ops::rms_norm(tape, x[0], x[1], norm),
        };
        cases.check(&case, &x);
    }
    cases.finish();
}

#[test]
fn rms_norm_of_a_tiny_row_is_ruled_by_eps() {
    let mut cases = Cases::new("rms_norm", 3e-6);
    let mut rng = Rng(9);
    for (scale, eps) in [(1e-3, 1e-6), (1e-4, 1e-5), (0.0, 1e-6), (1e3, 1e-6)] {
        let x = [rng.mat(4, 40, 0.0, scale), rng.mat(1, 40, 0.7, 0.4)];
        let norm = Norm { eps, offset: 0.0 };
        let case = Case {
            name: format!("entries of {scale}, eps {eps}"),
            oracle: &RmsNorm(norm),
            indices: Vec::new(),
            seeds_itself: None,
            record: &|tape, x, _| ops::rms_norm(tape, x[0], x[1], norm),
        };
        cases.check_without_differences(&case, &x);
    }
    cases.finish();
}

/// Inputs: a, b, weight. The sum and its norm, added.
struct AddNorm(RmsNorm);

impl Oracle for AddNorm {
    fn forward(&self, x: &[Mat]) -> Mat {
        let sum = Add.forward(&x[..2]);
        let y = self.0.forward(&[sum.clone(), x[2].clone()]);
        Add.forward(&[sum, y])
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let [dx, dw] = self.0.backward(&[Add.forward(&x[..2]), x[2].clone()], dy).try_into().expect("two");
        let dx = Add.forward(&[dx, dy.clone()]);
        vec![dx.clone(), dx, dw]
    }
}

#[test]
fn add_norm() {
    // The ops in one kernel, and by themselves: the same bits, recomputed or not.
    let mut cases = Cases::new("add_norm", 3e-6);
    for (t, cols, eps, offset) in [
        (1, 1, 0.5, 0.0),
        (1, 127, 1e-6, 0.0),
        (3, 1757, 1e-5, 1.0),
        (1757, 5, 0.5, 0.0),
        (6, 64, 1e-6, 0.0),
        (127, 128, 1e-6, 1.0),
        (9, 1028, 1e-6, 0.0),
    ] {
        let mut rng = Rng((t * 5 + cols) as u64);
        let x =
            [rng.mat(t, cols, 0.3, 1.5), rng.mat(t, cols, 0.0, 1.0), rng.mat(1, cols, 0.7 - f64::from(offset), 0.4)];
        let norm = Norm { eps, offset };
        let case = Case {
            name: format!("[{t}, {cols}], {norm:?}"),
            oracle: &AddNorm(RmsNorm(norm)),
            indices: Vec::new(),
            seeds_itself: None,
            record: &|tape, x, _| {
                let [sum, y] = ops::add_norm(tape, x[0], x[1], x[2], norm);
                ops::add(tape, sum, y)
            },
        };
        cases.check(&case, &x);
        let inputs = x.each_ref().map(Input::Activation);
        let dy = rng.mat(t, cols, 0.1, 1.0);
        let [fused, again, apart] = [(true, false), (true, true), (false, false)].map(|(fused, again)| {
            run(&inputs, Some(&dy), |tape, x| {
                let [sum, y] = if !fused {
                    let sum = ops::add(tape, x[0], x[1]);
                    [sum, ops::rms_norm(tape, sum, x[2], norm)]
                } else if again {
                    // A segment of what is between it and the next sum, as a model's block.
                    return tape.recompute(|tape| {
                        let [sum, y] = ops::add_norm(tape, x[0], x[1], x[2], norm);
                        ops::add(tape, sum, y)
                    });
                } else {
                    ops::add_norm(tape, x[0], x[1], x[2], norm)
                };
                ops::add(tape, sum, y)
            })
        });
        assert_eq!(fused, apart, "[{t}, {cols}]");
        assert_eq!(again, apart, "[{t}, {cols}] recomputed");
    }
    cases.finish();
}

/// Input: x `[T, heads * D]`.
struct Rope {
    positions: Vec<u32>,
    head_dim: usize,
    /// `[positions, R / 2]`
    cosines: Mat,
    sines: Mat,
}

impl Rope {
    fn rotate(&self, x: &Mat, sign: f64) -> Mat {
        let half = self.cosines.cols;
        let mut y = x.clone();
        for t in 0..x.rows {
            let at = self.positions[t] as usize;
            let (cos, sin) = (self.cosines.row(at), self.sines.row(at));
            for head in y.row_mut(t).chunks_mut(self.head_dim) {
                for i in 0..half {
                    let (a, b) = (head[i], head[i + half]);
                    head[i] = a * cos[i] - sign * b * sin[i];
                    head[i + half] = b * cos[i] + sign * a * sin[i];
                }
            }
        }
        y
    }
}

impl Oracle for Rope {
    fn forward(&self, x: &[Mat]) -> Mat {
        self.rotate(&x[0], 1.0)
    }

    /// The transpose of a rotation is the rotation back; it is one only as far as the tables' cos^2 + sin^2 is 1, but the
    /// transpose holds for any tables.
    fn backward(&self, _: &[Mat], dy: &Mat) -> Vec<Mat> {
        vec![self.rotate(dy, -1.0)]
    }
}

/// Inputs: x `[T, heads * D]`, weight `[1, D]`.
struct NormRope(RmsNorm, Rope);

impl Oracle for NormRope {
    fn forward(&self, x: &[Mat]) -> Mat {
        self.1.forward(&[self.0.forward(x)])
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        self.0.backward(x, &self.1.backward(&[], dy)[0])
    }
}

#[test]
fn norm_rope() {
    // The weight's gradient sums over up to 3,514 rows.
    let mut cases = Cases::new("norm_rope", 3e-6);
    for (t, heads, d, turning, eps, offset) in [
        (1, 1, 2, 2, 0.5, 0.0),
        (127, 3, 2, 2, 0.5, 1.0),
        (1757, 2, 6, 6, 0.1, 0.0),
        (5, 4, 128, 128, 1e-6, 1.0),
        (127, 2, 64, 64, 1e-6, 0.0),
        (3, 127, 4, 4, 1e-2, 0.0),
        (127, 3, 8, 6, 1e-5, 1.0),
        (5, 4, 256, 96, 1e-6, 0.0),
        (2, 21, 64, 32, 1e-6, 1.0),
    ] {
        let mut rng = Rng((t + 2 * d) as u64);
        let half = turning / 2;
        let [cosines, sines] = tables(300, half);
        let positions = rng.indices(t, 300);
        let x = [rng.mat(t, heads * d, 0.3, 1.5), rng.mat(1, d, 0.7 - f64::from(offset), 0.4)];
        let norm = Norm { eps, offset };
        let case = Case {
            name: format!("[{t}, {heads} x {d}], {turning} turn, {norm:?}"),
            indices: vec![(positions.clone(), 1, t), (bits(&cosines), 300, half), (bits(&sines), 300, half)],
            oracle: &NormRope(RmsNorm(norm), Rope { positions, head_dim: d, cosines, sines }),
            seeds_itself: None,
            record: &|tape, x, at| {
                let rotary = ops::Rotary { positions: at[0], cosines: at[1], sines: at[2], head_dim: d };
                ops::norm_rope(tape, x[0], x[1], norm, rotary)
            },
        };
        cases.check(&case, &x);
    }
    cases.finish();
}

fn tables(positions: usize, half: usize) -> [Mat; 2] {
    let angle = |i: usize| (i / half) as f64 * 10_000f64.powf(-((i % half) as f64) / half as f64);
    let table = |f: fn(f64) -> f64| {
        let values = (0..positions * half).map(|i| f64::from(f(angle(i)) as f32));
        Mat::new(positions, half, values.collect())
    };
    [table(f64::cos), table(f64::sin)]
}

#[test]
fn rope() {
    // Two products and a sum.
    let mut cases = Cases::new("rope", 3e-7);
    for (t, heads, d, turning) in [
        (1, 1, 2, 2),
        (127, 3, 2, 2),
        (1757, 1, 6, 6),
        (5, 4, 128, 128),
        (127, 2, 64, 64),
        (3, 127, 4, 4),
        (1, 1, 4, 2),
        (127, 3, 8, 6),
        (5, 4, 128, 96),
        (1757, 2, 6, 2),
    ] {
        let mut rng = Rng((t + d) as u64);
        let half = turning / 2;
        let [cosines, sines] = tables(300, half);
        let positions = rng.indices(t, 300);
        let x = [rng.mat(t, heads * d, 0.1, 1.0)];
        let case = Case {
            name: format!("[{t}, {heads} x {d}], {turning} turn"),
            indices: vec![(positions.clone(), 1, t), (bits(&cosines), 300, half), (bits(&sines), 300, half)],
            oracle: &Rope { positions, head_dim: d, cosines, sines },
            seeds_itself: None,
            record: &|tape, x, at| {
                ops::rope(tape, x[0], ops::Rotary { positions: at[0], cosines: at[1], sines: at[2], head_dim: d })
            },
        };
        cases.check(&case, &x);
    }
    cases.finish();
}

fn bits(mat: &Mat) -> Vec<u32> {
    mat.f32().into_iter().map(f32::to_bits).collect()
}

/// Inputs: gate, up.
struct GatedMlp(Activation);

fn sigmoid(g: f64) -> f64 {
    1.0 / (1.0 + (-g).exp())
}

impl GatedMlp {
    /// The activation and its derivative.
    fn act(&self, g: f64) -> [f64; 2] {
        match self.0 {
            Activation::Silu => return [g * sigmoid(g), sigmoid(g) + g * sigmoid(g) * sigmoid(-g)],
            Activation::Identity => return [g, 1.0],
            Activation::GeluTanh => {}
        }
        // g / 2 (1 + tanh u), whose 1 + tanh u is 2 sigmoid(2u), also where tanh u is near -1
        let root = (2.0 / std::f64::consts::PI).sqrt();
        let u = root * (g + 0.044715 * g.powi(3));
        let du = root * (1.0 + 3.0 * 0.044715 * g * g);
        [g * sigmoid(2.0 * u), sigmoid(2.0 * u) + g * 2.0 * sigmoid(2.0 * u) * sigmoid(-2.0 * u) * du]
    }
}

impl Oracle for GatedMlp {
    fn forward(&self, x: &[Mat]) -> Mat {
        let y = x[0].data.iter().zip(&x[1].data).map(|(g, u)| self.act(*g)[0] * u);
        Mat::new(x[0].rows, x[0].cols, y.collect())
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let of = |f: &dyn Fn(f64, f64, f64) -> f64| {
            let each = |i| f(x[0].data[i], x[1].data[i], dy.data[i]);
            Mat::new(dy.rows, dy.cols, (0..dy.data.len()).map(each).collect())
        };
        let dgate = of(&|g, u, dy| dy * u * self.act(g)[1]);
        vec![dgate, of(&|g, _, dy| dy * self.act(g)[0])]
    }
}

const ACTIVATIONS: [Activation; 3] = [Activation::Silu, Activation::GeluTanh, Activation::Identity];

#[test]
fn gated_mlp() {
    // Software drivers' exp is good to a few units in the last place here.
    let mut cases = Cases::new("gated_mlp", 1e-6);
    let sizes = [(1, 1, 1.0), (127, 1, 2.0), (1, 127, 5.0), (5, 1757, 3.0), (64, 64, 30.0)];
    for ((t, f, deviation), activation) in ACTIVATIONS.iter().flat_map(|a| sizes.map(|size| (size, *a))) {
        let mut rng = Rng((t + f) as u64);
        let x = [rng.mat(t, f, 0.2, deviation), rng.mat(t, f, 0.0, 1.0)];
        let case = Case {
            name: format!("{activation:?} [{t}, {f}], gates of {deviation}"),
            oracle: &GatedMlp(activation),
            indices: Vec::new(),
            seeds_itself: None,
            record: &|tape, x, _| ops::gated_mlp(tape, x[0], x[1], activation),
        };
        cases.check(&case, &x);
    }
    cases.finish();
}

#[test]
fn gated_mlp_saturates_without_nan() {
    let mut cases = Cases::new("gated_mlp", 1e-6);
    let gates = [-1e4, -200.0, -100.0, -89.0, -20.0, 0.0, 20.0, 89.0, 200.0, 1e4];
    let x = [Mat::new(1, 10, gates.to_vec()), Rng(3).mat(1, 10, 0.0, 1.0)];
    for activation in ACTIVATIONS {
        let case = Case {
            name: format!("{activation:?}, gates to 1e4"),
            oracle: &GatedMlp(activation),
            indices: Vec::new(),
            seeds_itself: None,
            record: &|tape, x, _| ops::gated_mlp(tape, x[0], x[1], activation),
        };
        cases.check_without_differences(&case, &x);
    }
    cases.finish();
}

/// Inputs: a, b.
struct Add;

impl Oracle for Add {
    fn forward(&self, x: &[Mat]) -> Mat {
        let sum = x[0].data.iter().zip(&x[1].data).map(|(a, b)| a + b);
        Mat::new(x[0].rows, x[0].cols, sum.collect())
    }

    fn backward(&self, _: &[Mat], dy: &Mat) -> Vec<Mat> {
        vec![dy.clone(), dy.clone()]
    }
}

#[test]
fn add() {
    let mut cases = Cases::new("add", 1.2e-7); // one rounding, two where a gradient is added to
    for (t, c) in [(1, 1), (127, 1), (1, 127), (3, 1757), (1757, 40)] {
        let mut rng = Rng((t + c) as u64);
        let x = [rng.mat(t, c, 0.0, 1.0), rng.mat(t, c, 0.0, 1.0)];
        let case = Case {
            name: format!("[{t}, {c}]"),
            oracle: &Add,
            indices: Vec::new(),
            seeds_itself: None,
            record: &|tape, x, _| ops::add(tape, x[0], x[1]),
        };
        cases.check(&case, &x);
    }
    cases.finish();
}

/// Inputs: x, w.
struct Blend {
    factor: f64,
}

impl Oracle for Blend {
    fn forward(&self, x: &[Mat]) -> Mat {
        let mut y = x[0].clone();
        y.data.iter_mut().zip(&x[1].data).for_each(|(y, w)| *y += self.factor * w);
        y
    }

    fn backward(&self, _: &[Mat], dy: &Mat) -> Vec<Mat> {
        let mut dw = dy.clone();
        dw.data.iter_mut().for_each(|dw| *dw *= self.factor);
        vec![dy.clone(), dw]
    }
}

#[test]
fn blend() {
    let mut cases = Cases::new("blend", 4e-7);
    for (t, c, lambda, share) in
        [(1, 1, 0.5, 1.0), (127, 5, 0.3, 0.25), (3, 1757, 1.0, 1.0), (40, 64, 0.9, 2.0 / 3.0)]
    {
        let mut rng = Rng((t + 2 * c) as u64);
        let x = [rng.mat(t, c, 0.0, 1.0), rng.mat(t, c, 0.5, 2.0)];
        let row = Scalars { lambda, ..Scalars::default() }.row(0).map(f32::to_bits);
        let case = Case {
            name: format!("[{t}, {c}], lambda {lambda}, share {share}"),
            oracle: &Blend { factor: f64::from(share as f32) * (1.0 - lambda) / lambda },
            indices: vec![(row.to_vec(), 1, row.len())],
            seeds_itself: None,
            record: &|tape, x, schedule| ops::blend(tape, x[0], x[1], share as f32, schedule[0]),
        };
        cases.check(&case, &x);
    }
    cases.finish();
}
