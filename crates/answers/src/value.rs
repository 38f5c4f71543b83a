//! What an expression is worth: exactly where it is rational, else as complex floats at fixed pseudo-random points.
//!
//! Two expressions that agree at all points are equal but for a chance that does not matter; they are compared to
//! about eleven digits, less what cancellation within the expressions has cost.

use crate::expr::Expr;
use crate::func::Func;
use crate::number::{Complex, Ratio};

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

/// The rational number an expression is, if it is one that fits.
pub(crate) fn exact(expr: &Expr) -> Option<Ratio> {
    match expr {
        Expr::Number(number) => Some(number.value),
        Expr::Neg(a) => exact(a)?.neg(),
        Expr::Add(a, b) => exact(a)?.add(exact(b)?),
        Expr::Mul(a, b) => exact(a)?.mul(exact(b)?),
        Expr::Div(a, b) => exact(a)?.div(exact(b)?),
        Expr::Pow(a, b) => exact(a)?.pow(exact(b)?.integer()?),
        Expr::Abs(a) => exact(a).and_then(|a| if a.float() < 0.0 { a.neg() } else { Some(a) }),
        Expr::Degree(a) => exact(a),
        Expr::Factorial(a) => (1..=whole(a)?).try_fold(Ratio::whole(1), |product, i| product.mul(Ratio::whole(i))),
        Expr::Binom(n, k) => {
            let (n, k) = (whole(n)?, whole(k)?);
            (0..k).try_fold(Ratio::whole(1), |product, i| product.mul(Ratio::new(n - i, i + 1)?))
        }
        _ => None,
    }
}

/// A small whole number from 0 on.
fn whole(expr: &Expr) -> Option<i128> {
    exact(expr)?.integer().filter(|n| (0..=170).contains(n))
}

/// Whether two expressions are equal for all values of their variables.
pub(crate) fn equal(a: &Expr, b: &Expr) -> Same {
    if a == b {
        return Same::Yes;
    }
    if a.infinity().is_some() || b.infinity().is_some() {
        return if a.infinity() == b.infinity() { Same::Yes } else { Same::No };
    }
    if let (Some(a), Some(b)) = (exact(a), exact(b)) {
        return if a == b { Same::Yes } else { Same::No };
    }
    match (agree(a, b, 0..ABOVE), agree(a, b, ABOVE..ABOVE + BELOW)) {
        (Same::Yes, Same::No) => Same::Unknown,
        (above, _) => above,
    }
}

