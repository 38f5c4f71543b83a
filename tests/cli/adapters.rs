//! Adapters: trained, continued, measured, merged, weak models for free, and what is refused.

use std::fs;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value as Json, json};

use super::support::{Desk, ROWS, shape};

const DATA: &str = "--data data.jsonl --batch-size 4 --lr 3e-3";
const LORA: &str = "train --model m --lora-rank 4 --data data.jsonl --batch-size 4 --lr 3e-3 --epochs 2";

fn loss(desk: &Desk, model: &str) -> f64 {
    desk.json(&format!("eval --data data.jsonl --model {model}"))["loss"].as_f64().unwrap()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 2e-6 * a.abs()
}

#[test]
fn an_adapter_is_trained_measured_and_merged() {
    let desk = Desk::new();
    let base = desk.bytes("m/model.safetensors");
    desk.ok(&format!("{LORA} --out run --save-every 3"));
    let files = desk.list("run");
    for file in ["adapter_config.json", "adapter_model.safetensors", "config.toml", "metrics.jsonl", "tokenizer.json"]
    {
        assert!(files.iter().any(|name| name == file), "{file} not in {files:?}");
    }
    assert!(!files.iter().any(|name| name == "config.json" || name == "model.safetensors"), "{files:?}");
    assert_eq!(
        desk.list("run/checkpoint-6").iter().filter(|name| name.ends_with(".safetensors")).collect::<Vec<_>>(),
        ["adapter_model.safetensors", "optimizer.safetensors"],
        "a checkpoint holds no base"
    );
    let config: Json = serde_json::from_str(&desk.read("run/adapter_config.json")).unwrap();
    for (key, want) in [
        ("peft_type", json!("LORA")),
        ("r", json!(4)),
        ("lora_alpha", json!(8)),
        ("base_model_name_or_path", json!("m")),
        ("target_modules", json!(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])),
    ] {
        assert_eq!(config[key], want, "{key}");
    }
    assert!(desk.read("run/config.toml").contains("lora_rank = 4"));
    let (of_base, of_adapter) = (loss(&desk, "m"), loss(&desk, "m --adapter run"));
    assert!(of_adapter < of_base - 0.05, "{of_adapter} after {of_base}");
    desk.ok("merge --model m --adapter run --out merged");
    assert!(near(loss(&desk, "merged"), of_adapter));
    let text = |model: &str| desk.ok(&format!("generate --model {model} --prompt 1+1= --max-new-tokens 8")).stdout;
    assert_eq!(text("merged"), text("m --adapter run"));
    desk.ok("score --model m --adapter run --data data.jsonl --out a.jsonl");
    desk.ok("score --model merged --data data.jsonl --out b.jsonl");
    let both = desk.column("a.jsonl", "entropy").into_iter().zip(desk.column("b.jsonl", "entropy"));
    both.for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
    assert!(desk.bytes("m/model.safetensors") == base, "the base stays as it is");
    let told = desk.ok(&format!("{LORA} --out run --save-every 3 --resume"));
    assert!(told.stderr.contains("finished already"), "{}", told.stderr);
}

#[test]
fn the_learning_rate_of_adapters_is_their_own() {
    let desk = Desk::new();
    let rate = |flags: &str, out: &str| {
        desk.ok(&format!("train --model m --data data.jsonl --max-steps 1 {flags} --out {out}"));
        let text = desk.read(&format!("{out}/config.toml"));
        text.lines().find_map(|line| line.strip_prefix("lr = ")).map(str::to_owned)
    };
    assert_eq!(rate("", "full").as_deref(), Some("0.00001"));
    assert_eq!(rate("--lora-rank 2", "lora").as_deref(), Some("0.0001"));
    assert_eq!(rate("--lora-rank 2 --lr 1e-5", "given").as_deref(), Some("0.00001"));
}

#[test]
fn every_kind_goes_on_from_its_folder() {
    let desk = Desk::new();
    for (i, flags) in [
        "--rslora --target-modules q_proj,v_proj",
        "--dora --lora-dropout 0.1",
        "--modules-to-save embed_tokens,lm_head --target-modules down_proj",
    ]
    .iter()
    .enumerate()
    {
        desk.ok(&format!("{LORA} {flags} --out a{i}"));
        desk.ok(&format!("train --model m --adapter a{i} {DATA} --out b{i}"));
        let of = ["m".to_owned(), format!("m --adapter a{i}"), format!("m --adapter b{i}")].map(|m| loss(&desk, &m));
        assert!(of[0] > of[1] && of[1] > of[2], "{flags}: {of:?}");
        let config = |out: &str| desk.read(&format!("{out}{i}/adapter_config.json"));
        assert_eq!(config("a"), config("b"), "{flags}");
        desk.ok(&format!("merge --model m --adapter b{i} --out merged{i}"));
        assert!(near(loss(&desk, &format!("merged{i}")), of[2]), "{flags}");
    }
    // A head and an embedding that were trained apart stay apart.
    assert!(desk.read("merged2/config.json").contains("\"tie_word_embeddings\": false"));
}

