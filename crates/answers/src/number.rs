//! The two kinds of number an answer is reckoned in: exact rationals while they fit, complex floats otherwise.

/// A rational in lowest terms with a positive denominator. Every operation is `None` where the result does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ratio {
    n: i128,
    d: i128,
}

impl Ratio {
    pub(crate) fn new(n: i128, d: i128) -> Option<Self> {
        let divisor = i128::try_from(gcd(n.unsigned_abs(), d.unsigned_abs())).ok()?;
        if d == 0 {
            return None;
        }
        let (n, d) = (n / divisor, d / divisor);
        if d < 0 { Some(Self { n: n.checked_neg()?, d: d.checked_neg()? }) } else { Some(Self { n, d }) }
    }

    pub(crate) fn whole(n: i128) -> Self {
        Self { n, d: 1 }
    }

    /// The integer it is, if it is one.
    pub(crate) fn integer(self) -> Option<i128> {
        (self.d == 1).then_some(self.n)
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let left = self.n.checked_mul(other.d)?;
        let right = other.n.checked_mul(self.d)?;
        Self::new(left.checked_add(right)?, self.d.checked_mul(other.d)?)
    }

    pub(crate) fn neg(self) -> Option<Self> {
        Some(Self { n: self.n.checked_neg()?, d: self.d })
    }

    pub(crate) fn mul(self, other: Self) -> Option<Self> {
        Self::new(self.n.checked_mul(other.n)?, self.d.checked_mul(other.d)?)
    }

    pub(crate) fn div(self, other: Self) -> Option<Self> {
        Self::new(self.n.checked_mul(other.d)?, self.d.checked_mul(other.n)?)
    }

    pub(crate) fn pow(self, exponent: i128) -> Option<Self> {
        let times = u32::try_from(exponent.unsigned_abs()).ok()?;
        let power = Self { n: self.n.checked_pow(times)?, d: self.d.checked_pow(times)? };
        if exponent < 0 { Self::whole(1).div(power) } else { Some(power) }
    }

    pub(crate) fn float(self) -> f64 {
        self.n as f64 / self.d as f64
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// A complex number in double precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Complex {
    pub(crate) re: f64,
    pub(crate) im: f64,
}

impl Complex {
    pub(crate) const I: Self = Self { re: 0.0, im: 1.0 };

    pub(crate) fn real(re: f64) -> Self {
        Self { re, im: 0.0 }
    }

    /// Itself where both parts are finite.
    pub(crate) fn finite(self) -> Option<Self> {
        (self.re.is_finite() && self.im.is_finite()).then_some(self)
    }

    pub(crate) fn size(self) -> f64 {
        self.re.hypot(self.im)
    }

    pub(crate) fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    pub(crate) fn neg(self) -> Self {
        Self { re: -self.re, im: -self.im }
    }

    pub(crate) fn sub(self, other: Self) -> Self {
        self.add(other.neg())
    }

    pub(crate) fn mul(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    pub(crate) fn div(self, other: Self) -> Self {
        let size = other.re * other.re + other.im * other.im;
        let product = self.mul(Self { re: other.re, im: -other.im });
        Self { re: product.re / size, im: product.im / size }
    }

    pub(crate) fn exp(self) -> Self {
        let size = self.re.exp();
        Self { re: size * self.im.cos(), im: size * self.im.sin() }
    }

    /// The principal logarithm.
    pub(crate) fn ln(self) -> Self {
        Self { re: self.size().ln(), im: self.im.atan2(self.re) }
    }

    pub(crate) fn sqrt(self) -> Self {
        if self.im == 0.0 {
            let root = self.re.abs().sqrt();
            return if self.re < 0.0 { Self { re: 0.0, im: root } } else { Self::real(root) };
        }
        let half = self.ln();
        Self { re: half.re / 2.0, im: half.im / 2.0 }.exp()
    }

    /// The principal power; whole exponents by multiplication, which rounds less.
    pub(crate) fn pow(self, exponent: Self) -> Self {
        if exponent.im == 0.0 && exponent.re.fract() == 0.0 && exponent.re.abs() <= 1024.0 {
            let mut power = Self::real(1.0);
            for _ in 0..exponent.re.abs() as u32 {
                power = power.mul(self);
            }
            return if exponent.re < 0.0 { Self::real(1.0).div(power) } else { power };
        }
        if self.size() == 0.0 {
            Self::real(if exponent.re > 0.0 { 0.0 } else { f64::NAN })
        } else {
            self.ln().mul(exponent).exp()
        }
    }

    /// The `degree`-th root: the real one of a negative number where the degree is odd, as schools write it.
    pub(crate) fn root(self, degree: f64) -> Self {
        if degree == 2.0 {
            return self.sqrt();
        }
        if self.im == 0.0 && self.re < 0.0 && degree.rem_euclid(2.0) == 1.0 {
            return Self::real(-(-self.re).powf(1.0 / degree));
        }
        self.pow(Self::real(1.0 / degree))
    }
}
