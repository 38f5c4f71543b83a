//! What is wrong with a user's files is told before any work, with file, place and way out; nothing is touched.

use std::fs;

use serde_json::{Value as Json, json};

use super::support::{Desk, Told, shape};

const TRAIN: &str = "train --model m --data data.jsonl --out run --batch-size 4";
const MIX: &str = "train --method mix --model sft --weak m --data data.jsonl --out run";

/// A mistake, the command that meets it, and what the error must say.
type Case<'a> = (&'a dyn Fn(&Desk), &'a str, &'a [&'a str]);

/// Runs every case on a desk of its own.
fn check(cases: &[Case<'_>]) {
    for (i, (spoil, line, wants)) in cases.iter().enumerate() {
        let desk = Desk::new();
        spoil(&desk);
        let before = desk.everything();
        refused(&desk.line(line), &format!("case {i}: underdog {line}"), wants);
        assert!(desk.everything() == before, "case {i}: underdog {line} left something: {:?}", desk.list("."));
    }
}

fn refused(told: &Told, case: &str, wants: &[&str]) {
    let Told { code, stdout, stderr } = told;
    assert_eq!(*code, Some(1), "{case}\n{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{case}: one error\n{stderr}");
    for want in wants {
        assert!(errors[0].contains(want), "{case}: `{want}` not in\n{stderr}");
    }
    for noise in ["Some(", "Os {", "Err(", "panicked", "{:?}", "RUST_BACKTRACE", "step 1/", "\n  at "] {
        assert!(!stderr.contains(noise), "{case}: `{noise}` in\n{stderr}");
    }
    assert!(stdout.is_empty(), "{case}\n{stdout}");
}

fn fine(_: &Desk) {}

fn edit_json(desk: &Desk, file: &str, edit: impl Fn(&mut Json)) {
    let mut json: Json = serde_json::from_str(&desk.read(file)).unwrap();
    edit(&mut json);
    desk.write(file, &json.to_string());
}

/// Rewrites the header of `m`'s weights.
fn edit_header(desk: &Desk, edit: impl Fn(String) -> String) {
    let bytes = desk.bytes("m/model.safetensors");
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = edit(String::from_utf8(bytes[8..end].to_vec()).unwrap());
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let whole = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[end..]].concat();
    fs::write(desk.path().join("m/model.safetensors"), whole).unwrap();
}

/// Replaces one line of the data.
fn line_of_data(desk: &Desk, number: usize, line: &str) {
    let text = desk.read("data.jsonl");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[number - 1] = line;
    desk.write("data.jsonl", &lines.join("\n"));
}

#[test]
fn model_folders() {
    check(&[
        (&|d| d.remove("m"), TRAIN, &["m/config.json", "A model folder must hold a config.json"]),
        (&|d| d.remove("m/config.json"), TRAIN, &["m/config.json"]),
        (&|d| d.write("m/config.json", "{\"model_type\":"), TRAIN, &["m/config.json"]),
        (
            &|d| edit_json(d, "m/config.json", |c| c["model_type"] = json!("mamba")),
            TRAIN,
            &["m/config.json", "mamba", "qwen3"],
        ),
        (
            &|d| edit_json(d, "m/config.json", |c| c["hidden_size"] = json!("wide")),
            TRAIN,
            &["m/config.json", "hidden_size"],
        ),
        (
            &|d| edit_json(d, "m/config.json", |c| c["num_hidden_layers"] = json!(2)),
            TRAIN,
            &["model.layers.1", "is missing", "config.json"],
        ),
        (
            &|d| edit_json(d, "m/config.json", |c| c["intermediate_size"] = json!(96)),
            TRAIN,
            &["m/model.safetensors", "mlp", "[64, 32]", "[96, 32]"],
        ),
        (&|d| d.remove("m/model.safetensors"), TRAIN, &["m: neither model.safetensors nor"]),
        (&|d| d.write("m/model.safetensors", ""), TRAIN, &["m/model.safetensors"]),
        (
            &|d| {
                let bytes = d.bytes("m/model.safetensors");
                fs::write(d.path().join("m/model.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
            },
            TRAIN,
            &["m/model.safetensors", "cut off", "copy it again"],
        ),
        (
            &|d| edit_header(d, |h| h.replace("model.norm.weight", "model.form.weight")),
            TRAIN,
            &["m: tensor `model.norm.weight` is missing"],
        ),
        (
            &|d| edit_header(d, |h| h.replacen("\"F32\"", "\"I32\"", 1)),
            TRAIN,
            &["m/model.safetensors", "tensor `", "I32", "F32, F16 and BF16"],
        ),
        (
            &|d| {
                let mut bytes = d.bytes("m/model.safetensors");
                let end = bytes.len();
                bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
                fs::write(d.path().join("m/model.safetensors"), bytes).unwrap();
            },
            TRAIN,
            &["m/model.safetensors", "tensor `", "NaN"],
        ),
        (&|d| d.remove("m/tokenizer.json"), TRAIN, &["m/tokenizer.json", "model folder"]),
        (&|d| d.write("m/tokenizer.json", "{}"), TRAIN, &["tokenizer"]),
        (&|d| d.remove("m"), "generate --model m --prompt x", &["m/config.json"]),
        (&|d| d.remove("m"), "plan --model m", &["m/config.json"]),
        (&|d| d.remove("m/model.safetensors"), "wmss --model m --data data.jsonl --out run", &["m: neither"]),
    ]);
}

#[test]
fn data_files() {
    let row = |prompt: &str, completion: &str| json!({ "prompt": prompt, "completion": completion }).to_string();
    check(&[
        (&|d| d.remove("data.jsonl"), TRAIN, &["data.jsonl", "os error 2"]),
        (&|d| d.write("data.jsonl", ""), TRAIN, &["data.jsonl: none of its 0 rows"]),
        (&|d| d.write("data.jsonl", "\n\n"), TRAIN, &["data.jsonl: none of its 0 rows"]),
        (&|d| line_of_data(d, 5, "{\"prompt\": \"Tom"), TRAIN, &["data.jsonl, line 5", "not JSON"]),
        (&|d| line_of_data(d, 3, "[1, 2]"), TRAIN, &["data.jsonl, line 3", "a list", "prompt"]),
        (
            &|d| line_of_data(d, 2, "{\"question\": \"?\", \"answer\": \"!\"}"),
            TRAIN,
            &["line 2", "`question`", "`answer`", "wanted"],
        ),
        (&|d| line_of_data(d, 4, "{\"prompt\": \"Tom\"}"), TRAIN, &["line 4", "`completion` is missing"]),
        (
            &|d| line_of_data(d, 4, "{\"prompt\": 5, \"completion\": \"\"}"),
            TRAIN,
            &["line 4", "`prompt` is a number"],
        ),
        (&|d| line_of_data(d, 9, "{\"idx\": 2, \"text\": \"Tom\"}"), TRAIN, &["line 9", "`idx`: 2", "line 3"]),
        (&|d| line_of_data(d, 9, "{\"idx\": -1, \"text\": \"Tom\"}"), TRAIN, &["line 9", "`idx` is -1"]),
        (&|d| line_of_data(d, 6, "{\"messages\": []}"), TRAIN, &["line 6", "`messages` is empty"]),
        (&|d| line_of_data(d, 6, "{\"messages\": [{\"content\": \"?\"}]}"), TRAIN, &["line 6", "`messages[0].role`"]),
        (
            &|d| {
                d.remove("m/chat_template.jinja");
                line_of_data(d, 6, &json!({ "messages": [{ "role": "user", "content": "?" }] }).to_string());
            },
            TRAIN,
            &["line 6", "chat template"],
        ),
        (
            &|d| d.write("data.jsonl", &[row("Tom", ""), row("Eva", "")].join("\n")),
            TRAIN,
            &["data.jsonl: none of its 2 rows can be trained on"],
        ),
        (
            &fine,
            &format!("{TRAIN} --max-length 48 --overlength error"),
            &["data.jsonl, line ", "more than the 48 allowed"],
        ),
        (&fine, &format!("{TRAIN} --max-length 3 --overlength drop"), &["none of its 12 rows"]),
        (&fine, &format!("{TRAIN} --tokens-per-pass 8"), &["rows of 8 tokens are too short", "tokens_per_pass"]),
        (&|d| d.write("data.jsonl", "\u{feff}{\"text\": \"\\ud800\"}"), TRAIN, &["data.jsonl, line 1"]),
        (
            &|d| fs::write(d.path().join("data.jsonl"), b"{\"text\": \"\xff\"}").unwrap(),
            TRAIN,
            &["line 1", "not UTF-8", "byte 10"],
        ),
        (&|d| line_of_data(d, 7, "nonsense"), "score --model m --data data.jsonl --out s.jsonl", &["line 7"]),
        (&|d| line_of_data(d, 7, "nonsense"), "eval --model m --data data.jsonl", &["line 7"]),
        (&|d| line_of_data(d, 7, "nonsense"), "data --model m --data data.jsonl", &["line 7"]),
        (&|d| line_of_data(d, 7, "nonsense"), "plan --model m --data data.jsonl", &["line 7"]),
        (&|d| line_of_data(d, 7, "nonsense"), "wmss --model m --data data.jsonl --out run", &["line 7"]),
    ]);
}

#[test]
fn vocabularies() {
    let smaller = |d: &Desk| {
        let mut config = shape();
        config["vocab_size"] = json!(200);
        d.write("larger.json", &config.to_string());
        assert_eq!(d.ok("init --config larger.json --tokenizer tokenizer --out larger").code, Some(0));
    };
    let unknown_token = |d: &Desk| {
        edit_json(d, "m/tokenizer.json", |t| t["model"]["vocab"]["Tom"] = json!(5000));
        line_of_data(d, 8, "{\"text\": \"Tom has 5 eggs.\"}");
    };
    let small = |d: &Desk| edit_json(d, "config.json", |c| c["vocab_size"] = json!(100));
    check(&[
        (&smaller, &MIX.replace("--weak m", "--weak larger"), &["200", "one vocabulary"]),
        (&unknown_token, TRAIN, &["data.jsonl, line ", "token 5000 is outside the model's vocabulary"]),
        (
            &small,
            "init --config config.json --tokenizer tokenizer --out tiny",
            &["config.json: vocab_size is 100", "raise vocab_size"],
        ),
    ]);
}

/// Gives a changed file of a checkpoint the length and digest that its manifest says.
fn reseal(desk: &Desk, checkpoint: &str, file: &str) {
    use sha2::Digest;
    let bytes = desk.bytes(&format!("{checkpoint}/{file}"));
    let hex: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    edit_json(desk, &format!("{checkpoint}/MANIFEST.json"), |manifest| {
        manifest["files"][file] = json!({ "bytes": bytes.len(), "sha256": hex });
    });
}

#[test]
fn folders_that_are_taken() {
    let other = |d: &Desk| assert_eq!(d.ok(&format!("{TRAIN} --max-steps 1")).code, Some(0));
    let claimed = |d: &Desk| {
        other(d);
        d.remove("run/config.json");
    };
    let unsigned = |d: &Desk| {
        other(d);
        d.list("run")
            .iter()
            .filter(|name| *name != "metrics.jsonl")
            .for_each(|name| d.remove(&format!("run/{name}")));
    };
    let mine = |name: &'static str| move |d: &Desk| d.write(&format!("run/{name}"), "mine");
    let earlier = |d: &Desk| {
        assert_eq!(d.ok(&format!("{TRAIN} --max-steps 2 --save-every 1")).code, Some(0));
        d.remove("run/config.json");
        let file = "run/checkpoint-2/state.json";
        let state = d.read(file).replacen("{\"version\":2", "{\"old\":2", 1);
        assert!(state.contains("old"), "{state}");
        d.write(file, &state);
        reseal(d, "run/checkpoint-2", "state.json");
    };
    let resume = format!("{TRAIN} --max-steps 2 --save-every 1 --resume");
    check(&[
        (&mine("checkpoint-1/notes.txt"), &format!("{TRAIN} --save-every 1"), &["run", "overwrite checkpoint-1"]),
        (&mine("tuning.json"), TRAIN, &["run", "overwrite tuning.json"]),
        (&mine("profile.json"), &format!("{TRAIN} --profile"), &["run", "overwrite profile.json"]),
        (&mine("1-sft/notes.txt"), "wmss --model m --data data.jsonl --out run", &["overwrite 1-sft"]),
        (
            &mine("M0/result.json"),
            "compare --model m --data data.jsonl --held-out data.jsonl --arms sft --out run",
            &["overwrite M0"],
        ),
        (
            &mine("table.md"),
            "compare --model m --data data.jsonl --held-out data.jsonl --arms sft --out run",
            &["overwrite table.md"],
        ),
        (&earlier, &resume, &["run/checkpoint-2: state.json", "format 1, not 2", "another --out"]),
        (&fine, &TRAIN.replace("--out run", "--out m"), &["m/", "already there", "nothing was overwritten"]),
        (&fine, &TRAIN.replace("--out run", "--out data.jsonl"), &["data.jsonl"]),
        (&fine, &TRAIN.replace("--out run", "--out data.jsonl/run"), &["data.jsonl is a file, not a folder"]),
        (&other, &format!("{TRAIN} --max-steps 2"), &["run already holds another run", "`max_steps`"]),
        (&other, &format!("{TRAIN} --max-steps 2 --resume"), &["run already holds another run", "`max_steps`"]),
        (&other, &format!("{TRAIN} --max-steps 1"), &["already holds this run, finished"]),
        (&claimed, &format!("{TRAIN} --max-steps 1"), &["already holds this run, unfinished", "--resume"]),
        (&unsigned, TRAIN, &["run holds a run without its config.toml"]),
        (&fine, "init --config config.json --tokenizer tokenizer --out m", &["m/", "already there"]),
        (&fine, "score --model m --data data.jsonl --out weak.jsonl", &["weak.jsonl is already there"]),
        (&fine, "score --model m --data data.jsonl --out absent/s.jsonl", &["no folder absent"]),
        (
            &fine,
            "curriculum --weak weak.jsonl --strong strong.jsonl --out curriculum.jsonl",
            &["curriculum.jsonl is already"],
        ),
    ]);
}

#[test]
fn curricula() {
    let drop_row = |file: &'static str| {
        move |d: &Desk| d.write(file, &d.read(file).lines().skip(1).collect::<Vec<_>>().join("\n"))
    };
    let weighed = |weight: &'static str| {
        move |d: &Desk| {
            let row = format!("{{\"idx\":0,\"weight\":{weight},\"entropy_weak\":1,\"entropy_strong\":1}}\n");
            let rest = d.read("curriculum.jsonl").lines().skip(1).collect::<Vec<_>>().join("\n");
            d.write("curriculum.jsonl", &(row + &rest));
        }
    };
    let train = format!("{TRAIN} --weights curriculum.jsonl");
    let curriculum = "curriculum --weak weak.jsonl --strong strong.jsonl --out c.jsonl";
    check(&[
        (&|d| d.remove("curriculum.jsonl"), &train, &["curriculum.jsonl", "os error 2"]),
        (
            &drop_row("curriculum.jsonl"),
            &train,
            &["curriculum.jsonl", "no weight for sample idx 0 (data.jsonl, line 1)"],
        ),
        (&weighed("-0.5"), &train, &["curriculum.jsonl, line 1", "-0.5"]),
        (&weighed("NaN"), &train, &["curriculum.jsonl, line 1"]),
        (&weighed("null"), &train, &["curriculum.jsonl, line 1"]),
        (&|d| d.write("curriculum.jsonl", ""), &train, &["curriculum.jsonl: holds no rows"]),
        (&fine, &format!("{TRAIN} --weights weak.jsonl"), &["weak.jsonl, line 1", "`weight`"]),
        (&drop_row("weak.jsonl"), curriculum, &["weak.jsonl: has no row for sample idx 0, which strong.jsonl has"]),
        (&drop_row("strong.jsonl"), curriculum, &["strong.jsonl: has no row for sample idx 0, which weak.jsonl has"]),
        (&|d| d.remove("weak.jsonl"), curriculum, &["weak.jsonl"]),
        (&|d| d.write("weak.jsonl", &d.read("curriculum.jsonl")), curriculum, &["weak.jsonl, line 1", "entropy"]),
        (
            &|d| d.write("weak.jsonl", &d.read("weak.jsonl").repeat(2)),
            curriculum,
            &["weak.jsonl, line 13", "second time"],
        ),
        (&fine, &format!("{curriculum} --alpha 0 --beta 0 --gamma 0"), &["alpha, beta and gamma"]),
        (&fine, &MIX.replace("--weak m", "--weak absent"), &["absent/config.json"]),
    ]);
}

#[test]
fn machines() {
    let generate = "generate --model m --prompt Tom --max-new-tokens 4000000000";
    check(&[
        (
            &fine,
            &format!("{TRAIN} --device unobtainium"),
            &["no adapter matches device `unobtainium`", "there are: "],
        ),
        (&fine, "devices --device 99", &["99", "there are: "]),
        (&fine, &format!("{TRAIN} --memory 10KiB"), &["this needs", "10.00 KiB", "--memory"]),
        (&fine, &format!("{MIX} --memory 10KiB"), &["this needs", "10.00 KiB"]),
        (&fine, "score --model m --data data.jsonl --out s.jsonl --memory 1KiB", &["this needs", "1.00 KiB"]),
        (&fine, generate, &["--max-new-tokens"]),
    ]);
    // All phases must fit before the first one starts: what is enough for SFT alone is not.
    let desk = Desk::new();
    let flags = "--model m --data data.jsonl --batch-size 4 --recompute off --tokens-per-pass 64";
    let enough = desk.json(&format!("plan {flags}"))["peak_bytes"].as_u64().unwrap();
    let before = desk.everything();
    refused(&desk.line(&format!("wmss {flags} --out run --memory {enough}")), "wmss", &["this needs"]);
    assert_eq!(desk.everything(), before);
    desk.ok(&format!("train {flags} --out run --memory {enough}"));
}

/// Elsewhere a driver is part of the system.
#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_the_error_says_what_to_install() {
    let desk = Desk::new();
    let before = desk.everything();
    for line in [TRAIN, "wmss --model m --data data.jsonl --out run", "devices", "generate --model m --prompt Tom"] {
        let mut command = desk.command(&line.split_whitespace().collect::<Vec<_>>());
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        refused(&Told::of(command), line, &["adapter", "mesa-vulkan-drivers"]);
        assert_eq!(desk.everything(), before, "{line}");
    }
}

/// A folder in which nobody may write, root included.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_stops_before_the_first_step() {
    for line in [TRAIN, "wmss --model m --data data.jsonl --out run"] {
        let line = line.replace("--out run", "--out /proc/underdog/run");
        check(&[(&fine, &line, &["cannot write into /proc/underdog/run"])]);
    }
}
