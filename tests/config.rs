//! Settings from files, flags and `--set`: who wins, and what a mistake is answered with.

use std::fs;
use std::path::Path;

use underdog::{
    data::Overlength,
    graph::optim::Decay,
    settings::{
        self, Autotune, ByteSize, Config, CurriculumRule, Dtype, Error, LambdaSchedule, Layers, Method, Origin,
        Precision, Quantize, RUN, Recompute, SETTINGS, Setting, Shape, WeakSource,
    },
};

/// A message without the folder that the test's file lies in.
fn told(error: Error) -> String {
    let message = error.to_string();
    message[message.find("run.toml").unwrap_or(0)..].to_owned()
}

fn layers(text: &str) -> Result<Layers, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, text).unwrap();
    let mut layers = Layers::new();
    layers.file(&path).map(|()| layers).map_err(told)
}

fn resolve(text: &str) -> Result<Config, String> {
    layers(text)?.resolve().map_err(told)
}

fn setting(key: &str) -> &'static Setting<Config> {
    SETTINGS.iter().find(|setting| setting.key == key).unwrap()
}

#[test]
fn nothing_said_means_the_defaults() {
    assert_eq!(Layers::new().resolve().unwrap(), Config::default());
    assert_eq!(resolve("").unwrap(), Config::default());
    assert_eq!(resolve("# only a comment\n[curriculum]\n").unwrap(), Config::default());
}

#[test]
fn later_layers_win() {
    let mut layers = layers("lr = 1e-3\nbatch_size = 4\nepochs = 3\n[curriculum]\nalpha = 0.5\n").unwrap();
    for (key, text) in [("lr", "2e-3"), ("model", "here"), ("curriculum.beta", "0.25")] {
        layers.flag(setting(key), &[text]).unwrap();
    }
    layers.set("lr=3e-3").unwrap();
    let config = layers.resolve().unwrap();
    assert_eq!((config.lr, config.batch_size, config.epochs), (3e-3, 4, 3));
    assert_eq!((config.curriculum.alpha, config.curriculum.beta, config.curriculum.gamma), (0.5, 0.25, 0.1));
    assert_eq!(config.model().unwrap(), Path::new("here"));
}

#[test]
fn the_verb_wins_over_the_file() {
    let mut layers = layers("method = \"sft\"").unwrap();
    layers.method(Method::Wmss);
    assert_eq!(layers.resolve().unwrap().method, Method::Wmss);
}

#[test]
fn set_reaches_every_key_and_reads_toml_or_text() {
    let set = |argument: &str| {
        let mut layers = Layers::new();
        layers.set(argument).unwrap();
        layers.resolve().unwrap()
    };
    assert_eq!(set("curriculum.gamma = 0.3").curriculum.gamma, 0.3);
    assert_eq!(set("adamw.beta2=0.95").adamw.beta2, 0.95);
    assert_eq!(set("lr_scheduler=linear").lr_scheduler, Decay::Linear);
    assert_eq!(set("lr_scheduler=\"linear\"").lr_scheduler, Decay::Linear);
    assert_eq!(set("out=2026").out, Some("2026".into()));
    assert_eq!(set("out=a=b c").out, Some("a=b c".into()));
    assert_eq!(set("out=1\nlr = 2").out, Some("1\nlr = 2".into()));
    assert_eq!(set("device=1").device.as_deref(), Some("1"));
    assert_eq!(set("memory=8GiB").memory, Some(ByteSize(8 << 30)));
    assert!(!set("shuffle=false").shuffle);
    for setting in SETTINGS {
        let error = Layers::new().set(&format!("{}=[1, 2]", setting.key)).err();
        let of_a_run = setting.verbs == 0 || setting.verbs & RUN != 0;
        assert_eq!(!matches!(error, Some(Error::UnknownKey { .. })), of_a_run, "{}", setting.key);
    }
}

