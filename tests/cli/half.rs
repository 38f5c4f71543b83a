//! `--precision f16`: runs whose loss is scaled and whose kernels may round to f16.

use serde_json::Value as Json;

use super::support::{Desk, Told};

const LINE: &str = "train --model m --data data.jsonl --batch-size 2 --epochs 2 --lr 3e-3";

/// A line that succeeds, with this folder of the desk as the cache.
fn ok(desk: &Desk, cache: &str, line: &str) -> Told {
    let mut command = desk.command(&line.split_whitespace().collect::<Vec<_>>());
    command.env("UNDERDOG_CACHE", desk.path().join(cache));
    let told = Told::of(command);
    assert_eq!(told.code, Some(0), "underdog {line}\n{}", told.stderr);
    told
}

/// A driver without f16 refuses, and says so.
fn has_f16(desk: &Desk) -> bool {
    let told = desk.line(&format!("{LINE} --precision f16 --autotune off --max-steps 1 --out probe"));
    let refused = told.code == Some(1) && told.stderr.contains("no f16 arithmetic");
    assert!(refused || told.code == Some(0), "{}", told.stderr);
    if refused {
        assert!(!desk.has("probe"), "a refused run leaves nothing");
        crate::skip::skip("precision f16", "wants a driver with f16");
    }
    !refused
}

fn record(desk: &Desk, run: &str) -> Vec<Json> {
    let record: Json = serde_json::from_str(&desk.read(&format!("{run}/tuning.json"))).unwrap();
    record["entries"].as_array().unwrap().clone()
}

/// As if the run had been killed after its fifth step.
fn kill(desk: &Desk, run: &str) -> Vec<u8> {
    let model = desk.bytes(&format!("{run}/model.safetensors"));
    desk.remove(&format!("{run}/config.json"));
    desk.remove(&format!("{run}/checkpoint-10"));
    model
}

#[test]
fn where_no_kernel_is_tried_the_loss_is_scaled_and_no_bit_changes() {
    let desk = Desk::new();
    if !has_f16(&desk) {
        return;
    }
    ok(&desk, "none", &format!("{LINE} --out f32 --autotune off"));
    let told = ok(&desk, "none", &format!("{LINE} --out f16 --autotune off --precision f16 --save-every 5"));
    assert_eq!(told.stderr.matches("precision f16: no kernel is tried").count(), 1, "{}", told.stderr);
    assert_eq!(desk.bytes("f32/model.safetensors"), desk.bytes("f16/model.safetensors"), "a scale is a power of two");
    assert_eq!(desk.column("f16/metrics.jsonl", "loss_scale"), vec![65_536.0; 12]);
    assert!(!desk.read("f32/metrics.jsonl").contains("loss_scale"));
    assert!(desk.read("f16/config.toml").contains("precision = \"f16\""));

    let whole = kill(&desk, "f16");
    let resume = format!("{LINE} --out f16 --autotune off --save-every 5 --resume");
    let refused = desk.line(&resume);
    assert!(refused.code != Some(0) && refused.stderr.contains("precision"), "{}", refused.stderr);
    ok(&desk, "none", &format!("{resume} --precision f16"));
    assert_eq!(desk.bytes("f16/model.safetensors"), whole, "other bits after a resumption");
    desk.refuses(&format!("{LINE} --out other --precision bf16"), 2, &["--precision", "f32", "f16"]);
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn kernels_that_round_to_f16_are_tried_and_kept_by_the_run_alone() {
    let desk = Desk::new();
    if !has_f16(&desk) {
        return;
    }
    ok(&desk, "cache", &format!("{LINE} --out f32 --autotune full"));
    ok(&desk, "cache", &format!("{LINE} --out f16 --autotune full --precision f16 --save-every 5"));
    let losses = ["f32", "f16"].map(|run| desk.column(&format!("{run}/metrics.jsonl"), "loss"));
    for (step, (want, got)) in losses[0].iter().zip(&losses[1]).enumerate() {
        assert!((want - got).abs() < 0.02 * want, "step {step}: {got}, in f32 {want}");
    }
    for (run, half) in [("f32", false), ("f16", true)] {
        assert!(record(&desk, run).iter().all(|entry| entry["half"] == half), "{run}");
    }
    let kernels = record(&desk, "f16");
    let whole = kill(&desk, "f16");
    let told = ok(&desk, "another", &format!("{LINE} --out f16 --precision f16 --save-every 5 --resume"));
    assert!(!told.stderr.contains("warning") && !told.stderr.contains("tuning"), "{}", told.stderr);
    assert_eq!(desk.bytes("f16/model.safetensors"), whole, "the same kernels, the same bits");
    assert_eq!(record(&desk, "f16"), kernels);

    // A run that began with a kernel of f16 goes on with it, where others are faster too.
    kill(&desk, "f16");
    let mut page: Json = serde_json::from_str(&desk.read("f16/tuning.json")).unwrap();
    let entries = page["entries"].as_array_mut().unwrap();
    let is_product = |entry: &&mut Json| entry["family"].as_str().is_some_and(|family| family.ends_with(".nt"));
    let products = entries.iter_mut().filter(is_product);
    assert!(products.map(|entry| entry["form"] = "half 64x64x16".into()).count() > 0);
    desk.write("f16/tuning.json", &page.to_string());
    let told = ok(&desk, "another", &format!("{LINE} --out f16 --precision f16 --save-every 5 --resume"));
    assert!(!told.stderr.contains("warning"), "{}", told.stderr);
    assert_eq!(record(&desk, "f16"), *page["entries"].as_array().unwrap());
    assert_ne!(desk.bytes("f16/model.safetensors"), whole, "f16 rounds");
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn arms_of_a_comparison_may_differ_in_precision() {
    let desk = Desk::new();
    if !has_f16(&desk) {
        return;
    }
    let line = "compare --model m --data data.jsonl --held-out data.jsonl --arms sft:precision=f16,mix --out study --seeds 1 \
        --batch-size 6 --autotune full";
    ok(&desk, "cache", line);
    for (run, half) in [("study", false), ("study/seed-42/sft-precision=f16", true), ("study/seed-42/mix", false)] {
        let entries = record(&desk, run);
        assert!(!entries.is_empty() && entries.iter().all(|entry| entry["half"] == half), "{run}: {entries:?}");
    }
    assert!(desk.read("study/seed-42/sft-precision=f16/metrics.jsonl").contains("\"loss_scale\":65536.0"));
}
