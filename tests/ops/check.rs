//! One op's case: the device against the oracle, the oracle against finite differences.

use underdog::graph::{tape::Tape, tensor::Tensor};

use crate::common::{Input, Mat, Rng, compare, run};

/// What an op computes, in f64, from its formula.
pub(crate) trait Oracle {
    fn forward(&self, x: &[Mat]) -> Mat;
    /// The gradient of every input for the upstream gradient `dy`.
    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat>;
}

/// The cases of one op; all of them run before the first failure is reported.
pub(crate) struct Cases {
    op: &'static str,
    /// Largest difference as a share of the largest number of the tensor.
    tolerance: f64,
    worst: f64,
    failures: Vec<String>,
    rng: Rng,
}

/// Records the op over the matrices and the indices of a case.
pub(crate) type Record<'a> = dyn Fn(&mut Tape, &[Tensor], &[Tensor]) -> Tensor + 'a;

/// What a case consists of beside its matrices.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    pub(crate) oracle: &'a dyn Oracle,
    /// Index inputs, `[rows, cols]` each, handed to `record` behind the matrices.
    pub(crate) indices: Vec<(Vec<u32>, usize, usize)>,
    /// `None`: random. Else the op seeds its own gradient and this is what it stands for.
    pub(crate) seeds_itself: Option<Mat>,
    pub(crate) record: &'a Record<'a>,
}

/// Inputs of more elements than this are not checked by finite differences.
const CHEAP: usize = 3000;
/// Inputs of more elements than this are not each trained alone.
const MODERATE: usize = 50_000;

fn elements(x: &[Mat]) -> usize {
    x.iter().map(|x| x.data.len()).sum()
}

/// As [`compare`], for each column alone.
pub(crate) fn compare_columns(what: &str, got: &[f32], want: &Mat, tolerance: f64) -> Vec<Result<f64, String>> {
    let column = |c: usize| {
        let of = |r: usize| r * want.cols + c;
        let got: Vec<f32> = (0..want.rows).map(|r| got[of(r)]).collect();
        let want = Mat::new(want.rows, 1, (0..want.rows).map(|r| want.data[of(r)]).collect());
        compare(&format!("{what}, column {c}"), &got, &want, tolerance)
    };
    (0..want.cols).map(column).collect()
}

impl Cases {
    pub(crate) fn new(op: &'static str, tolerance: f64) -> Self {
        Self { op, tolerance, worst: 0.0, failures: Vec::new(), rng: Rng(op.len() as u64) }
    }

    /// Runs a case with all inputs as activations (gradients written), as parameters (added to), and each trained alone.
    pub(crate) fn check(&mut self, case: &Case<'_>, x: &[Mat]) {
        self.check_at(case, x, elements(x) <= CHEAP);
    }

    /// As [`Self::check`], where the function bends within a step of finite differences.
    pub(crate) fn check_without_differences(&mut self, case: &Case<'_>, x: &[Mat]) {
        self.check_at(case, x, false);
    }

    fn check_at(&mut self, case: &Case<'_>, x: &[Mat], differences: bool) {
        let want = case.oracle.forward(x);
        let random = self.rng.mat(want.rows, want.cols, 0.1, 1.0);
        let dy = case.seeds_itself.clone().unwrap_or(random);
        let gradients = case.oracle.backward(x, &dy);
        if differences {
            self.differences(case, x, &dy, &gradients);
        }
        // A parameter's gradient starts at numbers of the size of what is added.
        let priors: Vec<Mat> =
            gradients.iter().map(|g| self.rng.mat(g.rows, g.cols, 0.0, f64::from(g.largest() as f32))).collect();
        let written: Vec<Input<'_>> = x.iter().map(Input::Activation).collect();
        let added: Vec<Input<'_>> = x.iter().zip(&priors).map(|(x, prior)| Input::Param(x, prior)).collect();
        self.on_device(case, "written", written, &want, &dy, &gradients);
        // A loss seeds the gradients of its hidden states: they are never a parameter's.
        if case.seeds_itself.is_none() {
            self.on_device(case, "added", added, &want, &dy, &gradients);
            let turns = x.iter().zip(&priors).enumerate();
            let turns = turns.map(|(i, (x, p))| if i % 2 == 0 { Input::Activation(x) } else { Input::Param(x, p) });
            self.on_device(case, "written and added in turn", turns.collect(), &want, &dy, &gradients);
        }
        if x.len() > 1 && elements(x) <= MODERATE {
            for only in 0..x.len() {
                let inputs = x.iter().enumerate();
                let inputs = inputs.map(|(i, x)| if i == only { Input::Activation(x) } else { Input::Frozen(x) });
                self.on_device(case, &format!("only input {only} trained"), inputs.collect(), &want, &dy, &gradients);
            }
        }
    }

