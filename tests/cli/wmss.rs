//! All phases of weak-driven learning, whole and in pieces.

use std::collections::HashSet;

use super::{
    runs::MODEL_FILES,
    support::{Desk, ROWS},
};

const RUN: &str = "wmss --model m --data data.jsonl --out run --batch-size 4 --lr 3e-3";

#[test]
fn every_phase_has_its_folder() {
    let desk = Desk::new();
    assert_eq!(desk.json(RUN)["out"], "run");
    let mut want: Vec<&str> = MODEL_FILES.to_vec();
    want.extend(["1-sft", "2-score", "3-curriculum", "4-mix", "config.toml", "inputs.json", "tuning.json"]);
    want.sort_unstable();
    assert_eq!(desk.list("run"), want);
    for phase in ["1-sft", "4-mix"] {
        assert_eq!(desk.rows(&format!("run/{phase}/metrics.jsonl")).len(), ROWS / 4);
        desk.ok(&format!("eval --model run/{phase} --data data.jsonl"));
    }
    assert!(desk.rows("run/4-mix/metrics.jsonl")[0]["entropy_weak"].is_f64());
    let weak = desk.column("run/2-score/weak.jsonl", "entropy");
    assert_eq!(weak, desk.column("weak.jsonl", "entropy"), "the weak model of the first round is the start");
    assert_eq!(desk.column("run/3-curriculum/weights.jsonl", "entropy_weak"), weak);
    let weights: f64 = desk.column("run/3-curriculum/weights.jsonl", "weight").iter().sum();
    assert!((weights - 1.0).abs() < 1e-12);
    let drawn = desk.column("run/3-curriculum/drawn.jsonl", "idx");
    assert!(drawn.len() == ROWS && drawn.iter().all(|idx| *idx < ROWS as f64), "{drawn:?}");
    assert_eq!(desk.bytes("run/model.safetensors"), desk.bytes("run/4-mix/model.safetensors"));
    assert_eq!(desk.json("eval --model run --data data.jsonl")["samples"], ROWS);
}

#[test]
fn the_phases_are_what_the_verbs_do() {
    let desk = Desk::new();
    desk.ok(RUN);
    let data = "--data data.jsonl --batch-size 4 --lr 3e-3";
    desk.ok(&format!("train --model m {data} --out sft1"));
    desk.ok("score --model m --data data.jsonl --out h0.jsonl");
    desk.ok("score --model sft1 --data data.jsonl --out h1.jsonl");
    desk.ok("curriculum --weak h0.jsonl --strong h1.jsonl --out weights.jsonl");
    desk.ok(&format!("train --method mix --model sft1 --weak m --weights weights.jsonl {data} --out mix"));
    assert_eq!(desk.read("weights.jsonl"), desk.read("run/3-curriculum/weights.jsonl"));
    assert_eq!(desk.bytes("mix/model.safetensors"), desk.bytes("run/model.safetensors"));
}

#[test]
fn finished_phases_are_kept() {
    let desk = Desk::new();
    desk.ok(RUN);
    let (before, model) = (desk.everything(), desk.bytes("run/model.safetensors"));
    let told = desk.ok(RUN);
    assert!(told.stderr.contains("every phase is finished already"), "{}", told.stderr);
    assert_eq!(desk.everything(), before);

    // As after a kill in the last phase.
    desk.remove("run/4-mix");
    MODEL_FILES.iter().for_each(|name| desk.remove(&format!("run/{name}")));
    again(&desk, &model);
    // As after a kill while the final model was being moved into its place.
    desk.remove("run/config.json");
    let told = desk.ok(RUN);
    assert!(told.stderr.contains("4-mix is finished already"), "{}", told.stderr);
    assert_eq!(desk.bytes("run/model.safetensors"), model);
    assert_eq!(desk.list("run").len(), 12, "nothing is left beside");
}