#[test]
fn set_mistakes_are_told() {
    let told = |argument: &str| Layers::new().set(argument).unwrap_err().to_string();
    assert!(told("lr").starts_with("--set lr: needs key=value"));
    assert_eq!(told("zzz=1"), "--set zzz=1: unknown key `zzz`");
    assert_eq!(told("optim.lr=1"), "--set optim.lr=1: unknown key `optim.lr`; did you mean `lr`?");
    assert_eq!(told("lr=fast"), "--set lr=fast: `lr` = \"fast\": lr must be a number");
}

#[test]
fn mistakes_in_a_file_are_told_with_line_and_key() {
    for (text, want) in [
        ("lr = 1e-4\n\nbatchsize = 3", "run.toml:3: unknown key `batchsize`; did you mean `batch_size`?"),
        ("max-length = 3", "run.toml:1: unknown key `max-length`; did you mean `max_length`?"),
        ("alpha = 0.3", "run.toml:1: unknown key `alpha`; did you mean `curriculum.alpha`?"),
        ("[optim]\nlr = 0.3", "run.toml:2: unknown key `optim.lr`; did you mean `lr`?"),
        (
            "[curriculum]\nbeta = 1\nalpa = 0.3",
            "run.toml:3: unknown key `curriculum.alpa`; did you mean `curriculum.alpha`?",
        ),
        ("\nzzz = {}", "run.toml:2: unknown key `zzz`"),
        ("curriculum = 3", "run.toml:1: unknown key `curriculum`; did you mean `curriculum.beta`?"),
        ("\nlr = \"fast\"", "run.toml:2: `lr` = \"fast\": lr must be a number"),
        ("epochs = 1.5", "run.toml:1: `epochs` = 1.5: epochs must be a whole number, 0 or more"),
        ("epochs = -1", "run.toml:1: `epochs` = -1: epochs must be a whole number, 0 or more"),
        ("shuffle = 1", "run.toml:1: `shuffle` = 1: shuffle must be true or false"),
        ("dtype = \"f8\"", "run.toml:1: `dtype` = \"f8\": dtype must be auto, f32 or bf16"),
        (
            "memory = \"much\"",
            "run.toml:1: `memory` = \"much\": memory must be a size like 8GiB, 512MiB or 8000000000",
        ),
        ("device = 1.5", "run.toml:1: `device` = 1.5: device must be text"),
        ("lr = 1\nlr = 2", "run.toml:2: not valid TOML: duplicate key"),
        ("a b", "run.toml:1: not valid TOML: "),
        ("\nlambda = 1.5", "run.toml:2: `lambda` = 1.5: lambda must be above 0 and at most 1"),
        ("lr = nan", "run.toml:1: `lr` = nan: lr must be between 0 and 1"),
        ("clip = inf", "run.toml:1: `clip` = inf: clip must be 0 or more"),
        ("warmup = 1.5", "run.toml:1: `warmup` = 1.5: warmup must be a whole number of steps, or below 1"),
        ("batch_size = 0", "run.toml:1: `batch_size` = 0: batch_size must be 1 or more"),
        ("max_steps = 0", "run.toml:1: `max_steps` = 0: max_steps must be 1 or more"),
        ("optimizer_bits = 4", "run.toml:1: `optimizer_bits` = 4: optimizer_bits must be 32, 16 or 8"),
        ("memory = 0", "run.toml:1: `memory` = 0: memory must be above 0"),
        ("[adamw]\nbeta2 = 1.0", "run.toml:2: `adamw.beta2` = 1.0: adamw.beta2 must be 0 or more and below 1"),
        (
            "[curriculum]\nalpha = 0\nbeta = 0\ngamma = 0",
            "run.toml:2: `curriculum.alpha` = 0: curriculum.alpha must be above 0",
        ),
        ("weak = \"w\"", "run.toml:1: `weak` = \"w\": weak is only for methods `mix` and `wmss`"),
        ("weights = \"w\"\nmethod = \"wmss\"", "run.toml:1: `weights` = \"w\": weights is not for `wmss`"),
    ] {
        let got = resolve(text).unwrap_err();
        assert!(got.starts_with(want), "got  {got}\nwant {want}");
    }
}

