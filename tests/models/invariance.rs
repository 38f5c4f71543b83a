//! What must not change a result: recomputation, packing, row length, chunks, splits, repetition, neighbours.

use underdog::{
    data::{Example, pack::Batch},
    gpu::Program,
    graph::{
        ops::head_loss::{LOSS, STATS},
        plan::Plan,
        scalars::{self, Scalars},
        tape::Tape,
        tensor::{Memory, Role, Store},
    },
    model::{Adapter, Model},
    objective::{Forward, MicroBatch, Models, Settings},
    train::engine::{Engine, Side, Spec},
};

use crate::{adapters, common::gpu, methods::arm, support::*};

const CASES: [Case; 4] = [
    ("qwen3", None),
    ("llama_bias", None),
    ("qwen3", Some(("mix_same/weak", false))),
    ("qwen3_untied", Some(("qwen3", true))),
];

/// Fused weights and two rotary tables, windows and scaled embeddings.
const FAMILY_CASES: [Case; 2] = [("phi3", None), ("gemma3", None)];

/// Families and mixes, and methods whose arithmetic is their own.
fn arms() -> Vec<Arm> {
    let methods = ["neftune", "distill", "mix_two", "mix_shuffled", "mix_matched"];
    let adapters = ["lora", "saved", "fused_dora", "dropout", "dropout_dora", "weak_base"];
    let families = CASES.into_iter().chain(FAMILY_CASES).map(Arm::from);
    families.chain(methods.map(arm)).chain(adapters.map(adapters::arm)).collect()
}

/// The models of an arm.
fn sides(arm: &Arm) -> Vec<Side> {
    std::iter::once(Side::Main).chain((0..arm.others.len()).map(Side::Auxiliary)).collect()
}

/// All numbers that a few steps leave behind.
pub(crate) struct Trace(pub(crate) Vec<(String, Vec<f32>)>);

impl Trace {
    /// Three steps: losses, norms, the first step's gradients, the last step's weights.
    pub(crate) fn of(arm: &Arm, engine: &mut Engine<'_>, rows: &[Batch]) -> Self {
        let mut found = Vec::new();
        let mut all = |engine: &Engine<'_>, kind: &str, gradient| {
            for side in sides(arm) {
                let named = parameters(engine, side, gradient).into_iter();
                found.extend(named.map(|(name, values)| (format!("{kind} {side:?} {name}"), values)));
            }
        };
        let [losses, norms] = curve(arm, engine, rows, 3, |engine, _| all(engine, "gradient", true));
        all(engine, "weight", false);
        for (kind, values) in [("loss", losses), ("norm", norms)] {
            let each = values.into_iter().enumerate();
            found.extend(each.map(|(step, value)| (format!("{kind} {step}"), vec![value as f32])));
        }
        Self(found)
    }

    pub(crate) fn run(arm: &Arm, spec: &Spec, rows: &[Batch]) -> Self {
        Self::of(arm, &mut arm.engine(spec), rows)
    }

    #[track_caller]
    pub(crate) fn assert_same_bits(&self, other: &Self, what: &str) {
        assert_eq!(self.0.len(), other.0.len(), "{what}");
        for ((name, a), (_, b)) in self.0.iter().zip(&other.0) {
            assert_eq!(bits(a), bits(b), "{what}: {name}");
        }
    }

    /// Losses, and the norm before anything was stepped, within 1e-6; later norms within 3e-6, for AdamW divides small
    /// gradients by their own size. Gradients, whose sums f32 rounds in another order, within 2e-6 of the tensor's largest
    /// number (2.0e-6 measured), those of adapters, behind one product more, within 4e-6; weights within 1e-4.
    #[track_caller]
    pub(crate) fn assert_near(&self, other: &Self, what: &str) {
        let mut checks = Checks::of(what);
        for ((name, got), (_, want)) in self.0.iter().zip(&other.0) {
            let kind = name.split(' ').next().unwrap_or_default();
            let tolerance = match kind {
                "loss" => 1e-6,
                "norm" if name == "norm 0" => 1e-6,
                "norm" => 3e-6,
                "gradient" if name.contains("lora_") => 4e-6,
                "gradient" => 2e-6,
                _ => 1e-4,
            };
            let want: Vec<f64> = want.iter().map(|x| f64::from(*x)).collect();
            checks.tensor(kind, name, got, &want, tolerance);
        }
        checks.finish();
    }
}

