//! Evaluation: published tasks, their prompts, what a generated text answers, and what a score is worth.
//!
//! This room knows problems, prompts, answers, verdicts and statistics, on the CPU. It must not know models,
//! tokenizers or devices, and it does not print: whoever generates hands texts in and gets verdicts back.

pub mod answer;
pub mod code;
mod error;
mod graded;
pub mod grader;
mod problem;
pub mod prompt;
pub mod record;
pub mod sandbox;
pub mod stats;
pub mod task;

pub use answers::Verdict;
pub use error::Error;
pub use graded::Graded;
pub use problem::{Problem, Task};
pub use prompt::{Prompt, Style};
