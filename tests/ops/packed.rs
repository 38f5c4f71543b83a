//! Products with packed, frozen matrices and rows of packed tables, against the numbers that the format holds.

use underdog::{
    graph::{
        ops,
        tensor::{Format, Packed},
    },
    kernels::linear::Params,
};

use crate::{
    check::Oracle,
    common::{Input, Mat, Rng, compare, run, run_on},
    linear::{Linear, matmul_nn, matmul_tn},
    skip::skip,
};

const FORMATS: [Format; 5] = [Format::Bf16, Format::F16, Format::Q8, Format::Q4, Format::Nf4];

/// The numbers that kernels see of a matrix.
fn held(mat: &Mat, format: Format) -> Mat {
    let packed: Packed = format.pack(&mat.f32());
    Mat::new(mat.rows, mat.cols, format.unpack(&packed).into_iter().map(f64::from).collect())
}

#[test]
fn packed_linear() {
    for format in FORMATS {
        let mut worst: f64 = 0.0;
        for (t, n, k, added) in [
            (1, 4, 64, 0),
            (3, 8, 64, 3),
            (7, 132, 128, 1),
            (9, 4, 192, 1),
            (33, 128, 64, 0),
            (127, 260, 320, 127),
            (257, 36, 1088, 1),
        ] {
            let mut rng = Rng((t * 31 + n * 7 + k) as u64);
            let (x, w) = (rng.mat(t, k, 0.2, 1.0), rng.mat(n, k, 0.1, 0.5));
            let (b, prior) = (rng.mat(added.max(1), n, -0.3, 1.0), rng.mat(t, k, 0.0, 3.0));
            let dy = rng.mat(t, n, 0.1, 1.0);
            let seen = held(&w, format);
            let mut inputs = vec![Input::Activation(&x), Input::Packed(&w, format)];
            let mut of = vec![x.clone(), seen.clone()];
            if added > 0 {
                inputs.push(Input::Frozen(&b));
                of.push(b.clone());
            }
            let record = |tape: &mut _, x: &[_]| ops::linear(tape, x[0], x[1], x.get(2).copied());
            let outcome = run(&inputs, Some(&dy), record);
            let dx = matmul_nn(&dy, &seen);
            inputs[0] = Input::Param(&x, &prior);
            let added = run(&inputs, Some(&dy), record);
            let sum = Mat::new(t, k, dx.data.iter().zip(&prior.data).map(|(a, b)| a + b).collect());
            let gradient = |outcome: &crate::common::Outcome| outcome.gradients[0].clone().unwrap_or_default();
            let what = |part: &str| format!("{format:?} [{t}, {k}] x [{n}, {k}], {part}");
            for compared in [
                compare(&what("y"), &outcome.value, &Linear.forward(&of), 4e-6),
                compare(&what("dx"), &gradient(&outcome), &dx, 4e-6),
                compare(&what("dx, added"), &gradient(&added), &sum, 4e-6),
            ] {
                worst = worst.max(compared.unwrap_or_else(|failure| panic!("{failure}")));
            }
        }
        eprintln!("linear, {format:?}: {worst:.1e}");
    }
}

