//! The chunked loss head: statistics and gradients, single, mixed and distilled.

use underdog::graph::{
    ops::{
        self,
        head_loss::{
            self, ENTROPY, GRAD_NON_TARGET, GRAD_NON_TARGET_ALONE, Head, LOSS, MARGIN, STATS, Second, Targets,
        },
        matmul::{self, Product},
    },
    scalars::{HOST_SCALARS, Scalars},
    tape::Tape,
    tensor::Tensor,
};

use crate::{
    check::{Case, Cases, Oracle, compare_columns},
    common::{Input, Mat, Outcome, Rng, compare, run, run_rows},
    embedding::slots,
    head_oracle::{HeadLoss, Kind, capped},
    linear::matmul_nt,
};

/// What a case varies.
#[derive(Clone, Debug)]
struct Shape {
    t: usize,
    shards: Vec<usize>,
    /// Of the strong model and of each other one.
    c: Vec<usize>,
    chunk: usize,
    /// Deviation of the logits.
    sharpness: f64,
    kind: Kind,
    /// Of each other model.
    shares: Vec<f64>,
    caps: [Option<f64>; 2],
    /// Whether weak logits meet those of other tokens.
    turned: bool,
    scalars: Scalars,
}

impl Shape {
    /// One model.
    fn single(t: usize, shards: &[usize], c: usize, chunk: usize, sharpness: f64) -> Self {
        Self {
            t,
            shards: shards.to_vec(),
            c: vec![c],
            chunk,
            sharpness,
            kind: Kind::Single,
            shares: vec![],
            caps: [None; 2],
            turned: false,
            scalars: Scalars::default(),
        }
    }

    /// Two models, mixed.
    fn mixed(t: usize, shards: &[usize], c: [usize; 2], chunk: usize, sharpness: f64, lambda: f64) -> Self {
        let scalars = Scalars { lambda, ..Scalars::default() };
        let c = c.to_vec();
        Self { c, kind: Kind::Weak, shares: vec![1.0], scalars, ..Self::single(t, shards, 0, chunk, sharpness) }
    }

    /// Every third token is no target; weights are of the size of `1 / T`.
    fn oracle(&self, rng: &mut Rng, x: &[Mat]) -> HeadLoss {
        let vocab = self.shards.iter().sum();
        let weight = |t: usize| if t % 3 == 1 { 0.0 } else { f64::from((rng.uniform() / self.t as f64) as f32) };
        let weights = (0..self.t).map(weight).collect();
        let [targets, offsets, watched] = [0; 3].map(|_| rng.indices(self.t, vocab));
        let f32s = |x: f64| f64::from(x as f32);
        let Scalars { lambda, label_smoothing, temperature, ce_weight, target_logit_penalty, .. } = self.scalars;
        let [lambda, label_smoothing, temperature] = [lambda, label_smoothing, temperature].map(f32s);
        let [ce_weight, target_logit_penalty] = [ce_weight, target_logit_penalty].map(f32s);
        let mut oracle = HeadLoss {
            kind: self.kind,
            shards: self.shards.len(),
            targets,
            weights,
            offsets: if self.turned { offsets } else { vec![0; self.t] },
            watched,
            shares: self.shares.iter().map(|share| f32s(*share)).collect(),
            caps: self.caps,
            scalars: Scalars {
                lambda,
                label_smoothing,
                temperature,
                ce_weight,
                target_logit_penalty,
                ..Scalars::default()
            },
            stand_in: None,
        };
        match self.kind {
            Kind::Synthetic => oracle.synthesize(x),
            Kind::Teacher => oracle.freeze(x),
            Kind::Single | Kind::Weak => {}
        }
        oracle
    }

    fn inputs(&self, rng: &mut Rng) -> Vec<Mat> {
        let mut inputs = Vec::new();
        for c in &self.c {
            inputs.push(rng.mat(self.t, *c, 0.1, 1.0));
            let deviation = self.sharpness / (*c as f64).sqrt();
            inputs.extend(self.shards.iter().map(|rows| rng.mat(*rows, *c, 0.0, deviation)));
        }
        inputs
    }