fn agree(a: &Expr, b: &Expr, points: std::ops::Range<u64>) -> Same {
    let mut seen = 0;
    for point in points {
        let at = At { point };
        let (Some(x), Some(y)) = (at.near(a, false), at.near(b, false)) else { continue };
        let size = x.value.size().max(y.value.size());
        if x.value.sub(y.value).size() > 4e-15 * size + 16.0 * (x.error + y.error) {
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
    let mut ratios = Vec::new();
    for point in 0..ABOVE + BELOW {
        let at = At { point };
        let (Some(x), Some(y)) = (at.value(a), at.value(b)) else { continue };
        if x.size() < 1e-9 || y.size() < 1e-9 {
            continue;
        }
        ratios.push(x.div(y));
    }
    let Some(first) = ratios.first().copied().filter(|_| ratios.len() >= ENOUGH) else { return Same::Unknown };
    let constant = ratios.iter().all(|ratio| ratio.sub(first).size() <= 1e-9 * first.size());
    if constant { Same::Yes } else { Same::No }
}

/// The value of an expression without variables, where it is a real number.
pub(crate) fn real(expr: &Expr) -> Option<f64> {
    if has_variable(expr) {
        return None;
    }
    let value = At { point: 0 }.value(expr)?;
    (value.im.abs() <= 1e-12 * value.re.abs()).then_some(value.re)
}

fn has_variable(expr: &Expr) -> bool {
    match expr {
        Expr::Var(name) => name != "e" && name != "i",
        Expr::Number(_) | Expr::Pi | Expr::Infinity => false,
        Expr::Neg(a) | Expr::Abs(a) | Expr::Factorial(a) | Expr::Degree(a) | Expr::Func(_, a) => has_variable(a),
        Expr::Add(a, b)
        | Expr::Mul(a, b)
        | Expr::Div(a, b)
        | Expr::Pow(a, b)
        | Expr::Root(a, b)
        | Expr::Binom(a, b)
        | Expr::Log(a, b) => has_variable(a) || has_variable(b),
    }
}

/// Evaluation at one point.
struct At {
    point: u64,
}

/// A value and a bound of its rounding error.
#[derive(Clone, Copy)]
struct Near {
    value: Complex,
    error: f64,
}

impl Near {
    fn new(value: Complex) -> Self {
        Self { value, error: f64::EPSILON * value.size() }
    }

    /// `f` of both, whose error is what a change of the arguments by theirs makes of it.
    fn apply(a: Self, b: Self, f: impl Fn(Complex, Complex) -> Option<Complex>) -> Option<Self> {
        let value = f(a.value, b.value)?.finite()?;
        let moved = |near: Self| near.value.add(Complex::real(near.error));
        let with_a = f(moved(a), b.value)?.sub(value).size();
        let with_b = f(a.value, moved(b))?.sub(value).size();
        Some(Self { value, error: with_a + with_b + f64::EPSILON * value.size() })
    }
}

impl At {
    fn value(&self, expr: &Expr) -> Option<Complex> {
        Some(self.near(expr, false)?.value)
    }

    /// `degrees`: within a trigonometric function, where a degree sign converts; elsewhere it is a unit.
    fn near(&self, expr: &Expr, degrees: bool) -> Option<Near> {
        let one = Near { value: Complex::real(1.0), error: 0.0 };
        let unary = |a: &Expr, degrees, f: &dyn Fn(Complex) -> Option<Complex>| {
            Near::apply(self.near(a, degrees)?, one, |a, _| f(a))
        };
        let binary = |a: &Expr, b: &Expr, f: fn(Complex, Complex) -> Complex| {
            Near::apply(self.near(a, degrees)?, self.near(b, degrees)?, |a, b| Some(f(a, b)))
        };
        match expr {
            Expr::Number(number) => Some(Near::new(Complex::real(number.value.float()))),
            Expr::Var(name) => Some(Near::new(self.variable(name))),
            Expr::Pi => Some(Near::new(Complex::real(std::f64::consts::PI))),
            Expr::Infinity => None,
            Expr::Neg(a) => unary(a, degrees, &|a| Some(a.neg())),
            Expr::Add(a, b) => binary(a, b, Complex::add),
            Expr::Mul(a, b) => binary(a, b, Complex::mul),
            Expr::Div(a, b) => binary(a, b, Complex::div),
            Expr::Pow(a, b) => binary(a, b, Complex::pow),
            Expr::Root(degree, a) => {
                let degree = self.near(degree, false)?.value.re;
                unary(a, degrees, &|a| Some(a.root(degree)))
            }
            Expr::Abs(a) => unary(a, degrees, &|a| Some(Complex::real(a.size()))),
            Expr::Factorial(_) | Expr::Binom(..) => Some(Near::new(Complex::real(exact(expr)?.float()))),
            Expr::Degree(a) if degrees => {
                unary(a, degrees, &|a| Some(a.mul(Complex::real(std::f64::consts::PI / 180.0))))
            }
            Expr::Degree(a) => self.near(a, degrees),
            Expr::Func(func, a) => unary(a, true, &|a| apply(*func, a)),
            Expr::Log(base, a) => {
                let logarithm = |base: Complex, a: Complex| Some(a.ln().div(base.ln()));
                Near::apply(self.near(base, false)?, self.near(a, false)?, logarithm)
            }
        }
    }

    fn variable(&self, name: &str) -> Complex {
        if name == "i" {
            return Complex::I;
        }
        if name == "e" {
            return Complex::real(std::f64::consts::E);
        }
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let mixed = mix(hash ^ mix(self.point + 1));
        let size = 0.6 + 2.0 * (mixed >> 11) as f64 / (1u64 << 53) as f64;
        Complex::real(if self.point < ABOVE { size } else { -size })
    }
}

/// The finaliser of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn apply(func: Func, x: Complex) -> Option<Complex> {
    let i_x = Complex::I.mul(x);
    let (up, down) = (i_x.exp(), i_x.neg().exp());
    let sin = up.sub(down).div(Complex { re: 0.0, im: 2.0 });
    let cos = up.add(down).div(Complex::real(2.0));
    let one = Complex::real(1.0);
    Some(match func {
        Func::Sin => sin,
        Func::Cos => cos,
        Func::Tan => sin.div(cos),
        Func::Cot => cos.div(sin),
        Func::Sec => one.div(cos),
        Func::Csc => one.div(sin),
        Func::Arcsin if x.im == 0.0 => Complex::real(x.re.asin()),
        Func::Arccos if x.im == 0.0 => Complex::real(x.re.acos()),
        Func::Arctan if x.im == 0.0 => Complex::real(x.re.atan()),
        Func::Arcsin | Func::Arccos | Func::Arctan => return None,
        Func::Log => x.ln().div(Complex::real(std::f64::consts::LN_10)),
        Func::Ln => x.ln(),
        Func::Exp => x.exp(),
    })
}
