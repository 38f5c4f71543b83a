//! The runs: command lines, each run in a folder of its name.

use std::{fs, path::Path};

use serde_json::{Value as Json, json};

/// Commands that write into a folder of their run's name.
pub(crate) struct Run {
    pub(crate) name: String,
    /// Runs whose results it starts from.
    pub(crate) after: Vec<String>,
    pub(crate) lines: Vec<String>,
}

/// One of each family and of each of its shapes, in `tests/golden/`.
const FAMILIES: [&str; 12] = [
    "gemma2",
    "gemma2_uncapped",
    "gemma3",
    "llama3",
    "llama_bias",
    "mistral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_untied",
    "smollm2",
];

const OFF: &str = "--autotune off";
const TRAIN: &str = "--data data.jsonl --batch-size 4 --epochs 2 --lr 3e-3 --autotune off";
/// A rank that is a multiple of nothing, on every matrix.
const LORA: &str = "--lora-rank 3";

/// Runs of `train`: names, what they start from, flags.
const TRAINED: [(&str, &str, &str); 37] = [
    (
        "clipped",
        "m",
        "--model m/m --clip 0.5 --weight-decay 0.1 --label-smoothing 0.1 --lr-scheduler linear --warmup 2",
    ),
    ("passes", "m", "--model m/m --tokens-per-pass 64 --max-length 48 --recompute on --no-shuffle --dtype bf16"),
    ("neftune", "sft", "--method neftune --model sft/sft"),
    ("undial", "sft", "--method undial --model sft/sft"),
    ("undial-hard", "sft", "--method undial --model sft/sft --hard-share 0.5 --undial-beta 3"),
    ("distill", "sft", "--method distill --model m/m --teacher sft/sft"),
    ("self-distill", "sft", "--method self-distill --model sft/sft --temperature 1.5"),
    ("mix", "sft", "--method mix --model sft/sft --weak m/m"),
    ("mix-frozen", "sft", "--method mix --model sft/sft --weak m/m --freeze-weak"),
    ("mix-two", "sft", "--method mix --model sft/sft --weak m/m --weak sft/sft --weak-share 3 --weak-share 1"),
    (
        "mix-cosine",
        "sft",
        "--method mix --model sft/sft --weak m/m --lambda-schedule cosine --lambda 0.3 --lambda-end 0.9",
    ),
    ("mix-adaptive", "sft", "--method mix --model sft/sft --weak m/m --freeze-weak --lambda-schedule adaptive"),
    ("mix-watched", "sft", "--method mix --model sft/sft --weak m/m --diagnostics 2"),
    ("mix-shuffled", "sft", "--method mix --model sft/sft --weak m/m --weak-source shuffled"),
    ("mix-uniform", "sft", "--method mix --model sft/sft --weak-source uniform"),
    ("mix-matched", "sft", "--method mix --model sft/sft --weak m/m --weak-source entropy-matched"),
    ("mix-cached", "sft", "--method mix --model sft/sft --weak m/m --freeze-weak --cache-weak"),
    ("distill-cached", "sft", "--method distill --model m/m --teacher sft/sft --cache-weak"),
    (
        "mix-streamed",
        "deep",
        "--method mix --model m/m --weak deep/m --freeze-weak --tokens-per-pass 64 --recompute on --max-length 48 --max-steps 3 --memory 18MiB",
    ),
    ("lora", "m", "--model m/m --lora-rank 3"),
    (
        "lora-plus",
        "m",
        "--model m/m --lora-rank 3 --rslora --dora --lora-dropout 0.1 --target-modules q_proj,down_proj",
    ),
    ("lora-saved", "untied", "--model untied/m --lora-rank 3 --modules-to-save embed_tokens,lm_head"),
    ("lora-on", "lora", "--model m/m --adapter lora/lora"),
    ("lora-base", "lora", "--method mix --model m/m --adapter lora/lora --weak base"),
    ("lora-weak", "lora", "--method mix --model m/m --adapter lora/lora --weak lora/lora"),
    ("lora-undial", "lora", "--method undial --model m/m --adapter lora/lora"),
    ("lora-cached", "lora", "--method mix --model m/m --adapter lora/lora --weak base --cache-weak"),
    ("qlora", "m", "--model m/m --lora-rank 3 --quantize 4bit"),
    ("qlora-8", "m", "--model m/m --lora-rank 3 --quantize 8bit"),
    ("qlora-base", "qlora", "--method mix --model m/m --adapter qlora/qlora --weak base --quantize 4bit"),
    ("bits-16", "m", "--model m/m --optimizer-bits 16"),
    ("bits-8", "m", "--model m/m --optimizer-bits 8"),
    ("bits-8-mix", "sft", "--method mix --model sft/sft --weak m/m --optimizer-bits 8"),
    ("bits-8-lora", "m", "--model m/m --lora-rank 3 --optimizer-bits 8"),
    ("half", "m", "--model m/m --precision f16"),
    ("half-mix", "sft", "--method mix --model sft/sft --weak m/m --precision f16"),
    ("weighted", "score", "--model m/m --weights score/weights.jsonl"),
];