    fn build(&self, seed: u64) -> (HeadLoss, Vec<Mat>) {
        let mut rng = Rng(seed);
        let x = self.inputs(&mut rng);
        (self.oracle(&mut rng, &x), x)
    }

    fn check(&self, cases: &mut Cases) {
        let (oracle, x) = self.build((self.t * 3 + self.c[0]) as u64);
        let mut dy = Mat::zeros(self.t, STATS);
        (0..self.t).for_each(|t| dy.row_mut(t)[LOSS] = oracle.weights[t]);
        let indices = indices(&oracle).into_iter().map(|words| {
            let n = words.len();
            (words, 1, n)
        });
        let case = Case {
            name: format!("{self:?}"),
            indices: indices.collect(),
            oracle: &oracle,
            seeds_itself: Some(dy),
            record: &|tape, x, at| self.record(tape, x, at),
        };
        cases.check(&case, &x);
    }

    fn record(&self, tape: &mut Tape, x: &[Tensor], at: &[Tensor]) -> Tensor {
        self.record_as(tape, x, at, head_loss::head_loss)
    }

    fn record_as(
        &self,
        tape: &mut Tape,
        x: &[Tensor],
        at: &[Tensor],
        loss: impl FnOnce(&mut Tape, Head<'_>, &Second<'_>, Targets, usize),
    ) -> Tensor {
        let stats = tape.transient(x[0].rows, STATS);
        let &[ids, weights, schedule, offsets, watched] = at else { panic!("{} inputs", at.len()) };
        let targets = Targets { ids, weights, scalars: schedule, offsets, watched, stats };
        let models: Vec<(Tensor, &[Tensor])> =
            x.chunks(1 + self.shards.len()).map(|model| (model[0], &model[1..])).collect();
        let softcap = self.caps.map(|cap| cap.map(|cap| cap as f32));
        let others = models[1..].iter().zip(&self.shares).map(|((hidden, weight), share)| {
            let hidden = if *share == 1.0 { *hidden } else { ops::scale(tape, *hidden, *share as f32) };
            Head { hidden, weight, softcap: softcap[1] }
        });
        let others: Vec<Head<'_>> = others.collect();
        let second = match self.kind {
            Kind::Single => Second::None,
            Kind::Weak if self.turned => Second::Turned(others),
            Kind::Weak => Second::Weak(others),
            Kind::Synthetic => Second::Synthetic(others),
            Kind::Teacher => Second::Teacher(others[0]),
        };
        let strong = Head { hidden: models[0].0, weight: models[0].1, softcap: softcap[0] };
        loss(tape, strong, &second, targets, self.chunk);
        stats
    }
}

/// Targets, weights, the step's scalars, offsets and watched tokens, as words. The loss scale is 1.
fn indices(oracle: &HeadLoss) -> Vec<Vec<u32>> {
    let weights = oracle.weights.iter().map(|w| (*w as f32).to_bits()).collect();
    let schedule = oracle.scalars.row(0).map(f32::to_bits).to_vec();
    vec![oracle.targets.clone(), weights, schedule, oracle.offsets.clone(), oracle.watched.clone()]
}

const TOLERANCE: f64 = 1e-5;

fn check(op: &'static str, shapes: impl IntoIterator<Item = Shape>) {
    check_within(TOLERANCE, op, shapes);
}

fn check_within(tolerance: f64, op: &'static str, shapes: impl IntoIterator<Item = Shape>) {
    let mut cases = Cases::new(op, tolerance);
    shapes.into_iter().for_each(|shape| shape.check(&mut cases));
    cases.finish();
}

#[test]
fn single() {
    let shapes = [
        Shape::single(1, &[1], 1, 1, 1.0),
        Shape::single(1, &[2], 3, 1, 1.0),
        Shape::single(5, &[7], 3, 64, 2.0),
        Shape::single(127, &[127], 5, 64, 2.0),
        Shape::single(130, &[300], 8, 128, 4.0),
        Shape::single(130, &[64, 128, 64], 8, 64, 1.0),
        Shape::single(130, &[64, 128, 37], 7, 64, 1.0),
        Shape::single(127, &[1757], 16, 127, 3.0),
        Shape::single(200, &[1024, 732], 20, 64, 12.0),
    ];
    check("head_loss", shapes);
}

