//! Model folders and training checkpoints on disk: exact round trips, hostile files, kills and damage.

#[path = "checkpoint/files.rs"]
mod files;
#[path = "checkpoint/hostile.rs"]
mod hostile;
#[path = "checkpoint/quantised.rs"]
mod quantised;
#[path = "checkpoint/runs.rs"]
mod runs;
#[path = "checkpoint/support.rs"]
mod support;
