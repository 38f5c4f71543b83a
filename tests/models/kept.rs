//! Hidden states of frozen models that were computed before a pass and kept as bf16: the same bits as the rounded states
//! computed by hand, close to the pass that computes them, and whatever lies beside a sample.

use std::sync::Arc;

use half::bf16;
use tempfile::TempDir;
use underdog::{
    data::{Example, pack::Batch},
    formats::{States, StatesOf, StatesWriter},
    graph::{
        ops::{
            self,
            head_loss::{Head, LOSS, Second, head_loss},
        },
        plan::Plan,
        scalars,
        tape::Tape,
        tensor::{Memory, Role, Store},
    },
    model::Model,
    objective::{HiddenStates, MicroBatch},
    settings::WeakSource,
    train::engine::{AuxiliaryModel, Engine, EnginePlan, HiddenSource, Side, Spec},
};

use crate::{adapters, common::gpu, invariance::Trace, methods, support::*};

/// Frozen weak models alone, of other heads, two of them, each control; a teacher; the base of an adapter.
fn arms() -> Vec<Arm> {
    let mixes = [("qwen3", Some(("mix_same/weak", true))), ("qwen3_untied", Some(("qwen3", true)))].map(Arm::from);
    let methods = ["mix_two", "mix_shuffled", "mix_matched", "distill", "undial_mixed"].map(methods::arm);
    let mut arms: Vec<Arm> = mixes.into_iter().chain(methods).chain([adapters::arm("weak_base")]).collect();
    arms.iter_mut().for_each(|arm| arm.loss.freeze());
    arms
}

/// The final hidden states of every example's targets, from rows of `tokens` tokens.
fn states(name: &str, examples: &[Example], batches: &[Batch]) -> Vec<Vec<f32>> {
    let config = config(name);
    let width = config.hidden;
    let objective = Arc::new(HiddenStates);
    let spec = Spec { objective, train: false, ..sft(config, batches[0].tokens.len()) };
    let mut engine = EnginePlan::new(&spec).unwrap().build(gpu()).unwrap();
    engine.load(Side::Main, &folder(name)).unwrap();
    let mut found = vec![Vec::new(); examples.len()];
    for batch in batches {
        let mut states = engine.result(batch).unwrap().into_iter();
        for placed in &batch.examples {
            found[placed.example] = states.by_ref().take(width * examples[placed.example].targets()).collect();
        }
        assert_eq!(states.next(), None);
    }
    found
}

/// The golden folder of an arm's other model.
fn of(arm: &Arm, i: usize) -> &str {
    let name = arm.others[i].as_str();
    if name == BASE { &arm.strong } else { name }
}

fn keep(folder: &TempDir, name: &str, examples: &[Example], states: &[Vec<f32>]) -> States {
    let samples = examples.iter().map(|example| (example.idx, example.targets())).collect();
    let of = StatesOf { model: name.into(), data: String::new(), width: config(name).hidden, samples };
    let mut writer = StatesWriter::open(&folder.path().join(name.replace('/', " ")), of).unwrap();
    states.iter().for_each(|values| writer.push(values).unwrap());
    writer.finish().unwrap()
}

fn kept_spec(arm: &Arm, tokens: usize) -> Spec {
    let spec = arm.spec(tokens);
    let cached = |model: &AuxiliaryModel| AuxiliaryModel { hidden: HiddenSource::Cached, ..model.clone() };
    Spec { auxiliaries: spec.auxiliaries.iter().map(cached).collect(), ..spec }
}

/// An engine that has the heads of the other models and their states, made from rows of their own.
fn kept_engine(arm: &Arm, spec: &Spec, made_from: &[Batch]) -> Engine<'static> {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = arm.engine(spec);
    for i in 0..arm.others.len() {
        let name = of(arm, i);
        let states = states(name, &arm.examples, made_from);
        let kept = keep(&folder, name, &arm.examples, &states);
        engine.cache(Side::Auxiliary(i), Box::new(move |sample, bytes| Ok(kept.read(sample, bytes)?)));
    }
    engine
}