#[test]
fn a_weak_model_that_is_the_base_costs_nothing() {
    let desk = Desk::new();
    desk.ok(&format!("{LORA} --out first"));
    for weak in ["base", "first"] {
        let mix = format!("--method mix --model m --adapter first --weak {weak} --max-length 64 --batch-size 4");
        let plan = desk.json(&format!("plan {mix}"));
        assert_eq!(plan["parts"]["weak"].as_u64().map(|bytes| bytes < 40_000), Some(true), "{weak}: {plan}");
        let alone = desk.json("plan --model m --adapter first --max-length 64 --batch-size 4");
        assert_eq!(plan["parts"]["weights"], alone["parts"]["weights"]);
        assert_eq!(plan["parts"]["optimizer"], alone["parts"]["optimizer"], "{weak}: it learns nothing");
        let run = format!("train --method mix --model m --adapter first --weak {weak} {DATA}");
        desk.ok(&format!("{run} --out {weak}-mix"));
        // A copy of the base is another model, with the same numbers.
        if weak == "base" {
            // Of the copy logits are mixed, of the base hidden states before the shared head, whatever is looked at.
            desk.ok(&format!("{run} --diagnostics 9 --out seen"));
            desk.ok(&format!("{} --freeze-weak --out copy", run.replace("--weak base", "--weak m")));
            assert!(desk.bytes("base-mix/adapter_model.safetensors") == desk.bytes("seen/adapter_model.safetensors"));
            let [blended, mixed] =
                ["base-mix", "copy"].map(|run| desk.column(&format!("{run}/metrics.jsonl"), "loss"));
            for (blended, mixed) in blended.iter().zip(&mixed) {
                assert!((blended / mixed - 1.0).abs() < 1e-5, "{blended} and {mixed}");
            }
        }
        let rows = desk.rows(&format!("{weak}-mix/metrics.jsonl"));
        assert!(rows.len() == ROWS / 4 && rows[0]["entropy"].is_f64());
    }
}

#[test]
fn diagnostics_may_begin_half_way() {
    let desk = Desk::new();
    let mix = format!("{LORA} --method mix --weak base --save-every 2 --max-steps 4 --out mix");
    desk.ok(&mix);
    let whole = desk.bytes("mix/adapter_model.safetensors");
    desk.remove("mix/adapter_config.json");
    desk.remove("mix/checkpoint-4");
    desk.ok(&format!("{mix} --resume --diagnostics 1"));
    assert!(desk.bytes("mix/adapter_model.safetensors") == whole, "they only observe");
}

#[test]
fn all_phases_with_an_adapter() {
    let desk = Desk::new();
    desk.ok(&format!("wmss --model m --lora-rank 4 {DATA} --rounds 2 --out run"));
    assert!(desk.has("run/adapter_model.safetensors") && !desk.has("run/model.safetensors"));
    assert!(desk.bytes("run/adapter_model.safetensors") == desk.bytes("run/7-mix/adapter_model.safetensors"));
    assert_eq!(
        desk.column("run/2-score/weak.jsonl", "entropy"),
        desk.column("weak.jsonl", "entropy"),
        "the weak model of the first round is the base"
    );
    assert!(loss(&desk, "m --adapter run") < loss(&desk, "m --adapter run/1-sft"));
    let told = desk.ok(&format!("wmss --model m --lora-rank 4 {DATA} --rounds 2 --out run"));
    assert!(told.stderr.contains("every phase is finished already"), "{}", told.stderr);
    // The weak model is M0, named or not.
    desk.ok(&format!("wmss --model m --lora-rank 4 --weak base {DATA} --out named"));
    assert!(desk.bytes("named/4-mix/adapter_model.safetensors") == desk.bytes("run/4-mix/adapter_model.safetensors"));
}

