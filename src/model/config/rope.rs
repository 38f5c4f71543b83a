//! Rotary position frequencies, in the arithmetic of transformers (`modeling_rope_utils.py`).
//!
//! transformers computes them in f32 with PyTorch, where `scalar / tensor` is `reciprocal(tensor) * scalar`; both are
//! kept here, so that a table differs from its by no more than the last bit of `pow`, `cos` and `sin`.

use std::f64::consts::TAU;

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

impl Rope {
    /// Angle per position of each of the `head_dim / 2` pairs, in radians.
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f32> {
        let theta = f64::from(self.theta as f32);
        (0..head_dim / 2)
            .map(|pair| {
                let exponent = (2 * pair) as f32 / head_dim as f32;
                let inv_freq = 1.0 / theta.powf(f64::from(exponent)) as f32;
                self.scaling.apply(inv_freq)
            })
            .collect()
    }

    /// Cosines and sines of every position from 0, each `[positions, head_dim / 2]`.
    ///
    /// The angle is the f32 product of position and frequency, as in transformers; only its cosine and sine are
    /// taken in f64, since f32 versions of those differ between machines.
    pub fn tables(&self, head_dim: usize, positions: usize) -> (Vec<f32>, Vec<f32>) {
        let inv_freq = self.inv_freq(head_dim);
        (0..positions)
            .flat_map(|position| inv_freq.iter().map(move |freq| position as f32 * freq))
            .map(|angle| {
                let (sin, cos) = f64::from(angle).sin_cos();
                (cos as f32, sin as f32)
            })
            .unzip()
    }
}

impl RopeScaling {
    fn apply(&self, inv_freq: f32) -> f32 {
        let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } = *self else {
            return inv_freq;
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