#[test]
fn recomputation_and_repetition_give_the_same_bits() {
    for arm in arms() {
        let rows = rows(&arm.examples, ROW);
        let once = Trace::run(&arm, &arm.spec(ROW), &rows);
        once.assert_same_bits(&Trace::run(&arm, &arm.spec(ROW), &rows), &format!("{} again", arm.name));
        for blocks in [1, usize::MAX] {
            let recomputed = Spec { recompute: blocks, ..arm.spec(ROW) };
            let what = format!("{} with {blocks} blocks recomputed", arm.name);
            once.assert_same_bits(&Trace::run(&arm, &recomputed, &rows), &what);
        }
    }
}

#[test]
fn packing_does_not_change_a_step() {
    for arm in arms() {
        let together = Trace::run(&arm, &arm.spec(ROW), &rows(&arm.examples, ROW));
        let others = [
            ("one document a row", ROW, alone(&arm.examples, ROW)),
            ("rows of 51", 51, rows(&arm.examples, 51)),
            ("rows of 128", 128, rows(&arm.examples, 128)),
            ("two rows of 29", 29, rows(&arm.examples, 29)),
        ];
        for (what, tokens, rows) in others {
            Trace::run(&arm, &arm.spec(tokens), &rows).assert_near(&together, &format!("{}, {what}", arm.name));
        }
    }
}

/// Parts of the embedding.
fn shards(model: &Model) -> usize {
    let table = model.weights.iter().find(|stored| stored.parameter.name == "model.embed_tokens.weight");
    table.map_or(0, |table| table.shards.len())
}

/// A pass recorded by hand, with any chunk and any split of the tables: statistics and gradients.
fn pass_by_hand(arm: &Arm, batch: &Batch, chunk: usize, max_binding: u64) -> Trace {
    let (gpu, tokens) = (gpu(), batch.tokens.len());
    let mut store = Store::default();
    let schedule = scalars::declare(&mut store);
    let row = MicroBatch::declare(&mut store, tokens, schedule);
    let mut declare = |name: &str, trained| {
        Model::declare(&mut store, config(name), Role::Weights, trained, tokens, max_binding).unwrap()
    };
    let mut strong = declare(&arm.strong, arm.adapter.is_none());
    let objective = arm.loss.objective();
    let learning = objective.auxiliaries().into_iter().map(|auxiliary| auxiliary.learns);
    let other = |(name, learns): (&String, bool)| match name.as_str() {
        BASE => strong.view(None),
        name => declare(name, learns),
    };
    let others: Vec<Model> = arm.others.iter().zip(learning).map(other).collect();
    if let Some(name) = &arm.adapter {
        let layout = layout(name, &arm.strong);
        let keys = Some(row.noise.keys);
        let view = Adapter::declare(&mut store, layout, Role::Weights, true, keys, max_binding).unwrap();
        strong = strong.view(Some(view));
    }
    let models = || std::iter::once(&strong).chain(&others);
    assert_eq!(shards(&strong) == 2, max_binding < 1 << 20);
    let mut tape = Tape::new();
    let settings = Settings { recompute: 0, chunk };
    let auxiliaries: Vec<Forward<'_>> = others.iter().map(Forward::computed).collect();
    objective.record(&mut tape, &Models { main: &strong, auxiliaries: &auxiliaries }, row, settings);
    tape.backward();
    let memory = Memory::allocate(gpu, &store).unwrap();
    let names = std::iter::once(&arm.strong).chain(&arm.others);
    for (name, model) in names.zip(models()).filter(|(name, _)| *name != BASE) {
        for (tensor, values) in model.rotary_tables() {
            memory.write(gpu, tensor, 0, &values);
        }
        model.weights.load(gpu, &memory, &folder(name)).unwrap();
    }
    if let Some((view, name)) = strong.adapter.as_ref().zip(arm.adapter.as_ref()) {
        view.load(gpu, &memory, &adapter(name)).unwrap();
    }
    memory.write(gpu, schedule, 0, &arm.scalars(0).row(0));
    row.upload((gpu, &memory), batch, arm.draw(0), &*objective, [strong.config.vocab, strong.config.hidden]);
    let mut program: Program = Plan::new(tape.finish()).load(gpu, &memory).unwrap();
    program.run(gpu).unwrap();
    let stats: Vec<[f32; STATS]> = memory.read(gpu, row.targets.stats).unwrap();
    let mut found = vec![("loss".to_owned(), stats.iter().map(|s| s[LOSS]).collect())];
    for (i, model) in models().enumerate() {
        found.extend(model.parameters().map(|stored| {
            (format!("gradient {i} {}", stored.parameter.name), stored.read_gradient(gpu, &memory).unwrap())
        }));
    }
    Trace(found)
}

