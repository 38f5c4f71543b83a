//! The chunked loss head in f64, from the formulas in its shader's head.

use underdog::graph::{
    ops::head_loss::{
        DISTRACTOR, DISTRACTOR_LOGIT, ENTROPY, ENTROPY_STRONG, ENTROPY_WEAK, GRAD_NON_TARGET, GRAD_NON_TARGET_ALONE,
        LOSS, MARGIN, MEAN, MEAN_WEAK, STATS, TARGET, TARGET_WEAK, WATCHED,
    },
    scalars::Scalars,
};

use crate::{
    check::Oracle,
    common::Mat,
    linear::{matmul_nn, matmul_nt, matmul_tn},
};

/// What the second set of logits is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// There is none.
    Single,
    /// Mixed in.
    Weak,
    /// Mixed in after it was replaced.
    Synthetic,
    /// Distilled from.
    Teacher,
}

/// Inputs: hidden `[T, C]` and the shards of W `[V, C]`, of the strong model and then of each other one.
pub(crate) struct HeadLoss {
    pub(crate) kind: Kind,
    pub(crate) shards: usize,
    pub(crate) targets: Vec<u32>,
    pub(crate) weights: Vec<f64>,
    pub(crate) offsets: Vec<u32>,
    pub(crate) watched: Vec<u32>,
    /// Of each other model.
    pub(crate) shares: Vec<f64>,
    pub(crate) caps: [Option<f64>; 2],
    /// Numbers that f32 holds, since the device reads them as such.
    pub(crate) scalars: Scalars,
    /// Logits that stand in for those of the second set: nothing flows through them.
    pub(crate) stand_in: Option<Mat>,
}

/// A token's two sets of logits as they meet, and what follows from them.
struct Token<'a> {
    strong: &'a [f64],
    weak: &'a [f64],
    /// What the loss is taken of.
    mixed: Vec<f64>,
    loss: f64,
    dstrong: Vec<f64>,
    dweak: Vec<f64>,
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

fn mean(z: &[f64]) -> f64 {
    z.iter().sum::<f64>() / z.len() as f64
}

fn scaled(z: &[f64], factor: f64) -> Vec<f64> {
    z.iter().map(|z| z * factor).collect()
}

/// softmax less one at `y`.
fn residual(z: &[f64], y: usize) -> Vec<f64> {
    let mut q = softmax(z);
    q[y] -= 1.0;
    q
}

fn norm_of_others(values: &[f64], y: usize) -> f64 {
    values.iter().enumerate().filter(|(v, _)| *v != y).map(|(_, x)| x * x).sum::<f64>().sqrt()
}

/// The first of the largest but for `y`: where it stands and its logit.
fn largest_other(z: &[f64], y: usize) -> Option<(usize, f64)> {
    let others = z.iter().copied().enumerate().filter(|(v, _)| *v != y);
    others.reduce(|best, one| if one.1 > best.1 { one } else { best })
}

fn concat(shards: &[Mat]) -> Mat {
    let rows = shards.iter().map(|shard| shard.rows).sum();
    Mat::new(rows, shards[0].cols, shards.iter().flat_map(|shard| shard.data.clone()).collect())
}

/// cap tanh(z / cap)
pub(crate) fn capped(mut logits: Mat, cap: Option<f64>) -> Mat {
    if let Some(cap) = cap {
        logits.data.iter_mut().for_each(|z| *z = cap * (*z / cap).tanh());
    }
    logits
}

/// d capped / d logit where it has this value.
fn slope(capped: f64, cap: Option<f64>) -> f64 {
    cap.map_or(1.0, |cap| 1.0 - (capped / cap).powi(2))
}

