//! `plan` needs no weights and no GPU, and its sums are right.

use std::{fs, path::Path};

use serde_json::Value as Json;

use super::support::{Desk, Told, shape};

/// Runs `plan --json` where no driver is to be found.
fn plan(desk: &Desk, line: &str) -> Json {
    let told = blind(desk, &format!("plan --json {line}"));
    assert_eq!(told.code, Some(0), "plan {line}\n{}", told.stderr);
    serde_json::from_str(&told.stdout).unwrap()
}

fn blind(desk: &Desk, line: &str) -> Told {
    let mut command = desk.command(&line.split_whitespace().collect::<Vec<_>>());
    command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
    Told::of(command)
}

fn peak(plan: &Json) -> u64 {
    let peak = plan["peak_bytes"].as_u64().unwrap();
    let parts = plan["parts"].as_object().unwrap();
    assert_eq!(parts.values().map(|part| part.as_u64().unwrap()).sum::<u64>(), peak, "{plan}");
    peak
}

#[test]
fn config_json_is_all_it_needs() {
    let desk = Desk::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["qwen2", "qwen3", "qwen3_untied", "llama3", "llama_bias", "smollm2"] {
        desk.write(
            &format!("{name}/config.json"),
            &fs::read_to_string(golden.join(name).join("config.json")).unwrap(),
        );
        let sft = plan(&desk, &format!("--model {name} --max-length 64 --batch-size 2"));
        let mix = plan(&desk, &format!("--model {name} --max-length 64 --batch-size 2 --method mix"));
        let frozen =
            plan(&desk, &format!("--model {name} --max-length 64 --batch-size 2 --method mix --freeze-weak"));
        let wmss = plan(&desk, &format!("--model {name} --max-length 64 --batch-size 2 --method wmss"));
        assert!(peak(&sft) < peak(&frozen) && peak(&frozen) < peak(&mix), "{name}: {sft} {frozen} {mix}");
        assert_eq!(peak(&wmss), peak(&mix), "{name}: joint training is the largest phase");
        let weights = fs::read(golden.join(name).join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
        let stored: usize = tensors.tensors().iter().map(|(_, t)| t.shape().iter().product::<usize>()).sum();
        assert_eq!(sft["parameters"], stored, "{name}");
    }
}

#[test]
fn every_method_is_planned() {
    let desk = Desk::new();
    let peak_of = |flags: &str| peak(&plan(&desk, &format!("--model m --data data.jsonl {flags}")));
    let (sft, mix) = (peak_of(""), peak_of("--method mix"));
    for method in ["undial", "distill", "self-distill"] {
        assert!(
            (sft + 1..mix).contains(&peak_of(&format!("--method {method}"))),
            "{method}: a teacher does not learn"
        );
    }
    assert!((sft..mix).contains(&peak_of("--method neftune")));
    assert!((sft..mix).contains(&peak_of("--method mix --weak-source uniform")), "no weak model is there");
    assert_eq!(peak_of("--method mix --weak-source entropy-matched"), peak_of("--method mix --freeze-weak"));
    assert_eq!(peak_of("--method mix --weak m"), mix);
    assert!(peak_of("--method mix --weak m --weak sft") > mix);
    let mut wide = shape();
    wide["hidden_size"] = 64.into();
    desk.write("wide/config.json", &wide.to_string());
    assert!(peak_of("--method distill --teacher wide") > peak_of("--method distill"));
    let text = blind(&desk, "plan --method distill --model m --data data.jsonl");
    assert!(text.stdout.contains("weak model or teacher"), "{}", text.stdout);
}

#[test]
fn data_makes_it_exact() {
    let desk = Desk::new();
    let told = plan(&desk, "--model m --data data.jsonl --batch-size 4 --tokens-per-pass 64");
    // Every example has more than 32 tokens, so each takes a row of 64 for itself.
    assert_eq!((told["passes_per_step"].as_f64(), told["tokens_per_pass"].as_u64()), (Some(4.0), Some(64)));
    let text = blind(&desk, "plan --model m --data data.jsonl --batch-size 4 --tokens-per-pass 64");
    assert!(text.stdout.contains("4.0 passes a step") && text.stdout.contains("activations"), "{}", text.stdout);
}

#[test]
fn blocks_are_computed_twice_one_by_one_and_cost_time() {
    let desk = Desk::new();
    let mut deep = shape();
    deep["num_hidden_layers"] = 6.into();
    desk.write("deep/config.json", &deep.to_string());
    let flags = "--model deep --max-length 512 --batch-size 4 --tokens-per-pass 512";
    let by = |recompute: &str| plan(&desk, &format!("{flags} --recompute {recompute}"));
    let (none, two, all) = (by("off"), by("2"), by("on"));
    assert!(peak(&none) > peak(&two) && peak(&two) > peak(&all), "{none} {two} {all}");
    assert_eq!([&none, &two, &all].map(|plan| plan["recompute"].as_u64()), [Some(0), Some(2), Some(6)]);
    // As much memory as two blocks computed twice take is enough for that, and not more is done.
    let chosen = plan(&desk, &format!("{flags} --memory {}", peak(&two)));
    assert_eq!((&chosen["recompute"], peak(&chosen)), (&two["recompute"], peak(&two)));
    let cost = |plan: &Json| plan["costs"]["recompute"].as_f64().unwrap();
    assert!(cost(&none) == 0.0 && cost(&two) > 0.05 && cost(&all) > 1.5 * cost(&two) && cost(&all) < 0.4, "{all}");
    let told = blind(&desk, &format!("plan {flags} --memory {}", peak(&two)));
    for wanted in ["2 of 6 blocks computed twice", "workspaces", "staging", "2 (chosen)", "blocks computed twice +"] {
        assert!(told.stdout.contains(wanted), "no `{wanted}`: {}", told.stdout);
    }
    desk.refuses(&format!("plan {flags} --recompute sometimes"), 2, &["sometimes", "auto, on, off or a number"]);
}

#[test]
fn formats_that_would_fit_are_named_and_not_taken() {
    let desk = Desk::new();
    let mut wide = shape();
    (wide["hidden_size"], wide["torch_dtype"]) = (128.into(), "bfloat16".into());
    desk.write("wide/config.json", &wide.to_string());
    let flags = "--model wide --lora-rank 2 --max-length 64 --batch-size 1";
    let least = peak(&plan(&desk, &format!("{flags} --recompute on --quantize 4bit")));
    let told = blind(&desk, &format!("plan {flags} --memory {least}"));
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    let wanted = ["at least (rows of 64 tokens, activations computed twice)", "it would fit with --quantize 4bit ("];
    wanted.iter().for_each(|wanted| assert!(told.stderr.contains(wanted), "{}", told.stderr));
    let whole = peak(&plan(&desk, "--model wide --max-length 64 --batch-size 1 --recompute on"));
    let told =
        blind(&desk, &format!("plan --model wide --max-length 64 --batch-size 1 --memory {}", whole - 100_000));
    assert!(told.stderr.contains("it would fit with --optimizer-bits 16 ("), "{}", told.stderr);
}

/// 2^34 numbers are more than four times what 32 bits count.
#[test]
fn the_largest_models_are_planned() {
    let desk = Desk::new();
    let mut large = shape();
    for (field, value) in
        [("hidden_size", 5120), ("num_hidden_layers", 64), ("intermediate_size", 25_600), ("vocab_size", 151_936)]
    {
        large[field] = value.into();
    }
    desk.write("large/config.json", &large.to_string());
    let flags = "--model large --max-length 64 --batch-size 1";
    assert!(peak(&plan(&desk, flags)) > 16 << 34);
    let told = blind(&desk, &format!("plan {flags} --memory 8GiB"));
    assert!(told.code == Some(1) && told.stderr.contains("at least"), "{}", told.stderr);
}

#[test]
fn every_dense_config_is_planned() {
    let Some(root) = crate::skip::shared("every_dense_config_is_planned", "hf_configs") else { return };
    let entries = fs::read_dir(root.join("hf_configs")).unwrap();
    let desk = Desk::new();
    let mut planned = 0;
    for path in
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json"))
    {
        let text = fs::read_to_string(&path).unwrap();
        let Ok(config) = underdog::model::Config::from_json(&text, &path) else { continue };
        desk.write("real/config.json", &text);
        let length = 1024.min(config.max_positions);
        let flags = format!("--model real --max-length {length} --batch-size 2 --lora-rank 8 --quantize 4bit");
        let told = plan(&desk, &format!("{flags} --memory 400GiB"));
        let all = plan(&desk, &format!("{flags} --recompute on"));
        assert!(peak(&all) <= peak(&told) && peak(&told) <= 400 << 30, "{}: {told}", path.display());
        planned += 1;
    }
    assert!(planned >= 20, "only {planned} configs");
}

#[test]
fn memory_is_kept_or_refused() {
    let desk = Desk::new();
    let flags = "--model m --max-length 512 --batch-size 4";
    let free = peak(&plan(&desk, flags));
    let tight = plan(&desk, &format!("{flags} --memory {}", free - 1));
    assert!(peak(&tight) < free, "{tight}");
    let told = blind(&desk, &format!("plan {flags} --memory 1KiB"));
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.starts_with("error: this needs ") && told.stderr.contains("1.00 KiB"), "{}", told.stderr);
    assert!(told.stderr.contains("--max-length"), "{}", told.stderr);
}

