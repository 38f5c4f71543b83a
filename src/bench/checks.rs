//! Whether a device computes what it should: an op of each kind at a ragged shape, its result against the CPU in f64 and
//! its gradients along random directions against differences of that; and a training step that is done twice.
//!
//! The tests of this project hold every op to more than this. Here a driver is checked that they never ran on.

use super::{
    error::Error,
    oracle,
    recorder::{Recorder, Rng},
    results::Check,
    steps,
};
use crate::{
    gpu::Gpu,
    graph::{
        ops::{
            self, Activation, Heads, Norm, Rotary, Scores,
            head_loss::{Head, LOSS, STATS, Second, Targets, head_loss},
            matmul::{self, Product},
        },
        optim::{AdamW, Width},
        scalars::Scalars,
        tensor::Tensor,
    },
};

/// Largest difference that passes, as a share of the largest number: f32 with sums of some hundred terms.
const ALLOWED: f64 = 5e-5;
/// Directions along which each gradient is checked, and how far the differences reach.
const DIRECTIONS: usize = 3;
const REACH: f64 = 1e-5;
/// Steps of training that are done twice.
const STEPS: usize = 2;

type Inputs<'a> = &'a [Vec<f64>];
type Record = Box<dyn Fn(&mut Recorder, &[Tensor]) -> Tensor>;
type Reference = Box<dyn Fn(Inputs<'_>) -> Vec<f64>>;

/// An op with inputs `[rows, cols]`, all of which want gradients unless it has none.
struct Subject {
    name: &'static str,
    inputs: Vec<[usize; 2]>,
    /// Whether the op has a backward, and whether it is a loss, which starts its own.
    backward: bool,
    is_loss: bool,
    record: Record,
    reference: Reference,
}

/// Checks everything.
pub(super) fn run(gpu: &Gpu) -> Result<Vec<Check>, Error> {
    let mut checks = subjects().iter().map(|subject| subject.check(gpu)).collect::<Result<Vec<_>, _>>()?;
    checks.push(repeated_steps(gpu)?);
    Ok(checks)
}

fn judged(name: &str, error: f64, allowed: f64) -> Check {
    let found = format!("off by {error:.1e} of the largest number, allowed {allowed:.0e}");
    Check { name: name.into(), passed: error <= allowed, found }
}

impl Subject {
    fn check(&self, gpu: &Gpu) -> Result<Check, Error> {
        let mut rng = Rng(self.name.len() as u64);
        let mut r = Recorder::default();
        let values: Vec<Vec<f32>> = self.inputs.iter().map(|[rows, cols]| rng.numbers(rows * cols)).collect();
        let shaped = self.inputs.iter().zip(&values);
        let inputs: Vec<Tensor> = shaped.map(|([rows, cols], x)| r.floats(*rows, *cols, x)).collect();
        let gradients: Vec<Tensor> =
            if self.backward { inputs.iter().map(|x| r.train(*x)).collect() } else { Vec::new() };
        let y = (self.record)(&mut r, &inputs);
        let exact: Vec<Vec<f64>> = values.iter().map(|x| x.iter().map(|x| f64::from(*x)).collect()).collect();
        let want = (self.reference)(&exact);
        let mut dy = rng.numbers(want.len());
        if self.is_loss {
            dy = vec![1.0 / want.len() as f32; want.len()];
            r.tape.backward();
        } else if self.backward {
            r.backward_from(y, &dy);
        }
        let loaded = r.load(gpu, true)?;
        loaded.time(gpu, 1)?;
        let mut got = loaded.read(gpu, y)?;
        if self.is_loss {
            got = got.chunks(STATS).map(|stats| stats[LOSS]).collect();
        }
        let mut worst = difference(&got, &want);
        for (i, gradient) in gradients.iter().enumerate() {
            worst = worse(worst, self.along(&mut rng, &exact, i, &dy, &loaded.read(gpu, *gradient)?));
        }
        Ok(judged(self.name, worst, ALLOWED))
    }

    /// By how much the gradient of input `i` along random directions differs from the difference of the reference.
    fn along(&self, rng: &mut Rng, x: Inputs<'_>, i: usize, dy: &[f32], gradient: &[f32]) -> f64 {
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt().max(1e-30);
        let mut worst = 0.0;
        for _ in 0..DIRECTIONS {
            let direction: Vec<f64> = rng.numbers(gradient.len()).into_iter().map(f64::from).collect();
            let moved = |by: f64| -> f64 {
                let mut x = x.to_vec();
                x[i].iter_mut().zip(&direction).for_each(|(x, d)| *x += by * d);
                (self.reference)(&x).iter().zip(dy).map(|(y, dy)| y * f64::from(*dy)).sum()
            };
            let want = (moved(REACH) - moved(-REACH)) / (2.0 * REACH);
            let got: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
            worst = worse(worst, (got - want).abs() / norm);
        }
        worst
    }
}

/// The largest difference as a share of the largest wanted number; NaN if one is.
fn difference(got: &[f32], want: &[f64]) -> f64 {
    let largest = want.iter().fold(1e-30f64, |most, x| most.max(x.abs()));
    let differences = got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs() / largest);
    differences.fold(0.0, worse)
}