/// Nine documents of 153 tokens.
fn long_batch(arm: &Arm) -> Batch {
    rows(&[0; 3].map(|_| arm.examples.clone()).concat(), 192).remove(0)
}

#[test]
fn chunks_of_the_head_do_not_change_a_pass() {
    for arm in arms() {
        let batch = long_batch(&arm);
        let whole = pass_by_hand(&arm, &batch, 192, u64::MAX);
        for chunk in [64, 128] {
            let chunked = pass_by_hand(&arm, &batch, chunk, u64::MAX);
            chunked.assert_near(&whole, &format!("{}, chunks of {chunk}", arm.name));
        }
    }
}

/// Chunks of the head that hold no target are left out of a pass; what an earlier pass left there must not show.
#[test]
fn a_pass_leaves_nothing_to_the_next() {
    for arm in arms() {
        let few = arm.examples.clone();
        let mut many = [few.clone(), few.clone()].concat();
        many.iter_mut().for_each(|example| example.trained[1..].fill(true));
        let (many, few) = (rows(&many, 128), rows(&few, 128));
        let mut none = few.clone();
        none[0].weights.fill(0.0);
        let targets = |rows: &[Batch]| rows[0].weights.iter().filter(|w| **w != 0.0).count();
        assert_eq!([targets(&many), targets(&few), targets(&none)], [96, 29, 0]);

        // Room for the logits of 64 tokens, so that the head has two chunks.
        let spec = Spec { max_binding: 32 << 10, ..arm.spec(128) };
        let unchanging = Scalars { lr: 0.0, ..arm.scalars };
        let find = |earlier: &[&[Batch]], last: &[Batch]| {
            let mut engine = arm.engine(&spec);
            engine.set_scalars(0, &unchanging);
            for rows in earlier {
                pass_with(&mut engine, rows, arm.draw(0));
                engine.update().unwrap();
            }
            let stats = pass_with(&mut engine, last, arm.draw(0));
            let mut found: Vec<_> =
                sides(&arm).into_iter().flat_map(|side| parameters(&engine, side, true)).collect();
            found.push(("statistics".into(), stats.concat().concat()));
            Trace(found)
        };
        let name = &arm.name;
        find(&[&many], &few).assert_same_bits(&find(&[], &few), &format!("{name}, fewer targets after more"));
        find(&[&few], &many).assert_same_bits(&find(&[], &many), &format!("{name}, more targets after fewer"));
        let nothing = find(&[&many, &few], &none);
        assert!(nothing.0.iter().all(|(_, values)| values.iter().all(|x| *x == 0.0)), "{name}: no target");
    }
}

#[test]
fn split_tables_do_not_change_a_pass() {
    for arm in arms() {
        let batch = long_batch(&arm);
        let whole = pass_by_hand(&arm, &batch, 128, u64::MAX);
        let split = pass_by_hand(&arm, &batch, 128, 12 << 10);
        split.assert_near(&whole, &format!("{}, split tables", arm.name));
    }
}

#[test]
fn split_tables_do_not_change_training() {
    let arm: Arm = ("qwen3_untied", None).into();
    let rows = rows(&arm.examples, 32);
    let whole = Trace::run(&arm, &arm.spec(32), &rows);
    let mut split = arm.engine(&Spec { max_binding: 16 << 10, ..arm.spec(32) });
    assert_eq!(split.model(Side::Main).map_or(0, shards), 2);
    Trace::of(&arm, &mut split, &rows).assert_near(&whole, "split tables, three steps");
}

#[test]
fn a_document_does_not_see_its_neighbours_or_its_future() {
    for case in FAMILIES {
        let examples = Golden::open(case).examples();
        let hidden = |examples: &[Example]| {
            let batch = rows(examples, ROW).remove(0);
            let all = in_order(&batch, &forward(case, &batch).hidden);
            all.chunks(config(case).hidden).map(bits).collect::<Vec<_>>()
        };
        let before = hidden(&examples);
        // Rows lie in the order 29, 17, 5: change what stands before and after the middle document, and its last token.
        let mut changed = examples.clone();
        for (example, from) in changed.iter_mut().zip([16, 0, 0]) {
            example.ids[from..].iter_mut().for_each(|id| *id = (*id + 7) % 70);
        }
        let after = hidden(&changed);
        assert_eq!(before[..16], after[..16], "{case}: another document or the future shows");
        assert_ne!(before[16], after[16], "{case}: the token itself does not show");
    }
}
