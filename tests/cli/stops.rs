//! Runs that end before their end: interrupted, killed, run away. What was done is kept, and going on gives the same bits.

use std::fs;

use serde_json::Value as Json;

use super::support::Desk;

const SFT: &str = "train --model m --data data.jsonl --batch-size 2 --epochs 4 --lr 3e-3";
const MIX: &str = "train --method mix --model sft --weak m --weights curriculum.jsonl --data data.jsonl --batch-size 2 --epochs 4 --lr 3e-3";

const TWO: &str = "train --method mix --model sft --weak m --weak sft --weak-share 2 --weak-share 1 --lambda-schedule adaptive \
    --amplification 0.8 --diagnostics 5 --data data.jsonl --batch-size 2 --epochs 4 --lr 3e-3";

/// Checkpoints in a run's folder, by their steps.
fn checkpoints(desk: &Desk, run: &str) -> Vec<u64> {
    let steps = desk.list(run).into_iter().filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok());
    let mut steps: Vec<u64> = steps.collect();
    steps.sort_unstable();
    steps
}

#[test]
fn checkpoints_are_kept_newest_first_and_one_of_them_goes_on() {
    let desk = Desk::new();
    for (name, line) in [("sft_run", SFT), ("joint", MIX), ("frozen", &format!("{MIX} --freeze-weak")), ("two", TWO)]
    {
        desk.ok(&format!("{line} --out {name} --save-every 7 --keep 2"));
        assert_eq!(checkpoints(&desk, name), [14, 21], "{name}");
        let (model, metrics) =
            (desk.bytes(&format!("{name}/model.safetensors")), desk.rows(&format!("{name}/metrics.jsonl")));
        // As after a kill at step 20, while the last checkpoint was being written.
        for gone in ["checkpoint-21", "config.json"] {
            desk.remove(&format!("{name}/{gone}"));
        }
        desk.write(&format!("{name}/.checkpoint-21.tmp-1-0/model.safetensors"), "torn");
        let told = desk.ok(&format!("{line} --out {name} --save-every 7 --keep 2 --resume"));
        assert!(told.stderr.contains("step 15/24") && !told.stderr.contains("step 14/24"), "{}", told.stderr);
        assert_eq!(desk.bytes(&format!("{name}/model.safetensors")), model, "{name}: the same bits");
        let again = desk.rows(&format!("{name}/metrics.jsonl"));
        assert_eq!(again.len(), metrics.len());
        for (was, is) in metrics.iter().zip(&again) {
            let timeless = |row: &Json| {
                Json::from_iter(
                    row.as_object()
                        .unwrap()
                        .clone()
                        .into_iter()
                        .filter(|(key, _)| !["seconds", "peak_bytes"].contains(&key.as_str())),
                )
            };
            assert_eq!(timeless(was), timeless(is));
        }
        assert_eq!(checkpoints(&desk, name), [14, 21], "{name}: nothing torn is left");
        assert!(!desk.has(&format!("{name}/.checkpoint-21.tmp-1-0")));
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let desk = Desk::new();
    desk.ok(&format!("{SFT} --out run --save-every 10"));
    let model = desk.bytes("run/model.safetensors");
    desk.remove("run/config.json");
    let torn = desk.bytes("run/checkpoint-20/optimizer.safetensors");
    fs::write(desk.path().join("run/checkpoint-20/optimizer.safetensors"), &torn[..torn.len() / 2]).unwrap();
    let told = desk.ok(&format!("{SFT} --out run --save-every 10 --resume"));
    assert!(told.stderr.contains("warning: passed over run/checkpoint-20"), "{}", told.stderr);
    assert!(told.stderr.contains("step 11/24"), "{}", told.stderr);
    assert_eq!(desk.bytes("run/model.safetensors"), model);
}

#[test]
fn resume_starts_where_nothing_stands_and_rests_where_all_is_done() {
    let desk = Desk::new();
    desk.ok(&format!("{SFT} --out plain"));
    desk.ok(&format!("{SFT} --out run --resume"));
    assert_eq!(desk.bytes("run/model.safetensors"), desk.bytes("plain/model.safetensors"));
    let before = desk.everything();
    let told = desk.ok(&format!("{SFT} --out run --resume"));
    assert!(told.stderr.contains("finished already"), "{}", told.stderr);
    assert_eq!(desk.everything(), before);
    let told = desk.line(&format!("{SFT} --out run"));
    assert_eq!((told.code, told.stderr.contains("run already holds this run, finished")), (Some(1), true));
    // Other data under the same name shows when the checkpoint is opened.
    desk.ok(&format!("{SFT} --out changed --save-every 5 --max-steps 6"));
    desk.remove("changed/config.json");
    desk.write("data.jsonl", &desk.read("data.jsonl").replace("\"prompt\":\"", "\"prompt\":\"Tom "));
    let told = desk.line(&format!("{SFT} --out changed --save-every 5 --max-steps 6 --resume"));
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("checkpoint-5: this checkpoint was made with data.examples ="), "{}", told.stderr);
}