/// The larger error; NaN, which `max` would drop, is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

fn subjects() -> Vec<Subject> {
    let mut subjects = products();
    subjects.extend(rows());
    subjects.push(attention());
    subjects.extend([false, true].map(loss));
    subjects.push(adamw());
    subjects
}

/// Each form of the product, in the kernel of any size and in that of multiples of four.
fn products() -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (names, [m, n, k]) in
        [(["gemm nt", "gemm nn", "gemm tn"], [37, 131, 67]), (["gemm nt4", "gemm nn4", "gemm tn4"], [44, 132, 68])]
    {
        let [nt, nn, tn] = names;
        let dense = Product::dense(m, n, k);
        let subject = |name, inputs, record, reference| Subject {
            name,
            inputs,
            backward: false,
            is_loss: false,
            record,
            reference,
        };
        subjects.push(subject(
            nt,
            vec![[m, k], [n, k]],
            Box::new(move |r: &mut Recorder, x: &[Tensor]| {
                let y = r.tape.transient(m, n);
                matmul::nt(&mut r.tape, x[0], x[1], None, y, dense);
                y
            }) as Record,
            Box::new(move |x: Inputs<'_>| oracle::product([m, n, k], |i, l| x[0][i * k + l], |l, j| x[1][j * k + l]))
                as Reference,
        ));
        subjects.push(subject(
            nn,
            vec![[m, k], [k, n]],
            Box::new(move |r, x| {
                let y = r.tape.transient(m, n);
                matmul::nn(&mut r.tape, x[0], x[1], y, dense);
                y
            }),
            Box::new(move |x| oracle::product([m, n, k], |i, l| x[0][i * k + l], |l, j| x[1][l * n + j])),
        ));
        subjects.push(subject(
            tn,
            vec![[k, m], [k, n]],
            Box::new(move |r, x| {
                let y = r.tape.transient(m, n);
                matmul::tn(&mut r.tape, x[0], x[1], y, dense);
                y
            }),
            Box::new(move |x| oracle::product([m, n, k], |i, l| x[0][l * m + i], |l, j| x[1][l * n + j])),
        ));
    }
    subjects
}

