//! Noise on rows, and multiples.

use underdog::graph::ops::{self, Noise};

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Rng, run},
};

/// PCG-RXS-M-XS-32 with arithmetic that cannot overflow.
pub(crate) fn pcg(n: u32) -> u32 {
    const WRAP: u64 = 1 << 32;
    let state = (u64::from(n) * 747_796_405 + 2_891_336_453) % WRAP;
    let word = ((state >> ((state >> 28) + 4)) ^ state) * 277_803_737 % WRAP;
    ((word >> 22) ^ word) as u32
}

/// In [-1, 1), a multiple of 2^-23.
fn uniform(key: u32, col: usize) -> f64 {
    let bits = pcg(key.wrapping_add(col as u32)) >> 8;
    f64::from(bits) / f64::from(1 << 23) - 1.0
}

/// Input: x. The value is `x + noise`, and with `twice` another `x`.
struct Noisy {
    keys: Vec<u32>,
    amplitudes: Vec<f64>,
    twice: bool,
}

impl Oracle for Noisy {
    fn forward(&self, x: &[Mat]) -> Mat {
        let mut y = x[0].clone();
        for t in 0..y.rows {
            let (key, amplitude) = (self.keys[t], self.amplitudes[t]);
            for (c, y) in y.row_mut(t).iter_mut().enumerate() {
                *y = *y * if self.twice { 2.0 } else { 1.0 } + amplitude * uniform(key, c);
            }
        }
        y
    }

    fn backward(&self, _: &[Mat], dy: &Mat) -> Vec<Mat> {
        let uses = if self.twice { 2.0 } else { 1.0 };
        vec![Mat::new(dy.rows, dy.cols, dy.data.iter().map(|d| d * uses).collect())]
    }
}

pub(crate) fn words(values: &[f64]) -> Vec<u32> {
    values.iter().map(|x| (*x as f32).to_bits()).collect()
}

#[test]
fn noise() {
    let mut cases = Cases::new("noise", 2e-7); // two roundings
    for (t, c) in [(1, 1), (5, 127), (127, 3), (1757, 2), (70, 64)] {
        for twice in [false, true] {
            let mut rng = Rng((t + c) as u64);
            let keys: Vec<u32> = (0..t).map(|_| rng.next() as u32).collect();
            let amplitudes: Vec<f64> =
                (0..t).map(|t| if t % 3 == 1 { 0.0 } else { f64::from(rng.uniform() as f32) }).collect();
            let case = Case {
                name: format!("[{t}, {c}], twice: {twice}"),
                indices: vec![(keys.clone(), 1, t), (words(&amplitudes), 1, t)],
                oracle: &Noisy { keys, amplitudes, twice },
                seeds_itself: None,
                record: &|tape, x, at| {
                    let y = ops::noise(tape, x[0], Noise { keys: at[0], amplitudes: at[1] });
                    if twice { ops::add(tape, y, x[0]) } else { y }
                },
            };
            cases.check(&case, &[rng.mat(t, c, 0.0, 1.0)]);
        }
    }
    cases.finish();
}

/// On zeros, an amplitude of 1 shows the random numbers themselves; one of 0 leaves every bit of x.
#[test]
fn random_numbers_are_those_of_the_host() {
    let (cols, keys) = (300, [0, 1, 7, 916_081_683, u32::MAX, u32::MAX - 100]);
    let of = |x: &Mat, amplitude: f64| {
        let amplitudes = words(&[amplitude; 6]);
        let inputs = [Input::Frozen(x), Input::Index(&keys, 1, 6), Input::Index(&amplitudes, 1, 6)];
        let outcome = run(&inputs, None, |tape, x| ops::noise(tape, x[0], Noise { keys: x[1], amplitudes: x[2] }));
        outcome.value.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let want = keys.iter().flat_map(|key| (0..cols).map(|c| uniform(*key, c)));
    assert_eq!(of(&Mat::zeros(6, cols), 1.0), words(&want.collect::<Vec<_>>()));
    let x = Rng(3).mat(6, cols, 0.0, 1.0);
    assert_eq!(of(&x, 0.0), words(&x.data));
}

/// Input: x. The value is `factor x`, and with `twice` another `x`.
struct Scaled {
    factor: f64,
    twice: bool,
}

impl Scaled {
    fn times(&self, x: &Mat) -> Mat {
        let factor = self.factor + if self.twice { 1.0 } else { 0.0 };
        Mat::new(x.rows, x.cols, x.data.iter().map(|x| x * factor).collect())
    }
}

impl Oracle for Scaled {
    fn forward(&self, x: &[Mat]) -> Mat {
        self.times(&x[0])
    }

    fn backward(&self, _: &[Mat], dy: &Mat) -> Vec<Mat> {
        vec![self.times(dy)]
    }
}

#[test]
fn scale() {
    let mut cases = Cases::new("scale", 2e-7); // two roundings
    for (t, c, factor) in [(1, 1, 0.0), (127, 3, 0.375), (5, 127, -2.5), (1757, 2, 0.3), (64, 64, 1.0)] {
        for twice in [false, true] {
            let factor = factor as f32;
            let case = Case {
                name: format!("{factor} times [{t}, {c}], twice: {twice}"),
                indices: vec![],
                oracle: &Scaled { factor: f64::from(factor), twice },
                seeds_itself: None,
                record: &|tape, x, _| {
                    let y = ops::scale(tape, x[0], factor);
                    if twice { ops::add(tape, y, x[0]) } else { y }
                },
            };
            cases.check(&case, &[Rng((t + c) as u64).mat(t, c, 0.0, 1.0)]);
        }
    }
    cases.finish();
}
