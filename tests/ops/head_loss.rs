//! The chunked loss head: statistics and gradients, single and mixed.

use underdog::{
    ops::{
        self,
        head_loss::{self, ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, Head, LOSS, MARGIN, STATS, Targets},
    },
    tape::Tape,
    tensor::Tensor,
};

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Outcome, Rng, compare, run, run_rows},
    embedding::slots,
    linear::{matmul_nn, matmul_nt, matmul_tn},
};

/// Inputs: hidden `[T, C]` and the shards of W `[V, C]`, of the strong model and then, if mixed, of the weak one.
struct HeadLoss {
    targets: Vec<u32>,
    weights: Vec<f64>,
    lambda: Option<f64>,
}

fn logsumexp(z: &[f64]) -> f64 {
    let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + z.iter().map(|z| (z - most).exp()).sum::<f64>().ln()
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let lse = logsumexp(z);
    z.iter().map(|z| (z - lse).exp()).collect()
}

fn entropy(z: &[f64]) -> f64 {
    let lse = logsumexp(z);
    softmax(z).iter().zip(z).map(|(q, z)| q * (lse - z)).sum()
}

fn concat(shards: &[Mat]) -> Mat {
    let rows = shards.iter().map(|shard| shard.rows).sum();
    Mat::new(rows, shards[0].cols, shards.iter().flat_map(|shard| shard.data.clone()).collect())
}

/// One model's hidden states and whole W.
struct Side {
    share: f64,
    hidden: Mat,
    weight: Mat,
    shards: Vec<usize>,
}

impl HeadLoss {
    fn sides(&self, x: &[Mat]) -> Vec<Side> {
        let models = if self.lambda.is_some() { 2 } else { 1 };
        let lambda = self.lambda.unwrap_or(1.0);
        let of = |(model, inputs): (usize, &[Mat])| Side {
            share: if model == 0 { lambda } else { 1.0 - lambda },
            hidden: inputs[0].clone(),
            weight: concat(&inputs[1..]),
            shards: inputs[1..].iter().map(|shard| shard.rows).collect(),
        };
        x.chunks(x.len() / models).enumerate().map(of).collect()
    }

    /// `[T, V]` of each side, and mixed.
    fn logits(&self, sides: &[Side]) -> (Vec<Mat>, Mat) {
        let each: Vec<Mat> = sides.iter().map(|side| matmul_nt(&side.hidden, &side.weight)).collect();
        let mut mixed = Mat::zeros(each[0].rows, each[0].cols);
        for (logits, side) in each.iter().zip(sides) {
            mixed.data.iter_mut().zip(&logits.data).for_each(|(z, l)| *z += side.share * l);
        }
        (each, mixed)
    }
}

impl Oracle for HeadLoss {
    fn forward(&self, x: &[Mat]) -> Mat {
        let (each, mixed) = self.logits(&self.sides(x));
        let mut stats = Mat::new(mixed.rows, STATS, vec![f64::NAN; mixed.rows * STATS]);
        for t in 0..mixed.rows {
            let (z, row) = (mixed.row(t), stats.row_mut(t));
            if self.weights[t] == 0.0 {
                row.fill(0.0);
                continue;
            }
            let y = self.targets[t] as usize;
            let others = z.iter().enumerate().filter(|(v, _)| *v != y).map(|(_, z)| *z);
            row[LOSS] = logsumexp(z) - z[y];
            // With a vocabulary of one there is no other, and no margin to speak of.
            row[MARGIN] = if z.len() > 1 { z[y] - others.fold(f64::NEG_INFINITY, f64::max) } else { f64::NAN };
            row[ENTROPY] = entropy(z);
            row[ENTROPY_STRONG] = entropy(each[0].row(t));
            row[ENTROPY_WEAK] = each.get(1).map_or(0.0, |weak| entropy(weak.row(t)));
        }
        stats
    }

    /// Of `sum over t of w_t loss_t`, whatever `dy` is.
    fn backward(&self, x: &[Mat], _: &Mat) -> Vec<Mat> {
        let sides = self.sides(x);
        let (_, mut g) = self.logits(&sides);
        for (t, weight) in self.weights.iter().enumerate() {
            let mut q = softmax(g.row(t));
            q[self.targets[t] as usize] -= 1.0;
            g.row_mut(t).iter_mut().zip(q).for_each(|(g, q)| *g = weight * q);
        }
        let mut gradients = Vec::new();
        for side in sides {
            let share = |mut m: Mat| {
                m.data.iter_mut().for_each(|x| *x *= side.share);
                m
            };
            gradients.push(share(matmul_nn(&g, &side.weight)));
            let dw = share(matmul_tn(&g, &side.hidden));
            let mut at = 0;
            for rows in side.shards {
                let part = dw.data[at * dw.cols..][..rows * dw.cols].to_vec();
                gradients.push(Mat::new(rows, dw.cols, part));
                at += rows;
            }
        }
        gradients
    }
}

