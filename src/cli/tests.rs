use std::fs;

use clap::error::ErrorKind;

use super::*;
use crate::settings::{Config, Method, SETTINGS, TRAIN};

fn read(line: &str) -> Result<Config, String> {
    let matches = command().try_get_matches_from(line.split(' ')).unwrap();
    let (verb, matches) = chosen(&matches);
    verb.config(matches).map_err(|error| error.to_string())
}

fn train(line: &str) -> Result<Config, String> {
    read(&format!("underdog train {line}"))
}

#[test]
fn the_definitions_hold_together() {
    command().debug_assert();
}

#[test]
fn help_shows_the_defaults_of_the_settings() {
    for verb in ["train", "wmss", "plan"] {
        let help = command().find_subcommand_mut(verb).unwrap().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for want in [
            "Peak learning rate [default: 1e-5; of an adapter: 0.0001]",
            "[default: cosine]",
            "Longest example in tokens [default: 2048]",
        ] {
            assert!(help.contains(want), "{verb}: {want}\n{help}");
        }
        assert_eq!(help.matches("[default: [default").count() + help.matches("] [default").count(), 0, "{help}");
    }
}

#[test]
fn no_flags_say_nothing() {
    assert_eq!(train("--set seed=42").unwrap(), Config::default());
    let want = Config { model: Some("m".into()), data: Some("d".into()), ..Config::default() };
    assert_eq!(read("underdog eval --model m --data d").unwrap(), want);
}

#[test]
fn every_flag_of_a_run_reaches_its_setting() {
    let flags = "--method mix --model m --weak w --data d --out o --weights c --lambda 0.4 --freeze-weak --cache-weak --max-length 64 \
        --overlength drop --no-shuffle --seed 7 --batch-size 4 --epochs 2 --max-steps 9 --lr 1e-3 --lr-scheduler linear \
        --warmup 5 --weight-decay 0.1 --clip 0 --device 1 --memory 2GiB --autotune off --recompute on --tokens-per-pass 128 --dtype bf16 \
        --save-every 3 --keep 1 --resume --weak-share 1 --held-out h --weak-source shuffled --lambda-schedule linear \
        --lambda-end 0.9 --amplification 3 --label-smoothing 0.1 --temperature 3 --hard-share 0.1 --undial-beta 3 \
        --noise-alpha 3 --diagnostics 4 --lora-rank 4 --lora-alpha 3 --lora-dropout 0.1 --target-modules q_proj --rslora \
        --train-layers 0 --modules-to-save lm_head --quantize 4bit --optimizer-bits 8 --precision f16";
    let config = train(flags).unwrap();
    let same = |setting: &&crate::settings::Setting<Config>| setting.get(&config) == setting.get(&Config::default());
    let given = |setting: &&crate::settings::Setting<Config>| {
        setting.verbs & TRAIN != 0 && flags.split_whitespace().any(|word| word == setting.flag_name())
    };
    let given: Vec<_> = SETTINGS.iter().filter(given).collect();
    let same: Vec<&str> = given.iter().copied().filter(same).map(|setting| setting.key).collect();
    assert!(same.is_empty() && given.len() > 45, "{same:?} of {}", given.len());
    let lists = train("--method mix --weak auto --candidate a --candidate b").unwrap();
    assert_eq!((lists.candidate, lists.weak), (vec!["a".into(), "b".into()], vec!["auto".into()]));
    assert_eq!(train("--method distill --teacher t").unwrap().teacher, Some("t".into()));
    assert!(!config.shuffle && config.freeze_weak && config.resume);
}

#[test]
fn flags_win_over_the_file_and_set_over_flags() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    fs::write(&file, "lr = 1e-3\nepochs = 5\nshuffle = false\nmethod = \"sft\"\n").unwrap();
    let line = format!("{} --epochs 6 --seed 1 --set seed=2", file.display());
    let config = train(&line).unwrap();
    assert_eq!((config.lr, config.epochs, config.seed, config.shuffle), (1e-3, 6, 2, false));
    let config = read(&format!("underdog wmss {line} --alpha 0.3 --rounds 2")).unwrap();
    assert_eq!((config.method, config.curriculum.alpha, config.rounds), (Method::Wmss, 0.3, 2));
}

#[test]
fn mistakes_are_refused() {
    for (line, want) in [
        ("underdog train --method wmss", ErrorKind::InvalidValue),
        ("underdog train --epochs -3", ErrorKind::UnknownArgument),
        ("underdog train --learning-rate 1", ErrorKind::UnknownArgument),
        ("underdog trian", ErrorKind::InvalidSubcommand),
        ("underdog eval --model m", ErrorKind::MissingRequiredArgument),
        ("underdog eval --model m --data d --samples 2", ErrorKind::MissingRequiredArgument),
        ("underdog eval --model m --data d --task gsm8k --file f", ErrorKind::ArgumentConflict),
    ] {
        let error = command().try_get_matches_from(line.split(' ')).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (want, 2), "{line}");
    }
    for (line, want) in [
        ("underdog train --epochs many", "--epochs: `epochs` = \"many\": epochs must be a whole number, 0 or more"),
        ("underdog train --memory much", "--memory: `memory` = \"much\": memory must be a size like 8GiB"),
        ("underdog train --lr 7", "--lr: `lr` = 7.0: lr must be between 0 and 1"),
        (
            "underdog generate --model m --prompt p --top-p 0",
            "--top-p: `sampling.top_p` = 0.0: sampling.top_p must be above 0",
        ),
        ("underdog generate --model m --prompt p --temperature nan", "--temperature: `sampling.temperature` = nan"),
        ("underdog eval --model m --task gsm8k --file f --samples 0", "--samples: `task.samples` = 0"),
    ] {
        let error = read(line).unwrap_err();
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn json_is_taken_before_and_after_the_verb() {
    for line in ["underdog --json devices", "underdog devices --json"] {
        let matches = command().try_get_matches_from(line.split(' ')).unwrap();
        assert!(chosen(&matches).1.get_flag("json"));
    }
}
