//! Training from the first step to the exported folder: stopped, resumed, refused, run away.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use serde_json::{Map, Value, json};
use underdog::{
    data::{
        pack::Batch,
        sampler::{Epochs, Order},
    },
    formats::{self, Dtype, Folder, ReadTensors, Saved},
    gpu::Gpu,
    graph::{
        ops::head_loss::LOSS,
        optim::{Decay, Schedule},
        scalars::Scalars,
    },
    model::Config,
    objective::{Lambda, Mix},
    report::{self, Console, Metrics, ProfileFile, Report},
    session::{self, Checkpoints, Files, layout_of},
    settings::LambdaSchedule,
    train::{
        self, Error, Hook, NoExchange, Outcome, Phase, Probe, World,
        engine::{Engine, EnginePlan, LOGITS, Side, Spec},
    },
};

use crate::{adapters, common::gpu, support::*};

const STEPS: u64 = 6;
/// Of the golden curves.
const GOLDEN_STEPS: u64 = crate::support::STEPS;
/// Two golden documents do not always fit: some steps take two passes.
const TOKENS: usize = 32;

#[derive(Clone, Copy)]
struct Run<'a> {
    arm: &'a Arm,
    out: &'a Path,
    lr: f64,
    decay: Decay,
    warmup: f64,
    batch_size: usize,
    steps: u64,
    max_binding: u64,
    save_every: u64,
    shuffle: bool,
    diagnostics: u64,
    profile: bool,
    gpu: &'static Gpu,
}

impl<'a> Run<'a> {
    fn of(arm: &'a Arm, out: &'a Path) -> Self {
        Self {
            arm,
            out,
            lr: 3e-3,
            decay: Decay::Cosine,
            warmup: 2.0,
            batch_size: 2,
            steps: STEPS,
            max_binding: gpu().max_binding(),
            save_every: 0,
            shuffle: true,
            diagnostics: 0,
            profile: false,
            gpu: gpu(),
        }
    }

    /// A process of its own, as it were: a new engine, going on from the newest checkpoint if there is one. With `stop`
    /// it is interrupted in its first step.
    fn go(&self, stop: bool) -> (Engine<'static>, Result<Outcome, session::Error>) {
        let arm = self.arm;
        let mut engine = arm.engine_on(self.gpu, &Spec { max_binding: self.max_binding, ..arm.spec(TOKENS) });
        let (examples, strong) = (&arm.examples, golden_path(&arm.strong));
        let from = formats::latest(self.out).unwrap().found;
        let ids: Vec<&[u32]> = examples.iter().map(|example| &*example.ids).collect();
        let key = identity(json!({ "lr": self.lr, "examples": ids }));
        match from.as_ref().map(|from| layout_of(from, &key)).transpose() {
            Ok(layout) => assert!(layout.is_none_or(|layout| layout == (TOKENS, LOGITS))),
            Err(error) => return (engine, Err(error)),
        }
        let phase = Phase {
            name: "test",
            examples,
            order: Epochs::new(Order::All(examples.len()), self.batch_size, 1, self.shuffle).unwrap(),
            steps: self.steps,
            schedule: Schedule::new(self.lr, self.decay, self.warmup, self.steps),
            scalars: arm.scalars,
            seed: SEED,
            save_every: self.save_every,
            profile: self.profile,
            planned: 0,
        };
        let mut checkpoints = Checkpoints {
            out: self.out,
            keep: 1,
            key,
            files: Files {
                config_json: fs::read_to_string(strong.join("config.json")).unwrap(),
                architecture: config(&arm.strong).family.architecture.into(),
                tokenizer: formats::read_tokenizer(&strong).unwrap(),
                dtype: Dtype::F32,
                adapter: arm
                    .adapter
                    .as_ref()
                    .map(|name| (layout(name, &arm.strong).config, arm.strong.clone(), String::new())),
            },
        };
        train::prepare(&mut engine, &phase.scalars);
        let from = match from.as_ref().map(|from| checkpoints.restore(&engine, from)).transpose() {
            Ok(from) => from,
            Err(error) => return (engine, Err(error)),
        };
        let next_step = from.as_ref().map_or(1, |(step, _)| step + 1);
        let mut report = Report::new(Console::lines(std::io::sink()));
        let metrics = Metrics::open(&self.out.join("metrics.jsonl"), next_step).unwrap();
        report.attach(vec![Box::new(metrics), Box::new(ProfileFile(self.out.join("profile.json")))]);
        let probe = (self.diagnostics > 0).then(|| Probe::new(examples, TOKENS, SEED, self.diagnostics).unwrap());
        let world = World {
            observer: &mut report,
            checkpoints: &mut checkpoints,
            hooks: probe.flatten().into_iter().map(|probe| Box::new(probe) as Box<dyn Hook>).collect(),
            exchange: &mut NoExchange,
            stop: &AtomicBool::new(stop),
        };
        let outcome = train::train(&mut engine, &phase, from, world);
        (engine, outcome.map_err(Into::into))
    }
}