#[test]
fn a_run_takes_the_memory_that_was_planned() {
    let desk = Desk::new();
    let flags = "--model m --data data.jsonl --batch-size 4 --max-steps 1 --tokens-per-pass 128";
    let planned = peak(&plan(&desk, flags));
    let told = desk.ok(&format!("train {flags} --out run --memory {planned}"));
    assert!(told.stderr.contains("device memory: peak "), "{}", told.stderr);
    let [taken, said] = ["peak_bytes", "planned_bytes"].map(|field| desk.column("run/metrics.jsonl", field)[0]);
    assert_eq!(said, planned as f64);
    assert!(taken <= said && taken >= 0.97 * said, "{taken} of {said}");
    let told = desk.line(&format!("train {flags} --out less --recompute off --memory {}", planned - 1));
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(!desk.has("less"), "a refused run leaves nothing");
}

/// For the same flags and data, to the byte.
#[test]
fn what_is_planned_is_what_a_run_plans() {
    let desk = Desk::new();
    desk.ok("train --model m --data data.jsonl --lora-rank 2 --out adapter --max-steps 1 --batch-size 1");
    // One row is far longer than the others, and is not among those of the first steps.
    let long = serde_json::json!({ "text": "Tom has 5 eggs. ".repeat(6) }).to_string();
    desk.write("long.jsonl", &format!("{}{long}\n", desk.read("data.jsonl")));
    for flags in [
        "--model m --data long.jsonl --batch-size 2",
        "--model m --data long.jsonl --batch-size 2 --max-steps 2",
        "--model m --data long.jsonl --batch-size 4 --max-steps 1 --no-shuffle",
        "--model m --data data.jsonl --weights curriculum.jsonl --batch-size 4",
        "--model m --data data.jsonl --batch-size 4 --recompute on --tokens-per-pass 256",
        "--model m --data data.jsonl --batch-size 4 --memory 3MiB",
        "--model m --data data.jsonl --optimizer-bits 8 --max-steps 1",
        "--model m --data data.jsonl --optimizer-bits 16 --epochs 2",
        "--model sft --data data.jsonl --method mix --weak m",
        "--model sft --data data.jsonl --method mix --weak m --freeze-weak --cache-weak --max-steps 1",
        "--model sft --data data.jsonl --method mix --weak m --weak sft --weak-share 1 --weak-share 2 --freeze-weak",
        "--model m --data data.jsonl --lora-rank 2 --quantize 4bit --method mix --weak base",
        "--model m --data data.jsonl --lora-rank 2 --modules-to-save embed_tokens --method mix --weak adapter",
        "--model m --data data.jsonl --adapter adapter --method self-distill",
        "--model m --data data.jsonl --method distill --teacher sft --quantize 8bit",
        "--model m --data data.jsonl --method neftune --max-length 40",
    ] {
        let planned = desk.json(&format!("plan {flags}"));
        let told = desk.ok(&format!("train {flags} --out run"));
        let said = desk.column("run/metrics.jsonl", "planned_bytes")[0];
        assert_eq!(peak(&planned) as f64, said, "{flags}: {planned}\n{}", told.stderr);
        let rows = format!("rows of {} tokens", planned["tokens_per_pass"]);
        assert!(told.stderr.contains(&rows), "{flags}: {rows}\n{}", told.stderr);
        desk.remove("run");
    }
}

