//! Models that learn in 16 and 8 bits: beside f32, and going on with the same bits.

use std::path::Path;

use underdog::{
    data::{Example, pack::Batch, random::StepKey},
    graph::{ops::head_loss::LOSS, optim::Width, scalars::Scalars, tensor::Format},
    model::{Config, Parameter},
    objective::Draw,
    train::engine::{AuxiliaryModel, Engine, EnginePlan, Side, Spec},
};

use crate::{
    common::{Rng, gpu},
    support::{SEED, apart, mean, mixed, parameters, pass, rows, sft},
};

const SHAPE: &str = r#"{"model_type": "qwen3", "vocab_size": 320, "hidden_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 192, "tie_word_embeddings": true}"#;

const TOKENS: usize = 48;

fn engine(width: Width, joint: bool) -> Engine<'static> {
    let config = Config::from_json(SHAPE, Path::new("shape")).unwrap();
    let spec = match joint {
        true => mixed(config.clone(), TOKENS, AuxiliaryModel::new(config), true),
        false => sft(config, TOKENS),
    };
    let spec = Spec { width, ..spec };
    let engine = EnginePlan::new(&spec).unwrap().build(gpu()).unwrap();
    for (side, seed) in [(Side::Main, 5), (Side::Auxiliary(0), 6)] {
        let mut rng = Rng(seed);
        let start = |parameter: &Parameter, start: usize| {
            let one = if parameter.dims.len() == 1 { 1.0 } else { 0.0 };
            let values: Vec<f32> = (start..parameter.count()).map(|_| one + 0.08 * rng.normal() as f32).collect();
            if one == 1.0 { values } else { Format::Bf16.unpack(&Format::Bf16.pack(&values)) }
        };
        engine.fill(side, start).unwrap();
    }
    engine
}

fn examples(count: u64) -> Vec<Batch> {
    let mut rng = Rng(3);
    // A few tokens after each other again and again: something to learn.
    let mut example = |idx: u64| Example {
        idx,
        line: 0,
        ids: (0..24u32).map(|i| (i * 7 + idx as u32 * 13 + rng.below(2) as u32) % 320).collect(),
        trained: (0..24).map(|i| i > 2).collect(),
    };
    rows(&(0..count).map(&mut example).collect::<Vec<_>>(), TOKENS)
}

fn scalars() -> Scalars {
    Scalars { lambda: 0.5, lr: 1e-3, clip: 1.0, seed: 11, ..Scalars::default() }
}

/// The losses of steps `from..to`.
fn train(engine: &mut Engine<'_>, rows: &[Batch], from: u64, to: u64) -> Vec<f64> {
    let step = |step| {
        engine.set_scalars(step, &scalars());
        let stats = pass(engine, rows);
        assert!(engine.update().unwrap().is_finite());
        mean(rows, &stats, LOSS)
    };
    (from..to).map(step).collect()
}

/// The gradients of these rows, so many times: how far those in bfloat16 are from those in f32 over the same weights, as shares of their
/// length; of all, and of the worst parameter.
fn gradient_error(rows: &[Batch], times: u64) -> [f64; 2] {
    let [(loss, want), (same, got)] = [Width::Bits32, Width::Bits16].map(|width| {
        let mut engine = engine(width, false);
        let of_step = |step| move |row: &Batch| (row.clone(), Draw::quiet(StepKey::new(SEED, step)));
        let draws = (0..times).flat_map(|step| rows.iter().map(of_step(step)));
        let pass = |(row, draw): (Batch, Draw)| engine.run(&row, draw).unwrap();
        let stats: Vec<_> = draws.map(pass).collect();
        (mean(rows, &stats[..rows.len()], LOSS), parameters(&engine, Side::Main, true))
    });
    assert!((loss - same).abs() < 1e-6 * loss, "the numbers are the same: {loss} {same}");
    apart(&got, &want)
}

