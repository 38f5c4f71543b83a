//! Where settings come from, and that a run can be had again from those it wrote down.

use super::support::Desk;

const RUN: &str = "\
model = \"m\"
data = \"data.jsonl\"
out = \"run\"
batch_size = 4
lr = 1e-3
seed = 1
shuffle = false

[adamw]
beta2 = 0.95
";

#[test]
fn a_run_can_be_had_again_from_its_own_settings() {
    let desk = Desk::new();
    desk.ok("train --model m --data data.jsonl --out run --batch-size 4 --lr 1e-3 --seed 5 --set adamw.beta2=0.9");
    desk.ok("train run/config.toml --out other");
    assert_eq!(desk.bytes("run/model.safetensors"), desk.bytes("other/model.safetensors"));
    let differing: Vec<(String, String)> = desk
        .read("run/config.toml")
        .lines()
        .zip(desk.read("other/config.toml").lines())
        .filter(|(a, b)| a != b)
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect();
    assert_eq!(differing, [("out = \"run\"".to_owned(), "out = \"other\"".to_owned())]);
    desk.ok("train run/config.toml --out seeded --seed 6");
    assert_ne!(
        desk.bytes("run/model.safetensors"),
        desk.bytes("seeded/model.safetensors"),
        "the seed orders the data"
    );
}

#[test]
fn file_then_flags_then_set() {
    let desk = Desk::new();
    desk.write("run.toml", RUN);
    desk.ok("train run.toml --lr 2e-3 --batch-size 6 --set lr=3e-3 --set adamw.eps=1e-7");
    let settings = desk.read("run/config.toml");
    for line in ["lr = 0.003", "batch_size = 6", "seed = 1", "shuffle = false", "beta2 = 0.95", "eps = 0.0000001"] {
        assert!(settings.lines().any(|has| has == line), "{line} in\n{settings}");
    }
    let lr = desk.column("run/metrics.jsonl", "lr");
    assert!(lr.len() == 2 && lr.iter().any(|lr| (lr - 3e-3).abs() < 1e-12), "{lr:?}");
}

#[test]
fn mistakes_in_settings_are_usage_errors() {
    let desk = Desk::new();
    desk.write("run.toml", RUN);
    desk.write("unknown.toml", &RUN.replace("lr = ", "learning_rate_x = 1\nmax_lenght = 64\nlr = "));
    desk.write("typed.toml", &RUN.replace("lr = 1e-3", "lr = \"fast\""));
    desk.write("torn.toml", &RUN.replace("seed = 1", "seed = = 1"));
    let before = desk.everything();
    for (line, wants) in [
        ("train unknown.toml", &["unknown.toml:", "unknown key"][..]),
        ("train run.toml --set max_lenght=64", &["--set max_lenght=64", "did you mean `max_length`?"]),
        ("train run.toml --set beta2=0.9", &["did you mean `adamw.beta2`?"]),
        ("train typed.toml", &["typed.toml:5", "`lr`", "a number"]),
        ("train torn.toml", &["torn.toml:6", "not valid TOML"]),
        ("train absent.toml", &["absent.toml"]),
        ("train run.toml --max-lenght 64", &["--max-lenght", "--max-length"]),
        ("train run.toml --epochs 0", &["--epochs", "must be 1 or more"]),
        ("train run.toml --max-length 1", &["--max-length", "must be 2 or more"]),
        ("train run.toml --overlength cut", &["'cut'", "truncate", "drop", "error"]),
        ("train run.toml --lr nan", &["--lr", "must be between 0 and 1"]),
        ("train run.toml --memory lots", &["lots", "8GiB"]),
        ("train run.toml --method mix", &["`weak` is not set", "--weak"]),
        ("train run.toml --weak m", &["--weak", "only for methods `mix` and `wmss`"]),
        ("train run.toml --set method=wmss", &["underdog wmss"]),
        ("train --data data.jsonl --out run", &["`model` is not set", "--model"]),
        ("train --model m --data data.jsonl", &["`out` is not set", "--out"]),
        ("wmss run.toml --rounds 0", &["--rounds", "must be 1 or more"]),
        ("wmss run.toml --set weights=c.jsonl", &["makes its own curriculum"]),
        ("plan", &["`model` is not set"]),
        ("generate --model m", &["--prompt"]),
        ("generate --model m --prompt x --max-new-tokens 0", &["--max-new-tokens"]),
        ("trian", &["'trian'", "train"]),
    ] {
        let told = desk.line(line);
        assert_eq!(told.code, Some(2), "underdog {line}\n{}", told.stderr);
        assert!(told.stderr.starts_with("error: "), "underdog {line}\n{}", told.stderr);
        for want in wants {
            assert!(told.stderr.contains(want), "underdog {line}: {want} not in\n{}", told.stderr);
        }
        assert!(told.stdout.is_empty(), "underdog {line}\n{}", told.stdout);
        assert_eq!(desk.everything(), before, "underdog {line} left something");
    }
}

#[test]
fn only_the_first_samples() {
    let desk = Desk::new();
    desk.ok("score --model m --data data.jsonl --out all.jsonl");
    desk.ok("score --model m --data data.jsonl --out two.jsonl --max-samples 2");
    let (all, two) = (desk.read("all.jsonl"), desk.read("two.jsonl"));
    let idx = |text: &str| text.lines().map(|line| line.split(',').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(idx(&two), idx(&all)[..2]);
}
