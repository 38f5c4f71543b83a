//! Training runs that go well: their folder, joint training, drawn samples.

use serde_json::Value as Json;

use super::support::{Desk, ROWS};

pub(crate) const MODEL_FILES: [&str; 5] =
    ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
/// What every step tells.
pub(crate) const STEP: [&str; 13] = [
    "step",
    "loss",
    "grad_norm",
    "lr",
    "tokens",
    "seconds",
    "peak_bytes",
    "planned_bytes",
    "margin",
    "entropy_strong",
    "target_logit",
    "other_logit",
    "grad_non_target_alone",
];
/// What a step with a weak model tells besides.
pub(crate) const MIX: [&str; 8] = [
    "lambda",
    "entropy",
    "grad_non_target",
    "entropy_weak",
    "target_logit_weak",
    "other_logit_weak",
    "amplification",
    "shielding",
];

pub(crate) fn keys(row: &Json) -> Vec<&str> {
    row.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_run_leaves_its_numbers_its_settings_and_its_model() {
    let desk = Desk::new();
    let told =
        desk.ok("train --model m --data data.jsonl --out run --lr 1e-2 --batch-size 5 --epochs 3 --save-every 4");
    let rows = desk.rows("run/metrics.jsonl");
    // 12 rows make steps of 5, 5 and 2 examples.
    assert_eq!(rows.len(), 9);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(keys(row), STEP);
        assert_eq!(row["step"], i + 1);
        assert!(row["grad_norm"].as_f64().unwrap() > 0.0 && row["seconds"].as_f64().unwrap() > 0.0, "{row}");
    }
    let losses = desk.column("run/metrics.jsonl", "loss");
    assert!(losses[8] < losses[0] - 0.2, "{losses:?}");
    let tokens: f64 = desk.column("run/metrics.jsonl", "tokens")[..3].iter().sum();
    let seen = desk.ok("data --model m --data data.jsonl --json").stdout;
    let row_tokens = |line: &str| serde_json::from_str::<Json>(line).unwrap()["ids"].as_array().unwrap().len();
    assert_eq!(tokens, seen.lines().map(row_tokens).sum::<usize>() as f64, "an epoch sees every token once");
    let mut want: Vec<&str> = MODEL_FILES.to_vec();
    want.extend(["checkpoint-4", "checkpoint-8", "config.toml", "metrics.jsonl", "tuning.json"]);
    want.sort_unstable();
    assert_eq!(desk.list("run"), want);
    assert!(told.stderr.contains("step 9/9") && told.stderr.contains("tok/s"), "{}", told.stderr);
    assert_eq!(told.stdout, "the trained model is in run\n");
    for model in ["run", "run/checkpoint-4"] {
        assert_eq!(desk.json(&format!("eval --model {model} --data data.jsonl"))["samples"], ROWS);
    }
}

#[test]
fn a_profiled_run_says_where_its_time_goes() {
    let desk = Desk::new();
    let line = "train --model m --data data.jsonl --batch-size 4";
    desk.ok(&format!("{line} --out plain"));
    let told = desk.ok(&format!("{line} --out run --profile"));
    assert!(told.stderr.contains("ms on the device, mean of 1") && told.stderr.contains("share"), "{}", told.stderr);
    let profile: Json = serde_json::from_str(&desk.read("run/profile.json")).unwrap();
    assert_eq!(profile["steps"], 1);
    assert!(profile["ops"].as_array().unwrap().iter().any(|op| op["op"] == "adamw.clip"), "{profile}");
    assert!(desk.bytes("run/model.safetensors") == desk.bytes("plain/model.safetensors"), "the same weights");
    assert!(!desk.read("run/config.toml").contains("profile"), "it is no setting");
    let few = desk.ok(&format!("{line} --out few --max-steps 2 --profile"));
    assert!(few.stderr.contains("nothing was profiled") && !desk.has("few/profile.json"), "{}", few.stderr);
}

