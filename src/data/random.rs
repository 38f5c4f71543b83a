//! Randomness that is the same on every machine and in every release: pinned generators, and one shuffle.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A generator of its own for every seed, purpose and number.
pub(super) fn generator(seed: u64, purpose: &[u8; 8], number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(purpose);
    key[16..24].copy_from_slice(&number.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A number below `bound`, each with the same probability: draws beyond the last whole multiple are thrown away.
pub(super) fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let bound = bound.max(1);
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let drawn = rng.next_u64();
        if drawn < limit {
            return drawn % bound;
        }
    }
}

/// Fisher-Yates.
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}

/// PCG-RXS-M-XS-32 (O'Neill 2014), one step of it as a hash; the same as in `shaders/noise.wgsl`.
fn pcg(n: u32) -> u32 {
    let state = n.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// Where the randomness of one optimizer step starts. A token's key comes from the seed, the step, its example and its
/// position, so that noise is the same however examples are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey(u32);

impl StepKey {
    /// Of `step`, counted from 0, of a run with this seed.
    pub fn new(seed: u64, step: u64) -> Self {
        let fold = |n: u64| (n ^ (n >> 32)) as u32;
        Self(pcg(pcg(fold(seed)).wrapping_add(fold(step))))
    }

    /// The key of a token: `example` counts within the step, `position` within the example.
    pub fn token(self, example: usize, position: usize) -> u32 {
        pcg(pcg(self.0.wrapping_add(example as u32)).wrapping_add(position as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_reference() {
        // Of an implementation in Python with arbitrary precision.
        assert_eq!([0, 1, u32::MAX].map(pcg), [129708002, 2831084092, 3861530882]);
        assert_eq!(StepKey::new(7, 3).token(2, 5), 916081683);
    }
}
