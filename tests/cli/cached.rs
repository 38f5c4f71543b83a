//! `--cache-weak`: the hidden states of weak models and teachers are computed once, lie in the run's folder while it needs
//! them, and are refused where they are of something else or damaged.

use serde_json::Value as Json;

use super::support::{Desk, ROWS};

const RUN: &str = "--data data.jsonl --batch-size 4 --epochs 2 --lr 1e-3";
const MIX: &str = "train --method mix --model sft --weak m --freeze-weak";
const LORA: &str = "train --method mix --model sft --lora-rank 4 --weak base";
const STATES: &str = "weak-0.states";

/// Losses of two runs, the second of which computes what the first has kept.
fn near(desk: &Desk, name: &str, line: &str) {
    let told = desk.ok(&format!("{line} {RUN} --cache-weak --out {name}"));
    assert!(told.stderr.contains("12 samples take") && told.stderr.contains("on disk"), "{}", told.stderr);
    assert!(told.stderr.contains("hidden states"), "{}", told.stderr);
    assert!(!desk.list(name).iter().any(|file| file.contains("states")), "{name}: {:?}", desk.list(name));
    desk.ok(&format!("{line} {RUN} --out {name}-computed"));
    let [kept, computed] = ["", "-computed"].map(|of| desk.column(&format!("{name}{of}/metrics.jsonl"), "loss"));
    assert_eq!(kept.len(), 2 * ROWS / 4);
    for (kept, computed) in kept.iter().zip(&computed) {
        assert!((kept - computed).abs() < 2e-3 * computed, "{name}: {kept}, computed {computed}");
    }
}

#[test]
fn a_run_with_kept_states_learns_what_one_without_does() {
    let desk = Desk::new();
    for (name, line) in [
        ("mix", MIX.to_owned()),
        ("two", format!("{MIX} --weak sft --weak-share 3 --weak-share 1")),
        ("shuffled", format!("{MIX} --weak-source shuffled")),
        ("matched", "train --method mix --model sft --weak m --weak-source entropy-matched".into()),
        ("probed", format!("{MIX} --diagnostics 2 --lambda-schedule adaptive")),
        ("base", LORA.into()),
        ("packed", format!("{LORA} --quantize 8bit")),
        ("distill", "train --method distill --model m --teacher sft".into()),
        ("undial", "train --method undial --model m --hard-share 0.5".into()),
    ] {
        near(&desk, name, &line);
    }
}

#[test]
fn every_joint_phase_keeps_its_own_weak_model() {
    let desk = Desk::new();
    let line = "wmss --model m --data data.jsonl --batch-size 4 --lr 3e-3 --epochs 2 --rounds 2 --freeze-weak";
    let told = desk.ok(&format!("{line} --cache-weak --out run"));
    assert_eq!(told.stderr.matches("on disk").count(), 2, "{}", told.stderr);
    desk.ok(&format!("{line} --out computed"));
    for phase in ["4-mix", "7-mix"] {
        let [kept, computed] =
            ["run", "computed"].map(|run| desk.column(&format!("{run}/{phase}/metrics.jsonl"), "loss"));
        assert!(!desk.list(&format!("run/{phase}")).iter().any(|file| file.contains("states")));
        // The second round's samples are drawn by scores of the first one's model.
        assert!(
            phase == "7-mix" || kept.iter().zip(&computed).all(|(a, b)| (a - b).abs() < 2e-3 * b),
            "{kept:?} {computed:?}"
        );
    }
}

#[test]
fn only_seen_samples_are_kept() {
    let desk = Desk::new();
    let told = desk.ok(&format!("{MIX} {RUN} --max-steps 1 --cache-weak --out run"));
    assert!(told.stderr.contains("for 4 samples"), "{}", told.stderr);
    let all = desk.ok(&format!("{MIX} {RUN} --max-steps 1 --diagnostics 1 --cache-weak --out probed"));
    assert!(all.stderr.contains("for 12 samples"), "{}", all.stderr);
}

/// A run that is stopped while it trains, with its states beside it.
#[cfg(unix)]
fn stopped(desk: &Desk, name: &str) -> String {
    use super::support::{steps, stop};
    let line = format!("{MIX} --data data.jsonl --batch-size 1 --epochs 40 --lr 1e-3 --cache-weak --out {name}");
    let (code, told) = stop(desk, &line, "-INT", || steps(desk, &format!("{name}/metrics.jsonl")) > 2);
    assert_eq!(code, Some(130), "{told}");
    assert!(desk.has(&format!("{name}/{STATES}")), "{told}");
    line.replace("--epochs 40", "--epochs 40 --resume")
}

#[cfg(unix)]
#[test]
fn a_stopped_run_goes_on_with_its_states() {
    let desk = Desk::new();
    let again = stopped(&desk, "run");
    let whole = again.replace("--resume", "").replace("--out run", "--out whole");
    desk.ok(&whole);
    // States that were not whole are gone on with too.
    let bytes = desk.bytes(&format!("run/{STATES}"));
    std::fs::write(desk.path().join(format!("run/{STATES}.part")), &bytes[..bytes.len() / 2]).unwrap();
    desk.remove(&format!("run/{STATES}"));
    desk.ok(&again);
    for file in ["model.safetensors", "config.json"] {
        assert_eq!(desk.bytes(&format!("run/{file}")), desk.bytes(&format!("whole/{file}")), "{file}");
    }
    assert!(!desk.list("run").iter().any(|file| file.contains("states")));
}