/// Ops that treat each row alone.
fn rows() -> Vec<Subject> {
    let (tokens, width, table) = (37, 67, 11);
    let ids: Vec<u32> = (0..tokens as u32).map(|t| t * 5 % table as u32).collect();
    let picked = ids.clone();
    vec![
        Subject {
            name: "rms_norm",
            inputs: vec![[tokens, width], [1, width]],
            backward: true,
            is_loss: false,
            record: Box::new(|r, x| ops::rms_norm(&mut r.tape, x[0], x[1], Norm { eps: 1e-6, offset: 0.0 })),
            reference: Box::new(|x| oracle::rms_norm(&x[0], &x[1], 1e-6)),
        },
        Subject {
            name: "gated_mlp",
            inputs: vec![[tokens, width]; 2],
            backward: true,
            is_loss: false,
            record: Box::new(|r, x| ops::gated_mlp(&mut r.tape, x[0], x[1], Activation::Silu)),
            reference: Box::new(|x| oracle::silu_gate(&x[0], &x[1])),
        },
        Subject {
            name: "rope",
            inputs: vec![[tokens, 3 * 20]],
            backward: true,
            is_loss: false,
            record: Box::new(move |r, x| {
                let (cosines, sines) = angles(tokens);
                let positions = r.words(1, tokens, (0..tokens as u32).collect());
                let cosines = r.floats(tokens, 10, &cosines);
                let sines = r.floats(tokens, 10, &sines);
                ops::rope(&mut r.tape, x[0], Rotary { positions, cosines, sines, head_dim: 20 })
            }),
            reference: Box::new(move |x| {
                let (cosines, sines) = angles(tokens);
                let [cosines, sines] = [cosines, sines].map(|a| a.into_iter().map(f64::from).collect::<Vec<_>>());
                oracle::rope(&x[0], &cosines, &sines, 20, tokens)
            }),
        },
        Subject {
            name: "embedding",
            inputs: vec![[table, width]],
            backward: true,
            is_loss: false,
            record: Box::new(move |r, x| {
                let tokens = r.words(1, tokens, ids.clone());
                let order = r.words(1, ids.len(), crate::data::pack::order(&ids));
                ops::embedding(&mut r.tape, tokens, order, &[x[0]], 1.0)
            }),
            reference: Box::new(move |x| {
                let row = |id: &u32| x[0][*id as usize * width..(*id as usize + 1) * width].to_vec();
                picked.iter().flat_map(row).collect()
            }),
        },
    ]
}

/// Rotary tables of ten angles a token.
fn angles(tokens: usize) -> (Vec<f32>, Vec<f32>) {
    (0..tokens * 10).map(|i| (i / 10) as f32 / (1 + i % 10) as f32).map(|angle| (angle.cos(), angle.sin())).unzip()
}

/// Two documents, three query heads on one of keys and values.
fn attention() -> Subject {
    let (tokens, second) = (37, 13);
    let heads = Heads { heads: 3, kv_heads: 1, head_dim: 20 };
    let start = move |t: usize| if t < second { 0 } else { second };
    Subject {
        name: "attention",
        inputs: vec![[tokens, 60], [tokens, 20], [tokens, 20]],
        backward: true,
        is_loss: false,
        record: Box::new(move |r, x| {
            let spans = (0..tokens).flat_map(|t| [start(t) as u32, t as u32 + 1]).collect();
            let ends = (0..tokens).map(|t| if t < second { second } else { tokens } as u32).collect();
            let (spans, ends) = (r.words(tokens, 2, spans), r.words(1, tokens, ends));
            ops::attention(&mut r.tape, [x[0], x[1], x[2]], heads, Scores::plain(20), spans, ends)
        }),
        reference: Box::new(move |x| {
            let starts: Vec<usize> = (0..tokens).map(start).collect();
            oracle::attention([&x[0], &x[1], &x[2]], heads, &starts)
        }),
    }
}

/// The loss head of one model, or of two whose logits are mixed; hidden states and heads of both learn.
fn loss(mixed: bool) -> Subject {
    let (tokens, width, vocab, chunk) = (150, 36, 131, 64);
    let targets: Vec<u32> = (0..tokens as u32).map(|t| t * 17 % vocab as u32).collect();
    let wanted = targets.clone();
    let lambda = if mixed { 0.3 } else { 1.0 };
    let side = [[tokens, width], [vocab, width]];
    Subject {
        name: if mixed { "mixed head loss" } else { "head loss" },
        inputs: if mixed { [side, side].concat() } else { side.to_vec() },
        backward: true,
        is_loss: true,
        record: Box::new(move |r, x| {
            let row = Scalars { lambda, ..Scalars::default() }.row(0);
            let targets = Targets {
                ids: r.words(1, tokens, wanted.clone()),
                weights: r.floats(1, tokens, &vec![1.0 / tokens as f32; tokens]),
                scalars: r.floats(1, row.len(), &row),
                offsets: r.empty(1, tokens),
                watched: r.empty(1, tokens),
                stats: r.empty(tokens, STATS),
            };
            // Hidden states come from an op: the loss writes their gradient.
            let hidden: Vec<Tensor> = x.iter().step_by(2).map(|h| ops::scale(&mut r.tape, *h, 0.5)).collect();
            let head = |i: usize| Head { hidden: hidden[i], weight: &x[2 * i + 1..2 * i + 2], softcap: None };
            let second = if mixed { Second::Weak(vec![head(1)]) } else { Second::None };
            head_loss(&mut r.tape, head(0), &second, targets, chunk);
            targets.stats
        }),
        reference: Box::new(move |x| {
            let shares = [lambda, 1.0 - lambda].map(|share| 0.5 * share);
            let sides = shares.iter().zip(x.chunks(2)).map(|(share, side)| (*share, &side[0][..], &side[1][..]));
            oracle::losses(&sides.collect::<Vec<_>>(), width, &targets)
        }),
    }
}