/// A pass in which the other models' states are an input of f32, rounded to bf16 by hand: loss and gradients.
fn pass_by_hand(arm: &Arm, batch: &Batch) -> Vec<(String, Vec<f32>)> {
    let (gpu, tokens) = (gpu(), batch.tokens.len());
    let mut store = Store::default();
    let schedule = scalars::declare(&mut store);
    let row = MicroBatch::declare(&mut store, tokens, schedule);
    let mut declare = |name: &str, trained| {
        Model::declare(&mut store, config(name), Role::Weights, trained, tokens, gpu.max_binding()).unwrap()
    };
    let strong = declare(&arm.strong, true);
    let others: Vec<Model> = (0..arm.others.len()).map(|i| declare(of(arm, i), false)).collect();
    let mut tape = Tape::new();
    let hidden = strong.hidden(&mut tape, row.inputs, None, 0);
    let hidden = ops::pick(&mut tape, hidden, row.picked, row.slots);
    let given: Vec<_> =
        others.iter().map(|model| store.declare("given", Role::Inputs, tokens, model.config.hidden)).collect();
    let shares: Vec<f64> = match &arm.loss {
        Loss::Mix(mix) => mix.weak.iter().map(|(_, share)| *share).collect(),
        _ => vec![1.0],
    };
    let head = |((model, given), share): ((_, &_), &f64)| -> Head<'_> {
        let model: &Model = model;
        model.head(if *share == 1.0 { *given } else { ops::scale(&mut tape, *given, *share as f32) })
    };
    let heads: Vec<Head<'_>> = others.iter().zip(&given).zip(&shares).map(head).collect();
    let second = match &arm.loss {
        Loss::Distill(_) => Second::Teacher(heads[0]),
        Loss::Mix(mix) if mix.source == WeakSource::Shuffled => Second::Turned(heads),
        Loss::Mix(mix) if mix.source == WeakSource::EntropyMatched => Second::Synthetic(heads),
        Loss::Mix(_) => Second::Weak(heads),
        loss => unreachable!("{loss:?}"),
    };
    head_loss(&mut tape, strong.head(hidden), &second, row.targets, tokens);
    tape.backward();
    let memory = Memory::allocate(gpu, &store).unwrap();
    let names = std::iter::once(arm.strong.as_str()).chain((0..others.len()).map(|i| of(arm, i)));
    for (name, model) in names.zip(std::iter::once(&strong).chain(&others)) {
        for (tensor, values) in model.rotary_tables() {
            memory.write(gpu, tensor, 0, &values);
        }
        model.weights.load(gpu, &memory, &folder(name)).unwrap();
    }
    memory.write(gpu, schedule, 0, &arm.scalars(0).row(0));
    row.upload(
        (gpu, &memory),
        batch,
        arm.draw(0),
        &*arm.loss.objective(),
        [strong.config.vocab, strong.config.hidden],
    );
    for (i, given) in given.iter().enumerate() {
        let made = states(of(arm, i), &arm.examples, std::slice::from_ref(batch));
        let in_row = batch.examples.iter().flat_map(|placed| &made[placed.example]);
        let rounded: Vec<f32> = in_row.map(|x| bf16::from_f32(*x).to_f32()).collect();
        memory.write(gpu, *given, 0, &rounded);
    }
    Plan::new(tape.finish()).load(gpu, &memory).unwrap().run(gpu).unwrap();
    let stats: Vec<[f32; ops::head_loss::STATS]> = memory.read(gpu, row.targets.stats).unwrap();
    let targets = batch.weights.iter().filter(|w| **w != 0.0).count();
    let mut found = vec![("loss".to_owned(), stats[..targets].iter().map(|s| s[LOSS]).collect())];
    found.extend(
        strong
            .parameters()
            .map(|stored| (stored.parameter.name.clone(), stored.read_gradient(gpu, &memory).unwrap())),
    );
    found
}