    fn on_device<'a>(
        &mut self,
        case: &'a Case<'_>,
        mode: &str,
        mut inputs: Vec<Input<'a>>,
        want: &Mat,
        dy: &Mat,
        grads: &[Mat],
    ) {
        let n = inputs.len();
        inputs.extend(case.indices.iter().map(|(values, rows, cols)| Input::Index(values, *rows, *cols)));
        let upstream = case.seeds_itself.is_none().then_some(dy);
        let outcome = run(&inputs, upstream, |tape, tensors| (case.record)(tape, &tensors[..n], &tensors[n..]));
        let what = |part: &str| format!("{} {} ({mode}): {part}", self.op, case.name);
        let mut found = match case.seeds_itself {
            None => vec![compare(&what("y"), &outcome.value, want, self.tolerance)],
            // Statistics: every column is a quantity of its own.
            Some(_) => compare_columns(&what("y"), &outcome.value, want, self.tolerance),
        };
        for (i, (got, want)) in outcome.gradients.iter().zip(grads).enumerate() {
            let Some(got) = got else { continue };
            let want = match inputs[i] {
                Input::Param(_, prior) => {
                    let sum = want.data.iter().zip(&prior.data).map(|(a, b)| a + b);
                    Mat::new(want.rows, want.cols, sum.collect())
                }
                _ => want.clone(),
            };
            found.push(compare(&what(&format!("gradient of input {i}")), got, &want, self.tolerance));
        }
        for result in found {
            match result {
                Ok(error) => self.worst = self.worst.max(error),
                Err(failure) => self.failures.push(failure),
            }
        }
    }

    /// The oracle's gradient of `sum(dy * y)` against central differences at some entries of every input.
    fn differences(&mut self, case: &Case<'_>, x: &[Mat], dy: &Mat, gradients: &[Mat]) {
        const STEP: f64 = 1e-5; // truncation and rounding are then near 1e-10
        const TOLERANCE: f64 = 1e-7;
        let value = |x: &[Mat]| -> f64 {
            let y = case.oracle.forward(x);
            y.data.iter().zip(&dy.data).filter(|(_, dy)| **dy != 0.0).map(|(y, dy)| y * dy).sum()
        };
        for (i, gradient) in gradients.iter().enumerate() {
            for _ in 0..gradient.data.len().min(12) {
                let at = self.rng.below(gradient.data.len());
                let moved = |by: f64| {
                    let mut x = x.to_vec();
                    x[i].data[at] += by;
                    value(&x)
                };
                let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                let error = (difference - gradient.data[at]).abs();
                if error.is_nan() || error > TOLERANCE * gradient.largest().max(1e-2) {
                    self.failures.push(format!(
                        "{} {}: the oracle's gradient of input {i} at {at} is {}, the difference quotient {difference}",
                        self.op, case.name, gradient.data[at]
                    ));
                }
            }
        }
    }

    pub(crate) fn finish(self) {
        eprintln!("{}: largest error {:.1e}, allowed {:.1e}", self.op, self.worst, self.tolerance);
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}