/// All runs. A run comes after those that it starts from.
pub(crate) fn all() -> Vec<Run> {
    let mut runs = Vec::new();
    let mut add = |name: &str, after: &str, lines: &[String]| {
        let after = after.split_whitespace().map(str::to_owned).collect();
        runs.push(Run { name: name.to_owned(), after, lines: lines.to_vec() });
    };
    let init = |name: &str, config: &str| {
        format!("init --config {config}.json --tokenizer tokenizer --seed 1 --out {name}/m")
    };
    for name in ["m", "deep", "untied"] {
        add(name, "", &[init(name, name)]);
    }
    add("sft", "m", &[format!("train --model m/m {TRAIN} --out sft/sft")]);
    add(
        "score",
        "m sft",
        &[
            format!("score --model m/m --data data.jsonl {OFF} --out score/weak.jsonl --json"),
            format!("score --model sft/sft --data data.jsonl {OFF} --max-length 32 --out score/strong.jsonl"),
            "curriculum --weak score/weak.jsonl --strong score/strong.jsonl --out score/weights.jsonl".into(),
        ],
    );
    for (name, after, flags) in TRAINED {
        add(name, after, &[format!("train {flags} {TRAIN} --out {name}/{name}")]);
    }
    let wmss = |name: &str, flags: &str| {
        format!("wmss --model m/m --data data.jsonl --batch-size 4 --lr 3e-3 {OFF} {flags} --out {name}/{name}")
    };
    add("wmss", "m", &[wmss("wmss", "--rounds 2")]);
    add("wmss-lora", "m", &[wmss("wmss-lora", &format!("{LORA} --weak base --freeze-weak --rounds 2"))]);
    add(
        "eval",
        "sft lora",
        &[
            format!("eval --model sft/sft --data data.jsonl {OFF} --json"),
            format!("eval --model m/m --adapter lora/lora --data data.jsonl {OFF} --json"),
            format!("eval --model sft/sft --quantize 4bit --data data.jsonl {OFF} --json"),
            format!(
                "eval --model sft/sft --task gsm8k --file asked.jsonl --shots 0 --max-new-tokens 8 {OFF} --out eval/one.jsonl --json"
            ),
            format!(
                "eval --model sft/sft --task gsm8k --file asked.jsonl --shots 0 --max-new-tokens 8 --samples 3 --temperature 1 {OFF} --out eval/drawn.jsonl"
            ),
        ],
    );
    add(
        "generate",
        "sft lora",
        &[
            format!("generate --model sft/sft --prompt 1+1= --max-new-tokens 24 {OFF} --json"),
            format!(
                "generate --model sft/sft --prompt 1+1= --chat --max-new-tokens 24 --temperature 0.8 --top-k 20 --top-p 0.9 --seed 3 {OFF} --json"
            ),
            format!(
                "generate --model m/m --adapter lora/lora --prompt 1+1= --max-new-tokens 24 --temperature 1 {OFF} --json"
            ),
        ],
    );
    add("merge", "lora", &["merge --model m/m --adapter lora/lora --out merge/merged".into()]);
    for name in FAMILIES {
        add(
            &format!("family-{name}"),
            "",
            &[
                init(&format!("family-{name}"), name),
                format!("train --model family-{name}/m {TRAIN} --max-steps 3 --out family-{name}/sft"),
                format!(
                    "generate --model family-{name}/sft --prompt 1+1= --max-new-tokens 12 --temperature 1 {OFF} --json"
                ),
            ],
        );
    }
    runs
}

/// Configs of the models that are made, by name. The families' are those of the golden models, with the vocabulary of the
/// tokenizer here.
pub(crate) fn configs() -> Vec<(&'static str, Json)> {
    let m = json!({
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "vocab_size": 170,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "tie_word_embeddings": true,
        "max_position_embeddings": 256,
        "rope_theta": 10000.0,
        "initializer_range": 0.06,
    });
    let with = |changes: Json| {
        let mut config = m.clone();
        config.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        config
    };
    // Layers that outweigh what they come through, for a weak model that is read a layer at a time.
    let deep = with(json!({ "num_hidden_layers": 10, "intermediate_size": 3072 }));
    let untied = with(json!({ "tie_word_embeddings": false, "num_hidden_layers": 2 }));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let family = |name: &&'static str| {
        let text = fs::read_to_string(golden.join(name).join("config.json")).expect("a golden config");
        let mut config: Json = serde_json::from_str(&text).expect("JSON");
        config["vocab_size"] = 170.into();
        (*name, config)
    };
    let mut configs = vec![("m", m), ("deep", deep), ("untied", untied)];
    configs.extend(FAMILIES.iter().map(family));
    configs
}
