//! No loop runs long: drivers end long ones silently (Mesa 22.3 after 65,535 trips of an invocation, nested loops counted
//! together). The bounds from the shaders' headers are held against everything that is recorded at the largest shapes,
//! and sums whose value is known are computed at those lengths.

use std::collections::HashSet;

use underdog::{
    gpu::{Kernel, Variant},
    graph::{
        ops::{
            self, Heads, Norm, Scores,
            head_loss::{Head, STATS, Second, Targets, head_loss},
        },
        plan::Plan,
        scalars::Scalars,
        tape::{Command, Grid, Tape},
        tensor::{Memory, Role, Store},
    },
    kernels,
};

use crate::{
    attention_variants,
    common::{Input, Mat, Rng, gpu, run},
    largest::{LONGEST, NORM, SHARD, largest, rows},
};

const MOST: usize = 1 << 15;

/// An upper bound of the trips of one invocation, as the kernel's comment states it.
fn trips(kernel: &Kernel, params: &[u8]) -> usize {
    use kernels::{
        adamw, attention, causal_conv, ceiling, column_sum_vec4 as column_sum, dora, embedding_vec4 as embedding,
        head_single, linear, linear_narrow, linear_packed_bf16, linear_small_k, norm_rope_vec4 as norm_rope,
        rms_norm_vec4 as rms_norm,
    };
    const REDUCE: usize = 32; // the end of a workgroup's sum
    fn of<P: bytemuck::AnyBitPattern>(params: &[u8]) -> P {
        bytemuck::pod_read_unaligned(params)
    }
    // Kernels for any sizes take numbers one by one.
    let width = if kernel.module.name.ends_with("_scalar") { 1 } else { 4 };
    match kernel.name.replace("_scalar.", ".").replace("_vec4.", ".").as_str() {
        _ if kernel.module.name == "linear_scalar" => of::<linear::Params>(params).k as usize,
        name if name.starts_with("embedding_packed_") => 0,
        name if name.starts_with("linear_packed_") && name.ends_with(".nt_row") => {
            of::<linear::Params>(params).k as usize / 4
        }
        name if name.starts_with("linear_packed_") => register_trips(params, linear_packed_bf16::BLOCKS, 4),
        "add.forward"
        | "add.accumulate"
        | "blend.forward"
        | "blend.backward"
        | "cache.append"
        | "causal_conv.keep"
        | "ceiling.copy"
        | "ceiling.touch"
        | "dora.forward"
        | "dora.backward"
        | "dropout.forward"
        | "gated_mlp.forward"
        | "gated_mlp.backward"
        | "head_single.gradients"
        | "head_mix.gradients"
        | "head_mix.gradients_turned"
        | "head_distill.gradients"
        | "softcap.forward"
        | "noise.forward"
        | "pick.forward"
        | "text_positions.forward"
        | "scale.forward"
        | "dequantize_bf16.forward"
        | "gradient_bf16.add"
        | "adamw_bf16.step"
        | "adamw_moments_bf16.step"
        | "adamw.step" => 0,
        "adamw_codes.step" | "adamw_moments_codes.step" => kernels::adamw_codes::FOURS,
        "adamw.square_sum" | "adamw_bf16.square_sum" => adamw::BLOCK + REDUCE,
        "adamw.clip" => of::<adamw::Params>(params).n.div_ceil(32) as usize + REDUCE,
        "attention.forward" | "attention.backward_delta" | "attention.backward_q" | "attention.backward_kv" => {
            let p = of::<attention::Params>(params);
            let (quads, range) = (p.head_dim.div_ceil(4), p.end - p.begin);
            let trips = match kernel.entry {
                "forward" => range.div_ceil(16) * (1 + 2 * quads),
                "backward_q" => range.div_ceil(16) * (1 + 3 * quads),
                "backward_kv" => p.q_heads / p.kv_heads * (1 + range.div_ceil(16) * (1 + 4 * quads)),
                _ => quads,
            };
            trips as usize
        }
        "causal_conv.forward" | "causal_conv.backward" | "causal_conv.decode" => {
            of::<causal_conv::Params>(params).taps as usize
        }
        "causal_conv.backward_weight" => causal_conv::BLOCK,
        "ceiling.multiply_add" => of::<ceiling::Params>(params).n as usize * (1 + ceiling::ROUNDS),
        "ceiling_half.multiply_add" => of::<ceiling::Params>(params).n as usize * (1 + kernels::ceiling_half::ROUNDS),
        "ceiling_coop_8_f16.multiply_add"
        | "ceiling_coop_8_f32.multiply_add"
        | "ceiling_coop_16_f16.multiply_add" => {
            of::<ceiling::Params>(params).n as usize * (1 + kernels::ceiling_coop_8_f16::ROUNDS) + 256 / 8
        }
        "column_sum.forward" => of::<column_sum::Params>(params).block as usize,
        "dora.lengths" => {
            let p = of::<dora::LengthParams>(params);
            (p.cols.div_ceil(32) + p.rank.div_ceil(32)) as usize + REDUCE
        }
        "embedding.forward" => (of::<embedding::Params>(params).cols as usize).div_ceil(64 * width),
        "embedding.backward" => of::<embedding::Params>(params).tokens as usize,
        "embedding_gradient_bf16.backward" => of::<kernels::embedding_gradient_bf16::Params>(params).tokens as usize,
        "head_single.statistics" | "head_mix.statistics" => {
            of::<head_single::Params>(params).vocab.div_ceil(1024) as usize + 3 * REDUCE
        }
        "head_distill.statistics" | "head_mix.synthesize" => {
            3 * of::<head_single::Params>(params).vocab.div_ceil(512) as usize + 6 * REDUCE
        }
        "likeliest.forward" => {
            (of::<kernels::likeliest::Params>(params).cols as usize).div_ceil(kernels::likeliest::WIDTH) + REDUCE
        }
        "linear.nt_row" => of::<linear::Params>(params).k as usize / 4,
        "linear_small_k.nn" => {
            let groups = 4 * linear_small_k::DEEP;
            (of::<linear_small_k::Params>(params).k as usize).div_ceil(groups) * (1 + linear_small_k::ROWS)
        }
        "linear_narrow.nt" => of::<linear_narrow::Params>(params).k as usize / 4,
        "linear.nt" | "linear.nn" | "linear.tn" => {
            register_trips(params, linear::BLOCKS, if kernel.entry == "tn" { 2 } else { 4 })
        }
        "rms_norm.forward" | "rms_norm.forward_sum" | "rms_norm.backward" | "rms_norm.backward_both" => {
            let cols = of::<rms_norm::Params>(params).cols as usize;
            2 * cols.div_ceil(32 * width) * (1 + rms_norm::ROWS) + REDUCE
        }
        "norm_rope.forward" | "norm_rope.backward" | "norm_rope.backward_both" => {
            let head_dim = of::<norm_rope::Params>(params).head_dim as usize;
            5 * head_dim.div_ceil(8 * width) * (1 + norm_rope::HEADS) + REDUCE
        }
        "rope.rotate" => {
            let head_dim = of::<kernels::rope_vec4::Params>(params).head_dim as usize;
            2 * head_dim.div_ceil(8 * width) * (1 + kernels::rope_vec4::HEADS)
        }
        other => panic!("{other}: state its bound here"),
    }
}

