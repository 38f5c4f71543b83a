//! Models whose products round their factors to f16, beside f32: gradients, losses, and what a loss scale saves and costs.

use std::path::Path;

use underdog::{
    data::{Example, pack::Batch},
    gpu::Gpu,
    graph::{
        ops::{self, head_loss::LOSS},
        scalars::{LOSS_SCALING, Scalars},
    },
    model::{Config, Parameter},
    train::engine::{AuxiliaryModel, Engine, EnginePlan, Side, Spec, Updated},
};

use crate::{
    common::{Rng, gpu},
    support::{apart, mean, mixed, parameters, pass, rows, sft},
};

const SHAPE: &str = r#"{"model_type": "qwen3", "vocab_size": 320, "hidden_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 192, "tie_word_embeddings": true}"#;

const TOKENS: usize = 48;

/// A device of its own on which every dispatch of a spec takes a variant that rounds to f16, if it has one; `None` where the
/// driver has no f16.
pub(crate) fn half_gpu(spec: &Spec) -> Option<&'static Gpu> {
    let gpu: &'static Gpu = Box::leak(Box::new(underdog::platform::open(None).expect("adapter")));
    let mut taken = 0;
    for (kernel, extents) in EnginePlan::new(spec).expect("a plan").work() {
        let Some(group) = ops::groups().find(|group| group.kernel.name == kernel.name) else { continue };
        let mut variants = group.variants.iter();
        let takes =
            variants.find(|variant| variant.half && gpu.offers(variant) && (variant.grid)(&extents.params).is_some());
        taken += usize::from(takes.is_some());
        gpu.choose(group, (group.class)(&extents.params), takes);
    }
    if taken == 0 {
        crate::skip::skip("models in f16", "want a driver with f16");
        return None;
    }
    assert!(taken > 10, "only {taken} dispatches round to f16");
    Some(gpu)
}

fn spec(joint: bool) -> Spec {
    let config = Config::from_json(SHAPE, Path::new("shape")).unwrap();
    match joint {
        true => mixed(config.clone(), TOKENS, AuxiliaryModel::new(config), true),
        false => sft(config, TOKENS),
    }
}

/// With a loss scale that starts at `scale`, if it is above 1.
fn engine(gpu: &Gpu, joint: bool, scale: f32) -> Engine<'_> {
    let mut engine = EnginePlan::new(&spec(joint)).unwrap().build(gpu).unwrap();
    for (side, seed) in [(Side::Main, 5), (Side::Auxiliary(0), 6)] {
        let mut rng = Rng(seed);
        let start = |parameter: &Parameter, start: usize| {
            let one = if parameter.dims.len() == 1 { 1.0 } else { 0.0 };
            (start..parameter.count()).map(|_| one + 0.08 * rng.normal() as f32).collect()
        };
        engine.fill(side, start).unwrap();
    }
    if scale > 1.0 {
        engine.scale_loss(scale);
    }
    engine
}

/// Packed rows whose tokens weigh `weight` times what they do.
fn batches(count: u64, weight: f32) -> Vec<Batch> {
    let mut rng = Rng(3);
    // A few tokens after each other again and again: something to learn.
    let mut example = |idx: u64| Example {
        idx,
        line: 0,
        ids: (0..24u32).map(|i| (i * 7 + idx as u32 * 13 + rng.below(2) as u32) % 320).collect(),
        trained: (0..24).map(|i| i > 2).collect(),
    };
    let mut batches = rows(&(0..count).map(&mut example).collect::<Vec<_>>(), TOKENS);
    batches.iter_mut().flat_map(|batch| &mut batch.weights).for_each(|w| *w *= weight);
    batches
}

fn scalars() -> Scalars {
    Scalars { lambda: 0.5, lr: 1e-3, clip: 1.0, seed: 11, growth: LOSS_SCALING.1, ..Scalars::default() }
}

/// The gradients of these rows, without the loss scale.
fn gradients(gpu: &Gpu, joint: bool, scale: f32, rows: &[Batch]) -> Vec<(String, Vec<f32>)> {
    let mut engine = engine(gpu, joint, scale);
    engine.set_scalars(0, &scalars());
    pass(&mut engine, rows);
    let mut gradients = parameters(&engine, Side::Main, true);
    gradients.iter_mut().flat_map(|(_, values)| values).for_each(|value| *value /= scale);
    gradients
}

