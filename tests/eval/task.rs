//! Task files: the shared ones, and bad ones.

use std::path::PathBuf;

use underdog::choice::Choice as _;
use underdog::eval::task::{load, load_shots};
use underdog::eval::{Task, answer, code, prompt::Style};

use super::support::{SETS, humaneval, shared};

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

#[test]
fn shared_sets_are_read_whole() {
    let Some(root) = shared("shared_sets_are_read_whole", "math_eval") else { return };
    for (name, task, file, published) in SETS {
        let loaded = load(*task, &root.join(file)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(loaded.other_count.is_none(), *published, "{name}: {} rows", loaded.problems.len());
        if *published {
            assert_eq!(loaded.problems.len(), task.published_rows(), "{name}");
        }
        let mut ids: Vec<_> = loaded.problems.iter().map(|p| &p.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), loaded.problems.len(), "{name}: ids are not unique");
        for problem in &loaded.problems {
            assert!(!problem.question.is_empty() && !problem.answer.is_empty(), "{name}: {problem:?}");
            if *task == Task::Aqua {
                assert_eq!(problem.choices.len(), 5, "{name}: {problem:?}");
                assert!(problem.choices.iter().all(|choice| !choice.text.is_empty()), "{name}: {problem:?}");
            }
        }
    }
}

#[test]
fn forms_of_one_set_give_the_same_answers() {
    let Some(root) = shared("forms_of_one_set_give_the_same_answers", "math_eval") else { return };
    let sorted = |task, file: &str| {
        let loaded = load(task, &root.join(file)).expect("loaded");
        let mut rows: Vec<_> = loaded.problems.into_iter().map(|p| (p.question, p.answer)).collect();
        rows.sort();
        rows
    };
    assert_eq!(sorted(Task::Svamp, "svamp/SVAMP.json"), sorted(Task::Svamp, "math_eval/svamp.jsonl"));
    assert_eq!(
        sorted(Task::Amc, "math_eval/amc23.jsonl"),
        sorted(Task::Amc, "weak_driven_test_dataset/amc23/test.json")
    );
    assert_eq!(
        sorted(Task::Aqua, "math_eval/aqua.jsonl"),
        sorted(Task::Aqua, "weak_driven_test_dataset/AQuA/AQuA.json")
    );
}

#[test]
fn another_count_is_said() {
    let (_folder, path) = file("{\"question\": \"1 + 1?\", \"answer\": \"2\"}\n");
    let loaded = load(Task::Gsm8k, &path).expect("loaded");
    let said = loaded.other_count.expect("a warning").to_string();
    assert_eq!(said, "1 problems where the published gsm8k has 1,319; not comparable with published figures");
}

#[test]
fn humaneval_gives_runnable_programs() {
    let Some(root) = shared("humaneval_gives_runnable_programs", "humaneval") else { return };
    let (_folder, path) = humaneval(&root);
    let loaded = load(Task::Humaneval, &path).expect("loaded");
    assert_eq!((loaded.problems.len(), loaded.other_count), (164, None));
    for problem in &loaded.problems {
        let entry = &problem.code.as_ref().expect("code").entry_point;
        assert!(problem.question.contains(&format!("def {entry}(")), "{}", problem.id);
        let program = code::program(problem, Style::Completion, &problem.answer).expect("program");
        assert!(program.starts_with(&problem.question) && program.trim_end().ends_with(&format!("check({entry})")));
        let reply = format!("<think>?</think>Here:\n```python\n{}{}\n```\n", problem.question, problem.answer);
        let program = code::program(problem, Style::Boxed, &reply).expect("program");
        assert!(program.contains(&problem.answer) && !program.contains("<think>"), "{}", problem.id);
    }
}

#[test]
fn mbpp_is_its_test_split() {
    let Some(root) = shared("mbpp_is_its_test_split", "mbpp") else { return };
    let loaded = load(Task::Mbpp, &root.join("mbpp/mbpp.jsonl")).expect("loaded");
    assert_eq!((loaded.problems.len(), loaded.shots.len(), loaded.other_count), (500, 3, None));
    assert_eq!((loaded.problems[0].id.as_str(), loaded.problems[499].id.as_str()), ("11", "510"));
    for problem in &loaded.problems {
        let code = problem.code.as_ref().expect("code");
        assert!(
            problem.answer.contains(&format!("def {}", code.entry_point)),
            "{}: {}",
            problem.id,
            code.entry_point
        );
        assert!(
            code::program(problem, Style::Completion, &problem.answer).expect("program").contains(&code.tests[0])
        );
        assert!(matches!(answer::grade(problem, "\\boxed{5}").verdict, underdog::eval::Verdict::Undecided(_)));
    }
    let sanitized = load(Task::Mbpp, &root.join("mbpp/sanitized-mbpp.json")).expect("loaded");
    assert_eq!((sanitized.problems.len(), sanitized.shots.len()), (257, 3));
    assert!(sanitized.other_count.is_some());
}