fn identity(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The lines of `metrics.jsonl` but for the time they took, and the memory that whatever ran before them on the device did.
fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        ["seconds", "peak_bytes"].iter().for_each(|key| drop(line.as_object_mut().unwrap().remove(*key)));
        line
    };
    text.lines().map(line).collect()
}

fn step_of_latest(out: &Path) -> Option<u64> {
    formats::latest(out).unwrap().found.map(|found| found.step)
}

/// A run interrupted twice and then resumed, with another checkpoint on the way, must end as one that was left alone.
/// Returns its steps.
fn interrupted_equals_uninterrupted(case: impl Into<Arm>, change: impl Fn(Run<'_>) -> Run<'_>) -> Vec<Value> {
    let (left_alone, interrupted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arm: Arm = case.into();
    let case = &arm.name;
    let whole = change(Run::of(&arm, left_alone.path()));
    let (_, outcome) = whole.go(false);
    let Ok(Outcome::Finished { loss: Some(_) }) = outcome else { panic!("{case}: {outcome:?}") };

    let parts = Run { out: interrupted.path(), ..whole };
    for step in [1, 2] {
        assert_eq!(parts.go(true).1.unwrap(), Outcome::Interrupted { step });
        assert_eq!(step_of_latest(parts.out), Some(step));
    }
    // What a kill in the middle of saving leaves behind.
    let leftover = parts.out.join(".checkpoint-9.tmp-77-0");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("model.safetensors"), b"half").unwrap();
    assert_eq!(Run { save_every: 2, ..parts }.go(false).1.unwrap(), outcome.unwrap());
    assert!(!leftover.exists());
    assert_eq!(step_of_latest(parts.out), Some(STEPS));

    let file = if arm.adapter.is_some() { "adapter_model.safetensors" } else { "model.safetensors" };
    let model = |out: &Path| fs::read(out.join(file)).unwrap();
    assert!(model(whole.out) == model(parts.out), "{case}: weights differ after a resumption");
    let steps = metrics(whole.out);
    assert_eq!(steps, metrics(parts.out), "{case}");
    assert_eq!(steps.len() as u64, STEPS);
    steps
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    interrupted_equals_uninterrupted(("qwen3", None), |run| run);
}

#[test]
fn a_resumed_run_with_split_tables_has_the_same_bits() {
    interrupted_equals_uninterrupted(("qwen3_untied", None), |run| Run { max_binding: 16 << 10, ..run });
}

#[test]
fn a_resumed_run_with_fused_projections_has_the_same_bits() {
    interrupted_equals_uninterrupted(("phi3", None), |run| run);
}

#[test]
fn a_resumed_joint_run_has_the_same_bits() {
    interrupted_equals_uninterrupted(("qwen3", Some(("mix_smaller/weak", false))), |run| run);
}

#[test]
fn a_resumed_run_beside_a_frozen_model_has_the_same_bits() {
    interrupted_equals_uninterrupted(("qwen3_untied", Some(("qwen3", true))), |run| run);
}

#[test]
fn a_resumed_adapter_has_the_same_bits() {
    for name in ["dropout_dora", "weak_base", "saved"] {
        interrupted_equals_uninterrupted(adapters::arm(name), |run| run);
    }
}

#[test]
fn a_resumed_run_with_an_adaptive_lambda_and_a_probe_has_the_same_bits() {
    let schedule = LambdaSchedule::Adaptive;
    let adaptive = Lambda { start: LAMBDA, schedule, end: LAMBDA, amplification: 0.5 };
    let arm = Arm {
        loss: Loss::Mix(Mix { lambda: adaptive, ..Mix::fixed(1, true, LAMBDA) }),
        ..Arm::from(("qwen3", Some(("mix_same/weak", false))))
    };
    let steps = interrupted_equals_uninterrupted(arm, |run| Run { diagnostics: 4, ..run });
    let (mut lambda, mut probed) = (LAMBDA, Vec::new());
    for step in &steps {
        assert_eq!(step["lambda"].as_f64(), Some(lambda));
        let next = adaptive.next(lambda, step["amplification"].as_f64().unwrap());
        assert_ne!(next, lambda);
        lambda = next;
        probed.extend(step.get("probed").map(|_| step["step"].as_u64().unwrap()));
    }
    assert_eq!(probed, [4, STEPS]);
}

/// An arm whose loss scale doubles after so many good steps.
fn growing(growth: u64) -> Arm {
    let arm: Arm = ("qwen3", None).into();
    Arm { scalars: Scalars { growth, ..arm.scalars }, ..arm }
}

#[test]
fn a_resumed_run_with_a_loss_scale_has_the_same_bits() {
    let scales = |steps: &[Value]| -> Vec<f64> { steps.iter().map(|s| s["loss_scale"].as_f64().unwrap()).collect() };
    let steps = interrupted_equals_uninterrupted(growing(2), |run| run);
    assert_eq!(scales(&steps), [1.0, 1.0, 2.0, 2.0, 4.0, 4.0].map(|times| times * 65_536.0));
    // Powers of two: but for what is told, it is as if there was no scale.
    let plain = interrupted_equals_uninterrupted(("qwen3", None), |run| run);
    let without = |mut step: Value| step.as_object_mut().unwrap().remove("loss_scale").map(|_| step);
    assert_eq!(steps.into_iter().map(without).collect::<Option<Vec<_>>>().unwrap(), plain);

    let arm = growing(1);
    let Some(half) = crate::half::half_gpu(&arm.spec(TOKENS)) else { return };
    let steps = interrupted_equals_uninterrupted(arm, |run| Run { gpu: half, ..run });
    let skipped: Vec<bool> = steps.iter().map(|step| step.get("skipped").is_some()).collect();
    let mut scale = 65_536.0;
    for (step, (found, skipped)) in scales(&steps).into_iter().zip(&skipped).enumerate() {
        assert_eq!(found, scale, "step {step}: {steps:?}");
        assert_eq!(steps[step]["grad_norm"].is_null(), *skipped, "{steps:?}");
        scale *= if *skipped { 0.5 } else { 2.0 };
    }
    assert!(skipped.contains(&true) && !skipped[0], "scales that grow this fast overflow: {steps:?}");
}

/// The mean over target tokens of the logits of `tokens`, and of all logits, in the model of a folder; without `tokens`, of
/// each target's strongest other token, which are returned.
fn logits_of(model: &str, batch: &Batch, tokens: Option<Vec<usize>>) -> ([f64; 2], Vec<usize>) {
    let logits = forward(model, batch).logits;
    let targets: Vec<usize> = (0..batch.tokens.len()).filter(|t| batch.weights[*t] != 0.0).collect();
    let strongest = |t: &usize| {
        let others = logits[*t].iter().enumerate().filter(|(v, _)| *v != batch.targets[*t] as usize);
        others.reduce(|best, one| if one.1 > best.1 { one } else { best }).unwrap().0
    };
    let tokens = tokens.unwrap_or_else(|| targets.iter().map(strongest).collect());
    let mean = |each: &mut dyn Iterator<Item = f64>| each.sum::<f64>() / targets.len() as f64;
    let of_tokens = mean(&mut targets.iter().zip(&tokens).map(|(t, v)| f64::from(logits[*t][*v])));
    let of_all = |t: &usize| logits[*t].iter().map(|z| f64::from(*z)).sum::<f64>() / logits[*t].len() as f64;
    ([of_tokens, mean(&mut targets.iter().map(of_all))], tokens)
}

#[test]
fn a_probe_sees_what_the_model_says_and_changes_nothing() {
    for case in [("qwen3", None), ("qwen3", Some(("mix_same/weak", false)))] {
        let arm: Arm = case.into();
        let folders = [0; 3].map(|_| tempfile::tempdir().unwrap());
        let [without, with, often] = [(0, 0), (1, 4), (2, 1)].map(|(i, diagnostics)| {
            let run = Run { diagnostics, ..Run::of(&arm, folders[i].path()) };
            run.go(false).1.unwrap();
            run.out
        });
        let model = |out: &Path| fs::read(out.join("model.safetensors")).unwrap();
        assert!(model(without) == model(with) && model(with) == model(often), "{case:?}: a look changed the weights");
        let [plain, mut probed, all] = [without, with, often].map(metrics);
        let [fourth, last] = [3, 5].map(|i: usize| probed[i].as_object_mut().unwrap().remove("probed").unwrap());
        assert_eq!(plain, probed, "{case:?}");
        assert_eq!([&all[3]["probed"], &all[5]["probed"]], [&fourth, &last], "{case:?}: looks disturb each other");

        // As many of the first examples as fill a row.
        let fits = |n: &usize| arm.examples[..*n].iter().map(|example| example.ids.len()).sum::<usize>() <= TOKENS;
        let batch = rows(&arm.examples[..(1..=arm.examples.len()).take_while(fits).count()], TOKENS).remove(0);
        let ([start, mean_start], tokens) = logits_of(&arm.strong, &batch, None);
        let ([now, mean_now], _) = logits_of(with.to_str().unwrap(), &batch, Some(tokens));
        let mut checks = Checks::of(&format!("{case:?}, probed"));
        for (name, want) in [
            ("distractor_logit_start", start),
            ("distractor_logit", now),
            ("distractor_fall", (start - now) / start.abs()),
            ("mean_logit_drift", mean_now - mean_start),
        ] {
            checks.each(name, &[last[name].as_f64().unwrap()], &[want], 1e-5);
        }
        checks.finish();
    }
}

#[test]
fn diagnostics_only_observe_where_hidden_states_are_mixed() {
    let arm = adapters::arm("weak_base");
    let folders = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let [plain, observed] = [false, true].map(|observes| {
        let Loss::Mix(mix) = &arm.loss else { panic!("{:?}", arm.loss) };
        let loss = Loss::Mix(Mix { blends: true, observes, ..mix.clone() });
        let arm = Arm { loss, ..arm.clone() };
        let out = folders[usize::from(observes)].path();
        Run { diagnostics: 3 * u64::from(observes), ..Run::of(&arm, out) }.go(false).1.unwrap();
        out
    });
    let adapter = |out: &Path| fs::read(out.join("adapter_model.safetensors")).unwrap();
    assert!(adapter(plain) == adapter(observed));
    for (plain, mut observed) in metrics(plain).into_iter().zip(metrics(observed)) {
        let observed = observed.as_object_mut().unwrap();
        for column in ["entropy_strong", "target_logit", "grad_non_target_alone", "entropy_weak", "amplification"] {
            assert!(observed[column].as_f64().unwrap().is_finite(), "{column}");
        }
        observed.retain(|column, _| plain.get(column).is_some());
        assert_eq!(plain.as_object().unwrap(), observed);
    }
}

#[test]
fn other_settings_are_refused_by_name() {
    let out = tempfile::tempdir().unwrap();
    let arm = ("qwen3", None).into();
    let run = Run::of(&arm, out.path());
    assert_eq!(run.go(true).1.unwrap(), Outcome::Interrupted { step: 1 });
    let (_, outcome) = Run { lr: 1e-3, ..run }.go(false);
    let Err(session::Error::OtherRun { field, was, is, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((field.as_str(), was.as_str(), is.as_str()), ("lr", "0.003", "0.001"));
    assert_eq!(metrics(run.out).len(), 1, "a refused run touches nothing");
}

/// The checkpoint that a run leaves which stops because it ran away.
fn last_good_state(run: Run<'_>) -> formats::Restored {
    let (engine, outcome) = run.go(false);
    let scaled = run.arm.scalars.growth > 0;
    let advised = outcome.as_ref().is_err_and(|error| error.to_string().contains("--precision f32"));
    assert_eq!(advised, scaled, "{outcome:?}");
    let Err(session::Error::Train(Error::NotFinite { step, saved, .. })) = outcome else { panic!("{outcome:?}") };
    let found = formats::latest(run.out).unwrap().found.expect("a checkpoint");
    assert_eq!(found.step, step - 1);
    assert!(saved.contains(&format!("checkpoint-{}", found.step)), "{saved}");
    assert!(!run.out.join("config.json").exists(), "a run that failed leaves no model");
    let Saved::Model(model) = &found.saved else { panic!("{found:?}") };
    let entries = config("qwen3").entries();
    for (entry, (name, values)) in entries.iter().zip(parameters(&engine, Side::Main, false)) {
        assert!(values.iter().all(|x| x.is_finite()), "{name}");
        assert_eq!(bits(&values), bits(&model.read_vec(&name, &entry.dims).unwrap()), "{name}");
    }
    assert_eq!(metrics(run.out).len() as u64, found.step);
    found
}

#[test]
fn a_run_that_runs_away_keeps_its_last_good_state() {
    let [waiting, ahead] = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let arm = ("qwen3", None).into();
    let run = Run { lr: 1e30, save_every: 1, ..Run::of(&arm, waiting.path()) };
    let known_at_once = last_good_state(run);
    // Here the next step is under way before the bad one is known.
    let known_late = last_good_state(Run { save_every: 0, out: ahead.path(), ..run });
    assert_eq!(known_at_once.step, known_late.step);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |found: &formats::Restored| fs::read(found.path.join(file)).unwrap();
        assert!(read(&known_at_once) == read(&known_late), "{file}");
    }
    // With a loss scale it is given up once that cannot be halved any more.
    let (scaled, arm) = (tempfile::tempdir().unwrap(), growing(2000));
    let given_up = last_good_state(Run { arm: &arm, out: scaled.path(), save_every: 0, steps: 40, ..run });
    assert_eq!(given_up.step, known_late.step + 16, "from 65,536 to 1");
    let bytes = |found: &formats::Restored| fs::read(found.path.join("model.safetensors")).unwrap();
    assert!(bytes(&given_up) == bytes(&known_late), "skipped steps leave the weights");
}

#[test]
fn more_steps_make_nothing_more_on_the_device() {
    let arm = ("qwen3", Some(("mix_same/weak", false))).into();
    let made = [2, STEPS].map(|steps| {
        let gpu: &'static Gpu = Box::leak(Box::new(underdog::platform::open(None).unwrap()));
        let out = tempfile::tempdir().unwrap();
        Run { steps, diagnostics: 2, gpu, ..Run::of(&arm, out.path()) }.go(false).1.unwrap();
        assert_eq!(metrics(out.path()).len() as u64, steps);
        gpu.made()
    });
    assert_eq!(made[0], made[1]);
    assert!(made[0].pipelines > 0 && made[0].bind_groups > made[0].pipelines && made[0].buffers > 0, "{made:?}");
}

#[test]
fn a_profile_tells_every_dispatch_and_changes_nothing() {
    let arm = ("qwen3", Some(("mix_same/weak", false))).into();
    let folders = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let [plain, profiled] = [0, 1].map(|i: usize| {
        let run = Run { batch_size: 1, profile: i == 1, ..Run::of(&arm, folders[i].path()) };
        run.go(false).1.unwrap();
        run.out
    });
    let model = |out: &Path| fs::read(out.join("model.safetensors")).unwrap();
    assert!(model(plain) == model(profiled));
    assert_eq!(metrics(plain), metrics(profiled));
    let file = fs::read_to_string(profiled.join("profile.json")).unwrap();
    let profile: report::Profile = serde_json::from_str(&file).unwrap();
    assert!(!plain.join("profile.json").exists());
    // The first two steps are not profiled. Chunks of the head beyond the targets are left out.
    assert_eq!((profile.steps, profile.device_clock), (STEPS - 2, true));
    let [pass, update] = EnginePlan::new(&arm.spec(TOKENS)).unwrap().dispatches();
    let of = |op: &str| profile.ops.iter().find(|time| time.op == op).unwrap_or_else(|| panic!("{op}: {profile:?}"));
    let all: u64 = profile.ops.iter().map(|op| op.dispatches).sum();
    assert_eq!(all, profile.steps * (pass + update) as u64);
    assert_eq!(of("adamw.clip").dispatches, profile.steps);
    assert!(profile.ops.iter().map(|op| op.share).sum::<f64>() > 0.999 && profile.seconds > 0.0);
    assert!(profile.ops.is_sorted_by(|a, b| a.seconds >= b.seconds));
}

/// Ten steps on all examples, against the golden numbers whose names begin with `prefix`.
fn follows(arm: &Arm, golden: &Golden, prefix: &str, last: &str) {
    let out = tempfile::tempdir().unwrap();
    let run = Run { decay: Decay::Constant, warmup: 0.0, batch_size: 3, ..Run::of(arm, out.path()) };
    Run { steps: GOLDEN_STEPS, shuffle: false, ..run }.go(false).1.unwrap();
    let mut checks = Checks::of(&format!("{} {prefix} in a run", golden.case));
    for (ours, theirs) in [("loss", "curve"), ("grad_norm", "grad_norms")] {
        let found: Vec<f64> = metrics(out.path()).iter().map(|line| line[ours].as_f64().unwrap()).collect();
        checks.each(theirs, &found, &golden.get(&format!("{prefix}{theirs}")), 2e-5);
    }
    let model = Folder::open(out.path()).unwrap();
    let read = |entry: formats::Entry| {
        let values = model.read_vec(&entry.name, &entry.dims).unwrap();
        (entry.name, values)
    };
    let last = format!("{prefix}{last}");
    if !golden.names(&last).is_empty() {
        let found: Vec<_> = config(&arm.strong).entries().into_iter().map(read).collect();
        check_parameters(&mut checks, golden, &last, &found, 5e-4);
    }
    checks.finish();
}

#[test]
fn a_run_follows_the_golden_curve() {
    follows(&("qwen3", None).into(), &Golden::open("qwen3"), "", "final.");
    for [golden, strong, weak] in MIXES {
        for (prefix, frozen) in [("joint.", false), ("frozen.", true)] {
            let arm = (strong, Some((weak, frozen))).into();
            follows(&arm, &Golden::open(golden), prefix, "final.strong.");
        }
    }
    for (name, last) in [
        ("neftune", "final."),
        ("neftune_padded", "final."),
        ("mix_two", "final.strong."),
        ("mix_shuffled", "final.strong."),
        ("mix_cosine", "final.strong."),
    ] {
        follows(&crate::methods::arm(name), &Golden::open(&format!("methods/{name}")), "", last);
    }
}

#[test]
fn an_exported_model_gives_the_same_numbers() {
    let weak = ("mix_same/weak", false);
    for case in [("smollm2", None), ("llama_bias", None), ("phi3", None), ("gemma3", None), ("qwen3", Some(weak))] {
        let out = tempfile::tempdir().unwrap();
        let (trained, outcome) = Run::of(&case.into(), out.path()).go(false);
        outcome.unwrap();
        let plain = (case.0, None);
        let mut loaded = EnginePlan::new(&Spec { train: false, ..spec(plain, ROW) }).unwrap().build(gpu()).unwrap();
        loaded.load(Side::Main, &Folder::open(out.path()).unwrap()).unwrap();
        assert_eq!(
            parameters(&trained, Side::Main, false),
            parameters(&loaded, Side::Main, false),
            "{case:?}: weights"
        );
        let rows = rows(&golden_examples(case), ROW);
        let mut before = engine(&Spec { train: false, ..spec(plain, ROW) }, plain);
        let (was, is) = (pass(&mut before, &rows), pass(&mut loaded, &rows));
        let loss = |stats| mean(&rows, stats, LOSS);
        assert!(loss(&is) < 0.8 * loss(&was), "{case:?}: {} -> {}", loss(&was), loss(&is));
        assert_eq!(config(case.0), Config::open(out.path()).unwrap());
    }
}
