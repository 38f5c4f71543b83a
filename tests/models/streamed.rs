//! Frozen models of which one layer at a time is on the device: the same bits as where all are.

use std::sync::Arc;

use underdog::train::engine::{AuxiliaryModel, EnginePlan, HiddenSource, Side, Spec};

use crate::{invariance::Trace, methods, support::*};

/// Tied and untied heads, two weak models, a teacher; fused matrices, and windows with rotary tables of their own.
fn arms() -> Vec<Arm> {
    let of_families = |name: &'static str| Arm { loss: Loss::distill(), ..Arm::from((name, Some((name, true)))) };
    let mixes = [("qwen3", Some(("mix_smaller/weak", true))), ("qwen3_untied", Some(("qwen3", true)))].map(Arm::from);
    let methods = ["mix_two", "distill"].map(methods::arm);
    let mut arms: Vec<Arm> =
        mixes.into_iter().chain(methods).chain(["phi3", "gemma3", "gemma2"].map(of_families)).collect();
    arms.iter_mut().for_each(|arm| arm.loss.freeze());
    arms
}

fn streamed(arm: &Arm, tokens: usize) -> Spec {
    let spec = arm.spec(tokens);
    let streamed = |model: &AuxiliaryModel| AuxiliaryModel { hidden: HiddenSource::Streamed, ..model.clone() };
    Spec { auxiliaries: spec.auxiliaries.iter().map(streamed).collect(), ..spec }
}

#[test]
fn streamed_layers_give_the_same_bits() {
    for arm in arms() {
        let rows = rows(&arm.examples, 29);
        assert!(rows.len() > 1, "one pass after another");
        let spec = streamed(&arm, 29);
        let mut engine = arm.engine(&spec);
        for (i, name) in arm.others.iter().enumerate() {
            engine.stream(Side::Auxiliary(i), Arc::new(folder(name)));
        }
        // Of what stays as it is, the streamed model has one layer.
        let learned =
            |trace: Trace| Trace(trace.0.into_iter().filter(|(name, _)| !name.contains("Auxiliary")).collect());
        let held = learned(Trace::run(&arm, &arm.spec(29), &rows));
        held.assert_same_bits(&learned(Trace::of(&arm, &mut engine, &rows)), &arm.name);
    }
}

#[test]
fn of_a_streamed_model_one_layer_is_there() {
    let arm = Arm::from(("qwen3", Some(("mix_same/weak", true))));
    let footprint = |spec: &Spec| EnginePlan::new(spec).unwrap().footprint();
    let [held, streamed] = [arm.spec(ROW), streamed(&arm, ROW)].map(|spec| footprint(&spec));
    let config = config("mix_same/weak");
    let layer: usize = config
        .parameters()
        .iter()
        .filter(|parameter| parameter.name.starts_with("model.layers.0."))
        .map(|parameter| parameter.count())
        .sum();
    let saved = held.weak - streamed.weak;
    let wanted = (4 * (config.layers.len() - 1) * layer) as u64;
    assert!(saved.abs_diff(wanted) < wanted / 8, "{saved} bytes saved, {wanted} wanted");
    assert!(streamed.activations <= held.activations, "{held:?}\n{streamed:?}");
    let mut engine = arm.engine(&self::streamed(&arm, ROW));
    let error = engine.run(&rows(&arm.examples, ROW)[0], quiet()).expect_err("no folder").to_string();
    assert!(error.contains("it is not known where"), "{error}");
}