impl HeadLoss {
    fn models<'a>(&self, x: &'a [Mat]) -> std::slice::Chunks<'a, Mat> {
        x.chunks(1 + self.shards)
    }

    /// `[T, V]` of the strong model, and of the others together, before they are turned.
    fn logits(&self, x: &[Mat]) -> [Mat; 2] {
        let each: Vec<Mat> = self.models(x).map(|model| matmul_nt(&model[0], &concat(&model[1..]))).collect();
        let mut sum = Mat::zeros(each[0].rows, each[0].cols);
        for (logits, share) in each[1..].iter().zip(&self.shares) {
            sum.data.iter_mut().zip(&logits.data).for_each(|(z, l)| *z += share * l);
        }
        let second = self.stand_in.clone().unwrap_or_else(|| capped(sum, self.caps[1]));
        [capped(each[0].clone(), self.caps[0]), second]
    }

    /// Keeps the second set as it is with these inputs.
    pub(crate) fn freeze(&mut self, x: &[Mat]) {
        let [_, second] = self.logits(x);
        self.stand_in = Some(second);
    }

    /// Replaces the second set by logits of its entropy, all of them 0 but for one, found by bisection.
    pub(crate) fn synthesize(&mut self, x: &[Mat]) {
        let [_, mut second] = self.logits(x);
        for t in 0..second.rows {
            let (row, place) = (second.row_mut(t), self.offsets[t] as usize);
            let wanted = entropy(row);
            row.fill(0.0);
            let (mut low, mut high) = (0.0, 700.0);
            for _ in 0..100 {
                row[place] = 0.5 * (low + high);
                *(if entropy(row) > wanted { &mut low } else { &mut high }) = row[place];
            }
            // `place` is where the peak is met, which `turned` moves back to.
            row.rotate_right(self.offsets[t] as usize);
        }
        self.stand_in = Some(second);
    }

    /// The second set's row as it meets the strong one's: logit `v + offset` at `v`.
    fn turned(&self, t: usize, mut row: Vec<f64>) -> Vec<f64> {
        if self.kind != Kind::Teacher {
            row.rotate_left(self.offsets[t] as usize);
        }
        row
    }

    fn token<'a>(&self, t: usize, strong: &'a [f64], weak: &'a [f64]) -> Token<'a> {
        let y = self.targets[t] as usize;
        if self.kind == Kind::Teacher {
            return self.distilled(y, strong, weak);
        }
        let Scalars { lambda, label_smoothing: eps, .. } = self.scalars;
        let second = if self.kind == Kind::Single { 0.0 } else { 1.0 - lambda };
        let mixed: Vec<f64> = strong.iter().zip(weak).map(|(s, w)| lambda * s + second * w).collect();
        let loss = logsumexp(&mixed) - (1.0 - eps) * mixed[y] - eps * mean(&mixed);
        let mut g = residual(&mixed, y);
        g[y] += eps;
        let each = eps / g.len() as f64;
        g.iter_mut().for_each(|g| *g -= each);
        Token { strong, weak, mixed, loss, dstrong: scaled(&g, lambda), dweak: scaled(&g, second) }
    }

    fn distilled<'a>(&self, y: usize, strong: &'a [f64], weak: &'a [f64]) -> Token<'a> {
        let Scalars { temperature, ce_weight, target_logit_penalty, .. } = self.scalars;
        let mut taught = weak.to_vec();
        taught[y] -= target_logit_penalty;
        let [student, taught] = [strong, &taught].map(|z| scaled(z, 1.0 / temperature));
        let [p, q] = [&student, &taught].map(|z| softmax(z));
        let [log_p, log_q] = [&student, &taught].map(|z| logsumexp(z));
        let divergence = |v: usize| q[v] * ((taught[v] - log_q) - (student[v] - log_p));
        let soft = temperature * temperature * (0..q.len()).map(divergence).sum::<f64>();
        let loss = ce_weight * (logsumexp(strong) - strong[y]) + (1.0 - ce_weight) * soft;
        let own = residual(strong, y).into_iter();
        let pairs = own.zip(p.iter().zip(&q));
        let dstrong =
            pairs.map(|(own, (p, q))| ce_weight * own + (1.0 - ce_weight) * temperature * (p - q)).collect();
        Token { strong, weak, mixed: strong.to_vec(), loss, dstrong, dweak: vec![0.0; weak.len()] }
    }

    fn statistics(&self, t: usize, token: &Token<'_>, row: &mut [f64]) {
        let Token { strong, weak, mixed, loss, dstrong, .. } = token;
        let (y, second) = (self.targets[t] as usize, self.kind != Kind::Single);
        row[LOSS] = *loss;
        row[ENTROPY] = entropy(mixed);
        row[ENTROPY_STRONG] = entropy(strong);
        row[ENTROPY_WEAK] = if second { entropy(weak) } else { 0.0 };
        row[TARGET] = strong[y];
        row[MEAN] = mean(strong);
        row[TARGET_WEAK] = if second { weak[y] } else { 0.0 };
        row[MEAN_WEAK] = if second { mean(weak) } else { 0.0 };
        row[GRAD_NON_TARGET] = match self.kind {
            Kind::Teacher => norm_of_others(dstrong, y),
            _ => self.scalars.lambda * norm_of_others(&softmax(mixed), y),
        };
        row[GRAD_NON_TARGET_ALONE] = norm_of_others(&softmax(strong), y);
        row[WATCHED] = strong[self.watched[t] as usize];
        // With a vocabulary of one there is no other, and no margin to speak of.
        if let Some((place, logit)) = largest_other(strong, y) {
            (row[DISTRACTOR], row[DISTRACTOR_LOGIT]) = (place as f64, logit);
        }
        row[MARGIN] = largest_other(mixed, y).map_or(f64::NAN, |(_, other)| mixed[y] - other);
    }
}