#[test]
fn a_loss_that_runs_away_stops_the_run() {
    let desk = Desk::new();
    let line = "train --model m --data data.jsonl --out run --batch-size 2 --warmup 0 --lr 1 --weight-decay 1e30";
    let told = desk.line(&format!("{line} --save-every 1"));
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    for want in ["the last good state", "run/checkpoint-1", "Lower --lr"] {
        assert!(told.stderr.contains(want), "{want} not in\n{}", told.stderr);
    }
    assert!(!desk.has("run/config.json") && !desk.has("run/model.safetensors"), "no model comes of it");
    let good = checkpoints(&desk, "run");
    desk.ok(&format!("data --model run/checkpoint-{} --data data.jsonl", good.last().unwrap()));
    assert_eq!(
        desk.rows("run/metrics.jsonl").len() as u64,
        *good.last().unwrap(),
        "the bad step is not in the numbers"
    );
}

#[test]
fn a_start_that_was_cut_off_counts_as_none() {
    let desk = Desk::new();
    for text in ["", "\n"] {
        desk.write("run/config.toml", text);
        desk.ok(&format!("{SFT} --max-steps 1 --out run"));
        assert!(desk.read("run/config.toml").contains("max_steps = 1"));
        desk.remove("run");
    }
    desk.write("run/config.toml", "");
    desk.write("run/notes.txt", "mine");
    let told = desk.line(&format!("{SFT} --max-steps 1 --out run"));
    assert!(told.code == Some(1) && told.stderr.contains("run already holds another run"), "{}", told.stderr);
}

#[test]
fn everything_that_decides_a_number_is_in_the_resume_key() {
    let line = format!("{MIX} --freeze-weak --max-steps 6 --save-every 5 --out run");
    type Edit = fn(&Desk);
    let edits: [(Edit, &str); 3] = [
        (|d| d.write("sft/config.json", &d.read("sft/config.json").replace("10000.0", "10001.0")), "rope_theta"),
        (|d| touch_weights(d, "sft"), "model.weights"),
        (|d| touch_weights(d, "m"), "objective.auxiliary_models"),
    ];
    for (edit, name) in edits {
        let desk = Desk::new();
        desk.ok(&line);
        desk.remove("run/config.json");
        edit(&desk);
        let told = desk.line(&format!("{line} --resume"));
        assert_eq!(told.code, Some(1), "{name}: {}", told.stderr);
        assert!(
            told.stderr.contains("this checkpoint was made with ") && told.stderr.contains(name),
            "{}",
            told.stderr
        );
    }
}

/// Changes the last number of a model's weights.
fn touch_weights(desk: &Desk, model: &str) {
    let mut bytes = desk.bytes(&format!("{model}/model.safetensors"));
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    fs::write(desk.path().join(model).join("model.safetensors"), bytes).unwrap();
}

#[cfg(unix)]
mod signals {
    use super::{
        super::support::{steps, stop},
        *,
    };

