//! What ops compute, in f64 on the CPU, from their formulas. Forward only: gradients are held against differences of these.

use crate::graph::ops::Heads;

/// `Y[m, n] = sum over k of X[m, k] W[k, n]`, where `x` and `w` say how to index X and W.
pub(super) fn product(
    [m, n, k]: [usize; 3],
    x: impl Fn(usize, usize) -> f64,
    w: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let sum = |i: usize| (0..k).map(|j| x(i / n, j) * w(j, i % n)).sum();
    (0..m * n).map(sum).collect()
}

pub(super) fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let cols = weight.len();
    let rstd = |row: &[f64]| 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / cols as f64 + eps).sqrt();
    x.chunks(cols)
        .flat_map(|row| {
            let rstd = rstd(row);
            row.iter().zip(weight).map(move |(x, w)| x * rstd * w)
        })
        .collect()
}

pub(super) fn silu_gate(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}

/// `x: [T, heads * D]`, tables `[T, D / 2]` of which token t takes row t.
pub(super) fn rope(x: &[f64], cosines: &[f64], sines: &[f64], head_dim: usize, tokens: usize) -> Vec<f64> {
    let (cols, half) = (x.len() / tokens, head_dim / 2);
    let turned = |i: usize| {
        let (token, channel) = (i / cols, i % cols % head_dim);
        let angle = token * half + channel % half;
        match channel < half {
            true => x[i] * cosines[angle] - x[i + half] * sines[angle],
            false => x[i] * cosines[angle] + x[i - half] * sines[angle],
        }
    };
    (0..x.len()).map(turned).collect()
}

/// `[q, k, v]` of tokens that see those from `start[t]` to themselves.
pub(super) fn attention([q, k, v]: [&[f64]; 3], heads: Heads, start: &[usize]) -> Vec<f64> {
    let Heads { heads, kv_heads, head_dim } = heads;
    let mut out = Vec::with_capacity(q.len());
    for (t, &first) in start.iter().enumerate() {
        for head in 0..heads {
            let at = |x: &[f64], token: usize, heads: usize, head: usize| {
                let from = (token * heads + head) * head_dim;
                x[from..from + head_dim].to_vec()
            };
            let kv_head = head * kv_heads / heads;
            let query = at(q, t, heads, head);
            let score = |j: usize| {
                let dot: f64 = query.iter().zip(at(k, j, kv_heads, kv_head)).map(|(a, b)| a * b).sum();
                (dot / (head_dim as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = (first..=t).map(score).collect();
            let sum: f64 = scores.iter().sum();
            let mut mixed = vec![0.0; head_dim];
            for (j, score) in (first..).zip(&scores) {
                mixed.iter_mut().zip(at(v, j, kv_heads, kv_head)).for_each(|(o, v)| *o += score / sum * v);
            }
            out.extend(mixed);
        }
    }
    out
}

/// Cross-entropy of logits `sum over sides of share * hidden W^T` at each token.
pub(super) fn losses(sides: &[(f64, &[f64], &[f64])], width: usize, targets: &[u32]) -> Vec<f64> {
    let vocab = sides[0].2.len() / width;
    let loss = |(t, target): (usize, &u32)| {
        let logit = |v: usize| -> f64 {
            let dot = |hidden: &[f64], weight: &[f64]| -> f64 {
                let row = weight[v * width..(v + 1) * width].iter();
                row.zip(&hidden[t * width..]).map(|(a, b)| a * b).sum()
            };
            sides.iter().map(|(share, hidden, weight)| share * dot(hidden, weight)).sum()
        };
        let sum: f64 = (0..vocab).map(|v| logit(v).exp()).sum();
        sum.ln() - logit(*target as usize)
    };
    targets.iter().enumerate().map(loss).collect()
}

/// One step of AdamW from moments of 0: learning rate 0.1, decay 0.01, betas 0.9 and 0.999, eps 1e-8, no clipping.
pub(super) fn adamw(weight: &[f64], grad: &[f64]) -> Vec<f64> {
    let step = |(w, g): (&f64, &f64)| w * (1.0 - 0.1 * 0.01) - 0.1 * g / (g.abs() + 1e-8);
    weight.iter().zip(grad).map(step).collect()
}
