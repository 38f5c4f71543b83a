//! The evaluation room: task files, prompts, answers, statistics, records.

#[path = "eval/gold.rs"]
mod gold;
#[path = "eval/grader.rs"]
mod grader;
#[path = "eval/hostile.rs"]
mod hostile;
#[path = "eval/prompt.rs"]
mod prompt;
#[path = "eval/record.rs"]
mod record;
#[path = "eval/replies.rs"]
mod replies;
#[path = "eval/sandbox.rs"]
mod sandbox;
#[path = "common/skip.rs"]
mod skip;
#[path = "eval/stats.rs"]
mod stats;
#[path = "eval/support.rs"]
mod support;
#[path = "eval/task.rs"]
mod task;
