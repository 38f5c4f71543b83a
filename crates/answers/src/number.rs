//! Exact rationals of bounded size: untrusted text may ask for numbers that fill the memory.

use num_traits::{ToPrimitive, Zero};

pub(crate) use num_rational::BigRational as Ratio;

/// Bits of the largest numerator or denominator.
const MAX_BITS: u64 = 127;

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decimal {
    pub(crate) value: Ratio,
    /// Digits behind the point.
    pub(crate) places: u32,
    /// The digits without separators.
    pub(crate) digits: String,
}

impl Decimal {
    /// `digits` times ten to the power of `exponent`, with `places` digits behind the point as written.
    pub(crate) fn new(digits: &str, places: u32, exponent: i32) -> Option<Self> {
        let whole = bounded(Ratio::from_integer(digits.parse().ok()?))?;
        let value = bounded(whole * power(&whole_number(10), exponent)?)?;
        Some(Self { value, places, digits: digits.to_owned() })
    }
}

pub(crate) fn whole_number(n: u32) -> Ratio {
    Ratio::from_integer(n.into())
}

fn bits(number: &Ratio) -> u64 {
    number.numer().bits().max(number.denom().bits())
}

/// The number, unless it is too large to go on with.
pub(crate) fn bounded(number: Ratio) -> Option<Ratio> {
    (bits(&number) <= MAX_BITS).then_some(number)
}

/// The power; `None` where it is too large, which is seen before it is reckoned.
pub(crate) fn power(base: &Ratio, exponent: i32) -> Option<Ratio> {
    let least = (bits(base) - 1).saturating_mul(exponent.unsigned_abs().into());
    if least > MAX_BITS || (base.is_zero() && exponent < 0) { None } else { bounded(base.pow(exponent)) }
}

/// The integer that the number is, if it is one that fits.
pub(crate) fn integer(number: &Ratio) -> Option<i64> {
    if number.is_integer() { number.to_i64() } else { None }
}

pub(crate) fn float(number: &Ratio) -> f64 {
    number.to_f64().unwrap_or(f64::NAN)
}
