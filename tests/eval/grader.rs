//! Graders that answer, and graders that do not.

use std::time::{Duration, Instant};

use underdog::eval::Verdict;
use underdog::eval::grader::{Error, Grader, Question};

const QUESTION: Question<'static> =
    Question { id: "7", question: "2+2?", gold: "4", answer: Some("4"), text: "It's \"4\".\n#### 4" };

fn shell(script: &str) -> Grader {
    let quoted = script.replace('\'', "'\\''");
    Grader::command(&format!("sh -c '{quoted}'"), 1).expect("sh")
}

#[cfg(unix)]
#[test]
fn a_grader_decides_or_is_undecided() {
    let cases = [
        ("cat >/dev/null; echo '{\"correct\": true}'", Ok(Verdict::Correct)),
        ("echo '{\"correct\":false, \"why\": \"no\"}'", Ok(Verdict::Wrong)),
        ("echo loading; echo '{\"correct\": true}'; echo", Ok(Verdict::Correct)),
        // What it is asked is one line of JSON, whatever the texts hold.
        (
            "read -r line; [ \"$line\" = '{\"id\":\"7\",\"question\":\"2+2?\",\"gold\":\"4\",\"answer\":\"4\",\
          \"text\":\"It'\\''s \\\"4\\\".\\n#### 4\"}' ] && echo '{\"correct\":true}'",
            Ok(Verdict::Correct),
        ),
        ("exit 3", Err("exit status: 3")),
        ("echo '{\"correct\": true}'; echo a trace >&2; exit 1", Err("a trace")),
        ("kill -9 $$", Err("signal: 9")),
        ("true", Err("its last line")),
        ("echo '{\"correct\": \"yes\"}'", Err("its last line")),
        ("echo yes", Err("its last line")),
        ("printf '\\377\\376'", Err("its last line")),
        ("sleep 60", Err("within 1 s")),
        ("sleep 60 & sleep 60 & wait", Err("within 1 s")),
        ("while :; do echo '{\"correct\": true}'; done", Err("within 1 s")),
    ];
    for (script, expected) in cases {
        let started = Instant::now();
        match (shell(script).grade(&QUESTION), expected) {
            (grade, Ok(expected)) => assert_eq!(grade, expected, "{script}"),
            (Verdict::Undecided(reason), Err(says)) => assert!(reason.contains(says), "{script}: {reason}"),
            (grade, Err(_)) => panic!("{script}: {grade:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{script}: {:?}", started.elapsed());
    }
}

#[cfg(unix)]
#[test]
fn what_a_grader_leaves_running_holds_nothing_up() {
    let started = Instant::now();
    let grade = shell("sleep 60 & echo '{\"correct\": true}'").grade(&QUESTION);
    assert_eq!(grade, Verdict::Correct);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[cfg(unix)]
#[test]
fn a_grader_that_reads_nothing_takes_any_input() {
    let long = "x".repeat(1 << 20);
    let question = Question { text: &long, answer: None, ..QUESTION };
    assert_eq!(shell("echo '{\"correct\": false}'").grade(&question), Verdict::Wrong);
    let counts = shell("n=$(wc -c); [ \"$n\" -gt 1048576 ] && echo '{\"correct\": true}'");
    assert_eq!(counts.grade(&question), Verdict::Correct);
}

#[test]
fn a_command_that_cannot_run_is_refused_at_once() {
    assert!(matches!(Grader::command("grade 'half", 1), Err(Error::Quotes { .. })));
    for line in ["", "  ", "no-such-program-here --x", "./no/such/file"] {
        let error = Grader::command(line, 1).expect_err(line);
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    }
}