/// What a case varies.
struct Shape {
    t: usize,
    shards: Vec<usize>,
    c: [usize; 2],
    chunk: usize,
    lambda: Option<f64>,
    /// Deviation of the logits.
    sharpness: f64,
}

impl Shape {
    /// Every third token is no target; weights are of the size of `1 / T`.
    fn oracle(&self, rng: &mut Rng) -> HeadLoss {
        let weight = |t: usize| if t % 3 == 1 { 0.0 } else { f64::from((rng.uniform() / self.t as f64) as f32) };
        let weights = (0..self.t).map(weight).collect();
        let targets = rng.indices(self.t, self.shards.iter().sum());
        // The device reads lambda as f32.
        HeadLoss { targets, weights, lambda: self.lambda.map(|lambda| f64::from(lambda as f32)) }
    }

    fn inputs(&self, rng: &mut Rng) -> Vec<Mat> {
        let mut inputs = Vec::new();
        for c in &self.c[..if self.lambda.is_some() { 2 } else { 1 }] {
            inputs.push(rng.mat(self.t, *c, 0.1, 1.0));
            let deviation = self.sharpness / (*c as f64).sqrt();
            inputs.extend(self.shards.iter().map(|rows| rng.mat(*rows, *c, 0.0, deviation)));
        }
        inputs
    }

    fn check(&self, cases: &mut Cases) {
        let mut rng = Rng((self.t * 3 + self.c[0]) as u64);
        let (oracle, x) = (self.oracle(&mut rng), self.inputs(&mut rng));
        let mut dy = Mat::zeros(self.t, STATS);
        (0..self.t).for_each(|t| dy.row_mut(t)[LOSS] = oracle.weights[t]);
        let mut schedule = vec![0; 16];
        schedule[0] = (oracle.lambda.unwrap_or(1.0) as f32).to_bits();
        let weights = oracle.weights.iter().map(|w| (*w as f32).to_bits()).collect();
        let Self { t, shards, c, chunk, lambda, sharpness } = self;
        let case = Case {
            name: format!("[{t}, {c:?}] x {shards:?}, chunks of {chunk}, lambda {lambda:?}, logits of {sharpness}"),
            indices: vec![(oracle.targets.clone(), 1, *t), (weights, 1, *t), (schedule, 1, 16)],
            oracle: &oracle,
            seeds_itself: Some(dy),
            record: &|tape, x, at| record(tape, x, at, lambda.is_some(), *chunk),
        };
        cases.check(&case, &x);
    }
}

fn record(tape: &mut Tape, x: &[Tensor], at: &[Tensor], mixed: bool, chunk: usize) -> Tensor {
    let stats = tape.transient(x[0].rows, STATS);
    let targets = Targets { ids: at[0], weights: at[1], schedule: at[2], stats };
    let head = |x: &'_ [Tensor]| (x[0], x[1..].to_vec());
    let sides: Vec<_> = x.chunks(if mixed { x.len() / 2 } else { x.len() }).map(head).collect();
    let heads: Vec<Head<'_>> = sides.iter().map(|(hidden, weight)| Head { hidden: *hidden, weight }).collect();
    head_loss::head_loss(tape, heads[0], heads.get(1).copied(), targets, chunk);
    stats
}

/// The largest logits are near 200 and thus known to 1e-5, which is what exp makes of it.
const TOLERANCE: f64 = 1e-5;

#[test]
fn single() {
    let mut cases = Cases::new("head_loss", TOLERANCE);
    for (t, shards, c, chunk, sharpness) in [
        (1, vec![1], 1, 1, 1.0),
        (1, vec![2], 3, 1, 1.0),
        (5, vec![7], 3, 64, 2.0),
        (127, vec![127], 5, 64, 2.0),
        (130, vec![300], 8, 128, 4.0),
        (130, vec![64, 128, 64], 8, 64, 1.0),
        (130, vec![64, 128, 37], 7, 64, 1.0),
        (127, vec![1757], 16, 127, 3.0),
        (200, vec![1024, 732], 20, 64, 12.0),
        (70, vec![129], 127, 64, 60.0),
    ] {
        Shape { t, shards, c: [c; 2], chunk, lambda: None, sharpness }.check(&mut cases);
    }
    cases.finish();
}