/// Of `lib/linear_registers.wgsl`, with so many terms a trip.
fn register_trips(params: &[u8], blocks: usize, terms: usize) -> usize {
    let k = bytemuck::pod_read_unaligned::<kernels::linear::Params>(params).k as usize;
    let pieces = k.div_ceil(kernels::linear::DEEP);
    blocks * (k / terms + k % terms + 2 * pieces) + pieces
}

/// As [`trips`], of a variant of a kernel.
fn trips_of(variant: &Variant, params: &[u8]) -> usize {
    let constant = |name| variant.constants.iter().find(|(c, _)| *c == name).map_or(1, |(_, value)| *value as usize);
    match variant.kernel.module.name {
        "linear_registers_32x16" => {
            let terms = if variant.kernel.entry == "tn" { 2 } else { 4 };
            register_trips(params, kernels::linear_registers_32x16::BLOCKS, terms)
        }
        "linear_registers_48x4" => register_trips(params, kernels::linear_registers_48x4::BLOCKS, 4),
        name if name.starts_with("attention_") => attention_variants::trips(variant, params),
        name if name.starts_with("linear_") => {
            let k = bytemuck::pod_read_unaligned::<kernels::linear::Params>(params).k as usize;
            let staged = constant("DEPTH") * constant("SPLIT_K");
            let at_edges = if variant.cooperative.is_some() { 3 * 16 * (1 + 32) } else { 0 };
            k.div_ceil(staged) * (1 + constant("DEPTH") / 4) + at_edges
        }
        other => panic!("{other}: state its bound here"),
    }
}

