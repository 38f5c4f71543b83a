//! Time, as the core of the program sees it: rooms that compute are given a clock and read no other.

use core::time::Duration;

/// A clock that never goes back.
pub trait Clock: Send + Sync {
    /// Time since some moment that stays the same.
    fn now(&self) -> Duration;
}
