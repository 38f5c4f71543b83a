//! What an expression is worth: exactly where it is rational, else as complex floats at fixed pseudo-random points.
//!
//! Two expressions that agree at all points are equal but for a chance that does not matter; they are compared to
//! about eleven digits, less what cancellation within the expressions has cost.

use num_complex::Complex64;
use num_traits::{Signed, Zero};

use crate::expr::Expr;
use crate::number::{Ratio, bounded, float, integer, power, whole_number};
use crate::op::Op;

/// Points at which variables are above zero, then at which they are below.
const ABOVE: u64 = 5;
const BELOW: u64 = 3;
/// Points at which both sides must have a value.
const ENOUGH: usize = 3;
/// Values from here on do not count as agreeing.
const LARGE: f64 = 1e9;

/// The outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Same {
    Yes,
    No,
    Unknown,
}

impl Same {
    fn of(same: bool) -> Self {
        if same { Self::Yes } else { Self::No }
    }
}

/// The rational number an expression is, if it is one of bounded size.
fn exact(expr: &Expr) -> Option<Ratio> {
    let (op, args) = match expr {
        Expr::Number(number) => return Some(number.value.clone()),
        Expr::Var(_) => return None,
        Expr::Apply(op, args) => (op, args.iter().map(exact).collect::<Option<Vec<_>>>()?),
    };
    let small = |number: &Ratio| u32::try_from(integer(number)?).ok().filter(|n| *n <= 170);
    match (op, &args[..]) {
        (Op::Neg, [a]) => Some(-a),
        (Op::Add, [a, b]) => bounded(a + b),
        (Op::Mul, [a, b]) => bounded(a * b),
        (Op::Div, [a, b]) if !b.is_zero() => bounded(a / b),
        (Op::Pow, [a, b]) => power(a, i32::try_from(integer(b)?).ok()?),
        (Op::Abs, [a]) => Some(a.abs()),
        (Op::Degree, [a]) => Some(a.clone()),
        (Op::Factorial, [a]) => product((1..=small(a)?).map(whole_number)),
        (Op::Binom, [n, k]) => {
            let n = whole_number(small(n)?);
            product((0..small(k)?).map(|i| (&n - whole_number(i)) / whole_number(i + 1)))
        }
        _ => None,
    }
}

fn product(mut factors: impl Iterator<Item = Ratio>) -> Option<Ratio> {
    factors.try_fold(whole_number(1), |product, factor| bounded(product * factor))
}

/// Whether two expressions are equal for all values of their variables.
pub(crate) fn equal(a: &Expr, b: &Expr) -> Same {
    if a == b {
        return Same::Yes;
    }
    if a.infinity().is_some() || b.infinity().is_some() {
        return Same::of(a.infinity() == b.infinity());
    }
    if let (Some(a), Some(b)) = (exact(a), exact(b)) {
        return Same::of(a == b);
    }
    match (agree(a, b, 0..ABOVE), agree(a, b, ABOVE..ABOVE + BELOW)) {
        (Same::Yes, Same::No) => Same::Unknown,
        (above, _) => above,
    }
}

fn agree(a: &Expr, b: &Expr, points: std::ops::Range<u64>) -> Same {
    let mut seen = 0;
    for point in points {
        let (Some(x), Some(y)) = (near(a, point, false), near(b, point, false)) else { continue };
        let size = x.value.norm().max(y.value.norm());
        if (x.value - y.value).norm() > 4e-15 * size + 16.0 * (x.error + y.error) {
            return Same::No;
        }
        // Doubles cannot tell so large a number from the next whole one; nor can a bound that is not small.
        if size < LARGE && x.error.max(y.error) < 1e-3 * size.max(1e-9) {
            seen += 1;
        }
    }
    if seen >= ENOUGH { Same::Yes } else { Same::Unknown }
}

/// Whether `a = 0` and `b = 0` are the same equation: one side is a constant multiple of the other.
pub(crate) fn proportional(a: &Expr, b: &Expr) -> Same {
    let ratio = |point| {
        let (x, y) = (near(a, point, false)?.value, near(b, point, false)?.value);
        (x.norm() >= 1e-9 && y.norm() >= 1e-9).then(|| x / y)
    };
    let ratios: Vec<Complex64> = (0..ABOVE + BELOW).filter_map(ratio).collect();
    if ratios.len() < ENOUGH {
        return Same::Unknown;
    }
    Same::of(ratios.iter().all(|ratio| (ratio - ratios[0]).norm() <= 1e-9 * ratios[0].norm()))
}

/// The value of an expression without variables, where it is a real number.
pub(crate) fn real(expr: &Expr) -> Option<f64> {
    if expr.has_variable() {
        return None;
    }
    let value = near(expr, 0, false)?.value;
    (value.im.abs() <= 1e-12 * value.re.abs()).then_some(value.re)
}

/// A value and a bound of its rounding error.
#[derive(Clone, Copy)]
struct Near {
    value: Complex64,
    error: f64,
}

/// The value at a point. `degrees`: within a function, where a degree sign converts; elsewhere it is a unit.
fn near(expr: &Expr, point: u64, degrees: bool) -> Option<Near> {
    let rounded = |value: Complex64| Some(Near { value, error: f64::EPSILON * value.norm() });
    let (op, args) = match expr {
        Expr::Number(number) => return rounded(float(&number.value).into()),
        Expr::Var(name) => return rounded(variable(name, point)),
        Expr::Apply(Op::Factorial | Op::Binom, _) => return rounded(float(&exact(expr)?).into()),
        Expr::Apply(Op::Degree, args) if !degrees => return near(&args[0], point, degrees),
        Expr::Apply(op, args) => (*op, args),
    };
    let within = op.is_function() || (degrees && op != Op::LogBase);
    let mut args = args.iter().map(|arg| near(arg, point, within)).collect::<Option<Vec<_>>>()?;
    if op == Op::Root {
        args[0].error = 0.0;
    }
    let mut values: Vec<Complex64> = args.iter().map(|arg| arg.value).collect();
    let value = op.apply(&values).filter(|value| value.is_finite())?;
    let mut error = f64::EPSILON * value.norm();
    // What a change of the arguments by their errors makes of the value.
    for (at, arg) in args.iter().enumerate() {
        values[at] = arg.value + arg.error;
        error += (op.apply(&values)? - value).norm();
        values[at] = arg.value;
    }
    Some(Near { value, error })
}

/// A variable's value at a point: from 0.6 to 2.6, or so far below zero.
fn variable(name: &str, point: u64) -> Complex64 {
    match name {
        "i" => return Complex64::I,
        "e" => return std::f64::consts::E.into(),
        _ => {}
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mixed = mix(hash ^ mix(point + 1));
    let size = 0.6 + 2.0 * (mixed >> 11) as f64 / (1u64 << 53) as f64;
    (if point < ABOVE { size } else { -size }).into()
}

/// The finaliser of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