#[test]
fn every_kernel_keeps_its_trips_in_bounds_at_the_largest_shapes() {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    largest(&mut store, &mut tape);
    rows(&mut store, &mut tape);
    let mut seen = HashSet::new();
    for command in tape.finish().commands {
        if let Command::Dispatch { kernel, params, .. } = command {
            let bound = trips(kernel, &params);
            assert!(bound < MOST, "{}: {bound} trips", kernel.name);
            seen.insert(kernel.name);
            for variant in ops::groups().filter(|f| f.kernel.name == kernel.name).flat_map(|f| f.variants) {
                if (variant.grid)(&params).is_some() {
                    let trips = trips_of(variant, &params);
                    assert!(trips < MOST, "{} as {}: {trips} trips", kernel.name, variant.name);
                    seen.insert(variant.kernel.name);
                }
            }
        }
    }
    let all = kernels::MODULES.iter().flat_map(|module| module.kernels).map(|kernel| kernel.name);
    // Of this shape of tile no variant takes the gradients of keys: two sums a row of heads of 128 are too many registers.
    let missing: Vec<_> = all.filter(|name| !seen.contains(name)).collect();
    assert_eq!(missing, ["attention_tile_8x128.backward_kv"], "never recorded");
}

#[test]
fn a_longer_sum_is_refused() {
    let refused = |rows, k, n| {
        let recorded = std::panic::catch_unwind(|| {
            let mut store = Store::default();
            let mut declare = |rows, cols| store.declare("x", Role::Weights, rows, cols);
            let [x, dx, w, dw] = [declare(rows, k), declare(rows, k), declare(n, k), declare(n, k)];
            let mut tape = Tape::new();
            tape.train(x, dx);
            tape.train(w, dw);
            let y = ops::linear(&mut tape, x, w, None);
            tape.gradient(y);
            tape.backward();
        });
        recorded.is_err()
    };
    assert!(!refused(LONGEST, LONGEST, LONGEST));
    assert!(refused(LONGEST + 4, 4, 4));
    assert!(refused(4, LONGEST + 4, 4));
    assert!(refused(4, 4, LONGEST + 4));
}

fn ones(rows: usize, cols: usize) -> Mat {
    Mat::new(rows, cols, vec![1.0; rows * cols])
}

fn all_are(what: &str, values: &[f32], wanted: usize) {
    let wanted = wanted as f32; // exact below 2^24
    let wrong = values.iter().position(|x| *x != wanted);
    assert_eq!(wrong.map(|at| values[at]), None, "{what}: not {wanted} at {wrong:?}");
}

fn gradients(outcome: &crate::common::Outcome) -> Vec<&Vec<f32>> {
    outcome.gradients.iter().flatten().collect()
}