/// Logits near 200 are known to 1e-5, and an entropy of 0.3 that is made of them to 1e-5 too.
#[test]
fn large_logits() {
    check_within(1e-4, "head_loss of large logits", [Shape::single(70, &[129], 127, 64, 60.0)]);
}

#[test]
fn mixed() {
    let shapes = [
        Shape::mixed(1, &[2], [1, 1], 1, 1.0, 0.3),
        Shape::mixed(5, &[7], [3, 2], 64, 2.0, 0.3),
        Shape::mixed(127, &[127], [5, 5], 64, 2.0, 0.3),
        Shape::mixed(130, &[300], [8, 4], 128, 4.0, 0.5),
        Shape::mixed(130, &[64, 128, 37], [7, 9], 64, 1.0, 0.3),
        Shape::mixed(127, &[1757], [16, 12], 127, 3.0, 0.42),
        Shape::mixed(200, &[1024, 732], [20, 16], 64, 12.0, 0.7),
        Shape::mixed(70, &[129], [127, 3], 64, 3.0, 0.0),
        Shape::mixed(70, &[129], [127, 3], 64, 3.0, 1.0),
    ];
    check("head_loss mixed", shapes);
}

/// Settings of the loss on three sizes: one small enough for finite differences, one that splits tables and chunks, one
/// with a ragged end.
fn sizes(of: impl Fn(usize, &[usize], [usize; 2], usize, f64) -> Shape) -> [Shape; 3] {
    [of(5, &[7], [3, 2], 64, 2.0), of(130, &[64, 128, 37], [7, 9], 64, 1.5), of(127, &[1757], [16, 12], 127, 3.0)]
}

#[test]
fn lambda_smoothing_and_caps_of_one_model() {
    let shapes = sizes(|t, shards, [c, _], chunk, sharpness| {
        let scalars = Scalars { lambda: 0.42, label_smoothing: 0.1, ..Scalars::default() };
        Shape { scalars, caps: [Some(5.0), None], ..Shape::single(t, shards, c, chunk, sharpness) }
    });
    check("head_loss scaled, smoothed, capped", shapes);
}

#[test]
fn smoothing_caps_and_turns_of_mixtures() {
    for (caps, turned, smoothing) in [
        ([None, None], true, 0.0),
        ([Some(5.0), None], false, 0.1),
        ([None, Some(3.0)], true, 0.1),
        ([Some(30.0), Some(4.0)], false, 0.0),
    ] {
        let shapes = sizes(|t, shards, c, chunk, sharpness| {
            let mixed = Shape::mixed(t, shards, c, chunk, sharpness, 0.42);
            Shape { caps, turned, scalars: Scalars { label_smoothing: smoothing, ..mixed.scalars }, ..mixed }
        });
        check("head_loss mixed, smoothed, capped, turned", shapes);
    }
}

#[test]
fn several_weak_models() {
    let shapes = sizes(|t, shards, [c, d], chunk, sharpness| Shape {
        c: vec![c, d, c + 1],
        shares: vec![0.3, 0.7],
        turned: true,
        caps: [Some(9.0), None],
        ..Shape::mixed(t, shards, [c, d], chunk, sharpness, 0.42)
    });
    check("head_loss of three", shapes);
}

#[test]
fn synthetic() {
    for cap in [None, Some(3.0)] {
        let shapes = sizes(|t, shards, c, chunk, sharpness| Shape {
            kind: Kind::Synthetic,
            turned: true,
            caps: [None, cap],
            ..Shape::mixed(t, shards, c, chunk, sharpness, 0.42)
        });
        check("head_loss synthetic", shapes);
    }
}

