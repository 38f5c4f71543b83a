//! Every family against the golden numbers.

use std::{fs, sync::atomic::AtomicBool};

use underdog::{
    graph::ops::head_loss::LOSS,
    infer::score::score,
    model::{Config, config::Mixer},
    report::{Console, Report},
    train::engine::{EnginePlan, Side, Spec},
};

use crate::support::*;

fn check(case: &'static str) {
    let golden = Golden::open(case);
    let examples = golden.examples();
    let rows = rows(&examples, ROW);
    let mut checks = Checks::of(case);
    check_forward(&mut checks, &golden);

    let mut engine = engine(&spec((case, None), ROW), (case, None));
    let found = curve(&(case, None).into(), &mut engine, &rows, STEPS, |engine, stats| {
        checks.each("loss", &[mean(&rows, stats, LOSS)], &golden.get("loss"), 1e-6);
        check_parameters(&mut checks, &golden, "grad.", &parameters(engine, Side::Main, true), 2e-5);
    });
    checks.each("curve", &found[0], &golden.get("curve"), 1e-5);
    checks.each("grad_norms", &found[1], &golden.get("grad_norms"), 2e-5);
    check_parameters(&mut checks, &golden, "final.", &parameters(&engine, Side::Main, false), 5e-4);

    let mut engine = crate::support::engine(&Spec { train: false, ..spec((case, None), ROW) }, (case, None));
    let mut report = Report::new(Console::lines(std::io::sink()));
    let scored = score(&mut engine, case, &examples, &mut report, &AtomicBool::new(false)).unwrap().unwrap();
    let entropies: Vec<f64> = scored.iter().map(|s| s.row.entropy).collect();
    let losses: Vec<f64> = scored.iter().map(|s| s.row.loss).collect();
    checks.each("entropy", &entropies, &golden.get("entropy"), 1e-5);
    checks.each("doc_loss", &losses, &golden.get("doc_loss"), 1e-5);
    checks.finish();
}

fn check_forward(checks: &mut Checks, golden: &Golden) {
    let batch = rows(&golden.examples(), ROW).remove(0);
    let forward = forward(&golden.case, &batch);
    checks.tensor("hidden", "", &in_order(&batch, &forward.hidden), &golden.get("hidden"), 1e-5);
    checks.tensor("logits", "", &in_order(&batch, &forward.logits), &golden.get("logits"), 1e-5);
}

#[test]
fn qwen3() {
    check("qwen3");
}

#[test]
fn qwen3_untied() {
    check("qwen3_untied");
}

#[test]
fn qwen2() {
    check("qwen2");
}

#[test]
fn llama3() {
    check("llama3");
}

#[test]
fn llama_bias() {
    check("llama_bias");
}

#[test]
fn smollm2() {
    check("smollm2");
}

#[test]
fn mistral() {
    check("mistral");
}

#[test]
fn gemma3() {
    check("gemma3");
}

#[test]
fn phi3() {
    check("phi3");
}

#[test]
fn olmo2() {
    check("olmo2");
}

#[test]
fn gemma2() {
    check("gemma2");
}

#[test]
fn gemma2_uncapped() {
    check("gemma2_uncapped");
}

#[test]
fn smollm3() {
    check("smollm3");
}

#[test]
fn lfm2() {
    check("lfm2");
}

#[test]
fn lfm2_bias() {
    check("lfm2_bias");
}

#[test]
fn narrow_weights() {
    for case in ["qwen3/bf16", "llama3/f16"] {
        let mut checks = Checks::of(case);
        check_forward(&mut checks, &Golden::open(case));
        checks.finish();
    }
}

#[test]
fn older_config_files_give_the_same_model() {
    let mut others = 0;
    for case in FAMILIES {
        for entry in fs::read_dir(golden_path(case)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("config_old") {
                let text = fs::read_to_string(&path).unwrap();
                assert_eq!(Config::from_json(&text, &path).unwrap(), config(case), "{}", path.display());
                others += 1;
            }
        }
    }
    assert_eq!(others, 12);
}

#[test]
fn shapes_beyond_the_kernels_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Spec)| {
        let mut spec = Spec { max_binding: u64::MAX, ..spec(("qwen3_untied", None), ROW) };
        change(&mut spec);
        EnginePlan::new(&spec).err().map_or_else(|| "taken".into(), |error| error.to_string())
    };
    let wide = refused(&|spec| spec.model.layers[0].ffn.width = 40_000);
    assert!(wide.contains("gate_proj") && wide.contains("40000 by 40"), "{wide}");
    let heads = refused(&|spec| match &mut spec.model.layers[0].mixer {
        Mixer::Attention(attention) => attention.heads.heads = 4096,
        Mixer::ShortConv(_) => panic!("no attention"),
    });
    assert!(heads.contains("q_proj"), "{heads}");
    let hidden = refused(&|spec| spec.model.hidden = 40_000);
    assert!(hidden.contains("embed_tokens"), "{hidden}");
    let long = refused(&|spec| spec.tokens = 32_064);
    assert!(long.contains("32064 tokens") && long.contains("max_length"), "{long}");
    let largest = refused(&|spec| {
        (spec.tokens, spec.model.vocab) = (32_000, 4_000_000);
        spec.model.layers.iter_mut().for_each(|layer| layer.ffn.width = 32_000);
    });
    assert_eq!(largest, "taken");
}
