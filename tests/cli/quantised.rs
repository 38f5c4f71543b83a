//! Folders that others quantised: a base for adapters, measured, merged, and not trained themselves.

use std::{fs, path::Path};

use super::support::Desk;

/// A desk with a folder `q` of the goldens.
fn desk(golden: &str) -> Desk {
    let desk = Desk::new();
    fs::create_dir(desk.path().join("q")).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/quantised").join(golden);
    let copy = |from: &Path, name: &str| fs::copy(from.join(name), desk.path().join("q").join(name)).unwrap();
    for name in ["config.json", "model.safetensors"] {
        copy(&from, name);
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        copy(&desk.path().join("tokenizer"), name);
    }
    desk
}

#[test]
fn an_adapter_on_a_quantised_base_is_trained_and_merged() {
    for golden in ["nf4_double", "mlx4"] {
        let desk = desk(golden);
        let loss =
            |model: &str| desk.json(&format!("eval --data data.jsonl --model {model}"))["loss"].as_f64().unwrap();
        let flags = "--model q --data data.jsonl --batch-size 4 --lr 3e-3 --lora-rank 4 --max-steps 4";
        desk.ok(&format!("train {flags} --out run"));
        desk.ok(&format!("train {flags} --method mix --weak base --adapter run --out mixed")
            .replace("--lora-rank 4 ", ""));
        let (of_base, of_adapter) = (loss("q"), loss("q --adapter run"));
        assert!(of_adapter < of_base - 0.05, "{golden}: {of_adapter} after {of_base}");
        desk.ok("merge --model q --adapter run --dtype f32 --out merged");
        let of_merged = loss("merged");
        assert!((of_merged - of_adapter).abs() < 1e-5 * of_adapter, "{golden}: {of_merged}, not {of_adapter}");
        assert!(!desk.read("merged/config.json").contains("quantization"));
        let text =
            |model: &str| desk.ok(&format!("generate --model {model} --prompt 1+1= --max-new-tokens 4")).stdout;
        assert_eq!(text("merged"), text("q --adapter run"), "{golden}");
        desk.ok("score --model q --data data.jsonl --out scores.jsonl");
    }
}

#[test]
fn a_quantised_model_is_not_trained_itself() {
    let desk = desk("nf4");
    let train = "train --model q --data data.jsonl --max-steps 1 --out new";
    desk.refuses(train, 1, &["a quantised model cannot be trained itself", "--lora-rank"]);
    desk.refuses(
        &format!("{train} --lora-rank 4 --quantize 4bit"),
        1,
        &["quantised already", "leave `quantize` out"],
    );
    desk.refuses("plan --model q", 1, &["--lora-rank"]);
    let config = desk.read("q/config.json");
    desk.write("q/config.json", &config.replace("\"bitsandbytes\"", "\"gptq\""));
    desk.refuses(&format!("{train} --lora-rank 4"), 1, &["q/config.json", "by gptq", "unquantised model"]);
}
