//! Published tasks put to a model: the record, what goes on, who judges, and what is refused.

use std::fs;

use serde_json::{Value as Json, json};

use super::support::Desk;

const ASK: &str = "eval --model sft --task gsm8k --file asked.jsonl --max-new-tokens 8";
const DRAW: &str = "eval --model sft --task gsm8k --file asked.jsonl --max-new-tokens 8 --samples 4 --temperature 1";

/// A desk with problems of our own in the form of GSM8K.
fn desk(problems: usize) -> Desk {
    let desk = Desk::new();
    let row = |i: usize| {
        let (a, b) = (2 + i % 7, 3 + i % 5);
        let question = format!("Tom has {a} eggs and buys {b} more. How many eggs does Tom have now?");
        json!({ "question": question, "answer": format!("{a}+{b}={}\n#### {}", a + b, a + b) }).to_string() + "\n"
    };
    desk.write("asked.jsonl", &(0..problems).map(row).collect::<String>());
    desk
}

#[test]
fn every_text_is_in_the_record() {
    let desk = desk(5);
    let told = desk.ok(&format!("{DRAW} --seed 3 --out record.jsonl"));
    assert!(
        told.stderr.contains("warning: asked.jsonl: 5 problems where the published gsm8k has 1,319"),
        "{}",
        told.stderr
    );
    for want in ["problems", "mean@4", "pass@2", "pass@4", "undecided", "texts and verdicts are in record.jsonl"] {
        assert!(told.stdout.contains(want), "{want}\n{}", told.stdout);
    }
    let rows = desk.rows("record.jsonl");
    assert_eq!(rows.len(), 6, "a head and a line for each");
    assert_eq!(rows[0]["settings"]["seed"], 3);
    for (i, row) in rows[1..].iter().enumerate() {
        assert_eq!((row["id"].as_str(), row["n"].as_u64()), (Some((i + 1).to_string().as_str()), Some(4)));
        assert_eq!(row["gold"], (2 + i % 7 + 3 + i % 5).to_string());
        assert_eq!(row["prompt_sha256"].as_str().map(str::len), Some(64));
        let samples = row["samples"].as_array().unwrap();
        let correct = samples.iter().filter(|sample| sample["verdict"] == "correct").count();
        assert_eq!((samples.len(), row["c"].as_u64()), (4, Some(correct as u64)));
        for sample in samples {
            assert!(sample["text"].is_string(), "{sample}");
            assert_eq!(sample["verdict"] == "undecided", sample["reason"].is_string(), "{sample}");
        }
        assert!(samples.iter().any(|sample| sample["text"] != samples[0]["text"]), "they are drawn apart: {row}");
    }
    let summary = desk.json(&format!("{DRAW} --seed 3 --out record.jsonl"));
    assert_eq!((&summary["problems"], &summary["samples"]), (&json!(5), &json!(4)));
    let ks: Vec<u64> = summary["pass_at_k"].as_array().unwrap().iter().map(|at| at["k"].as_u64().unwrap()).collect();
    assert_eq!(ks, [1, 2, 4]);
    let count = |verdict: &str| summary[verdict].as_u64().unwrap();
    assert_eq!(count("correct") + count("wrong") + count("undecided"), 20);

    desk.ok(&format!("{DRAW} --seed 3 --out again.jsonl"));
    assert_eq!(desk.read("again.jsonl"), desk.read("record.jsonl"), "the seed decides");
    desk.ok(&format!("{DRAW} --seed 4 --out other.jsonl"));
    assert_ne!(desk.rows("other.jsonl")[1..], rows[1..]);
    desk.ok(&format!("{ASK} --limit 2"));
    assert_eq!(desk.rows("gsm8k-sft.jsonl").len(), 3, "its name follows from task and model");
    desk.ok(ASK);
    assert_eq!(desk.rows("gsm8k-sft.jsonl").len(), 6, "a larger limit goes on");
}

#[test]
fn a_torn_record_goes_on_to_the_same_bytes() {
    let desk = desk(6);
    let line = format!("{DRAW} --out record.jsonl");
    desk.ok(&line);
    let whole = desk.bytes("record.jsonl");
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let half = lines[5].len() / 2;
    let kept: Vec<u8> = [lines[..5].concat(), lines[5][..half].to_vec()].concat();
    fs::write(desk.path().join("record.jsonl"), kept).unwrap();
    let told = desk.ok(&line);
    assert!(told.stderr.contains("problem 6/6"), "{}", told.stderr);
    assert!(desk.bytes("record.jsonl") == whole, "{}", desk.read("record.jsonl"));
    // Nothing is left to do.
    let again = desk.ok(&line);
    assert_eq!(again.stdout, told.stdout);
    assert!(desk.bytes("record.jsonl") == whole);
}