    #[test]
    fn ctrl_c_saves_and_going_on_gives_the_same_bits() {
        let desk = Desk::new();
        for (name, line) in [("a", SFT), ("b", MIX), ("c", TWO)] {
            // Long enough that the signal comes before the end.
            let line = line.replace("--epochs 4", "--epochs 20");
            desk.ok(&format!("{line} --out whole-{name}"));
            let (code, stderr) = stop(&desk, &format!("{line} --out {name}"), "-INT", || {
                steps(&desk, &format!("{name}/metrics.jsonl")) > 3
            });
            assert_eq!(code, Some(130), "{stderr}");
            let done = steps(&desk, &format!("{name}/metrics.jsonl")) as u64;
            assert_eq!(checkpoints(&desk, name), [done], "{stderr}");
            let want = format!("interrupted after step {done} of 120, which is saved; go on with --resume");
            assert!(stderr.contains(&want), "{stderr}");
            let told = desk.line(&format!("{line} --out {name}"));
            assert!(
                told.code == Some(1) && told.stderr.contains("unfinished; go on with --resume"),
                "{}",
                told.stderr
            );
            desk.ok(&format!("{line} --out {name} --resume"));
            assert_eq!(
                desk.bytes(&format!("{name}/model.safetensors")),
                desk.bytes(&format!("whole-{name}/model.safetensors"))
            );
        }
    }

    #[test]
    fn a_directory_is_worked_in_by_one_process_at_a_time() {
        let desk = Desk::new();
        let line = format!("{} --out run", SFT.replace("--epochs 4", "--epochs 40"));
        let refused = std::cell::RefCell::new(None);
        let both = || {
            if steps(&desk, "run/metrics.jsonl") < 2 {
                return false;
            }
            *refused.borrow_mut() = Some(desk.line(&format!("{line} --resume")));
            true
        };
        let (code, stderr) = stop(&desk, &line, "-KILL", both);
        assert_eq!(code, None, "{stderr}");
        let told = refused.into_inner().unwrap();
        assert!(told.code == Some(1) && told.stderr.contains("another process is working in run"), "{}", told.stderr);
        // The dead hold no lock.
        desk.ok(&format!("{line} --resume"));
    }

    #[test]
    fn all_phases_go_on_after_ctrl_c() {
        let desk = Desk::new();
        let line =
            "wmss --model m --data data.jsonl --batch-size 1 --epochs 3 --lr 1e-3 --rounds 2 --rule brownboost";
        desk.ok(&format!("{line} --out whole"));
        for phase in ["1-sft", "4-mix", "7-mix"] {
            let metrics = format!("run/{phase}/metrics.jsonl");
            let (code, stderr) = stop(&desk, &format!("{line} --out run"), "-INT", || steps(&desk, &metrics) > 2);
            assert_eq!(code, Some(130), "{stderr}");
            assert!(stderr.contains("the same command goes on from there"), "{stderr}");
        }
        let told = desk.ok(&format!("{line} --out run"));
        assert!(told.stderr.contains("1-sft is finished already") && !told.stderr.contains("7-mix: step 1/"));
        assert_eq!(desk.bytes("run/model.safetensors"), desk.bytes("whole/model.safetensors"));
    }

    #[test]
    fn a_kill_leaves_a_whole_checkpoint() {
        let desk = Desk::new();
        let line = SFT.replace("--epochs 4", "--epochs 10") + " --save-every 1";
        desk.ok(&format!("{line} --out whole"));
        for at in [1, 5, 12] {
            stop(&desk, &format!("{line} --out run --resume"), "-KILL", || steps(&desk, "run/metrics.jsonl") > at);
            let newest = *checkpoints(&desk, "run").last().unwrap();
            desk.ok(&format!("eval --model run/checkpoint-{newest} --data data.jsonl"));
        }
        desk.ok(&format!("{line} --out run --resume"));
        assert_eq!(desk.bytes("run/model.safetensors"), desk.bytes("whole/model.safetensors"));
        assert_eq!(steps(&desk, "run/metrics.jsonl"), 60);
    }
}
