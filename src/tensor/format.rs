//! How the numbers of a tensor are held: as f32, or packed.
//!
//! Packed numbers stand row by row, the first in the lowest bits of the first word; behind them, where a format has
//! groups, a pair of f32 for every 64 numbers: scale and offset.

/// Numbers that share a scale.
pub const GROUP: usize = 64;

/// Quantiles of the normal distribution, as bitsandbytes has them (NF4, Dettmers et al. 2023).
const QUANTILES: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

/// A number format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Four bytes a number.
    #[default]
    F32,
    /// The upper half of an f32, rounded to nearest even.
    Bf16,
    /// 8 bits: `scale q + offset` for each group.
    Q8,
    /// 4 bits, likewise.
    Q4,
    /// 4 bits: a quantile of the normal distribution times the largest of its group.
    Nf4,
    /// 8 bits: a whole number from 0 to 255, whose meaning its kernel knows.
    Codes,
}

/// A run of numbers as a format holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    /// The numbers, packed.
    pub words: Vec<u32>,
    /// Scale and offset of each group.
    pub groups: Vec<[f32; 2]>,
}

impl Format {
    /// Bits of a number, without its share of the group's scale.
    pub fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::Bf16 => 16,
            Self::Q8 | Self::Codes => 8,
            Self::Q4 | Self::Nf4 => 4,
        }
    }

    /// Whether numbers share scales.
    pub fn has_groups(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4 | Self::Nf4)
    }

    /// Whether rows of this many numbers can be held.
    pub fn takes(self, cols: usize) -> bool {
        self == Self::F32 || cols.is_multiple_of(GROUP)
    }

    /// Words of the packed numbers, without scales.
    pub fn number_words(self, numbers: usize) -> usize {
        numbers * self.bits() / 32
    }

    /// Words of so many numbers and their scales.
    pub fn words(self, numbers: usize) -> usize {
        let groups = if self.has_groups() { numbers / GROUP } else { 0 };
        self.number_words(numbers) + 2 * groups
    }

    /// Packs numbers, for grouped formats a multiple of [`GROUP`].
    pub fn pack(self, values: &[f32]) -> Packed {
        match self {
            Self::F32 => Packed { words: values.iter().map(|x| x.to_bits()).collect(), groups: Vec::new() },
            Self::Bf16 => {
                let bits = |x: &f32| u32::from(half::bf16::from_f32(*x).to_bits());
                let words = values.chunks(2).map(|two| two.iter().rev().fold(0, |word, x| word << 16 | bits(x)));
                Packed { words: words.collect(), groups: Vec::new() }
            }
            Self::Codes => {
                let words =
                    values.chunks(4).map(|four| four.iter().rev().fold(0, |word, x| word << 8 | u32::from(*x as u8)));
                Packed { words: words.collect(), groups: Vec::new() }
            }
            Self::Q8 | Self::Q4 | Self::Nf4 => {
                let mut packed = Packed::default();
                for group in values.chunks(GROUP) {
                    let (codes, scale) = if self == Self::Nf4 { nf4(group) } else { affine(group, self.bits()) };
                    packed.groups.push(scale);
                    let per_word = 32 / self.bits();
                    let word = |codes: &[u32]| codes.iter().rev().fold(0, |word, code| word << self.bits() | code);
                    packed.words.extend(codes.chunks(per_word).map(word));
                }
                packed
            }
        }
    }

    /// The numbers that kernels see.
    pub fn unpack(self, packed: &Packed) -> Vec<f32> {
        let per_word = 32 / self.bits();
        let mask = u32::MAX >> (32 - self.bits());
        let codes = packed.words.iter().flat_map(|word| (0..per_word).map(move |i| word >> (i * self.bits()) & mask));
        let group = |i: usize| packed.groups.get(i / GROUP).copied().unwrap_or([1.0, 0.0]);
        codes
            .enumerate()
            .map(|(i, code)| match self {
                Self::F32 => f32::from_bits(code),
                Self::Bf16 => f32::from_bits(code << 16),
                Self::Codes => code as f32,
                Self::Q8 | Self::Q4 => code as f32 * group(i)[0] + group(i)[1],
                Self::Nf4 => QUANTILES[code as usize] * group(i)[0],
            })
            .collect()
    }
}

/// The whole range of a group in equal steps.
fn affine(group: &[f32], bits: usize) -> (Vec<u32>, [f32; 2]) {
    let (low, high) =
        group.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    let most = (u32::MAX >> (32 - bits)) as f32;
    // Halves first: the range of finite numbers may be none.
    let scale = (high / most - low / most).max(f32::MIN_POSITIVE);
    let code = |x: &f32| ((x / scale - low / scale).round_ties_even()).clamp(0.0, most) as u32;
    (group.iter().map(code).collect(), [scale, low])
}

/// The nearest quantile.
fn nf4(group: &[f32]) -> (Vec<u32>, [f32; 2]) {
    let scale = group.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let code = |x: &f32| QUANTILES.windows(2).filter(|pair| x * inverse > (pair[0] + pair[1]) / 2.0).count() as u32;
    (group.iter().map(code).collect(), [scale, 0.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_near_and_packs_alike_again() {
        let values: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.013).collect();
        for (format, worst) in [
            (Format::F32, 0.0),
            (Format::Bf16, 0.65 / 256.0),
            (Format::Q8, 1.3 / 255.0 / 1.9),
            (Format::Q4, 1.3 / 15.0 / 1.9),
            (Format::Nf4, 0.65 * 0.16),
        ] {
            let packed = format.pack(&values);
            assert_eq!(packed.words.len() + 2 * packed.groups.len(), format.words(values.len()), "{format:?}");
            let got = format.unpack(&packed);
            let error = got.iter().zip(&values).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(error <= worst, "{format:?}: off by {error}, allowed {worst}");
            assert_eq!(format.unpack(&format.pack(&got)).len(), got.len());
        }
    }

    #[test]
    fn equal_and_zero_groups_are_exact() {
        for value in [0.0, 0.25, -3.0e38] {
            for format in [Format::Bf16, Format::Q8, Format::Q4, Format::Nf4] {
                let got = format.unpack(&format.pack(&[value; 64]));
                let near = half::bf16::from_f32(value).to_f32();
                let want = if format == Format::Bf16 { near } else { value };
                assert!(got.iter().all(|x| *x == want), "{format:?} of {value}: {}", got[0]);
            }
        }
    }
}