#[test]
fn gradients_are_those_of_f32_but_for_rounding() {
    // The last: always the same small parts, which rounding to the nearest would lose.
    for (count, times, most) in
        [(2, 1, [3e-3, 4e-3]), (6, 1, [5e-3, 6e-3]), (128, 1, [2e-2, 2.5e-2]), (2, 300, [3e-2, 4e-2])]
    {
        let rows = examples(count);
        let [all, worst] = gradient_error(&rows, times);
        let passes = rows.len() as u64 * times;
        eprintln!("gradients in bfloat16, {passes} passes: off by {all:.1e} of their length, {worst:.1e} at worst");
        assert!(all < most[0] && worst < most[1], "{passes} passes: {all} {worst}");
    }
}

#[test]
fn losses_follow_those_of_f32() {
    let rows = examples(6);
    for joint in [false, true] {
        let [want, half, quarter] = [Width::Bits32, Width::Bits16, Width::Bits8].map(|width| {
            let mut engine = engine(width, joint);
            train(&mut engine, &rows, 0, 40)
        });
        assert!(want[39] < 0.5 * want[0], "{want:?}");
        for (bits, got) in [(16, half), (8, quarter)] {
            let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs() / want).fold(0.0, f64::max);
            let last = (got[39] - want[39]).abs() / want[39];
            eprintln!(
                "{bits} bits, joint {joint}: losses off by {worst:.1e} at most, {last:.1e} at the end: {:.4} {:.4}",
                got[39], want[39]
            );
            assert!(worst < 0.05, "{bits} bits: {got:?}, f32: {want:?}");
        }
    }
}

/// Everything that a checkpoint holds of an engine.
fn saved(engine: &Engine<'_>) -> Vec<(String, Vec<u32>)> {
    let bits = |values: Vec<f32>| -> Vec<u32> {
        assert!(values.iter().all(|x| x.is_finite()), "a checkpoint holds finite numbers");
        values.into_iter().map(f32::to_bits).collect()
    };
    let state = engine.state().into_iter();
    let state = state.map(|(name, tensors)| (name, bits(engine.read_tensors(&tensors).unwrap())));
    let own = parameters(engine, Side::Main, false).into_iter().map(|(name, values)| (name, bits(values)));
    state.chain(own).collect()
}

#[test]
fn what_is_saved_goes_on_with_the_same_bits() {
    let rows = examples(6);
    for (width, joint) in [(Width::Bits16, false), (Width::Bits8, true)] {
        let mut whole = engine(width, joint);
        train(&mut whole, &rows, 0, 3);
        let of_step_3 = saved(&whole);
        let losses = train(&mut whole, &rows, 3, 5);

        let mut again = engine(width, joint);
        let numbers = |name: &str| {
            let found = of_step_3.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name}"));
            found.1.iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<f32>>()
        };
        again.fill(Side::Main, |parameter, start| numbers(&parameter.name)[start..].to_vec()).unwrap();
        for (name, tensors) in again.state() {
            again.write_tensors(&tensors, &numbers(&name)).unwrap();
        }
        assert!(saved(&again) == of_step_3, "{width:?}: what was written reads otherwise");
        assert_eq!(train(&mut again, &rows, 3, 5), losses, "{width:?}");
        assert!(saved(&again) == saved(&whole), "{width:?}: other bits after two more steps");
    }
}

#[test]
fn what_learns_takes_what_its_bits_say() {
    let of = |width| {
        let spec = Spec { width, ..sft(Config::from_json(SHAPE, Path::new("shape")).unwrap(), TOKENS) };
        EnginePlan::new(&spec).unwrap().footprint()
    };
    let [full, half, quarter] = [Width::Bits32, Width::Bits16, Width::Bits8].map(of);
    let near = |is: u64, want: u64| is >= want && is < want + want / 20;
    for (is, want) in [
        (half.weights, full.weights / 2),
        (half.gradients, full.gradients / 2),
        (half.optimizer, full.optimizer / 2),
        (quarter.weights, full.weights / 2),
        // Two scales of four bytes for 256 numbers.
        (quarter.optimizer, full.optimizer / 4 + full.weights / 128),
    ] {
        assert!(near(is, want), "{is} bytes, not about {want}");
    }
}