fn again(desk: &Desk, model: &[u8]) {
    let metrics = desk.read("run/1-sft/metrics.jsonl");
    let told = desk.ok(RUN);
    for kept in ["1-sft is finished already", "2-score (weak) is finished already", "2-score (strong) is finished"] {
        assert!(told.stderr.contains(kept), "{kept}\n{}", told.stderr);
    }
    assert!(told.stderr.contains("4-mix: step 1/3") && !told.stderr.contains("1-sft: step"), "{}", told.stderr);
    assert_eq!(desk.read("run/1-sft/metrics.jsonl"), metrics);
    assert_eq!(desk.bytes("run/model.safetensors"), model);
}

#[test]
fn a_second_round_goes_on_from_the_first() {
    let desk = Desk::new();
    desk.ok(&format!("{RUN} --rounds 2 --freeze-weak"));
    let phases: HashSet<String> = desk.list("run").into_iter().filter(|name| name.contains('-')).collect();
    let want = ["1-sft", "2-score", "3-curriculum", "4-mix", "5-score", "6-curriculum", "7-mix"];
    assert_eq!(phases, want.map(String::from).into());
    let entropies = |file: &str| desk.column(&format!("run/{file}"), "entropy");
    assert_eq!(
        entropies("5-score/weak.jsonl"),
        entropies("2-score/strong.jsonl"),
        "the weak one is the former strong"
    );
    assert_eq!(desk.bytes("run/model.safetensors"), desk.bytes("run/7-mix/model.safetensors"));
}

#[test]
fn rules_and_controls_of_all_phases() {
    let desk = Desk::new();
    let run =
        |out: &str, flags: &str| desk.ok(&format!("{} {flags}", RUN.replace("--out run", &format!("--out {out}"))));
    run("boosted", "--rule brownboost --rounds 2");
    let rows = |file: &str| desk.rows(&format!("boosted/{file}"));
    assert!(
        rows("3-curriculum/weights.jsonl")[0].get("entropy_earliest").is_none(),
        "the first round has two models"
    );
    for (row, earliest) in rows("6-curriculum/weights.jsonl").iter().zip(rows("2-score/weak.jsonl")) {
        assert_eq!(row["entropy_earliest"], earliest["entropy"]);
    }
    let told = run("uniform", "--rule uniform --weak-source uniform");
    assert!(told.stderr.contains("which weigh as much as 12 equal ones"), "{}", told.stderr);
    assert!(
        desk.column("uniform/3-curriculum/weights.jsonl", "weight").iter().all(|w| (w * 12.0 - 1.0).abs() < 1e-12)
    );
    run(
        "matched",
        "--weak-source entropy-matched --lambda-schedule linear --lambda-end 1 --label-smoothing 0.1 --multiplier 2",
    );
    assert_eq!(desk.column("matched/4-mix/metrics.jsonl", "lambda").last(), Some(&1.0));
    assert_eq!(desk.rows("matched/3-curriculum/drawn.jsonl").len(), 2 * ROWS);
    for out in ["boosted", "uniform", "matched"] {
        assert_eq!(desk.json(&format!("eval --model {out} --data data.jsonl"))["samples"], ROWS);
    }
}

#[test]
fn a_folder_of_other_settings_is_left_alone() {
    let desk = Desk::new();
    desk.ok(RUN);
    let before = desk.everything();
    for (was, is, key) in [
        ("--lr 3e-3", "--lr 1e-3", "lr"),
        ("--model m", "--model sft", "model"),
        ("--out run", "--out run --seed 7", "seed"),
        ("--out run", "--out run --rounds 2", "rounds"),
        ("--out run", "--out run --alpha 0.2", "curriculum.alpha"),
    ] {
        let told = desk.line(&RUN.replace(was, is));
        assert_eq!(told.code, Some(1), "{is}\n{}", told.stderr);
        let want = format!("error: run already holds another run (`{key}` was ");
        let found = told.stderr.starts_with(&want) && told.stderr.contains("; nothing was touched");
        assert!(found, "{is}\n{}", told.stderr);
        assert_eq!(desk.everything(), before, "{is}");
    }
}
