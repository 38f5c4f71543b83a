//! The main job on the built-in task: a tiny Qwen3-shaped model and generated word problems, from a seed, no files needed.
//! Honest: plain fine-tuning gets as many optimizer updates as all of weak-driven learning, and whichever wins is shown.

use std::{fs, path::Path};

use serde_json::json;

use super::wmss;
use crate::session::{Context, Error, Models, Source, phase};
use crate::{
    data::{
        arithmetic::{CHAT_TEMPLATE, Problem, Split, problems, tokenizer_config, tokenizer_json},
        sampler::Order,
        tokenizer::Tokenizer,
    },
    settings::{self, Config},
};

/// A model and what it reached on the held-out problems.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DemoRow {
    /// `M0`, `SFT` or `WMSS`.
    pub model: String,
    /// Nats per target token.
    pub loss: f64,
    /// Share of problems whose whole worked answer greedy decoding gets right.
    pub exact_match: f64,
    /// Optimizer updates since M0.
    pub updates: u64,
    /// Held-out problems.
    pub problems: usize,
}

const TRAIN: usize = 1024;
const HELD_OUT: usize = 192;
const PRETRAIN_EPOCHS: u64 = 1;
const EPOCHS: u64 = 1;
const BATCH: usize = 8;

/// Pre-trains M0, then fine-tunes it plainly and by weak-driven learning with equal updates.
///
/// # Errors
/// If `out` holds something else, or whatever stops a phase.
pub fn demo(context: &mut Context<'_>, out: &Path, seed: u64) -> Result<Vec<DemoRow>, Error> {
    let settings = |name: &str, data: &str, epochs: u64| Config {
        data: Some(out.join(data)),
        out: Some(out.join(name)),
        batch_size: BATCH,
        epochs,
        lr: 3e-3,
        warmup: 0.1,
        max_length: 256,
        dtype: settings::Dtype::F32,
        seed,
        ..Config::default()
    };
    prepare(out, seed)?;
    let init = Source::open(&out.join("init"))?;
    let train = |context: &mut Context<'_>, config: &Config, from: &Source, name: &str| -> Result<Source, Error> {
        let to = config.out()?;
        if !to.join("config.json").exists() {
            let dataset = phase::dataset(context.report, config, &from.tokenizer, from.config.vocab)?;
            let order = Order::All(dataset.examples.len());
            phase::train(
                context,
                config,
                name,
                from,
                &Models::plain(),
                &dataset.examples,
                order,
                to,
                config.dtype,
                true,
            )?;
        }
        Source::open(to)
    };
    let m0 = train(context, &settings("M0", "pretrain.jsonl", PRETRAIN_EPOCHS), &init, "M0")?;
    // All of weak-driven learning: one SFT phase and one joint phase.
    let plain = Config { model: Some(m0.path.clone()), ..settings("SFT", "train.jsonl", 2 * EPOCHS) };
    let sft = train(context, &plain, &m0, "SFT")?;
    let driven = Config {
        model: Some(m0.path.clone()),
        method: settings::Method::Wmss,
        ..settings("WMSS", "train.jsonl", EPOCHS)
    };
    wmss(context, &driven)?;
    let strong = Source::open(&out.join("WMSS"))?;

    let held_out = settings("eval", "held_out.jsonl", 1);
    let dataset = phase::dataset(context.report, &held_out, &m0.tokenizer, m0.config.vocab)?;
    let updates = 2 * EPOCHS * (TRAIN / BATCH) as u64;
    let mut rows = Vec::new();
    for (name, source, updates) in [("M0", &m0, 0), ("SFT", &sft, updates), ("WMSS", &strong, updates)] {
        let found = phase::evaluate(context, &held_out, &format!("eval {name}"), source, &dataset.examples)?;
        rows.push(DemoRow {
            model: name.into(),
            loss: found.loss,
            exact_match: found.exact as f64 / found.samples as f64,
            updates,
            problems: found.samples,
        });
    }
    Ok(rows)
}

/// Data files and the randomly initialised model.
fn prepare(out: &Path, seed: u64) -> Result<(), Error> {
    let failed = |path: &Path, e: std::io::Error| Error::User(format!("{}: {e}", path.display()));
    let tokenizer = out.join("tokenizer");
    fs::create_dir_all(&tokenizer).map_err(|e| failed(&tokenizer, e))?;
    let jsonl = |problems: Vec<Problem>| -> String {
        let row = |p: Problem| json!({ "prompt": p.prompt, "completion": p.completion }).to_string() + "\n";
        problems.into_iter().map(row).collect()
    };
    let files = [
        ("pretrain.jsonl", jsonl(problems(seed ^ 1, TRAIN, Split::Train))),
        ("train.jsonl", jsonl(problems(seed, TRAIN, Split::Train))),
        ("held_out.jsonl", jsonl(problems(seed, HELD_OUT, Split::HeldOut))),
        ("tokenizer/tokenizer.json", tokenizer_json()),
        ("tokenizer/tokenizer_config.json", tokenizer_config()),
        ("tokenizer/chat_template.jinja", CHAT_TEMPLATE.into()),
    ];
    for (name, text) in files {
        let path = out.join(name);
        if path.exists() && fs::read_to_string(&path).is_ok_and(|was| was != text) {
            return Err(Error::User(format!("{} is there and differs; choose another --out", path.display())));
        }
        fs::write(&path, text).map_err(|e| failed(&path, e))?;
    }
    let init = out.join("init");
    if init.join("config.json").exists() {
        return Ok(());
    }
    let vocab = Tokenizer::open(&tokenizer)?.vocab_size();
    let config_json = json!({
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "vocab_size": vocab,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "tie_word_embeddings": true,
        "max_position_embeddings": 256,
        "rope_theta": 10000.0,
        "initializer_range": 0.06,
    })
    .to_string();
    super::init(&config_json, &init, &tokenizer, seed, &init)?;
    Ok(())
}
