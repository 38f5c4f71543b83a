//! Generated text that tries to break the grader: every case must end soon, and none may be right.

use std::time::{Duration, Instant};

use answers::compare;
use underdog::eval::answer::grade;
use underdog::eval::task::CodeProblem;
use underdog::eval::{Style, Verdict, code};

use super::support::{choice, math};

fn attacks() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for unit in [
        "(",
        ")",
        "[",
        "{",
        "}",
        "\\{",
        "\\",
        "\\boxed{",
        "\\boxed",
        "\\frac",
        "\\frac{",
        "\\sqrt",
        "\\sqrt[",
        "^",
        "-",
        "+",
        "±",
        ",",
        "\\pm",
        "|",
        "sin",
        "\\sin ",
        "\\log_",
        "1",
        "9",
        "1,",
        "1/",
        "1 ",
        "x",
        "x^",
        "9^9^",
        "9!",
        "!",
        "%",
        "$",
        "°",
        "\\text{",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "&",
        "\\\\",
        "\\cup",
        "=",
        "<",
        "1<",
        "\\left(",
        "####",
        "answer is ",
        "<think>",
        "</think>",
        "<answer>",
        "`",
        "```",
        "1e",
        "1e9",
        "e9",
        ".",
        "1.",
        "_",
        "1_",
        "\u{1}",
        "\u{2}",
        "𝟙",
        "é",
        "\u{0}",
        "½",
        "\\binom{9}{",
        "(1,",
        "{1,",
        "\\frac1",
        "\\text{a} ",
        "and ",
        "1 and ",
        "٣",
    ] {
        for times in [1, 2, 3, 40, 399, 20_000] {
            all.push(unit.repeat(times));
            all.push(format!("\\boxed{{{}}}", unit.repeat(times)));
            all.push(format!("\\boxed{{5{}5}}", unit.repeat(times.min(400))));
            all.push(format!("The answer is {}", unit.repeat(times)));
        }
    }
    all.push(format!("\\boxed{{{}1{}}}", "(".repeat(500), ")".repeat(500)));
    all.push(format!("\\boxed{{{}1{}}}", "(1,".repeat(200), ")".repeat(200)));
    all.push(format!("\\boxed{{{}}}", "9".repeat(1_900)));
    all.push("\\boxed{9^{9^{9^{9}}}}".into());
    all.push("\\boxed{170!!!}".into());
    all.push("\\boxed{\\binom{170}{85}^{999}}".into());
    all.push("\\boxed{0^{-1}}".into());
    all.push("\\boxed{1/0}".into());
    all.push("\\boxed{\\frac{0}{0}}".into());
    all.push("\\boxed{\\log_1 5}".into());
    all.push("\\boxed{(-170141183460469231731687303715884105728)/(-1)}".into());
    all.push("\\boxed{170141183460469231731687303715884105727+1}".into());
    all.push(format!("\\boxed{{{}}}", "\\sqrt".repeat(300)));
    all
}

#[test]
fn hostile_text_is_never_right_and_never_slow() {
    let problems = [
        math("77123"),
        math("\\frac{77123}{2}"),
        math("(1,\\sqrt{77123})"),
        math("x^2 + 77123 = y"),
        choice("C", &["a7", "b7", "c7"]),
    ];
    let start = Instant::now();
    let attacks = attacks();
    for attack in &attacks {
        for problem in &problems {
            let graded = grade(problem, attack);
            assert_ne!(graded.verdict, Verdict::Correct, "{:.80}", attack);
        }
        let _ = compare(attack, "5");
        let _ = compare(attack, attack);
    }
    let spent = start.elapsed();
    assert!(spent < Duration::from_secs(60), "{spent:?} for {} texts", attacks.len());
}

#[test]
fn every_prefix_of_an_answer_is_survived() {
    let text = "<think>a</think><answer>The answer is $\\boxed{\\left\\{1\\pm\\sqrt[3]{5},\\frac{1}2,\\begin{pmatrix}1&2\\\\3\\end{pmatrix},\\text{½ é}, 10,\\!000_5, 2^{-x}!, (3,4]\\cup[5,\\infty)\\right\\}}$</answer>";
    for (end, _) in text.char_indices() {
        let _ = grade(&math("5"), &text[..end]);
        let _ = grade(&math(&text[..end]), &text[end..]);
        let _ = compare(&text[..end], &text[end..]);
        let _ = compare(&text[end..], "5");
    }
}

#[test]
fn code_is_taken_from_behind_the_thinking() {
    let mut problem = math("5");
    assert!(code::program(&problem, Style::Boxed, "```python\nx\n```").is_err());
    problem.code =
        Some(CodeProblem { entry_point: "f".into(), setup: String::new(), tests: vec!["assert f() == 1".into()] });
    for text in ["", " \n", "<think>```\nx\n```", "<think></think>"] {
        assert!(code::program(&problem, Style::Boxed, text).is_err(), "{text:?}");
    }
    let text = "<think>```\nbad\n```</think>So:\n```python\ndef f(): return 1\n```";
    let program = code::program(&problem, Style::Boxed, text).expect("code");
    assert!(program.contains("def f(): return 1") && program.contains("assert f() == 1") && !program.contains("bad"));
}
