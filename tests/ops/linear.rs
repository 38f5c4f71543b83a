//! `y = x W^T + b`, and through its bias gradient the column sum; `x W^T` and a residual.

use underdog::graph::ops;

use crate::{
    check::{Case, Cases, Oracle},
    common::{Mat, Rng},
};

/// Inputs: x `[T, K]`, W `[N, K]`, perhaps a bias `[1, N]` or a residual `[T, N]`.
pub(crate) struct Linear;

impl Oracle for Linear {
    fn forward(&self, x: &[Mat]) -> Mat {
        let mut y = matmul_nt(&x[0], &x[1]);
        if let Some(added) = x.get(2) {
            for t in 0..y.rows {
                y.row_mut(t).iter_mut().zip(added.row(t % added.rows)).for_each(|(y, b)| *y += b);
            }
        }
        y
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let mut gradients = vec![matmul_nn(dy, &x[1]), matmul_tn(dy, &x[0])];
        if let Some(added) = x.get(2) {
            let mut db = Mat::zeros(added.rows, dy.cols);
            for t in 0..dy.rows {
                db.row_mut(t % added.rows).iter_mut().zip(dy.row(t)).for_each(|(b, d)| *b += d);
            }
            gradients.push(db);
        }
        gradients
    }
}

/// `A B^T`
pub(crate) fn matmul_nt(a: &Mat, b: &Mat) -> Mat {
    let mut y = Mat::zeros(a.rows, b.rows);
    for r in 0..a.rows {
        for c in 0..b.rows {
            y.data[r * b.rows + c] = a.row(r).iter().zip(b.row(c)).map(|(a, b)| a * b).sum();
        }
    }
    y
}

/// `A B`
pub(crate) fn matmul_nn(a: &Mat, b: &Mat) -> Mat {
    let mut y = Mat::zeros(a.rows, b.cols);
    for r in 0..a.rows {
        for (k, a) in a.row(r).iter().enumerate() {
            y.row_mut(r).iter_mut().zip(b.row(k)).for_each(|(y, b)| *y += a * b);
        }
    }
    y
}

/// `A^T B`
pub(crate) fn matmul_tn(a: &Mat, b: &Mat) -> Mat {
    let mut y = Mat::zeros(a.cols, b.cols);
    for k in 0..a.rows {
        for (r, a) in a.row(k).iter().enumerate() {
            y.row_mut(r).iter_mut().zip(b.row(k)).for_each(|(y, b)| *y += a * b);
        }
    }
    y
}

#[test]
fn linear() {
    // Sums of up to 1,757 products in f32, one after the other.
    let mut cases = Cases::new("linear", 4e-6);
    let cases_of = |(t, n, k, added): (usize, usize, usize, bool)| match added {
        true => vec![(t, n, k, 1), (t, n, k, t)],
        false => vec![(t, n, k, 0)],
    };
    let shapes = [
        (1, 1, 1, false),
        (1, 1, 1, true),
        (2, 4, 8, true),
        (5, 3, 7, true),
        (33, 132, 4, true),
        (31, 131, 5, false),
        (127, 127, 127, true),
        (128, 128, 128, true),
        (1, 1757, 127, true),
        (1, 1760, 128, false),
        (127, 1, 1757, true),
        (128, 4, 1756, true),
        (1757, 127, 1, true),
        (1757, 1, 127, true),
        (1756, 128, 4, true),
        (600, 36, 20, true),
        (4, 6, 8, true),
        (4, 8, 6, true),
        (6, 8, 8, true),
    ];
    for (t, n, k, added) in shapes.into_iter().flat_map(cases_of) {
        let mut rng = Rng((t * 31 + n * 7 + k) as u64);
        let mut x = vec![rng.mat(t, k, 0.2, 1.0), rng.mat(n, k, 0.1, 0.5)];
        if added > 0 {
            x.push(rng.mat(added, n, -0.3, 1.0));
        }
        let case = Case {
            name: format!("[{t}, {k}] x [{n}, {k}], {added} rows added"),
            oracle: &Linear,
            indices: Vec::new(),
            seeds_itself: None,
            record: &|tape, x, _| ops::linear(tape, x[0], x[1], x.get(2).copied()),
        };
        cases.check(&case, &x);
    }
    cases.finish();
}
