//! A task's file as it is found in the wild.

mod read;
mod row;

use std::fmt;
use std::path::Path;

use super::error::Error;
pub use super::problem::{Choice, CodeProblem, Kind, Problem, Task};
use crate::report::count;

/// The test split of MBPP, by task id.
const MBPP_TEST: std::ops::RangeInclusive<u64> = 11..=510;
/// The examples of the MBPP paper's prompt, by task id.
const MBPP_SHOTS: std::ops::RangeInclusive<u64> = 2..=4;

/// A file with another number of rows than the published set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherCount {
    /// The task.
    pub task: Task,
    /// Rows of the file.
    pub found: usize,
}

impl fmt::Display for OtherCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, found } = self;
        let (found, published) = (count(*found as u64), count(task.published_rows() as u64));
        write!(
            f,
            "{found} problems where the published {task} has {published}; not comparable with published figures"
        )
    }
}

/// A task's problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What is evaluated, in the order of the file.
    pub problems: Vec<Problem>,
    /// Examples that the file itself sets aside; only MBPP has them.
    pub shots: Vec<Problem>,
    /// To be shown beside every figure.
    pub other_count: Option<OtherCount>,
}

/// Reads a task's file: JSONL or a JSON array, in any of the forms in which the set is passed around.
///
/// Errors name the file, the line or row and the field; no row is left out in silence.
pub fn load(task: Task, path: &Path) -> Result<Loaded, Error> {
    let problems = read::problems(task, path)?;
    let found = problems.len();
    let other_count = (found != task.published_rows()).then_some(OtherCount { task, found });
    if task != Task::Mbpp {
        return Ok(Loaded { problems, shots: Vec::new(), other_count });
    }
    let within =
        |problem: &Problem, ids: &std::ops::RangeInclusive<u64>| problem.id.parse().is_ok_and(|id| ids.contains(&id));
    let shots = problems.iter().filter(|p| within(p, &MBPP_SHOTS)).cloned().collect();
    let problems: Vec<_> = problems.into_iter().filter(|p| within(p, &MBPP_TEST)).collect();
    if problems.is_empty() {
        let problem = "has no row with a `task_id` from 11 to 510, the test split of MBPP".into();
        return Err(Error::File { path: path.to_path_buf(), problem });
    }
    Ok(Loaded { problems, shots, other_count })
}

/// Reads problems to be shown as worked examples, such as a training split; each needs a solution or an answer.
pub fn load_shots(task: Task, path: &Path) -> Result<Vec<Problem>, Error> {
    read::problems(task, path)
}
