//! `doctor` says what is right and wrong on a machine, and runs heed what it leaves.

use std::{fs, path::Path};

use serde_json::Value as Json;

use super::support::{Desk, Told};

/// Runs a line with a cache of this desk's own.
fn run(desk: &Desk, line: &str) -> Told {
    let mut command = desk.command(&line.split_whitespace().collect::<Vec<_>>());
    command.env("UNDERDOG_CACHE", desk.path().join("cache"));
    Told::of(command)
}

/// The file that doctor left.
fn left(desk: &Desk) -> String {
    let mut names = desk.list("cache").into_iter().filter(|name| name.starts_with("doctor-"));
    format!("cache/{}", names.next().expect("doctor leaves a file"))
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn a_sound_machine_is_told_so_and_a_format_that_failed_is_not_taken() {
    let desk = Desk::new();
    let told = run(&desk, "doctor --json");
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let found: Json = serde_json::from_str(&told.stdout).unwrap();
    let all = |list: &str| found[list].as_array().unwrap().clone();
    assert!(all("checks").len() > 12 && all("checks").iter().all(|check| check["passed"] == true), "{found}");
    assert!(all("forms").iter().all(|form| form["wrong"].is_null()), "{found}");
    for format in ["f32", "bfloat16", "f16", "8bit", "4bit", "nf4"] {
        let learned = all("formats").into_iter().find(|learned| learned["format"] == format).expect(format);
        assert!(learned["passed"] == true && learned["error"].is_f64(), "{learned}");
    }
    assert_eq!(found["memory"]["got"], found["memory"]["tried"]);
    assert!(found["adapter"]["name"].is_string() && found["pace"]["longest_ms"].as_f64() > Some(0.0), "{found}");

    let file = left(&desk);
    let mut page: Json = serde_json::from_str(&desk.read(&file)).unwrap();
    assert_eq!(page["wrong"].as_object().map(serde_json::Map::len), Some(0), "{page}");
    page["wrong"]["4bit"] = "gradients are off by 3.0e-1 of their norm".into();
    desk.write(&file, &page.to_string());
    let train = "train --model m --data data.jsonl --lora-rank 2 --batch-size 4 --max-steps 1";
    let refused = run(&desk, &format!("{train} --quantize 4bit --out four"));
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for wanted in ["4bit is not used on this device", "off by 3.0e-1", "--quantize", "underdog doctor"] {
        assert!(refused.stderr.contains(wanted), "no `{wanted}`: {}", refused.stderr);
    }
    assert!(!desk.has("four"), "a refused run leaves nothing");
    page["wrong"]["f16 arithmetic"] = "gradients are no numbers".into();
    desk.write(&file, &page.to_string());
    let refused = run(&desk, &format!("{train} --precision f16 --out half"));
    assert_eq!((refused.code, desk.has("half")), (Some(1), false), "{}", refused.stderr);
    assert!(refused.stderr.contains("`underdog doctor` found that gradients are no numbers"), "{}", refused.stderr);
    let other = run(&desk, &format!("{train} --quantize 8bit --out eight"));
    assert!(other.code == Some(0) && other.stderr.contains("found wrong on this device"), "{}", other.stderr);
    let halves = {
        let mut page = page.clone();
        page["wrong"]["bfloat16"] = "gradients are off by 1.0 of their norm".into();
        page.to_string()
    };
    desk.write(&file, &halves);
    let whole = "train --model m --data data.jsonl --batch-size 4 --max-steps 1 --optimizer-bits 16 --out whole";
    let refused = run(&desk, whole);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("give another --optimizer-bits") && !desk.has("whole"), "{}", refused.stderr);
    let told = run(&desk, "generate --model m --prompt 1 --max-new-tokens 2");
    assert!(told.code == Some(0) && told.stderr.contains("found wrong on this device"), "{}", told.stderr);
    // What another device, version or shader has left is none of this one's business.
    for (key, value) in [("version", "0.0.0"), ("shaders", "other")] {
        let mut page = page.clone();
        page[key] = value.into();
        desk.write(&file, &page.to_string());
        let taken = run(&desk, &format!("{train} --quantize 4bit --out {key}"));
        assert_eq!(taken.code, Some(0), "{key}: {}", taken.stderr);
    }
    fs::write(Path::new(desk.path()).join(&file), "{ torn").unwrap();
    assert_eq!(run(&desk, &format!("{train} --quantize 4bit --out torn")).code, Some(0));
}
