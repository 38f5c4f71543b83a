//! Is a mathematical answer the gold one? Answers are numbers, formulas, equations, intervals, sets and matrices, written in
//! LaTeX or plainly, as competition tasks and models write them.
//!
//! [`compare()`] says right only when that is certain. Where an answer cannot be read, or where the published graders
//! disagree, the verdict is [`Verdict::Undecided`] with its reason. Text comes from strangers: length, nesting and work are
//! bounded, and nothing in it can make a comparison panic.

mod compare;
mod expr;
mod number;
mod op;
mod shape;
mod token;
mod value;
mod verdict;

pub use compare::compare;
pub use token::closing_brace;
pub use verdict::Verdict;
