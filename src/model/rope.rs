//! Rotary position frequencies, in the arithmetic of transformers (`modeling_rope_utils.py`).
//!
//! transformers computes them in f32 with PyTorch, where `scalar / tensor` is `reciprocal(tensor) * scalar`; both are
//! kept here, so that a table differs from its by no more than the last bit of `pow`, `cos` and `sin`.

use std::f64::consts::TAU;

/// How queries and keys of a layer turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Channels of a head that turn, the first ones; even.
    pub dim: usize,
    /// How they turn.
    pub rope: Rope,
    /// How they turn in long texts, where that differs.
    pub long: Option<LongRope>,
}

/// How far and how fast each pair of a head's channels turns with the position.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// What is done to the frequencies for contexts longer than those of pre-training.
    pub scaling: RopeScaling,
}

/// The `rope_type`s that are supported.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    Default,
    /// All wavelengths are stretched alike.
    Linear {
        /// By how much.
        factor: f64,
    },
    /// LongRoPE: each wavelength is stretched by a factor of its own.
    Each {
        /// One for each pair of channels.
        factors: Vec<f64>,
        /// Multiplies cosines and sines.
        attention: f64,
    },
    /// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between blended.
    Llama3 {
        /// How much the longest wavelengths are stretched.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` are stretched in full.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context length before stretching.
        original_max_positions: usize,
    },
}

/// The rotary positions of long texts.
///
/// A text of more than `beyond` tokens takes `rope` at all its positions, a shorter one none of it: what transformers
/// does with the text on its own. In a packed row each document counts for itself. Text being generated, whose length is
/// not known, counts as long as it may become.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// The longest text that is not long.
    pub beyond: usize,
    /// How its positions turn.
    pub rope: Rope,
}

impl Rope {
    /// Angle per position of each of the `dim / 2` pairs of channels that turn, in radians.
    pub fn inv_freq(&self, dim: usize) -> Vec<f32> {
        let theta = f64::from(self.theta as f32);
        (0..dim / 2)
            .map(|pair| {
                let exponent = (2 * pair) as f32 / dim as f32;
                self.scaling.inv_freq(pair, theta.powf(f64::from(exponent)) as f32)
            })
            .collect()
    }

    /// Cosines and sines of every position from 0, each `[positions, dim / 2]`.
    ///
    /// The angle is the f32 product of position and frequency, as in transformers; only its cosine and sine are
    /// taken in f64, since f32 versions of those differ between machines.
    pub fn tables(&self, dim: usize, positions: usize) -> (Vec<f32>, Vec<f32>) {
        let inv_freq = self.inv_freq(dim);
        let attention = match self.scaling {
            RopeScaling::Each { attention, .. } => attention as f32,
            _ => 1.0,
        };
        (0..positions)
            .flat_map(|position| inv_freq.iter().map(move |freq| position as f32 * freq))
            .map(|angle| {
                let (sin, cos) = f64::from(angle).sin_cos();
                (cos as f32 * attention, sin as f32 * attention)
            })
            .unzip()
    }
}

impl RopeScaling {
    /// The frequency of a pair of channels from its unscaled wavelength per turn of one radian.
    fn inv_freq(&self, pair: usize, wavelength: f32) -> f32 {
        let inv_freq = wavelength.recip();
        let (factor, low_freq_factor, high_freq_factor, original_max_positions) = match *self {
            RopeScaling::Default => return inv_freq,
            RopeScaling::Linear { factor } => return inv_freq / factor as f32,
            RopeScaling::Each { ref factors, .. } => return (factors[pair] as f32 * wavelength).recip(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                (factor, low_freq_factor, high_freq_factor, original_max_positions)
            }
        };
        let context = original_max_positions as f64;
        let wavelength = inv_freq.recip() * TAU as f32;
        if wavelength > (context / low_freq_factor) as f32 {
            return inv_freq / factor as f32;
        }
        if wavelength < (context / high_freq_factor) as f32 {
            return inv_freq;
        }
        let smooth = (wavelength.recip() * context as f32 - low_freq_factor as f32)
            / (high_freq_factor - low_freq_factor) as f32;
        (1.0 - smooth) * inv_freq / factor as f32 + smooth * inv_freq
    }
}
