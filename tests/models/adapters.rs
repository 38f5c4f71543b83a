//! Adapters against the golden numbers of PEFT.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;
use serde_json::Value;
use underdog::{
    formats::{self, AdapterConfig, Contents, Dtype, ModelFiles, SHARD_BYTES, TokenizerFiles},
    graph::ops::head_loss::LOSS,
    model::Layout,
    objective::{CrossEntropy, Mix},
    train::engine::{EnginePlan, Side, Spec},
};

use crate::{common::gpu, support::*};

#[derive(Deserialize)]
struct Row {
    folder: String,
    base: String,
    holds: Vec<String>,
    weak: Option<String>,
    lambda: Option<f64>,
}

fn rows_of_file() -> BTreeMap<String, Row> {
    let rows: Vec<Row> = serde_json::from_slice(&fs::read(golden_path("adapters/cases.json")).unwrap()).unwrap();
    rows.into_iter().map(|row| (row.folder.clone(), row)).collect()
}

/// The arm of a folder of `tests/golden/adapters`.
pub(crate) fn arm(name: &str) -> Arm {
    let row = rows_of_file().remove(name).unwrap_or_else(|| panic!("{name} is not in the file"));
    Arm {
        name: row.folder,
        strong: row.base,
        adapter: Some(name.into()),
        others: row.weak.iter().map(|_| BASE.to_owned()).collect(),
        loss: match row.weak {
            Some(_) => Loss::Mix(Mix::fixed(1, false, row.lambda.unwrap_or(1.0))),
            None => Loss::CrossEntropy(CrossEntropy::default()),
        },
        scalars: SCALARS,
        examples: Golden::open(&format!("adapters/{name}")).examples(),
    }
}

fn check(name: &str) {
    let golden = Golden::open(&format!("adapters/{name}"));
    let (arm, row) = (arm(name), rows_of_file().remove(name).unwrap());
    let holds = |what: &str| row.holds.iter().any(|held| held == what);
    let rows = rows(&arm.examples, ROW);
    let mut checks = Checks::of(name);
    let logits = in_order(&rows[0], &forward_with(&arm.strong, Some(name), &rows[0]).logits);
    checks.tensor("logits", "", &logits, &golden.get("logits"), 1e-5);
    if holds("merged") {
        checks.tensor("merged", "", &logits, &golden.get("merged"), 1e-5);
    }
    // Logits may be mixed, or the hidden states before the head that both models share.
    let blended = match &arm.loss {
        Loss::Mix(mix) => Some(Loss::Mix(Mix { blends: true, ..mix.clone() })),
        _ => None,
    };
    for (loss, blends) in [(arm.loss.clone(), false)].into_iter().chain(blended.map(|loss| (loss, true))) {
        let mut engine = arm.engine(&Spec { objective: loss.objective(), ..arm.spec(ROW) });
        assert_eq!(engine.metrics().iter().all(|metric| metric.name != "entropy_strong"), blends);
        let found = curve(&arm, &mut engine, &rows, STEPS, |engine, stats| {
            checks.each("loss", &[mean(&rows, stats, LOSS)], &golden.get("loss"), 1e-6);
            check_parameters(&mut checks, &golden, "grad.", &parameters(engine, Side::Main, true), 2e-5);
        });
        checks.each("curve", &found[0], &golden.get("curve"), 1e-5);
        checks.each("grad_norms", &found[1], &golden.get("grad_norms"), 2e-5);
        if holds("final") {
            check_parameters(&mut checks, &golden, "final.", &parameters(&engine, Side::Main, false), 5e-4);
        }
    }
    checks.finish();
}

/// Folders that hold what `Layout::merged` makes of a base and an adapter.
fn merged(name: &str, base: &str) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let (layout, adapter, weights, shape) = (layout(name, base), adapter(name), folder(base), config(base));
    let (entries, unties) = layout.merged_entries(&shape);
    let text = fs::read_to_string(golden_path(base).join("config.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["tie_word_embeddings"] = (shape.tied && !unties).into();
    let (config_json, tokenizer) = (json.to_string(), TokenizerFiles::default());
    let architecture = shape.family.architecture;
    let model = ModelFiles { config_json: &config_json, architecture, tokenizer: &tokenizer, entries: &entries };
    formats::save(out.path(), &Contents::Model(model), Dtype::F32, SHARD_BYTES, |entry| {
        layout.merged(entry, &weights, &adapter, &shape)
    })
    .unwrap();
    out
}

#[test]
fn a_merged_model_has_the_logits_of_its_adapter() {
    for (name, row) in rows_of_file() {
        let golden = Golden::open(&format!("adapters/{name}"));
        let out = merged(&name, &row.base);
        let batch = rows(&golden.examples(), ROW).remove(0);
        let logits = in_order(&batch, &forward(out.path().to_str().unwrap(), &batch).logits);
        let mut checks = Checks::of(&name);
        checks.tensor("logits", "", &logits, &golden.get("logits"), 1e-5);
        checks.finish();
    }
}

/// What a fresh adapter starts with changes nothing: not with LoRA, whose B is zero, and with DoRA only by rounding.
#[test]
fn a_fresh_adapter_changes_nothing() {
    for (base, dora) in [("qwen3", false), ("phi3", true), ("llama_bias", true)] {
        let wanted = AdapterConfig {
            rank: 4,
            alpha: 8.0,
            dropout: 0.0,
            rslora: false,
            dora,
            targets: Vec::new(),
            layers: None,
            ranks: Vec::new(),
            alphas: Vec::new(),
            saved: vec!["lm_head".into()],
        };
        let fresh = Layout::resolve(&wanted, &config(base)).unwrap();
        let plain: Arm = (base, None).into();
        let rows = rows(&plain.examples, ROW);
        let spec = plain.spec(ROW);
        let losses = [None, Some(fresh)].map(|adapter| {
            let engine =
                EnginePlan::new(&Spec { adapter, train: false, ..spec.clone() }).unwrap().build(gpu()).unwrap();
            engine.load(Side::Main, &folder(base)).unwrap();
            engine.start_adapter(Side::Main, &folder(base), 1).unwrap();
            let mut engine = engine;
            engine.set_scalars(0, &plain.scalars(0));
            mean(&rows, &pass(&mut engine, &rows), LOSS)
        });
        let off = (losses[0] - losses[1]).abs() / losses[0];
        assert!(if dora { off < 1e-6 } else { off == 0.0 }, "{base}: {losses:?}");
    }
}

#[test]
fn goldens_of_peft() {
    let failed: Vec<String> =
        rows_of_file().into_keys().filter(|name| std::panic::catch_unwind(|| check(name)).is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
