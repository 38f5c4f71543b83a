//! Runs in 16 and 8 bits.

use safetensors::SafeTensors;

use super::support::{Desk, shape};

/// A model whose matrices have whole groups of 64 numbers in a row.
fn desk() -> Desk {
    let desk = Desk::new();
    let mut wide = shape();
    for (key, value) in [("hidden_size", 64), ("head_dim", 32), ("intermediate_size", 128)] {
        wide[key] = value.into();
    }
    desk.write("wide.json", &wide.to_string());
    desk.ok("init --config wide.json --tokenizer tokenizer --seed 1 --out w");
    desk
}

const LINE: &str = "train --data data.jsonl --batch-size 4 --epochs 4 --lr 3e-3";

#[test]
fn fewer_bits_train_as_well_and_write_what_they_hold() {
    let desk = desk();
    let runs = ["32", "16", "8"].map(|bits| {
        desk.ok(&format!("{LINE} --model w --optimizer-bits {bits} --out r{bits}"));
        let losses = desk.column(&format!("r{bits}/metrics.jsonl"), "loss");
        let file = desk.bytes(&format!("r{bits}/model.safetensors"));
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let dtype = format!("{:?}", tensors.tensors()[0].1.dtype());
        assert_eq!(dtype, if bits == "32" { "F32" } else { "BF16" });
        assert!(desk.read(&format!("r{bits}/config.toml")).contains(&format!("optimizer_bits = {bits}")));
        desk.ok(&format!("eval --model r{bits} --data data.jsonl"));
        losses
    });
    for (bits, losses) in ["16", "8"].iter().zip(&runs[1..]) {
        for (step, (got, want)) in losses.iter().zip(&runs[0]).enumerate() {
            assert!((got - want).abs() < 0.03 * want, "{bits} bits, step {step}: {got}, f32 {want}");
        }
        assert_ne!(losses, &runs[0], "{bits} bits change something");
    }
    desk.ok(&format!("{LINE} --model w --optimizer-bits 8 --out again"));
    assert!(desk.bytes("again/model.safetensors") == desk.bytes("r8/model.safetensors"), "the same seed, other bits");
    desk.ok(&format!("{LINE} --model w --optimizer-bits 8 --out kept --dtype f32"));
    let file = desk.bytes("kept/model.safetensors");
    assert_eq!(format!("{:?}", SafeTensors::deserialize(&file).unwrap().tensors()[0].1.dtype()), "F32");
}

#[test]
fn a_run_of_fewer_bits_is_gone_on_with_as_it_was() {
    let desk = desk();
    let joint = "--method mix --model w --weak w";
    for (name, flags) in [
        ("half", "--model w --optimizer-bits 16".to_owned()),
        ("joint", format!("{joint} --optimizer-bits 8")),
        ("frozen", format!("{joint} --optimizer-bits 8 --freeze-weak --quantize 4bit")),
        ("adapter", "--model w --lora-rank 4 --optimizer-bits 8 --quantize 4bit".to_owned()),
    ] {
        desk.ok(&format!("{LINE} {flags} --save-every 5 --keep 9 --out {name}"));
        let file = if name == "adapter" { "adapter_model.safetensors" } else { "model.safetensors" };
        let whole = desk.bytes(&format!("{name}/{file}"));
        // As if the run had been killed after its fifth step.
        desk.remove(&format!("{name}/checkpoint-10"));
        desk.remove(&format!("{name}/{file}"));
        let config = if name == "adapter" { "adapter_config.json" } else { "config.json" };
        desk.remove(&format!("{name}/{config}"));
        desk.ok(&format!("{LINE} {flags} --save-every 5 --keep 9 --out {name} --resume"));
        assert!(desk.bytes(&format!("{name}/{file}")) == whole, "{name}: other bits after a resumption");
    }
}

#[test]
fn other_bits_are_refused() {
    let desk = desk();
    desk.refuses(
        "train --model m --data data.jsonl --out run --optimizer-bits 4",
        2,
        &["--optimizer-bits", "must be 32, 16 or 8"],
    );
    let line = format!("{LINE} --model w --save-every 5 --out run");
    desk.ok(&format!("{line} --optimizer-bits 8 --max-steps 6"));
    let told = desk.line(&format!("{line} --optimizer-bits 16 --max-steps 6 --resume"));
    assert!(told.code != Some(0) && told.stderr.contains("optimizer_bits"), "{}", told.stderr);
}

#[test]
fn a_comparison_tells_widths_apart() {
    let desk = desk();
    let told = desk.json(
        "compare --model w --data data.jsonl --held-out data.jsonl --arms sft:optimizer_bits=8 --out c --max-steps 2 --seeds 1",
    );
    assert!(told.to_string().contains("optimizer_bits=8"), "{told}");
}
