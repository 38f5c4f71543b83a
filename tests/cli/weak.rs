//! Which weak model and which samples: the choice among checkpoints, and the rules of the curriculum.

use super::support::{Desk, ROWS};

const AUTO: &str = "train --method mix --weak auto --held-out data.jsonl --data data.jsonl --batch-size 4 --lr 1e-3";

#[test]
fn a_weaker_checkpoint_is_chosen() {
    let desk = Desk::new();
    desk.ok(
        "train --model m --data data.jsonl --out long --lr 3e-3 --batch-size 4 --epochs 6 --save-every 6 --keep 9",
    );
    let line =
        format!("{AUTO} --model long --candidate m --candidate long/checkpoint-6 --candidate long/checkpoint-18");
    let told = desk.ok(&format!("{line} --out run"));
    for (candidate, words) in [("m", 4), ("long/checkpoint-6", 5), ("long/checkpoint-18", 4)] {
        let mut lines = told.stderr.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = lines.find(|row| row[0] == candidate && row.len() >= 4 && row[1].parse::<f64>().is_ok());
        assert_eq!(row.map(|row| row.len()), Some(words), "{candidate}\n{}", told.stderr);
    }
    for want in ["candidate", "loss", "entropy", "amplification", "chosen", "on 12 held-out samples"] {
        assert!(told.stderr.contains(want), "{want}\n{}", told.stderr);
    }
    let chosen = "long/checkpoint-6";
    let of = |model: &str| desk.json(&format!("eval --model {model} --data data.jsonl"))["loss"].as_f64().unwrap();
    assert!(of(chosen) > of("long"), "{chosen}");
    desk.ok(&format!(
        "{} --model long --out named",
        AUTO.replace("--weak auto --held-out data.jsonl", &format!("--weak {chosen}"))
    ));
    assert_eq!(desk.bytes("run/model.safetensors"), desk.bytes("named/model.safetensors"));
    let told = desk.ok(&format!("{line} --out run --resume"));
    assert!(told.stderr.contains("finished already"), "{}", told.stderr);
}

#[test]
fn no_weaker_checkpoint_is_said_with_the_numbers() {
    let desk = Desk::new();
    desk.refuses(
        &format!("{AUTO} --model m --candidate sft --candidate m --out run"),
        1,
        &[
            "no candidate can be the weak model",
            "\n  sft: loss ",
            "\n  m: loss ",
            "amplification",
            "name the weak model yourself",
        ],
    );
}

#[test]
fn rules_weigh_samples() {
    let desk = Desk::new();
    let make = |name: &str, flags: &str| {
        let told =
            desk.json(&format!("curriculum --strong strong.jsonl --weak weak.jsonl {flags} --out {name}.jsonl"));
        let weights = desk.column(&format!("{name}.jsonl"), "weight");
        let (sum, squares) = (weights.iter().sum::<f64>(), weights.iter().map(|w| w * w).sum::<f64>());
        assert!((sum - 1.0).abs() < 1e-12 && weights.len() == ROWS, "{flags}: {weights:?}");
        let effective = told["effective_samples"].as_f64().unwrap();
        assert!((effective - sum * sum / squares).abs() < 1e-9, "{flags}: {told}");
        (weights, effective)
    };
    let (uniform, effective) = make("uniform", "--rule uniform");
    assert!(
        uniform.iter().all(|weight| (weight - 1.0 / ROWS as f64).abs() < 1e-15) && (effective - 12.0).abs() < 1e-9
    );
    desk.ok("score --model m --data data.jsonl --out first.jsonl");
    let (boosted, effective) = make("boosted", "--rule brownboost --earliest first.jsonl");
    assert!(effective < 12.0, "{boosted:?}");
    assert_eq!(desk.column("boosted.jsonl", "entropy_earliest"), desk.column("first.jsonl", "entropy"));
    let told = desk.ok("curriculum --strong strong.jsonl --weak weak.jsonl --rule uniform --out told.jsonl");
    assert_eq!(told.stdout, "told.jsonl: 12 samples, which weigh as much as 12.0 equal ones\n");
    desk.ok("train --model m --data data.jsonl --weights boosted.jsonl --set curriculum.multiplier=2 --batch-size 4 --out run");
    assert_eq!(desk.rows("run/metrics.jsonl").len(), 2 * ROWS / 4, "twice as many examples are drawn");
}

#[test]
fn rules_ask_for_their_files() {
    let desk = Desk::new();
    desk.write("short.jsonl", &desk.read("weak.jsonl").lines().skip(1).collect::<Vec<_>>().join("\n"));
    desk.write("nan.jsonl", &desk.read("weak.jsonl").replacen("\"entropy\":", "\"entropy\":NaN,\"was\":", 1));
    desk.write("none.jsonl", &desk.read("weak.jsonl").replacen("\"entropy\":", "\"was\":", 1));
    let line = "curriculum --strong strong.jsonl --out c.jsonl";
    for (flags, wanted) in [
        ("--weak weak.jsonl --rule brownboost", &["brownboost reads", "the model before the weak one", "got 2"][..]),
        ("--weak weak.jsonl --earliest weak.jsonl", &["reads", "got 3"]),
        ("--weak weak.jsonl --rule brownboost --earliest absent.jsonl", &["absent.jsonl"]),
        ("--weak weak.jsonl --rule brownboost --earliest short.jsonl", &["short.jsonl: has no row for sample idx 0"]),
        ("--weak nan.jsonl", &["nan.jsonl, line 1"]),
        ("--weak none.jsonl", &["none.jsonl, line 1", "`entropy`"]),
    ] {
        desk.refuses(&format!("{line} {flags}"), 1, wanted);
    }
    desk.refuses(&format!("{line} --weak weak.jsonl --rule boost"), 2, &["'boost'", "brownboost"]);
    desk.refuses(&format!("{line} --weak weak.jsonl --alpha nan"), 2, &["--alpha", "must be 0 or more"]);
    let zero = |i| format!("{{\"idx\":{i},\"weight\":0,\"entropy_weak\":1,\"entropy_strong\":1}}\n");
    desk.write("zero.jsonl", &(0..ROWS).map(zero).collect::<String>());
    desk.refuses("train --model m --data data.jsonl --weights zero.jsonl --out run", 1, &["all 12 weights are zero"]);
}
