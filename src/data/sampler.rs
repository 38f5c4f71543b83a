//! The order in which examples are seen: a pure function of the seed and the step, so that a run can be resumed
//! anywhere, and pinned by a test.

use rand_chacha::rand_core::Rng;

use super::error::Error;
use super::random::{generator, shuffle};

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
    /// Batches of `batch_size` examples; the last of an epoch holds what is left. With `shuffle` every epoch has an order of
    /// its own, from the seed and its number.
    ///
    /// # Errors
    /// There are no examples, or `batch_size` is 0.
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
        let made = self.made.take().filter(|(made, _)| *made == epoch);
        let positions = &self.made.insert(made.unwrap_or_else(|| (epoch, self.shuffled(epoch)))).1[from..to];
        positions.iter().map(|position| self.order.example(*position)).collect()
    }

    fn shuffled(&self, epoch: u64) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..self.order.len()).collect();
        if self.shuffle {
            shuffle(&mut positions, &mut generator(self.seed, b"shuffle.", epoch));
        }
        positions
    }
}

/// Draws `count` indices with replacement, index `i` with probability `weights[i]` over their sum.
///
/// # Errors
/// A weight is negative or not finite, or none is above zero.
pub fn draw(weights: &[f64], count: usize, seed: u64) -> Result<Vec<usize>, Error> {
    if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
        return Err(Error::Argument(format!("sampling weight {i} is {}, wanted a number from 0 on", weights[i])));
    }
    let sums = weights.iter().scan(0.0, |total, weight| {
        *total += weight;
        Some(*total)
    });
    let sums: Vec<f64> = sums.collect();
    let total = sums.last().copied().unwrap_or(0.0);
    let Some(last) = weights.iter().rposition(|w| *w > 0.0).filter(|_| total.is_finite()) else {
        return Err(Error::Argument("the sampling weights have no finite sum above zero".into()));
    };
    let mut rng = generator(seed, b"draw....", 0);
    let mut one = || {
        let point = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        sums.partition_point(|sum| *sum <= point).min(last)
    };
    Ok((0..count).map(|_| one()).collect())
}