#[test]
fn gradients_are_those_of_f32_but_for_rounding_as_long_as_the_loss_is_scaled() {
    for joint in [false, true] {
        let Some(half) = half_gpu(&spec(joint)) else { return };
        // Tokens that weigh little, as those of large batches do: their gradients vanish in f16.
        for (weight, scale, most, least) in
            [(1.0, 65_536.0, 3e-3, 1e-5), (1e-5, 65_536.0, 3e-3, 1e-5), (1e-5, 1.0, f64::MAX, 0.1)]
        {
            let rows = batches(6, weight);
            let want = gradients(gpu(), joint, 1.0, &rows);
            let [all, worst] = apart(&gradients(half, joint, scale, &rows), &want);
            eprintln!(
                "f16, joint {joint}, weights {weight:e}, scale {scale}: off by {all:.1e}, {worst:.1e} at worst"
            );
            assert!(all > least && worst < most, "weights {weight:e}, scale {scale}: {all} {worst}");
        }
    }
}

/// The loss of a step, and what became of its update.
fn step(engine: &mut Engine<'_>, rows: &[Batch], step: u64) -> (f64, Updated) {
    engine.set_scalars(step, &scalars());
    let stats = pass(engine, rows);
    let started = engine.start_update().unwrap();
    (mean(rows, &stats, LOSS), engine.updated(started).unwrap())
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn losses_follow_those_of_f32() {
    let rows = batches(6, 1.0);
    for joint in [false, true] {
        let Some(half) = half_gpu(&spec(joint)) else { return };
        let [want, got] = [(gpu(), 1.0), (half, LOSS_SCALING.0)].map(|(gpu, scale)| {
            let mut engine = engine(gpu, joint, scale);
            let losses: Vec<f64> = (0..40)
                .map(|at| {
                    let (loss, updated) = step(&mut engine, &rows, at);
                    assert!(!updated.is_skipped() && updated.norm.is_finite(), "step {at}: {updated:?}");
                    loss
                })
                .collect();
            losses
        });
        assert!(want[39] < 0.5 * want[0] && got != want, "{want:?}");
        let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs() / want).fold(0.0, f64::max);
        eprintln!("f16, joint {joint}: losses off by {worst:.1e} at most: {:.4} {:.4}", got[39], want[39]);
        assert!(worst < 0.01, "f16: {got:?}, f32: {want:?}");
    }
}

#[test]
fn an_overflow_skips_its_step_and_halves_the_scale() {
    let Some(half) = half_gpu(&spec(false)) else { return };
    let mut engine = engine(half, false, LOSS_SCALING.0);
    let (usual, heavy) = (batches(6, 1.0), batches(6, 1e4));
    let mut before = parameters(&engine, Side::Main, false);
    // Two overflows, one right behind the other.
    for (at, (rows, scale)) in
        [(&usual, 65_536.0), (&heavy, 65_536.0), (&heavy, 32_768.0), (&usual, 16_384.0), (&usual, 16_384.0)]
            .into_iter()
            .enumerate()
    {
        let (loss, updated) = step(&mut engine, rows, at as u64);
        let after = parameters(&engine, Side::Main, false);
        let overflows = std::ptr::eq(rows, &heavy);
        assert_eq!((updated.loss_scale, updated.is_skipped()), (scale, overflows), "step {at}: {updated:?}");
        assert!(loss.is_finite() && updated.norm.is_finite() != overflows, "step {at}: {loss} {updated:?}");
        assert_eq!(before == after, overflows, "step {at}: whether weights change");
        assert!(after.iter().all(|(_, values)| values.iter().all(|x| x.is_finite())), "step {at}");
        before = after;
    }
    let state = engine.state();
    let (_, tensors) =
        state.iter().find(|(name, _)| name == "loss_scale").expect("the scale is part of a checkpoint");
    assert_eq!(engine.read_tensors(tensors).unwrap(), [16_384.0, 2.0], "the scale, and good steps");
}
