//! `--autotune`: the same training with other variants of kernels, and runs that keep theirs.

use serde_json::Value as Json;

use super::support::{Desk, Told};

const SFT: &str = "train --model m --data data.jsonl --batch-size 2 --epochs 2 --lr 3e-3";

/// A line that succeeds, with this folder of the desk as the cache.
fn ok(desk: &Desk, cache: &str, line: &str) -> Told {
    let mut command = desk.command(&line.split_whitespace().collect::<Vec<_>>());
    command.env("UNDERDOG_CACHE", desk.path().join(cache));
    let told = Told::of(command);
    assert_eq!(told.code, Some(0), "underdog {line}\n{}", told.stderr);
    told
}

/// Without variants to choose from there is nothing to try.
fn has_variants() -> bool {
    let has = underdog::graph::ops::groups().next().is_some();
    if !has {
        crate::skip::skip("tuning", "wants a kernel with variants");
    }
    has
}

/// Files of a tuning cache.
fn pages(desk: &Desk, cache: &str) -> usize {
    desk.list(cache).iter().filter(|name| *name != "digests.json").count()
}

fn record(desk: &Desk, run: &str) -> Vec<Json> {
    let record: Json = serde_json::from_str(&desk.read(&format!("{run}/tuning.json"))).unwrap();
    record["entries"].as_array().unwrap().clone()
}

#[test]
fn tuned_runs_learn_the_same_and_the_next_one_need_not_tune() {
    if !has_variants() {
        return;
    }
    let desk = Desk::new();
    let told = ok(&desk, "none", &format!("{SFT} --out off --autotune off"));
    assert!(!told.stderr.contains("kernel") && pages(&desk, "none") == 0, "{}", told.stderr);
    let losses = desk.column("off/metrics.jsonl", "loss");
    assert!(record(&desk, "off").iter().all(|entry| entry["variant"].is_null()));

    let told = ok(&desk, "cache", &format!("{SFT} --out full --autotune full"));
    assert!(told.stderr.contains("kernel shapes (cached for the next time)"), "{}", told.stderr);
    assert!(told.stderr.contains("take another variant than the portable one"), "{}", told.stderr);
    assert_eq!(pages(&desk, "cache"), 1);
    for (want, got) in losses.iter().zip(desk.column("full/metrics.jsonl", "loss")) {
        assert!((want - got).abs() < 1e-4 * want.abs(), "{losses:?}");
    }

    let told = ok(&desk, "cache", &format!("{SFT} --out again --autotune full"));
    assert!(!told.stderr.contains("tuning"), "{}", told.stderr);
    assert_eq!(record(&desk, "again"), record(&desk, "full"));
    assert_eq!(desk.bytes("again/model.safetensors"), desk.bytes("full/model.safetensors"));
}

#[test]
fn a_resumed_run_keeps_its_kernels_whatever_the_flag_and_the_cache_say() {
    let desk = Desk::new();
    for (began, goes_on) in [("full", "off"), ("off", "full")] {
        let run = format!("from-{began}");
        ok(&desk, "cache", &format!("{SFT} --out {run} --save-every 5 --autotune {began}"));
        let (model, kernels) = (desk.bytes(&format!("{run}/model.safetensors")), record(&desk, &run));
        desk.remove(&format!("{run}/config.json"));
        desk.remove(&format!("{run}/checkpoint-10"));
        let told = ok(&desk, "another", &format!("{SFT} --out {run} --save-every 5 --autotune {goes_on} --resume"));
        assert!(told.stderr.contains("step 6/12") && !told.stderr.contains("kernel"), "{}", told.stderr);
        assert_eq!(desk.bytes(&format!("{run}/model.safetensors")), model, "{run}: the same bits");
        assert_eq!(record(&desk, &run), kernels);
    }
}

#[test]
fn a_record_of_another_device_is_told_and_replaced() {
    if !has_variants() {
        return;
    }
    let desk = Desk::new();
    ok(&desk, "cache", &format!("{SFT} --out run --save-every 5"));
    let kernels = record(&desk, "run");
    let text = desk.read("run/tuning.json");
    let unknown = text.replacen("\"group\": \"", "\"group\": \"no such ", 1);
    for (what, text) in [
        ("was made on x", text.replace("\"adapter\": \"", "\"adapter\": \"x")),
        ("is no file of kernel choices", "{".into()),
        ("names kernels that are not offered here any more", unknown),
    ] {
        desk.remove("run/config.json");
        desk.write("run/tuning.json", &text);
        let told = ok(&desk, "cache", &format!("{SFT} --out run --save-every 5 --resume"));
        let warning = "warning: kernels are chosen anew, so results may differ in their last digits: run/tuning.json";
        assert!(told.stderr.contains(warning) && told.stderr.contains(what), "{what}: {}", told.stderr);
        assert_eq!(told.stderr.matches("warning:").count(), 1, "{}", told.stderr);
        assert_eq!(record(&desk, "run"), kernels, "{what}");
    }
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn texts_runs_of_several_phases_and_comparisons_are_tuned() {
    if !has_variants() {
        return;
    }
    let desk = Desk::new();
    for (cache, line) in [
        ("texts", "generate --model m --prompt 1 --max-new-tokens 3"),
        ("runs", "wmss --model m --data data.jsonl --out wmss --batch-size 6"),
    ] {
        let told = ok(&desk, cache, &format!("{line} --autotune full"));
        assert!(told.stderr.contains("tuning"), "{line}: {}", told.stderr);
        assert_eq!(pages(&desk, cache), 1, "{line}");
    }
    let study = "compare --model m --data data.jsonl --held-out data.jsonl --arms sft,mix --seeds 1 --batch-size 6";
    ok(&desk, "runs", &format!("{study} --out study --autotune full"));
    let of = |run: &str| record(&desk, run);
    let (study, arm) = (of("study"), of("study/seed-42/sft"));
    assert!(
        !arm.is_empty() && arm.iter().all(|entry| study.contains(entry)),
        "an arm computes as the whole study does"
    );
}