#[test]
fn kept_states_are_the_computed_ones_rounded() {
    for arm in arms().into_iter().filter(|arm| arm.adapter.is_none()) {
        let batch = &rows(&arm.examples, ROW)[0];
        let mut engine = kept_engine(&arm, &kept_spec(&arm, ROW), std::slice::from_ref(batch));
        engine.set_scalars(0, &arm.scalars(0));
        let stats = engine.run(batch, arm.draw(0)).unwrap();
        let losses = stats.iter().zip(&batch.weights).filter(|(_, w)| **w != 0.0).map(|(s, _)| s[LOSS]).collect();
        let mut found = vec![("loss".to_owned(), losses)];
        found.extend(parameters(&engine, Side::Main, true));
        Trace(found).assert_same_bits(&Trace(pass_by_hand(&arm, batch)), &arm.name);
    }
}

/// 1.9e-4 of the loss and 1.8e-3 of a tensor's largest gradient measured.
#[test]
fn kept_states_are_close_to_computed_ones() {
    for arm in arms() {
        let batches = rows(&arm.examples, ROW);
        let [kept, computed] = [true, false].map(|kept| {
            let mut engine = match kept {
                true => kept_engine(&arm, &kept_spec(&arm, ROW), &batches),
                false => arm.engine(&arm.spec(ROW)),
            };
            engine.set_scalars(0, &arm.scalars(0));
            let stats = pass_with(&mut engine, &batches, arm.draw(0));
            (mean(&batches, &stats, LOSS), parameters(&engine, Side::Main, true))
        });
        let mut checks = Checks::of(&arm.name);
        checks.each("loss", &[kept.0], &[computed.0], 5e-4);
        for ((name, got), (_, want)) in kept.1.iter().zip(&computed.1) {
            let want: Vec<f64> = want.iter().map(|x| f64::from(*x)).collect();
            checks.tensor("gradient", name, got, &want, 5e-3);
        }
        checks.finish();
    }
}

#[test]
fn packing_does_not_change_a_step_with_kept_states() {
    for arm in arms() {
        let together = rows(&arm.examples, ROW);
        // AdamW makes much of what rounding leaves of small gradients: those and the losses tell, weights do not.
        let trace = |tokens: usize, rows: &[Batch]| {
            let trace = Trace::of(&arm, &mut kept_engine(&arm, &kept_spec(&arm, tokens), &together), rows);
            Trace(trace.0.into_iter().filter(|(name, _)| !name.starts_with("weight")).collect())
        };
        let once = trace(ROW, &together);
        once.assert_same_bits(&trace(ROW, &together), &format!("{} again", arm.name));
        for (what, tokens, rows) in [
            ("one document a row", ROW, alone(&arm.examples, ROW)),
            ("rows of 128", 128, rows(&arm.examples, 128)),
            ("two rows of 29", 29, rows(&arm.examples, 29)),
        ] {
            trace(tokens, &rows).assert_near(&once, &format!("{}, {what}", arm.name));
        }
    }
}

#[test]
fn of_a_model_whose_states_are_kept_there_is_only_the_head() {
    let arm = Arm::from(("qwen3_untied", Some(("qwen3", true))));
    let [kept, whole] = [kept_spec(&arm, ROW), arm.spec(ROW)].map(|spec| EnginePlan::new(&spec).unwrap().footprint());
    let weak = config("qwen3");
    assert_eq!(kept.weak, (4 * weak.vocab * weak.hidden) as u64);
    assert!(kept.weak < whole.weak && kept.activations <= whole.activations, "{kept:?}\n{whole:?}");
    let based = adapters::arm("weak_base");
    assert_eq!(EnginePlan::new(&kept_spec(&based, ROW)).unwrap().footprint().weak, 0);
}

#[test]
fn states_of_other_samples_are_refused() {
    let arm = Arm::from(("qwen3", Some(("mix_same/weak", true))));
    let batches = rows(&arm.examples, ROW);
    let mut engine = kept_engine(&arm, &kept_spec(&arm, ROW), &batches);
    let mut other = batches[0].clone();
    other.examples[0].idx = 77;
    let error = engine.run(&other, quiet()).expect_err("no states of sample 77").to_string();
    assert!(error.contains("hidden states of") && error.contains("that has"), "{error}");
    let mut none = arm.engine(&kept_spec(&arm, ROW));
    assert!(none.run(&batches[0], quiet()).is_err(), "no states at all");
}