/// What Qwen3 may take at most in 8 bits, GiB: one row of 2,048 tokens.
#[test]
fn real_models_in_8_bits_stay_within_their_bounds() {
    let test = "real_models_in_8_bits_stay_within_their_bounds";
    let Some(root) = crate::skip::shared(test, "hf_configs") else { return };
    let configs = root.join("hf_configs");
    let desk = Desk::new();
    for (file, most) in [("Qwen--Qwen3-0.6B", 4.0), ("Qwen--Qwen3-1.7B", 11.0), ("Qwen--Qwen3-4B-2507", 24.0)] {
        let config = fs::read_to_string(configs.join(format!("{file}.json"))).unwrap();
        desk.write("real/config.json", &config);
        let planned = |bits: u32| {
            let flags = "--model real --recompute on --tokens-per-pass 2048 --optimizer-bits";
            peak(&plan(&desk, &format!("{flags} {bits}"))) as f64 / f64::from(1 << 30)
        };
        let [full, half, quarter] = [32, 16, 8].map(planned);
        assert!(quarter <= most, "{file}: {quarter:.2} GiB, at most {most}");
        assert!(half < 0.54 * full && quarter < 0.8 * half, "{file}: {full:.2}, {half:.2} and {quarter:.2} GiB");
    }
}
