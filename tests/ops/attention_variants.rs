//! Attention's other variants, each that the device offers, against the same oracle as the portable one.

use std::collections::BTreeSet;

use underdog::{
    gpu::{Gpu, KernelGroup, Variant},
    graph::{
        ops::{self, Heads, Scores},
        tape::{Command, Tape},
        tensor::{Role, Store},
    },
    kernels::attention,
};

use crate::{
    attention::{Attention, TOLERANCE, ends, heads, spans},
    check::Oracle,
    common::{Input, Mat, Rng, compare, run_on},
    skip::skip,
};

/// Factors are rounded to f16, 5e-4 of each: scores of about 10 are off by 5e-3, and so are their weights.
const HALF_TOLERANCE: f64 = 6e-3;

/// An upper bound of the trips of an invocation of a variant, whatever a compiler leaves as a loop: those over staged vectors
/// and over places, but not those over the rows, columns and numbers of an
/// invocation, or the squares of a strip and of a staged part's depth.
pub(crate) fn trips(variant: &Variant, params: &[u8]) -> usize {
    let p: attention::Params = bytemuck::pod_read_unaligned(params);
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let set =
        |name, default| variant.constants.iter().find(|(of, _)| *of == name).map_or(default, |(_, x)| *x as usize);
    let chunks = (p.head_dim as usize).div_ceil(32);
    let range = (p.end - p.begin) as usize;

    let module = variant.kernel.module.name;
    if module == "attention_registers" {
        let (places, products) = match variant.kernel.entry {
            "forward" => (range, 2),
            "backward_q" => (range, 3),
            _ => (range * (p.q_heads / p.kv_heads) as usize, 4),
        };
        return places.div_ceil(16) * (1 + products * (p.head_dim as usize).div_ceil(4));
    }
    if let Some((side, widest)) = module.strip_prefix("attention_coop").and_then(|rest| rest.split_once('_')) {
        let (side, slots) = (number(side), number(widest) / 64);
        let strips = 1024 / (side * side) * set("SUBGROUP", 32) / 128;
        let along = chunks * (1 + 8 + strips);
        let over = 4 * (1 + 2 * slots + strips);
        let gain = 8 * (1 + slots);
        return match variant.kernel.entry {
            "forward" => range.div_ceil(64) * (1 + along + over + 15),
            "backward_q" => gain + range.div_ceil(64) * (1 + 2 * along + over),
            _ => (range * (p.q_heads / p.kv_heads) as usize).div_ceil(64) * (1 + gain + 2 * along + over),
        };
    }
    let (each, widest) = module.rsplit('_').next().and_then(|tile| tile.split_once('x')).expect("rows x columns");
    let (each, slots) = (number(each), number(widest) / 64);
    let (tall, part) = (set("TALL", 8), set("PART", 8));
    let along = chunks * (1 + each.div_ceil(2) + 32_usize.div_ceil(tall) + 8);
    let over = 64 / part * (1 + (part * slots).div_ceil(tall) + part / 4);
    match variant.kernel.entry {
        "forward" => range.div_ceil(64) * (1 + along + over + 15),
        "backward_q" => range.div_ceil(64) * (1 + 2 * along + over),
        "backward_kv" => (range * (p.q_heads / p.kv_heads) as usize).div_ceil(64) * (1 + 2 * along + 2 * over),
        other => panic!("{other}: state its bound here"),
    }
}

/// What attention of these shapes dispatches: kernels and their immediates.
fn dispatches(tokens: usize, shape: Heads, scores: Scores) -> Vec<(&'static str, Vec<u8>)> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    let mut declare = |cols| store.declare("x", Role::Inputs, tokens, cols);
    let qkv = [shape.heads, shape.kv_heads, shape.kv_heads].map(|h| declare(h * shape.head_dim));
    let [spans, ends] = [2, 1].map(&mut declare);
    for x in qkv {
        let dx = declare(x.cols);
        tape.train(x, dx);
    }
    let y = ops::attention(&mut tape, qkv, shape, scores, spans, ends);
    tape.gradient(y);
    tape.backward();
    let dispatch = |command| match command {
        Command::Dispatch { kernel, params, .. } => Some((kernel.name, params)),
        _ => None,
    };
    tape.finish().commands.into_iter().filter_map(dispatch).collect()
}