#[cfg(unix)]
#[test]
fn an_interrupted_task_goes_on() {
    use super::support::{steps, stop};

    let desk = desk(32);
    let line = DRAW.replace("--max-new-tokens 8", "--max-new-tokens 48");
    desk.ok(&format!("{line} --out whole.jsonl"));
    let (code, stderr) =
        stop(&desk, &format!("{line} --out record.jsonl"), "-INT", || steps(&desk, "record.jsonl") > 4);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("record.jsonl holds what is judged so far; the same command goes on"), "{stderr}");
    let done = steps(&desk, "record.jsonl");
    assert!((5..33).contains(&done), "{done}");
    desk.ok(&format!("{line} --out record.jsonl"));
    assert!(desk.read("record.jsonl") == desk.read("whole.jsonl"));
}

#[test]
fn texts_too_long_for_the_device_are_refused() {
    let desk = desk(1);
    let told = desk.line(&ASK.replace("--max-new-tokens 8", "--max-new-tokens 4000000000"));
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("one buffer; lower --max-new-tokens"), "{}", told.stderr);
}

#[test]
fn worked_examples_come_from_a_file() {
    let desk = desk(4);
    let line = format!("{ASK} --style completion --shots-file asked.jsonl --shots 2");
    desk.ok(&format!("{line} --out first.jsonl"));
    assert_eq!(desk.rows("first.jsonl")[0]["settings"]["shots"], json!(["1", "2"]));
    desk.ok(&format!("{line} --draw-shots --seed 7 --out drawn.jsonl"));
    assert_eq!(desk.rows("drawn.jsonl")[0]["settings"]["shots"].as_array().unwrap().len(), 2);
    desk.refuses(&format!("{ASK} --style completion"), 1, &["5 worked examples", "--shots-file", "--shots 0"]);
    desk.refuses(&format!("{line} --shots 9").replace("--shots 2 ", ""), 1, &["9"]);
}

#[test]
fn mistakes_come_before_any_text() {
    let desk = desk(3);
    desk.ok(&format!("{ASK} --out begun.jsonl"));
    let file = |name: &str, line: usize, row: &str| {
        let text = desk.read("asked.jsonl");
        let mut lines: Vec<&str> = text.lines().collect();
        lines[line - 1] = row;
        desk.write(name, &lines.join("\n"));
    };
    file("torn.jsonl", 2, "{\"question\": \"Tom");
    file("field.jsonl", 3, "{\"question\": \"How many eggs?\"}");
    file("gold.jsonl", 2, "{\"question\": \"How many eggs?\", \"answer\": \"#### \"}");
    file("changed.jsonl", 2, "{\"question\": \"How many eggs?\", \"answer\": \"#### 7\"}");
    desk.write("empty.jsonl", "");
    desk.write("code.jsonl", &code_problems());
    let on = |name: &str| ASK.replace("asked.jsonl", name);
    for (line, code, wanted) in [
        (ASK.replace("gsm8k", "gsm9k"), 2, &["there is no task `gsm9k`", "gsm8k, svamp, math500", "mbpp"][..]),
        (format!("{ASK} --data data.jsonl"), 2, &["'--task <TASK>' cannot be used with '--data <FILE>'"]),
        ("eval --model sft --task gsm8k".into(), 2, &["--file <FILE>"]),
        ("eval --model sft --data data.jsonl --samples 2".into(), 2, &["--task"]),
        ("eval --model sft --data data.jsonl --temperature 1".into(), 2, &["--task"]),
        (format!("{ASK} --max-length 64"), 2, &["'--max-length <N>'"]),
        (format!("{ASK} --samples 2"), 2, &["--samples above 1 needs a --temperature above 0"]),
        (format!("{ASK} --style boxd"), 2, &["`boxd`", "completion, plain, boxed, wmss"]),
        (on("none.jsonl"), 1, &["none.jsonl"]),
        (on("empty.jsonl"), 1, &["empty.jsonl", "holds no rows"]),
        (on("torn.jsonl"), 1, &["torn.jsonl, line 2"]),
        (on("field.jsonl"), 1, &["field.jsonl, line 3", "answer"]),
        (on("gold.jsonl"), 1, &["gold.jsonl, line 2", "`answer` has nothing behind its `####`"]),
        (
            format!("{ASK} --max-new-tokens 9 --out begun.jsonl").replacen("--max-new-tokens 8 ", "", 1),
            1,
            &["begun.jsonl, line 1", "`max_new_tokens` = 8, this run has 9"],
        ),
        (
            format!("{ASK} --model m --out begun.jsonl").replacen("--model sft ", "", 1),
            1,
            &["`model` = \"sft\", this run has \"m\""],
        ),
        (
            format!("{} --out begun.jsonl", on("changed.jsonl")),
            1,
            &["begun.jsonl: problem `2`", "changed.jsonl", "another --out"],
        ),
        (format!("{ASK} --out data.jsonl"), 1, &["data.jsonl, line 1", "not the head of a record"]),
        (format!("{ASK} --out absent/record.jsonl"), 1, &["absent/record.jsonl"]),
        (format!("{ASK} --grader nobody-has-this"), 1, &["no program named \"nobody-has-this\""]),
        (format!("{ASK} --grader ''' "), 1, &["grader", "quote arguments"]),
        ("eval --model sft --task humaneval --file code.jsonl".into(), 1, &["humaneval", "consent with --run-code"]),
        ("eval --model sft --task humaneval --file asked.jsonl".into(), 1, &["asked.jsonl, line 1", "`prompt`"]),
    ] {
        desk.refuses(&line, code, wanted);
    }
}