#[test]
fn distilled() {
    for (temperature, ce_weight, target_logit_penalty, caps) in [
        (1.0, 0.0, 0.0, [None, None]),
        (2.0, 0.3, 0.0, [None, None]),
        (0.7, 0.5, 3.0, [Some(5.0), Some(4.0)]),
        (1.0, 0.0, 10.0, [None, None]),
    ] {
        let scalars = Scalars { temperature, ce_weight, target_logit_penalty, ..Scalars::default() };
        let shapes = sizes(|t, shards, c, chunk, sharpness| Shape {
            kind: Kind::Teacher,
            caps,
            scalars,
            ..Shape::mixed(t, shards, c, chunk, sharpness, 1.0)
        });
        check("head_loss distilled", shapes);
    }
}

/// Where a model is sure, what pulls on its other logits is tiny; its share of itself must still be known.
#[test]
fn the_pull_on_a_sure_model_keeps_its_digits() {
    let mut rng = Rng(30);
    let vocab = 1757;
    let hidden = Mat::new(6, 1, vec![1.0; 6]);
    let [mut strong, weak] = [0, 1].map(|_| rng.mat(vocab, 1, 0.0, 1.0));
    let mixed = Shape::mixed(6, &[vocab], [1, 1], 64, 1.0, 0.42);
    for shape in [Shape::single(6, &[vocab], 1, 64, 1.0), mixed] {
        for above in [10.0, 20.0, 30.0] {
            strong.data[77] = above;
            let x = [&hidden, &strong, &hidden, &weak].map(Mat::clone)[..2 * shape.c.len()].to_vec();
            let mut oracle = shape.oracle(&mut rng, &x);
            oracle.targets.fill(77);
            let (got, want) = (run_with(&shape, &oracle, &x).value, oracle.forward(&x));
            for column in [GRAD_NON_TARGET, GRAD_NON_TARGET_ALONE] {
                let (got, want) = (f64::from(got[column]), want.row(0)[column]);
                assert!((got / want - 1.0).abs() < 1e-4, "{shape:?}, {above} above: {got}, not {want}");
            }
        }
    }
}

fn run_with(shape: &Shape, oracle: &HeadLoss, x: &[Mat]) -> Outcome {
    let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
    let (n, words) = (inputs.len(), indices(oracle));
    inputs.extend(words.iter().map(|words| Input::Index(words, 1, words.len())));
    run(&inputs, None, |tape, x| shape.record(tape, &x[..n], &x[n..]))
}

#[test]
fn chunks_change_the_order_of_no_sum_within_a_token() {
    let shape = Shape { turned: true, ..Shape::mixed(200, &[64, 50], [12; 2], 64, 2.0, 0.3) };
    let (oracle, x) = shape.build(4);
    let of = |chunk| run_with(&Shape { chunk, ..shape.clone() }, &oracle, &x);
    let [small, large] = [of(64), of(200)];
    let bits = |outcome: &Outcome| outcome.value.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&small), bits(&large));
    // The hidden states' gradients sum over the vocabulary, in one order whatever the chunk.
    assert_eq!(small.gradients[0], large.gradients[0]);
    assert_eq!(small.gradients[3], large.gradients[3]);
}

