//! Products with packed, frozen matrices and rows of packed tables, against the numbers that the format holds.

use underdog::{
    gpu::{Gpu, kernels::linear::Params},
    ops,
    tensor::{Format, Packed},
};

use crate::{
    check::Oracle,
    common::{Input, Mat, Rng, compare, run, run_on},
    linear::{Linear, matmul_nn},
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
        for (t, n, k, bias) in [
            (1, 4, 64, false),
            (3, 8, 64, true),
            (7, 132, 128, true),
            (9, 4, 192, true),
            (33, 128, 64, false),
            (127, 260, 320, true),
            (257, 36, 1088, true),
        ] {
            let mut rng = Rng((t * 31 + n * 7 + k) as u64);
            let (x, w) = (rng.mat(t, k, 0.2, 1.0), rng.mat(n, k, 0.1, 0.5));
            let (b, prior) = (rng.mat(1, n, -0.3, 1.0), rng.mat(t, k, 0.0, 3.0));
            let dy = rng.mat(t, n, 0.1, 1.0);
            let seen = held(&w, format);
            let mut inputs = vec![Input::Activation(&x), Input::Packed(&w, format)];
            let mut of = vec![x.clone(), seen.clone()];
            if bias {
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
fn every_form_of_packed_products() {
    let gpu = Gpu::open(None).unwrap_or_else(|error| panic!("{error}"));
    let families = || ops::families().filter(|family| family.kernel.module.name.starts_with("linear_"));
    assert_eq!(families().count(), 2 * FORMATS.len());
    for form in families().next().map_or(&[][..], |family| family.alternatives) {
        if !gpu.offers(form) {
            eprintln!("SKIPPED: every_form_of_packed_products: the device does not offer {}", form.name);
            continue;
        }
        for format in FORMATS {
            for (t, n, k) in [(9, 64, 128), (127, 260, 320)] {
                let mut rng = Rng((t + n + k) as u64);
                let (x, w) = (rng.mat(t, k, 0.2, 1.0), rng.mat(n, k, 0.1, 0.5));
                let (b, dy) = (rng.mat(1, n, -0.3, 1.0), rng.mat(t, n, 0.1, 1.0));
                let seen = held(&w, format);
                for family in families() {
                    let same = family.alternatives.iter().find(|other| other.name == form.name);
                    let params = |m, n, k| Params { m, n, k, ldx: 0, ldw: 0, ldy: 0, accumulate: 0, has_bias: 0 };
                    for [m, n, k] in [[t, n, k], [t, k, n]] {
                        let class = (family.class)(bytemuck::bytes_of(&params(m as u32, n as u32, k as u32)));
                        gpu.choose(family, class, same);
                    }
                }
                let inputs = [Input::Activation(&x), Input::Packed(&w, format), Input::Frozen(&b)];
                let record = |tape: &mut _, x: &[_]| ops::linear(tape, x[0], x[1], Some(x[2]));
                let outcome = run_on(&gpu, &inputs, Some(&dy), usize::MAX, record);
                let what = |part: &str| format!("{}, {format:?} [{t}, {k}] x [{n}, {k}], {part}", form.name);
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
