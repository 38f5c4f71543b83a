//! Whether a variant's results can stand in for those of the portable kernel.

/// What of the largest value a variant may differ by that sums in another order.
const ROUNDING: f32 = 1e-4;
/// And by one that rounds factors to f16, which has 11 bits.
const ROUNDING_HALF: f32 = 5e-3;

/// Why a variant is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    /// Other numbers.
    #[error("differs from the portable kernel by {by:.1e} of the largest value, where {bound:.0e} is allowed")]
    Differs { by: f32, bound: f32 },
    /// Values that it did not write, or made of what lies behind its inputs.
    #[error("leaves {0} values that are no numbers")]
    NotNumbers(usize),
    /// Memory that is not its own.
    #[error("writes behind the end of `{0}`")]
    Behind(&'static str),
    /// Another result of the same inputs.
    #[error("gives other bits the second time")]
    Unsteady,
    /// No result.
    #[error("the driver refused it: {0}")]
    Refused(String),
}

/// What a dispatch left in one output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Output {
    /// The binding's name.
    pub(super) name: &'static str,
    /// Its values, or evenly spaced parts of them.
    pub(super) values: Vec<f32>,
    /// Whether what lies behind is as it was.
    pub(super) clean: bool,
}

impl Output {
    /// Values that are no numbers.
    pub(super) fn not_numbers(&self) -> usize {
        self.values.iter().filter(|value| !value.is_finite()).count()
    }
}

/// Whether outputs are those of the portable kernel but for rounding.
pub(super) fn same_values(reference: &[Output], found: &[Output], half: bool) -> Result<(), Fault> {
    if let Some(output) = found.iter().find(|output| !output.clean) {
        return Err(Fault::Behind(output.name));
    }
    let bound = if half { ROUNDING_HALF } else { ROUNDING };
    for (reference, found) in reference.iter().zip(found) {
        match found.not_numbers() {
            0 => {}
            count => return Err(Fault::NotNumbers(count)),
        }
        let largest = reference.values.iter().fold(0f32, |most, value| most.max(value.abs()));
        let pairs = reference.values.iter().zip(&found.values);
        let by = pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest.max(f32::MIN_POSITIVE);
        if by > bound {
            return Err(Fault::Differs { by, bound });
        }
    }
    Ok(())
}

/// Whether a second run gave the same bits.
pub(super) fn same_bits(first: &[Output], second: &[Output]) -> Result<(), Fault> {
    let bits = |output: &Output| output.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    match first.iter().zip(second).all(|(a, b)| bits(a) == bits(b) && a.clean == b.clean) {
        true => Ok(()),
        false => Err(Fault::Unsteady),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(values: &[f32], clean: bool) -> [Output; 1] {
        [Output { name: "y", values: values.to_vec(), clean }]
    }

    #[test]
    fn faults_are_distinguished_from_rounding() {
        let reference = output(&[1.0, -8.0, 0.0], true);
        let check = |values: &[f32], clean, half| same_values(&reference, &output(values, clean), half);
        assert_eq!(check(&[1.0005, -8.0, 0.0], true, false), Ok(()));
        assert!(matches!(check(&[1.01, -8.0, 0.0], true, false), Err(Fault::Differs { .. })));
        assert_eq!(check(&[1.01, -8.0, 0.0], true, true), Ok(()));
        assert!(matches!(check(&[1.1, -8.0, 0.0], true, true), Err(Fault::Differs { .. })));
        assert_eq!(check(&[1.0, f32::NAN, f32::INFINITY], true, true), Err(Fault::NotNumbers(2)));
        assert_eq!(check(&[1.0, -8.0, 0.0], false, true), Err(Fault::Behind("y")));
        let nothing = output(&[0.0], true);
        assert_eq!(same_values(&nothing, &nothing, false), Ok(()));
        assert!(same_values(&nothing, &output(&[1e-20], true), false).is_err());
    }

    #[test]
    fn a_second_run_must_give_the_same_bits() {
        let first = output(&[1.0, 0.0], true);
        assert_eq!(same_bits(&first, &first), Ok(()));
        assert_eq!(same_bits(&first, &output(&[1.0, -0.0], true)), Err(Fault::Unsteady));
        assert_eq!(same_bits(&first, &output(&[1.0, 0.0], false)), Err(Fault::Unsteady));
    }
}