#[cfg(unix)]
#[test]
fn states_of_something_else_or_damaged_are_refused() {
    let desk = Desk::new();
    let again = stopped(&desk, "run");
    let (path, whole) = (format!("run/{STATES}"), desk.bytes(&format!("run/{STATES}")));
    let put = |bytes: &[u8]| std::fs::write(desk.path().join(&path), bytes).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bytes, want) in [
        (&whole[..whole.len() - 1], "it was cut off"),
        (&flipped, "are damaged"),
        (
            b"hidden states, or are they? Nothing that can be read as such".repeat(3).as_slice(),
            "no file of hidden states",
        ),
    ] {
        put(bytes);
        desk.refuses(&again, 1, &[STATES, want, "nothing was overwritten", "remove it"]);
    }
    put(&whole);
    desk.refuses(&again.replace("--cache-weak", ""), 1, &["`cache_weak` was true, is now false"]);
    // Before the first checkpoint, nothing but the states tells that a file has changed.
    for name in desk.list("run").iter().filter(|name| name.starts_with("checkpoint")) {
        desk.remove(&format!("run/{name}"));
    }
    let (m, data) = (desk.bytes("m/model.safetensors"), desk.read("data.jsonl"));
    std::fs::copy(desk.path().join("sft/model.safetensors"), desk.path().join("m/model.safetensors")).unwrap();
    desk.refuses(&again, 1, &[STATES, "another model"]);
    std::fs::write(desk.path().join("m/model.safetensors"), m).unwrap();
    desk.write("data.jsonl", &data.lines().rev().map(|line| format!("{line}\n")).collect::<String>());
    desk.refuses(&again, 1, &[STATES, "other samples"]);
    desk.write("data.jsonl", &data);
    desk.remove(&path);
    desk.ok(&again);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let desk = Desk::new();
    for (line, want) in [
        ("train --method mix --model sft --weak m", "weak models that do not learn"),
        ("wmss --model m", "weak models that do not learn"),
        ("train --model m", "methods with a weak model or a teacher"),
        ("train --method mix --model sft --weak-source uniform", "methods with a weak model or a teacher"),
    ] {
        desk.refuses(&format!("{line} --data data.jsonl --cache-weak --out run"), 2, &["cache_weak", want]);
    }
}

#[test]
fn a_plan_counts_the_head_and_the_states() {
    let desk = Desk::new();
    let whole = |flags: &str| desk.json(&format!("plan {flags} --max-length 64 --batch-size 2"));
    let plan = |flags: &str| whole(flags)["parts"].clone();
    let mix = "--model sft --method mix --weak m --freeze-weak";
    let [kept, computed] = ["--cache-weak", ""].map(|flag| plan(&format!("{mix} {flag}")));
    let of = |parts: &serde_json::Value, name: &str| parts[name].as_u64().unwrap();
    assert!(of(&kept, "weak") < of(&computed, "weak"), "{kept}\n{computed}");
    let [before, none] =
        ["--cache-weak", ""].map(|flag| whole(&format!("{mix} {flag}"))["states_pass_bytes"].as_u64().unwrap());
    assert!(before > of(&computed, "weak") && none == 0, "the pass that makes the states holds the model");
    // 128 tokens of 32 numbers of two bytes.
    assert!(of(&kept, "inputs") > of(&computed, "inputs") && of(&kept, "inputs") >= 128 * 64, "{kept}\n{computed}");
    assert_eq!(of(&plan("--model m --method mix --lora-rank 4 --weak base --cache-weak"), "weak"), 0);
}

/// A weak model of ten layers, which do not all fit.
#[test]
fn layers_are_read_in_every_pass_where_memory_asks_for_it() {
    let desk = Desk::new();
    let mut deep: Json = serde_json::from_str(&desk.read("config.json")).unwrap();
    // Layers that outweigh what they come through.
    (deep["num_hidden_layers"], deep["intermediate_size"]) = (10.into(), 3_072.into());
    desk.write("deep.json", &deep.to_string());
    desk.ok("init --config deep.json --tokenizer tokenizer --seed 2 --out deep");
    let flags =
        "--method mix --weak deep --freeze-weak --model m --tokens-per-pass 64 --recompute on --max-length 64";
    let peak = |more: &str| desk.json(&format!("plan {flags} {more}"))["peak_bytes"].as_u64().unwrap();
    let held = peak("");
    let memory = format!("--memory {}", held - 1);
    assert!(peak(&memory) < held - 20 * 32 * 3_072, "most of ten layers, {held} bytes, are not held");
    let told = desk.ok(&format!("plan {flags} {memory}")).stdout;
    assert!(told.contains("read in every pass"), "{told}");
    assert!(!desk.ok(&format!("plan {flags}")).stdout.contains("read in every pass"));

    let run = format!("train {flags} {RUN}");
    let told = desk.ok(&format!("{run} {memory} --out streamed"));
    assert!(told.stderr.contains("read in every pass"), "{}", told.stderr);
    desk.ok(&format!("{run} --out held"));
    assert_eq!(desk.bytes("streamed/model.safetensors"), desk.bytes("held/model.safetensors"));
    desk.refuses(&format!("{run} --memory 64KiB --out run"), 1, &["this needs", "64.00 KiB"]);
}
