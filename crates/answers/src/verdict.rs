//! What a comparison says.

use serde::{Deserialize, Serialize};

/// What became of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// The gold answer.
    Correct,
    /// Another answer.
    Wrong,
    /// It cannot be told, and why.
    Undecided(String),
}

impl Verdict {
    /// Right or wrong.
    pub fn of(correct: bool) -> Self {
        if correct { Self::Correct } else { Self::Wrong }
    }
}