#[test]
fn training_files_serve_as_examples() {
    let Some(root) = shared("training_files_serve_as_examples", "gsm8k") else { return };
    let shots = load_shots(Task::Gsm8k, &root.join("gsm8k/train.jsonl")).expect("loaded");
    assert_eq!(shots.len(), 7_473);
    assert!(shots.iter().all(|shot| shot.solution.as_ref().is_some_and(|s| s.contains("####"))));
    // Sets of the same kind are read too: here answers stand in the worked solution.
    let minerva = load_shots(Task::Math500, &root.join("math_eval/minerva_math.jsonl")).expect("loaded");
    assert_eq!(minerva.len(), 272);
    // Two of its rows have an empty answer.
    let said = load_shots(Task::Math500, &root.join("math_eval/gaokao2023en.jsonl")).expect_err("empty").to_string();
    assert!(said.contains("line ") && said.contains("has no `answer`"), "{said}");
    for name in ["addsub", "multiarith", "singleeq", "singleop"] {
        assert!(load_shots(Task::Mawps, &root.join(format!("math_eval/mawps_{name}.jsonl"))).is_ok(), "{name}");
    }
    for name in ["trainset", "validset"] {
        let path = root.join(format!("weak_driven_test_dataset/mawps/{name}.json"));
        assert!(load_shots(Task::Mawps, &path).is_ok(), "{name}");
    }
}

#[test]
fn bad_files_are_named() {
    for (task, text, wanted) in [
        (Task::Gsm8k, "", "holds no rows"),
        (Task::Gsm8k, "[]", "holds no rows"),
        (Task::Gsm8k, "[1]", "row 1: is not a JSON object"),
        (Task::Gsm8k, "[{]", "is not a JSON array"),
        (Task::Gsm8k, "\n{\"question\": \"a\"", "line 2: is not JSON"),
        (Task::Gsm8k, "{\"question\": \"a\"}", "line 1: has no `answer`"),
        (Task::Gsm8k, "{\"answer\": \"a\"}", "line 1: has no `question`"),
        (Task::Gsm8k, "{\"question\": \"a\", \"answer\": \"b ####\"}", "nothing behind its `####`"),
        (Task::Gsm8k, "{\"question\": [], \"answer\": \"5\"}", "line 1: has no `question`"),
        (Task::Math500, "{\"problem\": \"a\", \"solution\": \"no box\"}", "has no `answer`"),
        (Task::Aqua, "{\"question\": \"a\", \"correct\": \"A\"}", "`options` is missing"),
        (Task::Aqua, "{\"question\": \"a\", \"options\": \"A)5\", \"correct\": \"A\"}", "`options` is not a list"),
        (Task::Aqua, "{\"question\": \"a\", \"options\": [\"5\", \"6\"], \"correct\": \"A\"}", "wanted the form"),
        (
            Task::Aqua,
            "{\"question\": \"a\", \"options\": [\"A)5\", \"B)6\"], \"correct\": \"C\"}",
            "none of the letters",
        ),
        (Task::Aqua, "{\"question\": \"a Answer Choices: (A) 5\", \"answer\": \"A\"}", "fewer than two choices"),
        (Task::Humaneval, "{\"prompt\": \"a\"}", "has no `entry_point`"),
        (
            Task::Humaneval,
            "{\"prompt\": \"a\", \"entry_point\": \"f(); g\", \"test\": \"\"}",
            "not the name of a Python function",
        ),
        (Task::Mbpp, "{\"text\": \"a\", \"task_id\": 11}", "`test_list` is missing"),
        (Task::Mbpp, "{\"text\": \"a\", \"task_id\": 11, \"test_list\": []}", "`test_list` is empty"),
        (Task::Mbpp, "{\"text\": \"a\", \"task_id\": 11, \"test_list\": [5]}", "`test_list` holds 5"),
        (Task::Mbpp, "{\"text\": \"a\", \"task_id\": 999, \"test_list\": [\"assert f(1)\"]}", "from 11 to 510"),
        (Task::Gsm8k, "\u{1f}", "is not JSON"),
    ] {
        let (_folder, path) = file(text);
        let said = load(task, &path).expect_err(text).to_string();
        assert!(said.contains(wanted) && said.contains("rows.jsonl"), "{text:?}: {said}");
    }
    assert!(
        load(Task::Gsm8k, &PathBuf::from("no/such.jsonl"))
            .expect_err("missing")
            .to_string()
            .contains("no/such.jsonl")
    );
    assert!("gsm9k".parse::<Task>().expect_err("unknown").to_string().contains("humaneval, mbpp"));
    assert!(
        Task::ALL
            .iter()
            .all(|(task, name, _)| name.parse::<Task>().is_ok_and(|read| read == *task && read.to_string() == *name))
    );
}

#[test]
fn packed_files_are_to_be_unpacked() {
    let Some(root) = shared("packed_files_are_to_be_unpacked", "humaneval") else { return };
    let said = load(Task::Humaneval, &root.join("humaneval/HumanEval.jsonl.gz")).expect_err("packed").to_string();
    assert!(said.contains("gunzip"), "{said}");
}