#[test]
fn long_products_are_complete() {
    // Multiples of 4 and others: each variant of the product has a kernel for both.
    for (t, n, k) in [
        (LONGEST, 4, 8),
        (LONGEST, 3, 5),
        (40, LONGEST, 4),
        (5, LONGEST - 1, 3),
        (40, 4, LONGEST),
        (1, 4, LONGEST),
        (5, 3, LONGEST - 1),
    ] {
        let (x, w, b) = (ones(t, k), ones(n, k), Mat::zeros(1, n));
        let inputs = [&x, &w, &b].map(Input::Activation);
        let outcome = run(&inputs, Some(&ones(t, n)), |tape, x| ops::linear(tape, x[0], x[1], Some(x[2])));
        let what = |part: &str| format!("[{t}, {k}] x [{n}, {k}]: {part}");
        all_are(&what("y"), &outcome.value, k);
        for (gradient, (part, wanted)) in gradients(&outcome).into_iter().zip([("dx", n), ("dw", t), ("db", t)]) {
            all_are(&what(part), gradient, wanted);
        }
    }
}

#[test]
fn a_row_of_one_token_is_summed_completely() {
    let (tokens, order): (Vec<u32>, Vec<u32>) = (vec![3; LONGEST], (0..LONGEST as u32).collect());
    let table = ones(5, 2);
    let inputs = [Input::Activation(&table), Input::Index(&tokens, 1, LONGEST), Input::Index(&order, 1, LONGEST)];
    let outcome = run(&inputs, Some(&ones(LONGEST, 2)), |tape, x| ops::embedding(tape, x[1], x[2], &[x[0]], 1.0));
    assert_eq!(*gradients(&outcome)[0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 32_000.0, 32_000.0, 0.0, 0.0]);
}

#[test]
fn a_norms_weight_sums_many_rows() {
    // x = 1 and no eps to speak of: every row's share of dw is 1.
    let (x, w) = (ones(70_000, 4), ones(1, 2));
    let inputs = [&x, &w].map(Input::Activation);
    let outcome =
        run(&inputs, Some(&ones(70_000, 4)), |tape, x| ops::rms_norm(tape, x[0], x[1], Norm { eps: 1e-30, ..NORM }));
    all_are("dw", gradients(&outcome)[1], 140_000);
}

#[test]
fn a_large_vocabulary_is_summed_completely() {
    // All logits equal: loss and entropy are ln V, and the gradient of hidden states sums to nothing but the target's part.
    let (t, c, vocab) = (3, 4, 151_936);
    let hidden = ones(t, c);
    let shards: Vec<Mat> = (0..vocab).step_by(SHARD).map(|first| ones(SHARD.min(vocab - first), c)).collect();
    let mut inputs = vec![Input::Activation(&hidden)];
    inputs.extend(shards.iter().map(Input::Activation));
    let n = inputs.len();
    let (ids, weights) = ([0, 70_000, vocab as u32 - 1], [1f32.to_bits(); 3]);
    let schedule = Scalars::default().row(0).map(f32::to_bits);
    inputs.extend([
        Input::Index(&ids, 1, t),
        Input::Index(&weights, 1, t),
        Input::Index(&schedule, 1, schedule.len()),
    ]);
    let outcome = run(&inputs, None, |tape, x| {
        let stats = tape.transient(t, STATS);
        let [ids, weights, schedule] = [x[n], x[n + 1], x[n + 2]];
        let targets = Targets { ids, weights, scalars: schedule, offsets: ids, watched: ids, stats };
        let head = Head { hidden: x[0], weight: &x[1..n], softcap: None };
        head_loss(tape, head, &Second::None, targets, t);
        stats
    });
    let want = (vocab as f64).ln();
    for (token, stats) in outcome.value.chunks(STATS).enumerate() {
        for at in [ops::head_loss::LOSS, ops::head_loss::ENTROPY] {
            assert!(
                (f64::from(stats[at]) - want).abs() < 2e-6 * want,
                "token {token}: {} is not ln V = {want}",
                stats[at]
            );
        }
        assert_eq!(stats[ops::head_loss::MARGIN], 0.0);
    }
    let g = gradients(&outcome);
    // 31,744 equal terms of 1 / V each, one after the other, all rounded alike; a shard cut short would miss a tenth.
    assert!(g[0].iter().all(|d| d.abs() < 1e-3), "dhidden {:?}", g[0]);
    // Each of the other rows gets 3 / V in every column.
    let dw: f64 = g[1..].iter().flat_map(|shard| shard.iter()).filter(|d| **d > 0.0).map(|d| f64::from(*d)).sum();
    let want = 3.0 * (vocab as f64 - 3.0) / vocab as f64 * c as f64;
    assert!((dw - want).abs() < 1e-5 * want, "dW sums to {dw}, not {want}");
}