/// The loss head sees the targets first and runs only the chunks that hold some.
#[test]
fn chunks_without_targets_are_left_out() {
    let shape = Shape::mixed(200, &[64, 50], [12; 2], 64, 2.0, 0.3);
    let (mut oracle, x) = shape.build(5);
    oracle.weights.iter_mut().enumerate().for_each(|(t, w)| *w *= f64::from(u8::from(t % 2 == 0)));
    let targets: Vec<usize> = (0..200).filter(|t| oracle.weights[*t] != 0.0).collect();
    assert!((65..128).contains(&targets.len()), "two of four chunks hold the {} targets", targets.len());
    let mut words = indices(&oracle);
    // All but the scalars are in the order of the targets.
    for words in words.iter_mut().filter(|words| words.len() == 200) {
        *words = targets.iter().map(|t| words[*t]).collect();
        words.resize(200, 0);
    }
    let mut rows: Vec<u32> = targets.iter().map(|t| *t as u32).collect();
    rows.resize(200, u32::MAX);
    words.extend([slots(&rows, 200), rows]);
    let of = |in_use| {
        let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
        let n = inputs.len();
        inputs.extend(words.iter().map(|words| Input::Index(words, 1, words.len())));
        run_rows(&inputs, None, in_use, |tape, x| {
            let mut picked = x[..n].to_vec();
            for model in [0, n / 2] {
                picked[model] = ops::pick(tape, x[model], x[n + 6], x[n + 5]);
            }
            shape.record(tape, &picked, &x[n..n + 5])
        })
    };
    let [all, few] = [of(usize::MAX), of(targets.len())];
    assert_eq!(all.gradients, few.gradients);
    let stats = oracle.forward(&x);
    let want = targets.iter().flat_map(|t| stats.row(*t).to_vec()).collect();
    let want = Mat::new(targets.len(), STATS, want);
    let mut found = compare_columns("statistics of the targets", &few.value[..want.data.len()], &want, TOLERANCE);
    assert!(few.value[128 * STATS..].iter().all(|x| x.is_nan()), "a chunk without targets was run");
    for (i, want) in oracle.backward(&x, &Mat::zeros(0, 0)).iter().enumerate() {
        let got = few.gradients[i].as_ref().expect("a gradient");
        found.push(compare(&format!("gradient of input {i}"), got, want, TOLERANCE));
    }
    for result in found {
        result.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn logits_with_and_without_a_cap() {
    for (t, shards, c, sharpness) in
        [(1, vec![1], 1, 1.0), (127, vec![64, 128, 37], 7, 40.0), (5, vec![1757], 20, 1e-3)]
    {
        let mut rng = Rng(t as u64);
        let x: Vec<Mat> = std::iter::once(t).chain(shards.clone()).map(|n| rng.mat(n, c, 0.0, 1.0)).collect();
        let x: Vec<Mat> = x
            .into_iter()
            .enumerate()
            .map(|(i, mut mat)| {
                let size = if i == 0 { 1.0 } else { sharpness };
                mat.data.iter_mut().for_each(|x| *x = f64::from((*x * size) as f32));
                mat
            })
            .collect();
        let table = Mat::new(shards.iter().sum(), c, x[1..].iter().flat_map(|shard| shard.data.clone()).collect());
        for cap in [None, Some(30.0)] {
            let want = capped(matmul_nt(&x[0], &table), cap);
            let inputs: Vec<Input<'_>> = x.iter().map(Input::Frozen).collect();
            let outcome = run(&inputs, None, |tape, x| {
                let logits = tape.transient(want.rows, want.cols);
                let head = Head { hidden: x[0], weight: &x[1..], softcap: cap.map(|cap| cap as f32) };
                head_loss::logits(tape, head, logits);
                logits
            });
            let what = format!("logits [{t}, {shards:?}] capped at {cap:?}");
            compare(&what, &outcome.value, &want, 1e-6).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

#[test]
fn a_loss_scale_scales_gradients_and_nothing_else() {
    let mixed = Shape::mixed(70, &[64, 37], [7, 9], 64, 2.0, 0.3);
    for shape in [
        Shape::single(70, &[64, 37], 7, 64, 2.0),
        Shape { caps: [Some(5.0), None], ..mixed.clone() },
        Shape { turned: true, ..mixed.clone() },
        Shape { kind: Kind::Synthetic, ..mixed.clone() },
        Shape { kind: Kind::Teacher, ..mixed },
    ] {
        let (oracle, x) = shape.build(3);
        let [plain, scaled] = [1.0f32, 4096.0].map(|loss_scale| {
            let mut words = indices(&oracle);
            words[2][HOST_SCALARS] = loss_scale.to_bits();
            let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
            inputs.extend(words.iter().map(|words| Input::Index(words, 1, words.len())));
            run(&inputs, None, |tape, at| shape.record(tape, &at[..x.len()], &at[x.len()..]))
        });
        let bits = |values: &[f32], factor: f32| values.iter().map(|v| (v * factor).to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&plain.value, 1.0), bits(&scaled.value, 1.0), "{shape:?}: statistics");
        for (plain, scaled) in plain.gradients.iter().zip(&scaled.gradients) {
            let (Some(plain), Some(scaled)) = (plain, scaled) else { continue };
            assert_eq!(bits(plain, 4096.0), bits(scaled, 1.0), "{shape:?}: gradients");
        }
    }
}

/// The weight of a token becomes the sum of the losses of its sequence, which no chunk knows alone.
#[test]
fn a_kernel_between_the_visits_turns_sums_of_sequences_into_weights() {
    for shape in [
        Shape::single(130, &[64, 128, 37], 7, 64, 1.0),
        Shape { caps: [Some(5.0), None], ..Shape::mixed(130, &[64, 128, 37], [7, 9], 64, 1.0, 0.3) },
        Shape { turned: true, kind: Kind::Synthetic, ..Shape::mixed(130, &[64, 37], [7, 9], 64, 1.0, 0.3) },
        Shape { kind: Kind::Teacher, ..Shape::mixed(130, &[64, 37], [7, 9], 64, 1.0, 1.0) },
    ] {
        let (oracle, x) = shape.build(6);
        let stats = oracle.forward(&x);
        let same = |t: usize, s: usize| f64::from(u8::from(t / 50 == s / 50 && oracle.weights[t] != 0.0));
        let same = Mat::new(130, 130, (0..130 * 130).map(|i| same(i / 130, i % 130)).collect());
        let sum = |t: usize| (0..130).map(|s| same.row(t)[s] * stats.row(s)[LOSS]).sum();
        let words = indices(&oracle);
        let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
        inputs.extend(words.iter().map(|words| Input::Index(words, 1, words.len())));
        inputs.push(Input::Frozen(&same));
        let n = x.len();
        let outcome = run(&inputs, None, |tape, at| {
            shape.record_as(tape, &at[..n], &at[n..n + words.len()], |tape, strong, second, targets, chunk| {
                head_loss::weighted(tape, strong, second, targets, chunk, |tape, targets| {
                    let weights = tape.transient(1, 130);
                    let product = Product::dense(130, 1, 130).strides(130, STATS, 1);
                    matmul::nn(tape, at[n + words.len()], targets.stats.from(LOSS), weights, product);
                    weights
                });
            })
        });
        let mut found = compare_columns("statistics", &outcome.value, &stats, TOLERANCE);
        let oracle = HeadLoss { weights: (0..130).map(sum).collect(), ..oracle };
        for (i, want) in oracle.backward(&x, &Mat::zeros(0, 0)).iter().enumerate() {
            let got = outcome.gradients[i].as_ref().filter(|_| want.largest() > 0.0);
            found.extend(got.map(|got| compare(&format!("gradient of input {i}"), got, want, TOLERANCE)));
        }
        for result in found {
            result.unwrap_or_else(|failure| panic!("{shape:?}: {failure}"));
        }
    }
}

/// A loss of other logits that is observed keeps its gradients and its own columns, and has those of each model.
#[test]
fn observing_changes_no_gradient_and_no_loss() {
    let shape = Shape::mixed(130, &[64, 37], [7, 9], 64, 2.0, 0.3);
    let (oracle, x) = shape.build(7);
    let words = indices(&oracle);
    let mut inputs: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
    inputs.extend(words.iter().map(|words| Input::Index(words, 1, words.len())));
    let [plain, observed] = [false, true].map(|observes| {
        run(&inputs, None, |tape, at| {
            shape.record_as(tape, &at[..x.len()], &at[x.len()..], |tape, strong, second, targets, chunk| {
                head_loss::head_loss(tape, strong, &Second::None, targets, chunk);
                if observes {
                    head_loss::observe(tape, strong, second, targets, chunk);
                }
            })
        })
    });
    assert_eq!(plain.gradients, observed.gradients);
    let own = [LOSS, MARGIN, ENTROPY, GRAD_NON_TARGET];
    let mut want = oracle.forward(&x);
    for (t, plain) in plain.value.chunks(STATS).enumerate() {
        own.iter().for_each(|&column| want.row_mut(t)[column] = f64::from(plain[column]));
    }
    for result in compare_columns("statistics", &observed.value, &want, TOLERANCE) {
        result.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