#[test]
fn adapters_of_mlx_are_read() {
    let desk = Desk::new();
    desk.ok(&format!("{LORA} --target-modules q_proj,down_proj --out run"));
    let bytes = desk.bytes("run/adapter_model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let turned: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let (rows, cols) = (tensor.shape()[0], tensor.shape()[1]);
            let at = |i: usize| &tensor.data()[4 * (i % rows * cols + i / rows)..][..4];
            let data: Vec<u8> = (0..rows * cols).flat_map(at).copied().collect();
            let name = name.replace("base_model.model.", "").replace("lora_A.weight", "lora_a");
            (name.replace("lora_B.weight", "lora_b"), vec![cols, rows], data)
        })
        .collect();
    let views = turned
        .iter()
        .map(|(name, shape, data)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs::create_dir(desk.path().join("mlx")).unwrap();
    safetensors::serialize_to_file(views, None, &desk.path().join("mlx/adapters.safetensors")).unwrap();
    let parameters = json!({ "rank": 4, "scale": 2.0, "dropout": 0.0 });
    let config = json!({ "fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters });
    desk.write("mlx/adapter_config.json", &config.to_string());
    assert_eq!(loss(&desk, "m --adapter mlx"), loss(&desk, "m --adapter run"));
    desk.ok(&format!("train --model m --adapter mlx {DATA} --out on"));
    assert!(desk.read("on/adapter_config.json").contains("\"LORA\""), "a run leaves PEFT's form");
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let desk = Desk::new();
    desk.ok(&format!("{LORA} --target-modules q_proj,v_proj --out run"));
    let mut other = shape();
    other["hidden_size"] = json!(48);
    desk.write("other.json", &other.to_string());
    desk.ok("init --config other.json --tokenizer tokenizer --seed 2 --out other");
    let train = format!("train --model m {DATA} --out new");
    desk.refuses(
        &format!("{train} --lora-rank 4 --target-modules q_proj,w_proj"),
        1,
        &["no module `w_proj`", "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj (or all-linear)"],
    );
    desk.refuses(&format!("{train} --lora-rank 4 --modules-to-save head"), 1, &["no module `head`", "lm_head"]);
    desk.refuses(&format!("{train} --lora-rank 4 --train-layers 1"), 1, &["train_layers = 1", "there are 0 to 0"]);
    desk.refuses(&format!("{train} --dora"), 2, &["--dora", "needs lora_rank"]);
    desk.refuses(&format!("{train} --adapter run --lora-rank 4"), 2, &["lora_rank", "the adapter's own"]);
    desk.refuses(&format!("{train} --lora-rank 0"), 2, &["between 1 and 4096"]);
    desk.refuses(&format!("train --model run {DATA} --out new"), 1, &["run holds an adapter, not a model"]);
    desk.refuses(&format!("{train} --method mix --weak base"), 1, &["weak = base", "--lora-rank"]);
    desk.refuses(
        "eval --model other --adapter run --data data.jsonl",
        1,
        &["q_proj.lora_A.weight", "[4, 32]", "[4, 48]", "another base"],
    );
    desk.refuses("merge --model m --adapter run --out sft", 1, &["already there", "nothing was overwritten"]);
    desk.refuses("merge --model m --adapter m --out new", 1, &["adapter_config.json"]);

    let config: Json = serde_json::from_str(&desk.read("run/adapter_config.json")).unwrap();
    let with = |changes: Json, wanted: &[&str]| {
        let mut config = config.clone();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        desk.write("run/adapter_config.json", &config.to_string());
        desk.refuses("eval --model m --adapter run --data data.jsonl", 1, wanted);
    };
    with(json!({ "r": 8 }), &["q_proj.lora_A.weight", "[4, 32]", "[8, 32]", "ranks"]);
    with(json!({ "r": 0 }), &["`r` is 0", "1 to 4096"]);
    with(json!({ "peft_type": "IA3" }), &["`peft_type` is \"IA3\"", "LORA"]);
    with(json!({ "target_modules": ["q_proj", "up_proj"] }), &["up_proj", "no tensors of it are there"]);
    with(json!({ "use_dora": true }), &["lora_magnitude_vector"]);
    with(json!({ "bias": "all" }), &["`bias`"]);
    with(json!({ "layer_replication": [[0, 1]] }), &["`layer_replication`", "not supported"]);
    with(json!({ "init_lora_weights": "pissa" }), &["`init_lora_weights`", "base"]);
    with(json!({ "rank_pattern": { "q_.*": 3 } }), &["`rank_pattern`", "patterns"]);
    with(json!({ "lora_alpha": "8" }), &["`lora_alpha`", "number"]);
    desk.write("run/adapter_config.json", "[]");
    desk.refuses("eval --model m --adapter run --data data.jsonl", 1, &["not a JSON object"]);
}

#[test]
fn an_adapter_knows_its_base() {
    let desk = Desk::new();
    desk.ok(&format!("{LORA} --max-steps 1 --out run"));
    let wanted = ["run: this adapter was trained on another base", "adapter_config.json", "base.fingerprint"];
    for line in [
        "eval --data data.jsonl --model sft --adapter run",
        "merge --model sft --adapter run --out new",
        "train --model sft --adapter run --data data.jsonl --out new",
        "generate --model sft --adapter run --prompt 1+1=",
    ] {
        desk.refuses(line, 1, &wanted);
    }
    desk.ok("eval --data data.jsonl --model m --adapter run");
    // The same tensors in another order are the same base.
    let whole = desk.bytes("m/model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let turned = |name: &str| name.bytes().rev().collect::<Vec<u8>>();
    let mut found: Vec<_> = tensors.tensors();
    found.sort_by_key(|(name, _)| std::cmp::Reverse(turned(name)));
    // Written by hand, since the library sorts by name.
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, view) in &found {
        let from = data.len();
        data.extend_from_slice(view.data());
        let entry = json!({ "dtype": "F32", "shape": view.shape(), "data_offsets": [from, data.len()] });
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    assert_ne!(bytes, whole);
    std::fs::write(desk.path().join("m/model.safetensors"), bytes).unwrap();
    desk.ok("eval --data data.jsonl --model m --adapter run");
    desk.remove("run/base.fingerprint");
    desk.ok("eval --data data.jsonl --model sft --adapter run");
}