#[test]
fn mistakes_in_flags_name_the_flag() {
    let mut layers = layers("batch_size = 4").unwrap();
    layers.flag(setting("batch_size"), &["0"]).unwrap();
    let error = layers.resolve().unwrap_err();
    assert!(
        matches!(&error, Error::NotAllowed { origin: Origin::Flag(flag), .. } if flag == "--batch-size"),
        "{error}"
    );
    for text in ["many", "-1", "1.5", "18446744073709551615"] {
        let error = Layers::new().flag(setting("batch_size"), &[text]).unwrap_err().to_string();
        let want = format!("--batch-size: `batch_size` = \"{text}\": batch_size must be a whole number, 0 or more");
        assert!(error.replace("= -1:", "= \"-1\":") == want, "{error}");
    }
}

#[test]
fn unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.toml");
    let large = folder.path().join("large.toml");
    fs::write(&large, "#".repeat(2 << 20)).unwrap();
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    for file in [&absent, &large, &binary, &folder.path().to_path_buf()] {
        let error = Layers::new().file(file).unwrap_err();
        assert!(matches!(&error, Error::Read { path, .. } if path == file), "{error}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let config = Config::default();
    let told = config.model().unwrap_err().to_string();
    assert_eq!(
        told,
        "`model` is not set: give it with `--model DIR`, or as `model = \"DIR\"` in the run's TOML file (Hugging Face folder of the model)"
    );
    assert!(config.data().is_err() && config.out().is_err() && config.weak().is_err());
}

#[test]
fn settings_survive_their_file() {
    let everything = Config {
        method: Method::Mix,
        model: Some("models/a b".into()),
        adapter: None,
        lora_rank: Some(8),
        lora_alpha: Some(12.5),
        lora_dropout: Some(0.05),
        target_modules: vec!["q_proj".into(), "v_proj".into()],
        rslora: true,
        dora: false,
        train_layers: Some("last:8".into()),
        modules_to_save: vec!["embed_tokens".into()],
        quantize: Quantize::Bits4,
        optimizer_bits: 16,
        precision: Precision::F16,
        weak: vec!["weak".into(), "w 2".into()],
        weak_share: vec![1.0, 2.5],
        candidate: vec![],
        held_out: Some("held.jsonl".into()),
        weak_source: WeakSource::EntropyMatched,
        teacher: None,
        data: Some("data \"quoted\".jsonl".into()),
        out: Some("out".into()),
        weights: Some("w.jsonl".into()),
        lambda: 0.42,
        lambda_schedule: LambdaSchedule::Cosine,
        lambda_end: 0.3,
        amplification: 1.5,
        freeze_weak: true,
        cache_weak: true,
        label_smoothing: 0.1,
        temperature: 3.0,
        hard_share: Some(0.25),
        undial_beta: 4.0,
        noise_alpha: 7.5,
        noise_padded: true,
        diagnostics: 50,
        rounds: 3,
        max_length: 512,
        overlength: Overlength::Error,
        batch_size: 7,
        epochs: 2,
        max_steps: Some(11),
        lr: 3.3e-7,
        lr_scheduler: Decay::Constant,
        warmup: 10.0,
        weight_decay: 0.1,
        clip: 0.0,
        seed: i64::MAX as u64,
        shuffle: false,
        dtype: Dtype::Bf16,
        device: Some("0".into()),
        memory: Some(ByteSize(6_000_000_001)),
        autotune: Autotune::Full,
        recompute: Recompute::Off,
        tokens_per_pass: 1024,
        save_every: 5,
        keep: 3,
        resume: true,
        curriculum: settings::Curriculum {
            rule: CurriculumRule::Brownboost,
            alpha: 0.2,
            beta: 0.7,
            gamma: 0.05,
            multiplier: 2.0,
        },
        adamw: settings::Adamw { beta1: 0.8, beta2: 0.95, eps: 1e-6 },
        ..Config::default()
    };
    let distilled = Config { method: Method::SelfDistill, teacher: Some("t".into()), ..Config::default() };
    let chosen = Config {
        method: Method::Mix,
        weak: vec!["auto".into()],
        candidate: vec!["a".into(), "b".into()],
        ..Config::default()
    };
    for config in [Config::default(), everything, distilled, chosen] {
        assert_eq!(resolve(&config.to_toml().unwrap()).unwrap(), config);
    }
}

#[test]
fn sizes_of_memory() {
    for (text, want) in [
        ("8GiB", 8 << 30),
        ("8 gib", 8 << 30),
        ("8G", 8 << 30),
        ("8GB", 8_000_000_000),
        ("1.5 GiB", 3 << 29),
        ("512MiB", 512 << 20),
        ("1024", 1024),
        ("7B", 7),
        (" 2 TB ", 2_000_000_000_000),
    ] {
        assert_eq!(text.parse(), Ok(ByteSize(want)), "{text}");
        assert_eq!(ByteSize(want).to_string().parse(), Ok(ByteSize(want)), "{text}");
    }
    for text in ["", "GiB", "-1GiB", "1 PiB", "1..5GiB", "8GiBs", "99999999999999TiB", "1e3"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
    assert_eq!(ByteSize(8 << 30).to_string(), "8GiB");
    assert_eq!(ByteSize(6_000_000_001).to_string(), "6000000001B");
}

#[test]
fn help_can_show_every_default() {
    let defaults = Config::default();
    for (key, want) in [
        ("lr", Some("1e-5; of an adapter: 0.0001")),
        ("hard_share", Some("0.5; undial: 0.0")),
        ("warmup", Some("0.03")),
        ("lr_scheduler", Some("cosine")),
        ("curriculum.beta", Some("0.8")),
        ("lora_alpha", Some("twice the rank")),
        ("model", None),
    ] {
        assert_eq!(setting(key).default_text(&defaults).as_deref(), want, "{key}");
    }
}

#[test]
fn defaults_are_allowed_and_every_flag_is_of_one_setting() {
    assert!(Config::default().is_sound());
    for setting in SETTINGS {
        let same =
            |other: &&Setting<Config>| other.flag_name() == setting.flag_name() && other.verbs & setting.verbs != 0;
        assert_eq!(SETTINGS.iter().filter(same).count(), usize::from(setting.verbs != 0), "{}", setting.key);
        assert!(!setting.help().is_empty() && !setting.help().ends_with('.'), "{}", setting.key);
        if setting.about.shape == Shape::Switch {
            let is_on = setting.get(&Config::default()).and_then(|value| value.as_bool());
            assert_eq!(is_on, Some(setting.flag_name().starts_with("--no-")), "{}", setting.key);
        }
    }
}

#[test]
fn what_a_resumed_run_must_keep() {
    let was = Config { model: Some("a".into()), ..Config::default() };
    let changed = |config: Config| config.change_since(&was).map(|change| change.to_string());
    assert_eq!(changed(was.clone()), None);
    assert_eq!(changed(Config { keep: 5, device: Some("1".into()), resume: true, ..was.clone() }), None);
    assert_eq!(changed(Config { lr: 2e-5, ..was.clone() }).unwrap(), "`lr` was 1e-5, is now 2e-5");
    assert_eq!(changed(Config { max_steps: Some(3), ..was.clone() }).unwrap(), "`max_steps` was not set, is now 3");
    assert_eq!(changed(Config { model: None, ..was.clone() }).unwrap(), "`model` was \"a\", is now not set");
    // Keys of a run: files and folders count by their contents, so their names are left out, and so is what is free.
    let values = was.result_values();
    assert!(values.contains_key("adamw.beta1") && values.contains_key("lr"));
    assert!(["model", "out", "keep", "device", "sampling.temperature"].iter().all(|key| !values.contains_key(*key)));
    let mut older = values.clone();
    older.remove("label_smoothing");
    assert_eq!(settings::changed(&older, &values), None, "a setting that did not exist had its default");
    older.insert("gone".into(), 1.into());
    assert_eq!(settings::changed(&older, &values).unwrap().to_string(), "`gone` was 1, is now not set");
}

#[test]
fn settings_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, settings::markdown()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(written == settings::markdown(), "UPDATE_DOCS=1 cargo test --test config settings_are_documented");
}