#[test]
fn mixed() {
    let mut cases = Cases::new("head_loss mixed", TOLERANCE);
    for (t, shards, c, chunk, lambda, sharpness) in [
        (1, vec![2], [1, 1], 1, 0.3, 1.0),
        (5, vec![7], [3, 2], 64, 0.3, 2.0),
        (127, vec![127], [5, 5], 64, 0.3, 2.0),
        (130, vec![300], [8, 4], 128, 0.5, 4.0),
        (130, vec![64, 128, 37], [7, 9], 64, 0.3, 1.0),
        (127, vec![1757], [16, 12], 127, 0.42, 3.0),
        (200, vec![1024, 732], [20, 16], 64, 0.7, 12.0),
        (70, vec![129], [127, 3], 64, 0.0, 3.0),
        (70, vec![129], [127, 3], 64, 1.0, 3.0),
    ] {
        Shape { t, shards, c, chunk, lambda: Some(lambda), sharpness }.check(&mut cases);
    }
    cases.finish();
}

#[test]
fn chunks_change_the_order_of_no_sum_within_a_token() {
    let shape = Shape { t: 200, shards: vec![64, 50], c: [12; 2], chunk: 64, lambda: Some(0.3), sharpness: 2.0 };
    let mut rng = Rng(4);
    let (oracle, x) = (shape.oracle(&mut rng), shape.inputs(&mut rng));
    let weights: Vec<u32> = oracle.weights.iter().map(|w| (*w as f32).to_bits()).collect();
    let schedule = [0.3f32.to_bits(); 16];
    let of = |chunk| {
        let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
        let n = inputs.len();
        inputs.push(Input::Index(&oracle.targets, 1, 200));
        inputs.push(Input::Index(&weights, 1, 200));
        inputs.push(Input::Index(&schedule, 1, 16));
        run(&inputs, None, |tape, x| record(tape, &x[..n], &x[n..], true, chunk))
    };
    let [small, large] = [of(64), of(200)];
    let stats = |outcome: &Outcome| -> Vec<u32> {
        outcome.value.chunks(STATS).flat_map(|row| row[..5].iter().map(|x| x.to_bits())).collect()
    };
    assert_eq!(stats(&small), stats(&large));
    // The hidden states' gradients sum over the vocabulary, in one order whatever the chunk.
    assert_eq!(small.gradients[0], large.gradients[0]);
    assert_eq!(small.gradients[3], large.gradients[3]);
}

/// The loss head sees the targets first and runs only the chunks that hold some.
#[test]
fn chunks_without_targets_are_left_out() {
    let shape = Shape { t: 200, shards: vec![64, 50], c: [12; 2], chunk: 64, lambda: Some(0.3), sharpness: 2.0 };
    let mut rng = Rng(5);
    let (mut oracle, x) = (shape.oracle(&mut rng), shape.inputs(&mut rng));
    oracle.weights.iter_mut().enumerate().for_each(|(t, w)| *w *= f64::from(u8::from(t % 2 == 0)));
    let (mut rows, mut ids, mut weights) = (vec![u32::MAX; 200], vec![0; 200], vec![0; 200]);
    let targets: Vec<usize> = (0..200).filter(|t| oracle.weights[*t] != 0.0).collect();
    for (slot, &t) in targets.iter().enumerate() {
        (rows[slot], ids[slot], weights[slot]) = (t as u32, oracle.targets[t], (oracle.weights[t] as f32).to_bits());
    }
    assert!((65..128).contains(&targets.len()), "two of four chunks hold the {} targets", targets.len());
    let (slots, schedule) = (slots(&rows, 200), [0.3f32.to_bits(); 16]);
    let of = |in_use| {
        let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
        let n = inputs.len();
        inputs.extend([&ids, &weights].map(|words| Input::Index(words, 1, 200)));
        inputs.push(Input::Index(&schedule, 1, 16));
        inputs.extend([&rows, &slots].map(|words| Input::Index(words, 1, 200)));
        run_rows(&inputs, None, in_use, |tape, x| {
            let mut picked = x[..n].to_vec();
            for model in [0, n / 2] {
                picked[model] = ops::pick(tape, x[model], x[n + 3], x[n + 4]);
            }
            record(tape, &picked, &x[n..n + 3], true, 64)
        })
    };
    let [all, few] = [of(usize::MAX), of(targets.len())];
    assert_eq!(all.gradients, few.gradients);
    let stats = oracle.forward(&x);
    let want = targets.iter().flat_map(|t| stats.row(*t).to_vec()).collect();
    let want = Mat::new(targets.len(), STATS, want);
    let got = &few.value[..want.data.len()];
    compare("statistics of the targets", got, &want, TOLERANCE).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(few.value[128 * STATS..].iter().all(|x| x.is_nan()), "a chunk without targets was run");
    for (i, want) in oracle.backward(&x, &Mat::zeros(0, 0)).iter().enumerate() {
        let got = few.gradients[i].as_ref().expect("a gradient");
        compare(&format!("gradient of input {i}"), got, want, TOLERANCE)
            .unwrap_or_else(|failure| panic!("{failure}"));
    }
}
