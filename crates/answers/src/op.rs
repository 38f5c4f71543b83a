//! What an expression applies to its arguments.

use num_complex::Complex64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Pi,
    Infinity,
    Neg,
    Add,
    Mul,
    Div,
    Pow,
    /// Degree, then what is under the root.
    Root,
    Abs,
    Factorial,
    Binom,
    /// An angle in degrees.
    Degree,
    /// Base, then argument.
    LogBase,
    Log,
    Ln,
    Exp,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
}

const FUNCTIONS: &[(&str, Op)] = &[
    ("sin", Op::Sin),
    ("cos", Op::Cos),
    ("tan", Op::Tan),
    ("cot", Op::Cot),
    ("sec", Op::Sec),
    ("csc", Op::Csc),
    ("arcsin", Op::Arcsin),
    ("arccos", Op::Arccos),
    ("arctan", Op::Arctan),
    ("log", Op::Log),
    ("ln", Op::Ln),
    ("exp", Op::Exp),
];

impl Op {
    /// The function of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, op)| *op)
    }

    pub(crate) fn is_function(self) -> bool {
        FUNCTIONS.iter().any(|(_, op)| *op == self)
    }

    /// The value in complex doubles; `None` where there is none or it is not reckoned so.
    pub(crate) fn apply(self, args: &[Complex64]) -> Option<Complex64> {
        let real = |x: f64| Some(Complex64::from(x));
        match (self, args) {
            (Self::Pi, []) => real(std::f64::consts::PI),
            (Self::Neg, [a]) => Some(-a),
            (Self::Add, [a, b]) => Some(a + b),
            (Self::Mul, [a, b]) => Some(a * b),
            (Self::Div, [a, b]) => Some(a / b),
            (Self::Pow, [a, b]) => Some(power(*a, *b)),
            (Self::Root, [degree, a]) => Some(root(degree.re, *a)),
            (Self::Abs, [a]) => real(a.norm()),
            (Self::Degree, [a]) => Some(a * (std::f64::consts::PI / 180.0)),
            (Self::LogBase, [base, a]) => Some(a.ln() / base.ln()),
            (Self::Log, [a]) => Some(a.ln() / std::f64::consts::LN_10),
            (Self::Ln, [a]) => Some(a.ln()),
            (Self::Exp, [a]) => Some(a.exp()),
            (Self::Sin, [a]) => Some(a.sin()),
            (Self::Cos, [a]) => Some(a.cos()),
            (Self::Tan, [a]) => Some(a.sin() / a.cos()),
            (Self::Cot, [a]) => Some(a.cos() / a.sin()),
            (Self::Sec, [a]) => Some(a.cos().inv()),
            (Self::Csc, [a]) => Some(a.sin().inv()),
            (Self::Arcsin, [a]) if a.im == 0.0 => real(a.re.asin()),
            (Self::Arccos, [a]) if a.im == 0.0 => real(a.re.acos()),
            (Self::Arctan, [a]) if a.im == 0.0 => real(a.re.atan()),
            _ => None,
        }
    }
}

/// The principal power; whole exponents by multiplication, which rounds less.
fn power(base: Complex64, exponent: Complex64) -> Complex64 {
    if exponent.im == 0.0 && exponent.re.fract() == 0.0 && exponent.re.abs() <= 1024.0 {
        base.powi(exponent.re as i32)
    } else if base.norm() == 0.0 {
        Complex64::from(if exponent.re > 0.0 { 0.0 } else { f64::NAN })
    } else {
        (base.ln() * exponent).exp()
    }
}

/// The real root of a negative number where the degree is odd, as schools write it; else the principal root.
fn root(degree: f64, a: Complex64) -> Complex64 {
    if degree == 2.0 {
        return a.sqrt();
    }
    if a.im == 0.0 && a.re < 0.0 && degree.rem_euclid(2.0) == 1.0 {
        return Complex64::from(-(-a.re).powf(1.0 / degree));
    }
    power(a, Complex64::from(1.0 / degree))
}
