//! Whole jobs made of sessions: one phase, WMSS, a comparison of arms, a task, the demonstration, merging and making models.

mod compare;
mod demo;
mod init;
mod merge;
mod single;
mod task;
mod wmss;

pub use compare::{Arm, Comparison, ComparisonRow, Equal, compare};
pub use demo::{DemoRow, demo};
pub use init::init;
pub use merge::merge;
pub use single::single;
pub use task::{TaskRun, default_record, task};
pub use wmss::wmss;