/// The tiles that a device may take for these products.
#[test]
fn every_variant_of_packed_products() {
    let gpu = underdog::platform::open(None).unwrap_or_else(|error| panic!("{error}"));
    let names = FORMATS.map(|format| format!("linear_packed_{}", format!("{format:?}").to_lowercase()));
    let groups = || ops::groups().filter(|group| names.iter().any(|name| name == group.kernel.module.name));
    assert_eq!(groups().count(), 2 * FORMATS.len());
    for variant in groups().next().map_or(&[][..], |group| group.variants) {
        if !gpu.offers(variant) {
            skip("every_variant_of_packed_products", &format!("the device does not offer {}", variant.name));
            continue;
        }
        for format in FORMATS {
            for (t, n, k, added) in [(9, 64, 128, 1), (127, 260, 320, 127)] {
                let mut rng = Rng((t + n + k) as u64);
                let (x, w) = (rng.mat(t, k, 0.2, 1.0), rng.mat(n, k, 0.1, 0.5));
                let (b, dy) = (rng.mat(added, n, -0.3, 1.0), rng.mat(t, n, 0.1, 1.0));
                let seen = held(&w, format);
                for group in groups() {
                    let same = group.variants.iter().find(|other| other.name == variant.name);
                    let params = |m, n, k| Params { m, n, k, ldx: 0, ldw: 0, ldy: 0, accumulate: 0, addend: 0 };
                    for [m, n, k] in [[t, n, k], [t, k, n]] {
                        let class = (group.class)(bytemuck::bytes_of(&params(m as u32, n as u32, k as u32)));
                        gpu.choose(group, class, same);
                    }
                }
                let inputs = [Input::Activation(&x), Input::Packed(&w, format), Input::Frozen(&b)];
                let record = |tape: &mut _, x: &[_]| ops::linear(tape, x[0], x[1], Some(x[2]));
                let outcome = run_on(&gpu, &inputs, Some(&dy), usize::MAX, record);
                let what = |part: &str| format!("{}, {format:?} [{t}, {k}] x [{n}, {k}], {part}", variant.name);
                let y = Linear.forward(&[x.clone(), seen.clone(), b]);
                let dx = outcome.gradients[0].clone().unwrap_or_default();
                compare(&what("y"), &outcome.value, &y, 4e-6).unwrap_or_else(|failure| panic!("{failure}"));
                compare(&what("dx"), &dx, &matmul_nn(&dy, &seen), 4e-6).unwrap_or_else(|failure| panic!("{failure}"));
            }
        }
    }
}

