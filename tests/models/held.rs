//! Models whose frozen matrices are held packed: as if f32 held the numbers that the format has, forward and backward.

use std::path::Path;

use underdog::{
    data::Example,
    formats::AdapterConfig,
    graph::{
        ops::head_loss::{ENTROPY_WEAK, LOSS},
        tensor::Format,
    },
    model::{Config, Held, Layout},
    train::engine::{AuxiliaryModel, Engine, EnginePlan, Side, Spec},
};

use crate::{
    common::{Rng, gpu},
    support::{Checks, mean, mixed, parameters, pass, rows, sft},
};

const SHAPE: &str = r#"{"model_type": "qwen3", "vocab_size": 320, "hidden_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 192, "tie_word_embeddings": true}"#;

const TOKENS: usize = 48;

/// Mixed with its own base, an adapter of rank 4 learning; matrices hold the numbers of `seen`, as `held`.
fn engine(held: Held, seen: Held) -> Engine<'static> {
    let config = Config { held, ..Config::from_json(SHAPE, Path::new("shape")).unwrap() };
    let wanted = AdapterConfig { rank: 4, alpha: 8.0, ..AdapterConfig::default() };
    let adapter = Some(Layout::resolve(&wanted, &config).unwrap());
    let base = AuxiliaryModel { shares_base: true, ..AuxiliaryModel::new(config.clone()) };
    let spec = Spec { adapter, ..mixed(config, TOKENS, base, false) };
    let engine = EnginePlan::new(&spec).unwrap().build(gpu()).unwrap();
    let mut rng = Rng(5);
    engine
        .fill(Side::Main, |parameter, start| {
            let values: Vec<f32> = (start..parameter.count()).map(|_| 0.2 * rng.normal() as f32).collect();
            let format = match parameter.name.as_str() {
                name if name.contains("lora_") || parameter.dims.len() < 2 => Format::F32,
                "model.embed_tokens.weight" => seen.table,
                _ => seen.linear,
            };
            format.unpack(&format.pack(&values))
        })
        .unwrap();
    engine
}

#[test]
fn packed_weights_compute_what_their_numbers_say() {
    let mut rng = Rng(3);
    let examples = [(0, 17), (1, 29)].map(|(idx, len)| Example {
        idx,
        line: 0,
        ids: rng.indices(len, 320),
        trained: (0..len).map(|i| i > 2).collect(),
    });
    let rows = rows(&examples, TOKENS);
    for linear in [Format::Bf16, Format::F16, Format::Q8, Format::Q4, Format::Nf4] {
        let table = if linear.has_groups() { Format::Q8 } else { linear };
        let held = Held { linear, table };
        let [mut packed, mut plain] = [engine(held, held), engine(Held::default(), held)];
        let [got, want] = [&mut packed, &mut plain].map(|engine| pass(engine, &rows));
        let mut checks = Checks::of(&format!("{linear:?}"));
        for stat in [LOSS, ENTROPY_WEAK] {
            let [got, want] = [&got, &want].map(|stats| mean(&rows, stats, stat));
            assert!(want > 0.1, "{linear:?}: nothing is measured");
            checks.each("statistics", &[got], &[want], 1e-6);
        }
        let [got, want] = [&packed, &plain].map(|engine| parameters(engine, Side::Main, true));
        let mut moved = 0;
        for ((name, got), (_, want)) in got.iter().zip(&want).filter(|((name, _), _)| name.contains("lora_")) {
            moved += usize::from(want.iter().any(|x| *x != 0.0));
            checks.tensor("gradient", name, got, &want.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), 2e-6);
        }
        assert_eq!(moved, 2 * 7 * 2, "{linear:?}: every part of the adapter has a gradient");
        checks.finish();
        let [small, large] = [held, Held::default()].map(footprint);
        assert!(small < large / 2 + large / 10, "{linear:?}: {small} bytes of weights beside {large}");
    }
}

/// Bytes of the base's weights.
fn footprint(held: Held) -> u64 {
    let config = Config { held, ..Config::from_json(SHAPE, Path::new("shape")).unwrap() };
    let spec = Spec { train: false, ..sft(config, TOKENS) };
    EnginePlan::new(&spec).unwrap().footprint().weights
}