#[test]
fn a_long_document_is_attended_completely() {
    // Equal keys: query i weighs each of its i + 1 keys alike, so o = 1 where v = 1, and dv_j = H sum over i >= j of
    // 1 / (i + 1). backward_kv comes to 20,032 trips.
    let (t, h, d) = (2000, 32, 4);
    let (q, k, v) = (Mat::zeros(t, h * d), Mat::zeros(t, d), ones(t, d));
    let spans: Vec<u32> = (0..t as u32).flat_map(|i| [0, i + 1]).collect();
    let ends = vec![t as u32; t];
    let inputs = [
        Input::Frozen(&q),
        Input::Frozen(&k),
        Input::Activation(&v),
        Input::Index(&spans, t, 2),
        Input::Index(&ends, 1, t),
    ];
    let heads = Heads { heads: h, kv_heads: 1, head_dim: d };
    let outcome = run(&inputs, Some(&ones(t, h * d)), |tape, x| {
        ops::attention(tape, [x[0], x[1], x[2]], heads, Scores::plain(d), x[3], x[4])
    });
    assert!(outcome.value.iter().all(|o| (o - 1.0).abs() < 2e-5), "o is not 1 everywhere");
    let mut want = 0.0;
    for j in (0..t).rev() {
        want += h as f64 / (j as f64 + 1.0);
        let got = f64::from(gradients(&outcome)[0][j * d]);
        assert!((got - want).abs() < 1e-4 * want.max(1e-3), "dv of key {j}: {got}, not {want}");
    }
}

#[test]
fn the_norm_of_billions_of_gradients_is_complete() {
    // The second stage alone, over as many partial sums as 8.5e9 gradients have.
    let n = (MOST - 40) * 32;
    let mut store = Store::default();
    let mut declare = |cols| store.declare("x", Role::Inputs, 1, cols);
    let (partials, schedule, norm) = (declare(n), declare(kernels::adamw::SCALARS), declare(3));
    let mut tape = Tape::new();
    let params = kernels::adamw::Params { n: n as u32, first: 0 };
    tape.run(kernels::adamw::Clip { partials, scaling: schedule, norm }, params, Grid::linear(1));
    let memory = Memory::allocate(gpu(), &store).expect("memory");
    memory.write(gpu(), partials, 0, &vec![1f32; n]);
    memory.write(gpu(), schedule, 0, &Scalars::default().row(0));
    Plan::new(tape.finish()).load(gpu(), &memory).expect("slots").run(gpu()).expect("run");
    let got: Vec<f32> = memory.read(gpu(), norm).expect("read");
    assert_eq!(got, [(n as f32).sqrt(), 1.0, 1.0], "the norm, and scales");
}

#[test]
fn order_of_random_tokens_does_not_matter_to_completeness() {
    // Runs of every length up to the whole row.
    let mut rng = Rng(12);
    let tokens: Vec<u32> = (0..4000).map(|_| (rng.below(60) * rng.below(60) / 60) as u32).collect();
    let mut order: Vec<u32> = (0..4000).collect();
    order.sort_by_key(|t| tokens[*t as usize]);
    let table = ones(60, 1);
    let inputs = [Input::Activation(&table), Input::Index(&tokens, 1, 4000), Input::Index(&order, 1, 4000)];
    let outcome = run(&inputs, Some(&ones(4000, 1)), |tape, x| ops::embedding(tape, x[1], x[2], &[x[0]], 1.0));
    for (v, count) in gradients(&outcome)[0].iter().enumerate() {
        assert_eq!(*count as usize, tokens.iter().filter(|t| **t as usize == v).count(), "token {v}");
    }
}