/// The variants that the device offers and that take all of a kernel's dispatches.
fn variants(gpu: &Gpu, group: &'static KernelGroup, dispatches: &[(&str, Vec<u8>)]) -> Vec<&'static Variant> {
    let takes = |variant: &Variant| {
        let mut own = dispatches.iter().filter(|(name, _)| *name == group.kernel.name);
        own.all(|(_, params)| (variant.grid)(params).is_some())
    };
    group.variants.iter().filter(|variant| gpu.offers(variant) && takes(variant)).collect()
}

/// Runs a case in each variant once: the n-th of every kernel together, until all had their turn.
fn check(gpu: &Gpu, seen: &mut BTreeSet<String>, documents: &[usize], shape: Heads, scores: Scores, sharpness: f64) {
    let t = documents.iter().sum();
    let mut rng = Rng((t + shape.head_dim) as u64);
    let Heads { heads, kv_heads, head_dim } = shape;
    let q = rng.mat(t, heads * head_dim, 0.1, sharpness);
    let [k, v] = [0, 1].map(|_| rng.mat(t, kv_heads * head_dim, 0.1, 1.0));
    // Also as small as a long row's are: f16 holds none below 6e-8.
    let size = [1e-7, 1.0, 1e3][(t + head_dim) % 3];
    let mut dy = rng.mat(t, heads * head_dim, 0.1, 1.0);
    dy.data.iter_mut().for_each(|g| *g = f64::from((*g * size) as f32));
    let oracle = Attention { heads: shape, scores, spans: spans(documents) };
    let x = [q, k, v];
    let (want, gradients) = (oracle.forward(&x), oracle.backward(&x, &dy));
    let priors =
        [0, 1, 2].map(|i: usize| rng.mat(x[i].rows, x[i].cols, 0.0, f64::from(gradients[i].largest() as f32)));
    let (spans, ends) = (oracle.spans.concat(), ends(documents));

    let dispatches = dispatches(t, shape, scores);
    let groups = ops::groups().filter(|group| group.kernel.name.starts_with("attention."));
    let groups: Vec<_> = groups.map(|group| (group, variants(gpu, group, &dispatches))).collect();
    for turn in 0..groups.iter().map(|(_, variants)| variants.len()).max().unwrap_or(0) {
        let mut half = false;
        let mut names = Vec::new();
        for (group, variants) in &groups {
            let variant = (!variants.is_empty()).then(|| variants[turn % variants.len()]);
            for (_, params) in dispatches.iter().filter(|(kernel, _)| *kernel == group.kernel.name) {
                gpu.choose(group, (group.class)(params), variant);
            }
            if let Some(variant) = variant {
                half |= variant.half;
                let name = format!("{} {}", group.kernel.name, variant.name);
                seen.insert(name.clone());
                names.push(name);
            }
        }
        let tolerance = if half { HALF_TOLERANCE } else { TOLERANCE };
        let name = format!("{names:?}, documents of {documents:?}, {shape:?}, {scores:?}");
        // Written and added, each gradient in turn.
        for added in 0..2 {
            let of = |i: usize| {
                if i % 2 == added { Input::Param(&x[i], &priors[i]) } else { Input::Activation(&x[i]) }
            };
            let inputs = [of(0), of(1), of(2), Input::Index(&spans, t, 2), Input::Index(&ends, 1, t)];
            let outcome = run_on(gpu, &inputs, Some(&dy), usize::MAX, |tape, x| {
                ops::attention(tape, [x[0], x[1], x[2]], shape, scores, x[3], x[4])
            });
            let mut found = vec![compare(&format!("{name}: y"), &outcome.value, &want, tolerance)];
            for i in 0..3 {
                let prior = |at: usize| if i % 2 == added { priors[i].data[at] } else { 0.0 };
                let sum = gradients[i].data.iter().enumerate().map(|(at, g)| g + prior(at));
                let sum = Mat::new(x[i].rows, x[i].cols, sum.collect());
                let got = outcome.gradients[i].as_ref().expect("trained");
                found.push(compare(&format!("{name}: gradient of input {i}"), got, &sum, tolerance));
            }
            let failures: Vec<String> = found.into_iter().filter_map(Result::err).collect();
            assert!(failures.is_empty(), "{}", failures.join("\n"));
        }
    }
}

#[test]
fn every_variant_agrees_with_the_oracle() {
    let gpu = underdog::platform::open(None).unwrap_or_else(|error| panic!("{error}"));
    let mut seen = BTreeSet::new();
    let capped = |scale, softcap, window| Scores { scale, softcap, window };
    for (documents, shape, scores, sharpness) in [
        (vec![1, 2], heads(1, 1, 64), None, 1.0),
        (vec![9, 3], heads(2, 1, 4), None, 1.0),
        (vec![3, 1, 17], heads(2, 2, 32), None, 2.0),
        (vec![127], heads(2, 1, 64), None, 1.0),
        (vec![17, 3, 127, 1], heads(8, 1, 64), None, 1.0),
        (vec![257, 3], heads(3, 3, 64), Some(capped(0.1, Some(5.0), Some(100))), 3.0),
        (vec![127, 1, 3], heads(4, 2, 128), None, 1.0),
        (vec![17, 257], heads(2, 1, 128), Some(capped(0.09, None, Some(2))), 1.0),
        (vec![66], heads(6, 2, 80), Some(capped(0.1, None, Some(33))), 1.0),
        (vec![40, 30], heads(3, 1, 96), None, 1.0),
        (vec![17, 70], heads(2, 1, 256), Some(capped(0.05, Some(10.0), Some(40))), 2.0),
        // Ranges of queries and keys are cut: every dispatch but the first adds.
        (vec![100, 500], heads(8, 1, 128), None, 1.0),
    ] {
        let scores = scores.unwrap_or(Scores::plain(shape.head_dim));
        check(&gpu, &mut seen, &documents, shape, scores, sharpness);
    }
    for group in ops::groups().filter(|group| group.kernel.name.starts_with("attention.")) {
        for variant in group.variants {
            let name = format!("{} {}", group.kernel.name, variant.name);
            if gpu.offers(variant) {
                assert!(seen.contains(&name), "{name} took no case");
            } else {
                let Variant { workgroup_bytes, cooperative, half, .. } = variant;
                skip(&name, &format!("wants {workgroup_bytes} bytes a workgroup, f16: {half}, {cooperative:?}"));
            }
        }
    }
}