/// A grader that judges five problems in five ways.
#[cfg(unix)]
const GRADER: &str = r#"read -r line
case "$line" in
*'"id":"1"'*) echo '{"correct": true}' ;;
*'"id":"2"'*) echo 'checking'; echo '{"correct": false}' ;;
*'"id":"3"'*) echo 'no such table' >&2; exit 3 ;;
*'"id":"4"'*) sleep 60 ;;
*) echo 'perhaps' ;;
esac
"#;

#[cfg(unix)]
#[test]
fn a_grader_that_fails_decides_nothing() {
    let desk = desk(5);
    desk.write("grade.sh", GRADER);
    let began = std::time::Instant::now();
    let mut args: Vec<&str> = ASK.split_whitespace().collect();
    args.extend(["--grader", "sh grade.sh", "--time-limit", "1", "--out", "record.jsonl", "--json"]);
    let told = desk.run(&args);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(began.elapsed().as_secs() < 30, "a hanging grader is ended");
    let summary: Json = serde_json::from_str(&told.stdout).unwrap();
    let counts = ["correct", "wrong", "undecided"].map(|verdict| summary[verdict].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 3], "{summary}");
    let rows = desk.rows("record.jsonl");
    let sample = |id: usize| &rows[id]["samples"][0];
    assert_eq!([1, 2].map(|id| sample(id)["verdict"].as_str().unwrap()), ["correct", "wrong"]);
    for (id, want) in [(3, "no such table"), (4, "no verdict within 1 s"), (5, "its last line is no")] {
        let reason = sample(id)["reason"].as_str().unwrap();
        assert!(sample(id)["verdict"] == "undecided" && reason.contains(want), "{reason}");
    }
}

/// Two problems in the form of HumanEval, the first of which is solved by whatever makes a comment.
fn code_problems() -> String {
    let row = |i: usize, test: &str| {
        json!({
            "task_id": format!("Own/{i}"),
            "prompt": "def answer(n):\n    return n + 1\n# ",
            "entry_point": "answer",
            "canonical_solution": "done\n",
            "test": format!("def check(candidate):\n    assert {test}\n"),
        })
        .to_string()
            + "\n"
    };
    row(0, "candidate(1) == 2") + &row(1, "candidate(1) == 3")
}

#[test]
fn programs_are_run_shut_in() {
    let desk = Desk::new();
    desk.write("code.jsonl", &code_problems());
    let line = "eval --model sft --task humaneval --file code.jsonl --style completion --max-new-tokens 1 --samples 6 \
                --temperature 2 --run-code --out record.jsonl";
    let told = desk.line(line);
    if told.code == Some(1) {
        assert!(told.stderr.contains("python3") || told.stderr.contains("bubblewrap"), "{}", told.stderr);
        crate::skip::skip("programs_are_run_shut_in", &told.stderr);
        return;
    }
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stderr.contains("programs run in "), "{}", told.stderr);
    let rows = desk.rows("record.jsonl");
    for sample in rows[1]["samples"].as_array().unwrap() {
        let text = sample["text"].as_str().unwrap();
        let is_comment = !text.trim().is_empty() && !text.contains('\n');
        assert_eq!(sample["verdict"], if is_comment { "correct" } else { "wrong" }, "{sample}");
    }
    assert!(rows[1]["c"].as_u64() > Some(0), "{}", rows[1]);
    assert_eq!((&rows[2]["n"], &rows[2]["c"]), (&json!(6), &json!(0)));
}