#[test]
fn packed_rows() {
    for format in FORMATS {
        for (shards, cols) in [(vec![7], 64), (vec![64, 64, 3], 192)] {
            let rows: usize = shards.iter().sum();
            let mut rng = Rng(cols as u64);
            let tables: Vec<Mat> = shards.iter().map(|n| rng.mat(*n, cols, 0.0, 1.0)).collect();
            let tokens: Vec<u32> = rng.indices(50, rows).into_iter().chain([0, rows as u32 - 1]).collect();
            let mut inputs = vec![Input::Index(&tokens, 1, 52)];
            inputs.extend(tables.iter().map(|table| Input::Packed(table, format)));
            let outcome = run(&inputs, None, |tape, x| ops::embedding(tape, x[0], x[0], &x[1..], 1.5));
            let seen: Vec<Mat> = tables.iter().map(|table| held(table, format)).collect();
            let all: Vec<&[f64]> = seen.iter().flat_map(|table| (0..table.rows).map(|r| table.row(r))).collect();
            let want = tokens.iter().flat_map(|t| all[*t as usize].iter().map(|x| 1.5 * x)).collect();
            let want = Mat::new(52, cols, want);
            compare(&format!("{format:?}"), &outcome.value, &want, 1.2e-7)
                .unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

/// Within a rounding by chance of what was added, and near it on average.
fn check_added(what: &str, got: &[f32], want: &Mat) {
    let largest = want.largest();
    let mut sum = 0.0;
    for (i, (got, want)) in got.iter().zip(&want.data).enumerate() {
        let error = f64::from(*got) - want;
        let most = want.abs() / 128.0 + 4e-6 * largest;
        assert!(error.abs() <= most, "{what}, number {i}: got {got}, want {want}, allowed {most:.1e}");
        sum += error / want.abs().max(1e-3 * largest);
    }
    // Roundings are off by half a unit or less, a unit being 1 / 128 of a number at most.
    let mean = (sum / got.len() as f64).abs();
    let allowed = 5.0 * 0.5 / 128.0 / (got.len() as f64).sqrt() + 1e-5;
    assert!(mean < allowed, "{what}: off by {mean:.1e} on average, allowed {allowed:.1e}");
}

#[test]
fn packed_gradients_of_products() {
    // The last is summed in parts, which no rows of its own tell apart.
    for (t, n, k) in [(1, 4, 64), (9, 132, 128), (127, 260, 320), (33, 36, 1088), (5, 8400, 1024)] {
        let mut rng = Rng((t + n + k) as u64);
        let (x, w) = (rng.mat(t, k, 0.2, 1.0), rng.mat(n, k, 0.1, 0.5));
        let (dy, prior) = (rng.mat(t, n, 0.1, 1.0), held(&rng.mat(n, k, 0.0, 3.0), Format::Bf16));
        let inputs = [Input::Activation(&x), Input::PackedParam(&w, &prior, Format::Bf16)];
        let outcome = run(&inputs, Some(&dy), |tape, x| ops::linear(tape, x[0], x[1], None));
        let dw = matmul_tn(&dy, &x);
        let want = Mat::new(n, k, dw.data.iter().zip(&prior.data).map(|(a, b)| a + b).collect());
        let got = outcome.gradients[1].clone().unwrap_or_default();
        check_added(&format!("dW [{n}, {k}] over {t}"), &got, &want);
        let dx = outcome.gradients[0].clone().unwrap_or_default();
        compare("dx", &dx, &matmul_nn(&dy, &held(&w, Format::Bf16)), 4e-6)
            .unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn small_sums_are_not_lost_in_packed_gradients() {
    // A thousandth is a quarter of what bfloat16 tells from 1.
    let (n, k) = (256, 256);
    let (x, w, dy) = (Mat::new(1, k, vec![1.0; k]), Mat::zeros(n, k), Mat::new(1, n, vec![f64::from(1e-3f32); n]));
    let prior = Mat::new(n, k, vec![1.0; n * k]);
    let inputs = [Input::Frozen(&x), Input::PackedParam(&w, &prior, Format::Bf16)];
    let outcome = run(&inputs, Some(&dy), |tape, x| ops::linear(tape, x[0], x[1], None));
    let got = outcome.gradients[1].clone().unwrap_or_default();
    let mean = got.iter().map(|x| f64::from(*x)).sum::<f64>() / got.len() as f64;
    // One in eight goes up by 1 / 128: five deviations of the mean of 65,536.
    assert!((mean - 1.001).abs() < 5.0 * 0.34 / 128.0 / 256.0, "{mean}");
}

#[test]
fn packed_gradients_of_rows() {
    for (shards, cols, count) in [(vec![7], 64, 1), (vec![64, 64, 4], 192, 300)] {
        let rows: usize = shards.iter().sum();
        let mut rng = Rng(cols as u64);
        let tables: Vec<Mat> = shards.iter().map(|n| rng.mat(*n, cols, 0.0, 1.0)).collect();
        let priors: Vec<Mat> = shards.iter().map(|n| held(&rng.mat(*n, cols, 0.0, 3.0), Format::Bf16)).collect();
        let tokens = rng.indices(count, rows);
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.sort_by_key(|t| tokens[*t as usize]);
        let dy = rng.mat(count, cols, 0.1, 1.0);
        let mut inputs = vec![Input::Index(&tokens, 1, count), Input::Index(&order, 1, count)];
        let params = tables.iter().zip(&priors);
        inputs.extend(params.map(|(table, prior)| Input::PackedParam(table, prior, Format::Bf16)));
        let outcome = run(&inputs, Some(&dy), |tape, x| ops::embedding(tape, x[0], x[1], &x[2..], 1.5));
        let mut first = 0;
        for (i, prior) in priors.iter().enumerate() {
            let mut want = prior.clone();
            for (t, token) in tokens.iter().enumerate() {
                if let Some(row) = (*token as usize).checked_sub(first).filter(|row| *row < want.rows) {
                    want.row_mut(row).iter_mut().zip(dy.row(t)).for_each(|(sum, d)| *sum += 1.5 * d);
                }
            }
            first += prior.rows;
            let got = outcome.gradients[2 + i].clone().unwrap_or_default();
            check_added(&format!("shard {i} of {shards:?}"), &got, &want);
        }
    }
}