impl Oracle for HeadLoss {
    fn forward(&self, x: &[Mat]) -> Mat {
        let [strong, second] = self.logits(x);
        let mut stats = Mat::new(strong.rows, STATS, vec![f64::NAN; strong.rows * STATS]);
        for t in 0..strong.rows {
            if self.weights[t] == 0.0 {
                stats.row_mut(t).fill(0.0);
                continue;
            }
            let weak = self.turned(t, second.row(t).to_vec());
            self.statistics(t, &self.token(t, strong.row(t), &weak), stats.row_mut(t));
        }
        stats
    }

    /// Of `sum over t of w_t loss_t`, whatever `dy` is.
    fn backward(&self, x: &[Mat], _: &Mat) -> Vec<Mat> {
        let [strong, second] = self.logits(x);
        let mut dlogits = [strong.clone(), second.clone()];
        for t in 0..strong.rows {
            let weak = self.turned(t, second.row(t).to_vec());
            let Token { dstrong, mut dweak, .. } = self.token(t, strong.row(t), &weak);
            if self.stand_in.is_some() {
                dweak.fill(0.0);
            }
            dweak.rotate_right(self.offsets[t] as usize);
            for ((dlogits, d), cap) in dlogits.iter_mut().zip([dstrong, dweak]).zip(self.caps) {
                let row = dlogits.row_mut(t).iter_mut().zip(d);
                row.for_each(|(z, d)| *z = self.weights[t] * d * slope(*z, cap));
            }
        }
        let mut gradients = Vec::new();
        for (i, model) in self.models(x).enumerate() {
            let (g, share) = if i == 0 { (&dlogits[0], 1.0) } else { (&dlogits[1], self.shares[i - 1]) };
            let g = Mat::new(g.rows, g.cols, scaled(&g.data, share));
            gradients.push(matmul_nn(&g, &concat(&model[1..])));
            let dw = matmul_tn(&g, &model[0]);
            let mut at = 0;
            for shard in &model[1..] {
                let part = dw.data[at * dw.cols..][..shard.rows * dw.cols].to_vec();
                gradients.push(Mat::new(shard.rows, dw.cols, part));
                at += shard.rows;
            }
        }
        gradients
    }
}
