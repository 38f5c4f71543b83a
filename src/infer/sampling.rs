//! How the next token is chosen from logits.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the likeliest token.
    pub temperature: f64,
    /// Draw only from this many likeliest tokens; 0: from all.
    pub top_k: usize,
    /// Draw only from the likeliest tokens that make up this share.
    pub top_p: f64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0 };

    /// Whether the likeliest token is always taken.
    pub fn is_greedy(self) -> bool {
        self.temperature == 0.0
    }

    /// Draws a token; not for greedy sampling.
    pub(super) fn draw(self, logits: &[f32], random: &mut ChaCha8Rng) -> u32 {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let share = |z: &f32| ((f64::from(*z) - f64::from(most)) / self.temperature).exp();
        let mut shares: Vec<(usize, f64)> = logits.iter().map(share).enumerate().collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.top_k > 0 {
            shares.truncate(self.top_k);
        }
        let total: f64 = shares.iter().map(|(_, share)| share).sum();
        let mut kept = 0.0;
        let reached = shares.iter().position(|(_, share)| {
            kept += share;
            kept >= self.top_p * total
        });
        shares.truncate(reached.map_or(shares.len(), |last| last + 1));
        let mut rest = kept * (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let drawn = shares.iter().find(|(_, share)| {
            rest -= share;
            rest < 0.0
        });
        drawn.or(shares.last()).map_or(0, |(token, _)| *token as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn draws_follow_the_logits() {
        let logits = [0.0, 1.0, 1.0, -1.0f32];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |temperature, top_k, top_p| -> Vec<u32> {
            let sampling = Sampling { temperature, top_k, top_p };
            let mut counts = vec![0; 4];
            (0..4000).for_each(|_| counts[sampling.draw(&logits, &mut random) as usize] += 1);
            counts
        };
        assert_eq!(draw(1.0, 1, 1.0), [0, 4000, 0, 0]);
        let two = draw(1.0, 0, 0.7);
        assert!(two[0] == 0 && two[3] == 0 && two[1].abs_diff(2000) < 150, "{two:?}");
        let all = draw(1.0, 0, 1.0);
        let total: f64 = logits.iter().map(|z| f64::from(*z).exp()).sum();
        for (count, z) in all.iter().zip(logits) {
            let want = 4000.0 * f64::from(z).exp() / total;
            assert!((f64::from(*count) - want).abs() < 130.0, "{all:?}");
        }
    }
}
