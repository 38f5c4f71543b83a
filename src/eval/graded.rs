//! A sample's answer, judged.

use answers::Verdict;

/// A sample's answer and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graded {
    /// The answer as found in the text; `None` where there is none.
    pub extracted: Option<String>,
    /// Whether it is the gold answer.
    pub verdict: Verdict,
}

impl Graded {
    pub(super) fn undecided(extracted: Option<&str>, why: &str) -> Self {
        Self { extracted: extracted.map(str::to_owned), verdict: Verdict::Undecided(why.into()) }
    }
}
