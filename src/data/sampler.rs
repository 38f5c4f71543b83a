//! The order in which examples are seen: a pure function of the seed and the step, so that a run can be resumed
//! anywhere, and pinned by a test, so that no release of a random number crate changes it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Error;

/// What an epoch goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Every example once: 0..n.
    All(usize),
    /// A drawn list of example indices, as a curriculum gives it.
    Drawn(Vec<usize>),
}

impl Order {
    fn len(&self) -> usize {
        match self {
            Self::All(n) => *n,
            Self::Drawn(drawn) => drawn.len(),
        }
    }

    fn example(&self, position: usize) -> usize {
        match self {
            Self::All(_) => position,
            Self::Drawn(drawn) => drawn[position],
        }
    }
}

/// An endless stream of optimizer-step batches, epoch after epoch.
#[derive(Debug, Clone)]
pub struct Epochs {
    order: Order,
    batch_size: usize,
    seed: u64,
    shuffle: bool,
    /// The epoch whose order was made last, and that order.
    made: Option<(u64, Vec<usize>)>,
}

impl Epochs {
    /// Batches of `batch_size` examples; the last of an epoch holds what is left. With `shuffle` every epoch has an
    /// order of its own, from the seed and its number.
    pub fn new(order: Order, batch_size: usize, seed: u64, shuffle: bool) -> Result<Self, Error> {
        if order.len() == 0 {
            return Err(Error::Argument("there are no examples to train on".into()));
        }
        if batch_size == 0 {
            return Err(Error::Argument("a batch needs at least one example".into()));
        }
        Ok(Self { order, batch_size, seed, shuffle, made: None })
    }

    /// Batches per epoch.
    pub fn per_epoch(&self) -> usize {
        self.order.len().div_ceil(self.batch_size)
    }

    /// The example indices of a step, counted from 0 over all epochs.
    pub fn batch(&mut self, step: u64) -> Vec<usize> {
        let per_epoch = self.per_epoch() as u64;
        let (epoch, nth) = (step / per_epoch, (step % per_epoch) as usize);
        let from = nth * self.batch_size;
        let to = (from + self.batch_size).min(self.order.len());
        let positions = self.positions(epoch)[from..to].to_vec();
        positions.into_iter().map(|position| self.order.example(position)).collect()
    }

    fn positions(&mut self, epoch: u64) -> &[usize] {
        let made = match self.made.take() {
            Some((made, positions)) if made == epoch => (made, positions),
            _ => {
                let mut positions: Vec<usize> = (0..self.order.len()).collect();
                if self.shuffle {
                    shuffle(&mut positions, &mut generator(self.seed, b"shuffle.", epoch));
                }
                (epoch, positions)
            }
        };
        &self.made.insert(made).1
    }
}

/// Draws `count` indices with replacement, index `i` with probability `weights[i]` over their sum.
///
/// Errors where a weight is negative or not finite, or where none is above zero.
pub fn draw(weights: &[f64], count: usize, seed: u64) -> Result<Vec<usize>, Error> {
    if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
        return Err(Error::Argument(format!("sampling weight {i} is {}, wanted a number from 0 on", weights[i])));
    }
    let mut sums = Vec::with_capacity(weights.len());
    let mut total = 0.0;
    for weight in weights {
        total += weight;
        sums.push(total);
    }
    let Some(last) = weights.iter().rposition(|w| *w > 0.0).filter(|_| total.is_finite()) else {
        return Err(Error::Argument("the sampling weights have no finite sum above zero".into()));
    };
    let mut rng = generator(seed, b"draw....", 0);
    let one = |rng: &mut ChaCha8Rng| {
        let point = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        sums.partition_point(|sum| *sum <= point).min(last)
    };
    Ok((0..count).map(|_| one(&mut rng)).collect())
}

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
fn shuffle(items: &mut [usize], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}
