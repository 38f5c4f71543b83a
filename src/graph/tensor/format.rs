//! Storage formats of the numbers of a tensor: f32, or packed.
//!
//! Packed numbers stand row by row, the first in the lowest bits of the first word; behind them, where a format has
//! groups, a word for every 64 numbers: a scale as f32, or scale and offset as halves.

use half::f16;

/// Numbers that share a scale.
pub const GROUP: usize = 64;

/// Scales and offsets are halves times this, as `lib/affine.wgsl` has it. It moves the halves below 2^-14, which
/// kernels do not take, to where no weight needs them.
const UNIT: f32 = 1.0 / 256.0;

/// Quantiles of the normal distribution, as bitsandbytes has them (NF4, Dettmers et al. 2023).
pub const QUANTILES: [f32; 16] = [
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
    /// IEEE half, rounded to nearest even.
    F16,
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
    /// What each group shares.
    pub groups: Vec<u32>,
}

impl Format {
    /// Bits of a number, without its share of the group's scale.
    pub fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::Bf16 | Self::F16 => 16,
            Self::Q8 | Self::Codes => 8,
            Self::Q4 | Self::Nf4 => 4,
        }
    }

    /// The file in `shaders/lib/packed/` by which kernels read it, where it is one of a packed matrix.
    pub fn loader(self) -> Option<&'static str> {
        match self {
            Self::F32 | Self::Codes => None,
            Self::Bf16 => Some("bf16"),
            Self::F16 => Some("f16"),
            Self::Q8 => Some("q8"),
            Self::Q4 => Some("q4"),
            Self::Nf4 => Some("nf4"),
        }
    }

    /// Whether numbers share scales.
    pub fn has_groups(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4 | Self::Nf4)
    }

    /// Whether rows of this many numbers can be stored.
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
        self.number_words(numbers) + groups
    }

    /// The largest number that can be stored; a larger one becomes this.
    pub fn largest(self) -> f32 {
        match self {
            Self::F32 | Self::Nf4 => f32::MAX,
            Self::Bf16 => half::bf16::MAX.to_f32(),
            Self::F16 => f16::MAX.to_f32(),
            Self::Q8 | Self::Q4 => f16::MAX.to_f32() * UNIT,
            Self::Codes => 255.0,
        }
    }

    /// The word of a group with this scale and offset, each rounded to nearest.
    pub fn group(self, scale: f32, offset: f32) -> u32 {
        match self {
            Self::Nf4 => scale.to_bits(),
            _ => halves([scale, offset].map(|x| normal(f16::from_f32(x / UNIT)))),
        }
    }

    /// Packs numbers, for grouped formats a multiple of [`GROUP`].
    pub fn pack(self, values: &[f32]) -> Packed {
        let two = |bits: fn(f32) -> u16| {
            let word = |two: &[f32]| two.iter().rev().fold(0, |word, x| word << 16 | u32::from(bits(*x)));
            Packed { words: values.chunks(2).map(word).collect(), groups: Vec::new() }
        };
        match self {
            Self::F32 => Packed { words: values.iter().map(|x| x.to_bits()).collect(), groups: Vec::new() },
            Self::Bf16 => two(|x| half::bf16::from_f32(x).to_bits()),
            Self::F16 => two(|x| f16::from_f32(x).to_bits()),
            Self::Codes => {
                let words =
                    values.chunks(4).map(|four| four.iter().rev().fold(0, |word, x| word << 8 | u32::from(*x as u8)));
                Packed { words: words.collect(), groups: Vec::new() }
            }
            Self::Q8 | Self::Q4 | Self::Nf4 => {
                let mut packed = Packed::default();
                for group in values.chunks(GROUP) {
                    let (codes, shared) = if self == Self::Nf4 { nf4(group) } else { affine(group, self.bits()) };
                    packed.groups.push(shared);
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
        let group = |i: usize| packed.groups.get(i / GROUP).copied().unwrap_or_default();
        codes
            .enumerate()
            .map(|(i, code)| match self {
                Self::F32 => f32::from_bits(code),
                Self::Bf16 => f32::from_bits(code << 16),
                Self::Codes => code as f32,
                Self::F16 => f16::from_bits(code as u16).to_f32(),
                Self::Q8 | Self::Q4 => {
                    let [scale, offset] = [group(i), group(i) >> 16].map(|bits| half(bits as u16));
                    code as f32 * scale + offset
                }
                Self::Nf4 => QUANTILES[code as usize] * f32::from_bits(group(i)),
            })
            .collect()
    }
}

/// The scale or offset that stands in a half.
fn half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32() * UNIT
}

/// Two halves in a word, the first in its lower half.
fn halves([low, high]: [f16; 2]) -> u32 {
    u32::from(high.to_bits()) << 16 | u32::from(low.to_bits())
}

/// Finite, and 0 where kernels do not take it.
fn normal(x: f16) -> f16 {
    match x.to_f32().abs() {
        size if size < f16::MIN_POSITIVE.to_f32() => f16::ZERO,
        _ => x.clamp(f16::MIN, f16::MAX),
    }
}

/// The largest half that is at most `x` and that kernels take.
fn half_below(x: f32) -> f16 {
    let near = normal(f16::from_f32(x));
    match near.to_f32() <= x || near == f16::MIN {
        true => near,
        false if near == f16::ZERO => -f16::MIN_POSITIVE,
        false if near == f16::MIN_POSITIVE => f16::ZERO,
        false if near > f16::ZERO => f16::from_bits(near.to_bits() - 1),
        false => f16::from_bits(near.to_bits() + 1),
    }
}

/// The whole range of a group in equal steps: from a half at or below the least to a multiple of a half at or above the
/// largest. Half a step, the error, is at most `max((range + 2^-10 |least|) (1 + 2^-10) / most, 2^-22) / 2`.
fn affine(group: &[f32], bits: usize) -> (Vec<u32>, u32) {
    let (low, high) =
        group.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    let most = (u32::MAX >> (32 - bits)) as f32;
    let offset = half_below(low / UNIT);
    let scale = -half_below(-(high / UNIT - offset.to_f32()) / most);
    let scale = scale.max(f16::MIN_POSITIVE);
    let [step, least] = [scale, offset].map(|x| half(x.to_bits()));
    let code = |x: &f32| ((x - least) / step).round_ties_even().clamp(0.0, most) as u32;
    (group.iter().map(code).collect(), halves([scale, offset]))
}

/// The nearest quantile.
fn nf4(group: &[f32]) -> (Vec<u32>, u32) {
    let scale = group.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let code = |x: &f32| QUANTILES.windows(2).filter(|pair| x * inverse > (pair[0] + pair[1]) / 2.0).count() as u32;
    (group.iter().map(code).collect(), scale.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 6] = [Format::F32, Format::Bf16, Format::F16, Format::Q8, Format::Q4, Format::Nf4];

    /// The largest error that a format promises for a group.
    fn allowed(format: Format, group: &[f32]) -> f32 {
        let largest = group.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let [low, high] =
            [group.iter().copied().fold(f32::MAX, f32::min), group.iter().copied().fold(f32::MIN, f32::max)];
        let step =
            |most: f32| ((high - low + low.abs() / 1024.0) * (1.0 + 1.0 / 1024.0) / most).max(1.0 / (1 << 22) as f32);
        let rounding = largest / (1 << 22) as f32;
        match format {
            Format::F32 => 0.0,
            Format::Bf16 => largest / 256.0,
            Format::F16 => (largest / 2048.0).max(f32::powi(2.0, -25)),
            Format::Q8 => step(255.0) / 2.0 + rounding,
            Format::Q4 => step(15.0) / 2.0 + rounding,
            Format::Nf4 => largest * 0.153,
            Format::Codes => 0.0,
        }
    }

    #[test]
    fn what_was_packed_is_as_near_as_promised() {
        let wave =
            |scale: f32, offset: f32| (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) * scale + offset).collect();
        let cases: [Vec<f32>; 9] = [
            wave(0.013, 0.0),
            wave(0.013, 100.0),
            wave(-0.013, -100.0),
            wave(5.0, 0.0),
            wave(1e-4, 0.0),
            wave(1e-6, 0.0),
            wave(1e-9, 1e-9),
            vec![0.0; 64],
            vec![-0.1; 64],
        ];
        for (values, format) in cases.iter().flat_map(|values| FORMATS.map(|format| (values, format))) {
            let packed = format.pack(values);
            assert_eq!(packed.words.len() + packed.groups.len(), format.words(values.len()), "{format:?}");
            let got = format.unpack(&packed);
            for (group, got) in values.chunks(GROUP).zip(got.chunks(GROUP)) {
                let error = got.iter().zip(group).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                let allowed = allowed(format, group);
                assert!(error <= allowed, "{format:?} of {}..: off by {error}, allowed {allowed}", group[0]);
            }
        }
    }

    #[test]
    fn numbers_beyond_the_largest_are_held_as_it() {
        for format in FORMATS {
            for sign in [-1.0, 1.0] {
                let values: Vec<f32> = (0..64).map(|i| sign * format.largest() * (i / 63) as f32).collect();
                let got = format.unpack(&format.pack(&values));
                let error = (got[63] - values[63]).abs() / format.largest();
                assert!(error <= 1.0 / 256.0 && got[0].abs() <= format.largest() / 256.0, "{format:?}: {error}");
            }
            if format.has_groups() {
                let got = format.unpack(&format.pack(&[f32::MAX, -f32::MAX].repeat(32)));
                assert!(got.iter().all(|x| x.is_finite()), "{format:?}: {got:?}");
            }
        }
    }

    #[test]
    fn groups_of_others_are_held_as_they_are() {
        for (scale, offset) in [(0.0078125, -0.0625), (3.1e-3, 0.25), (-2.0e-4, 1.5), (1.0e-6, 0.0)] {
            let [scale, offset] = [scale, offset].map(|x| half::bf16::from_f32(x).to_f32());
            let packed = Packed { words: vec![0xfedc_ba98; 8], groups: vec![Format::Q4.group(scale, offset)] };
            let want: Vec<f32> = (0..64).map(|i| (8 + i % 8) as f32 * scale + offset).collect();
            assert_eq!(Format::Q4.unpack(&packed), want, "{scale} {offset}");
        }
    }

    #[test]
    fn codes_are_whole_numbers_whatever_comes() {
        let values = [0.0, 1.0, 254.0, 255.0, 3e38, -7.0, f32::NAN, 12.9];
        let got = Format::Codes.unpack(&Format::Codes.pack(&values));
        assert_eq!(got, [0.0, 1.0, 254.0, 255.0, 255.0, 0.0, 0.0, 12.0]);
    }
}
