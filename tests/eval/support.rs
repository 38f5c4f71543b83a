//! Where the shared data lies, and problems made up for tests.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use underdog::eval::task::{Choice, Kind};
use underdog::eval::{Problem, Task, task};

pub(crate) use crate::skip::shared;

/// Past the test harness as well.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The mathematical sets: a name, the task, the file, and whether it has the published number of rows.
pub(crate) const SETS: &[(&str, Task, &str, bool)] = &[
    ("gsm8k", Task::Gsm8k, "gsm8k/test.jsonl", true),
    ("svamp", Task::Svamp, "svamp/SVAMP.json", true),
    ("svamp (jsonl)", Task::Svamp, "math_eval/svamp.jsonl", true),
    ("math500", Task::Math500, "math_eval/math500.jsonl", true),
    ("aime24", Task::Aime, "math_eval/aime24.jsonl", true),
    ("aime25", Task::Aime, "weak_driven_test_dataset/aime2025/test.json", true),
    ("amc23", Task::Amc, "math_eval/amc23.jsonl", true),
    ("amc23 (json)", Task::Amc, "weak_driven_test_dataset/amc23/test.json", true),
    ("aqua", Task::Aqua, "math_eval/aqua.jsonl", true),
    ("aqua (AQuA.json)", Task::Aqua, "weak_driven_test_dataset/AQuA/AQuA.json", true),
    ("aqua (aqua_1.json)", Task::Aqua, "weak_driven_test_dataset/AQuA/aqua_1.json", true),
    ("aqua (test.json)", Task::Aqua, "weak_driven_test_dataset/AQuA/test.json", true),
    ("mawps", Task::Mawps, "weak_driven_test_dataset/mawps/test.json", true),
    ("mawps (testset.json)", Task::Mawps, "weak_driven_test_dataset/mawps/testset.json", true),
    ("mawps (all)", Task::Mawps, "math_eval/mawps.jsonl", false),
];

/// A set's problems.
pub(crate) fn problems(root: &Path, task: Task, file: &str) -> Vec<Problem> {
    task::load(task, &root.join(file)).unwrap_or_else(|e| panic!("{e}")).problems
}

/// HumanEval unpacked into a folder of its own.
pub(crate) fn humaneval(root: &Path) -> (tempfile::TempDir, PathBuf) {
    let packed = std::fs::File::open(root.join("humaneval/HumanEval.jsonl.gz")).expect("HumanEval");
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut text).expect("gzip");
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("HumanEval.jsonl");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

/// A problem with a number or formula as answer.
pub(crate) fn math(answer: &str) -> Problem {
    Problem {
        id: "1".into(),
        kind: Kind::Math,
        question: "How many?".into(),
        choices: Vec::new(),
        answer: answer.into(),
        solution: None,
        code: None,
    }
}

/// A problem with choices `A`, `B`, ...
pub(crate) fn choice(answer: &str, texts: &[&str]) -> Problem {
    let letters = ('A'..).map(|letter| letter.to_string());
    let choices = letters.zip(texts).map(|(letter, text)| Choice { letter, text: (*text).into() }).collect();
    Problem { kind: Kind::Choice, choices, ..math(answer) }
}