/// One step over a matrix that is no multiple of anything.
fn adamw() -> Subject {
    Subject {
        name: "adamw",
        inputs: vec![[37, 67]; 2],
        backward: false,
        is_loss: false,
        record: Box::new(|r, x| {
            let row = Scalars { lr: 0.1, weight_decay: 0.01, ..Scalars::default() }.row(0);
            let schedule = r.floats(1, row.len(), &row);
            AdamW::declare(&mut r.store, &[(x[0], x[1])], schedule, Width::Bits32).record(&mut r.tape);
            x[0]
        }),
        reference: Box::new(|x| oracle::adamw(&x[0], &x[1])),
    }
}

/// Trains the smallest model twice from the same start.
fn repeated_steps(gpu: &Gpu) -> Result<Check, Error> {
    let mut bits = Vec::new();
    for case in steps::cases().iter().filter(|case| case.is_smallest_joint()) {
        for _ in 0..2 {
            let mut trainer = case.load(gpu, None)?;
            let mut seen = Vec::new();
            for _ in 0..STEPS {
                let (stats, norm) = trainer.step()?;
                seen.extend(stats.into_iter().flatten().chain([norm]));
            }
            seen.extend(trainer.weights("model.layers.0.mlp.down_proj.weight")?);
            seen.extend(trainer.weights("model.embed_tokens.weight")?);
            bits.push(seen.into_iter().map(f32::to_bits).collect::<Vec<_>>());
        }
    }
    let passed = bits.len() == 2 && bits[0] == bits[1];
    let differing = bits.first().zip(bits.last()).map_or(0, |(a, b)| a.iter().zip(b).filter(|(a, b)| a != b).count());
    let found = match passed {
        true => "the same bits".to_owned(),
        false => format!("{differing} of {} numbers differ", bits.first().map_or(0, Vec::len)),
    };
    Ok(Check { name: "a training step, done again".into(), passed, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_numbers_fail() {
        let passes = |got: &[f32]| judged("", difference(got, &[1.0, -2.0, 0.5]), ALLOWED).passed;
        assert!(passes(&[1.0, -2.0, 0.5]));
        for wrong in [[1.0, -2.001, 0.5], [f32::NAN, -2.0, 0.5], [1.0, -2.0, f32::INFINITY]] {
            assert!(!passes(&wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_wrong_gradient_is_found() {
        let subject = &rows()[1];
        let (mut rng, n) = (Rng(3), 37 * 67);
        let x: Vec<Vec<f64>> = (0..2).map(|_| rng.numbers(n).into_iter().map(f64::from).collect()).collect();
        let dy = rng.numbers(n);
        let act = |g: f64| g / (1.0 + (-g).exp());
        let mut gradient: Vec<f32> = x[0].iter().zip(&dy).map(|(g, dy)| (act(*g) * f64::from(*dy)) as f32).collect();
        assert!(subject.along(&mut rng, &x, 1, &dy, &gradient) < ALLOWED);
        gradient[n / 2] += 0.1;
        assert!(subject.along(&mut rng, &x, 1, &dy, &gradient) > ALLOWED);
    }
}