#[test]
fn stdout_is_one_line_of_json() {
    let desk = Desk::new();
    let told = desk.json("train --model m --data data.jsonl --out run --batch-size 4");
    assert_eq!(told["out"], "run");
    assert_eq!(told["loss"], desk.rows("run/metrics.jsonl")[2]["loss"]);
}

#[test]
fn joint_training_tells_of_both_models() {
    let desk = Desk::new();
    let flags = "--method mix --model sft --weak m --data data.jsonl --batch-size 4 --lr 1e-3 --lambda 0.4";
    desk.ok(&format!("train {flags} --out joint"));
    desk.ok(&format!("train {flags} --out frozen --freeze-weak"));
    for run in ["joint", "frozen"] {
        for row in desk.rows(&format!("{run}/metrics.jsonl")) {
            assert_eq!(keys(&row), [&STEP[..], &MIX].concat());
            assert_eq!(row["lambda"], 0.4);
            assert!(row["entropy_weak"].as_f64().unwrap() > row["entropy_strong"].as_f64().unwrap(), "{row}");
        }
        desk.ok(&format!("eval --model {run} --data data.jsonl"));
    }
    let column = |run: &str, field: &str| desk.column(&format!("{run}/metrics.jsonl"), field);
    assert_eq!(column("joint", "loss")[0], column("frozen", "loss")[0], "both start from the same mixture");
    assert_ne!(column("joint", "loss")[2], column("frozen", "loss")[2], "then only one weak model has learnt");
}

#[test]
fn weights_choose_the_examples() {
    let desk = Desk::new();
    let one = |i: usize| format!("{{\"idx\":{i},\"weight\":{},\"entropy_weak\":1,\"entropy_strong\":1}}\n", i / 11);
    desk.write("last.jsonl", &(0..ROWS).map(one).collect::<String>());
    desk.ok("train --model m --data data.jsonl --weights last.jsonl --out run --batch-size 3");
    let seen = desk.ok("data --model m --data data.jsonl --json").stdout;
    let last: Json = serde_json::from_str(seen.lines().last().unwrap()).unwrap();
    let tokens = 3 * last["ids"].as_array().unwrap().len();
    assert_eq!(
        desk.column("run/metrics.jsonl", "tokens"),
        vec![tokens as f64; 4],
        "only the row that weighs is drawn"
    );
    desk.ok("train --method mix --model sft --weak m --weights curriculum.jsonl --data data.jsonl --out mix");
    assert_eq!(desk.rows("mix/metrics.jsonl").len(), 1);
}

#[test]
fn the_result_does_not_depend_on_the_memory() {
    let desk = Desk::new();
    let flags = "train --model m --data data.jsonl --batch-size 6 --epochs 2 --lr 1e-2";
    desk.ok(&format!("{flags} --out wide --tokens-per-pass 512"));
    desk.ok(&format!("{flags} --out narrow --tokens-per-pass 64 --recompute on"));
    let losses = |run: &str| desk.column(&format!("{run}/metrics.jsonl"), "loss");
    for (wide, narrow) in losses("wide").iter().zip(losses("narrow")) {
        assert!((wide - narrow).abs() < 1e-5 * wide, "{wide} {narrow}");
    }
}

#[test]
fn weights_come_out_in_the_format_asked_for() {
    let desk = Desk::new();
    for (dtype, want) in [("f32", "F32"), ("bf16", "BF16"), ("auto", "F32")] {
        desk.ok(&format!("train --model m --data data.jsonl --out {dtype} --dtype {dtype} --max-steps 1"));
        let bytes = desk.bytes(&format!("{dtype}/model.safetensors"));
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert!(tensors.tensors().iter().all(|(_, t)| format!("{:?}", t.dtype()) == want), "{dtype}");
        desk.ok(&format!("eval --model {dtype} --data data.jsonl"));
    }
    desk.ok("train --model bf16 --data data.jsonl --out auto16 --max-steps 1");
    assert!(desk.read("auto16/config.json").contains("bfloat16"), "auto keeps what the source has");
}
