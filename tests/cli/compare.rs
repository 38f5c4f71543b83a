//! Arms side by side: a table, what is kept, what is refused, and an arm that is a run of its own.

use serde_json::Value as Json;

use super::support::Desk;

const RUN: &str = "compare --model m --data data.jsonl --held-out held.jsonl --batch-size 4 --lr 3e-3 --seed 5";

/// A desk with samples that are not trained on.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("held.jsonl", &desk.read("data.jsonl").lines().take(5).collect::<Vec<_>>().join("\n"));
    desk
}

fn arms(table: &Json) -> Vec<&str> {
    table["rows"].as_array().unwrap().iter().map(|row| row["arm"].as_str().unwrap()).collect()
}

fn table(desk: &Desk, run: &str) -> Json {
    serde_json::from_str(&desk.read(&format!("{run}/table.json"))).unwrap()
}

/// Without what a clock says.
fn timeless(mut table: Json) -> Json {
    table["rows"].as_array_mut().unwrap().iter_mut().for_each(|row| row["seconds"] = Json::Null);
    table
}

#[test]
fn arms_stand_side_by_side() {
    let desk = desk();
    let line = format!("{RUN} --arms sft,curriculum,mix,wmss:lambda=0.7 --seeds 2 --out study");
    let told = desk.ok(&line);
    assert_eq!(told.stdout, format!("{}\ntables are in study\n", desk.read("study/table.md")));
    let found = table(&desk, "study");
    assert_eq!(arms(&found), ["M0", "M1", "sft", "curriculum", "mix", "wmss:lambda=0.7"]);
    assert_eq!((&found["baseline"], &found["seeds"], &found["samples"]), (&"sft".into(), &2.into(), &5.into()));
    for row in found["rows"].as_array().unwrap() {
        let arm = row["arm"].as_str().unwrap();
        let cells = desk
            .read("study/table.md")
            .lines()
            .find(|line| line.starts_with(&format!("| {arm} |")))
            .map(str::to_owned);
        assert!(cells.is_some_and(|cells| cells.matches('|').count() == 10), "{arm}");
        let mean = row["loss"]["mean"].as_f64().unwrap();
        assert!(mean > 0.0 && row["exact"]["mean"].is_f64(), "{row}");
        let updates = row["updates"].as_u64().unwrap();
        assert_eq!(updates, if arm == "M0" { 0 } else { 3 }, "{arm}");
        assert_eq!(row["tokens"].as_u64().unwrap() > 0, arm != "M0", "{row}");
        assert_eq!(row["bytes"].as_u64().unwrap() > 0, arm != "M0", "{row}");
        assert_eq!(row["loss_difference"].is_null(), arm == "sft", "{row}");
        if arm != "sft" {
            let (d, low, high) = (
                row["loss_difference"]["mean"].as_f64().unwrap(),
                row["loss_difference"]["interval"]["low"].as_f64().unwrap(),
                row["loss_difference"]["interval"]["high"].as_f64().unwrap(),
            );
            assert!(low <= d && d <= high, "{row}");
        }
    }
    let eval = desk.json("eval --model study/seed-5/mix --data held.jsonl")["loss"].as_f64().unwrap();
    let result: Json = serde_json::from_str(&desk.read("study/seed-5/mix/result.json")).unwrap();
    assert!((result["loss"].as_f64().unwrap() - eval).abs() < 1e-9, "{result}");

    // The same again finds all done; its numbers are those of before, to the byte.
    let before = desk.everything();
    let again = desk.ok(&line);
    assert_eq!(again.stdout, told.stdout);
    assert!(!again.stderr.contains("step 1/"), "{}", again.stderr);
    assert!(desk.everything() == before);
    assert_eq!(desk.json(&line), found);
    assert_eq!(desk.ok(&format!("{line} --json")).stdout.lines().count(), 1);

    // An arm more leaves the others as they are.
    let told = desk.ok(&line.replace("--arms sft", "--arms sft,neftune"));
    assert!(told.stderr.contains("neftune: step 1/3") && !told.stderr.contains("mix: step 1/3"), "{}", told.stderr);
    assert_eq!(arms(&table(&desk, "study")).len(), 7);

    // Other samples under the same name are measured anew; nothing is trained.
    desk.write("held.jsonl", &desk.read("data.jsonl").lines().skip(4).collect::<Vec<_>>().join("\n"));
    let told = desk.ok(&line);
    assert!(!told.stderr.contains("step 1/"), "{}", told.stderr);
    let anew = table(&desk, "study");
    assert_eq!(anew["samples"], 8);
    assert_eq!(anew["rows"][2]["bytes"], found["rows"][2]["bytes"], "what training took is known still");

    // An arm is a run of `train`.
    for arm in ["mix", "wmss-lambda=0.7"] {
        desk.ok(&format!("train study/seed-6/{arm}/config.toml --out alone-{arm}"));
        let (alone, within) = (format!("alone-{arm}"), format!("study/seed-6/{arm}"));
        for run in [&alone, &within] {
            assert_eq!(desk.rows(&format!("{run}/metrics.jsonl")).len(), 3);
        }
        let bytes = |run: &str| desk.bytes(&format!("{run}/model.safetensors"));
        assert_eq!(bytes(&alone), bytes(&within), "{arm}");
    }
}

#[test]
fn an_arm_may_weigh_samples_by_a_rule_of_its_own() {
    let desk = desk();
    desk.ok(&format!("{RUN} --arms curriculum,curriculum:curriculum.rule=uniform --seeds 1 --out study"));
    let weights = |file: &str| desk.column(&format!("study/seed-5/{file}"), "weight");
    let uniform = weights("2-curriculum-curriculum-curriculum.rule=uniform.jsonl");
    assert!(uniform.windows(2).all(|pair| pair[0] == pair[1]), "{uniform:?}");
    assert_ne!(weights("2-curriculum.jsonl"), uniform);
    let loss = |row: usize| table(&desk, "study")["rows"][row]["loss"]["mean"].clone();
    assert_ne!(loss(3), loss(4));
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn a_teacher_may_come_from_a_file_and_is_only_its_arms_business() {
    let desk = desk();
    desk.write(
        "run.toml",
        "method = \"distill\"\nteacher = \"sft\"\nmodel = \"m\"\ndata = \"data.jsonl\"\nheld_out = \"held.jsonl\"\n",
    );
    desk.ok("compare run.toml --arms distill --seeds 1 --out study");
    let told = desk.ok("compare study/config.toml --arms mix --seeds 1 --out study");
    assert!(!told.stderr.contains("sft: step 1/") && told.stderr.contains("mix: step 1/"), "{}", told.stderr);
    assert_eq!(arms(&table(&desk, "study")), ["M0", "M1", "sft", "mix"]);
    desk.ok("train study/seed-42/distill/config.toml --out alone");
    assert_eq!(desk.bytes("alone/model.safetensors"), desk.bytes("study/seed-42/distill/model.safetensors"));
}

#[test]
fn equal_arithmetic_means_fewer_joint_updates() {
    let desk = desk();
    let line = format!(
        "{RUN} --epochs 4 --arms mix,mix:freeze_weak=true,mix:weak_source=uniform,distill,neftune --teacher sft --seeds 1"
    );
    desk.ok(&format!("{line} --equal flops --out flops"));
    let found = table(&desk, "flops");
    let updates: Vec<u64> =
        found["rows"].as_array().unwrap()[1..].iter().map(|row| row["updates"].as_u64().unwrap()).collect();
    // In forward passes: sft 3, both models 6, a frozen one beside it 4, none 3, a teacher 4, noise 3.
    assert_eq!(updates, [12, 12, 6, 9, 12, 9, 12], "{:?}", arms(&found));
    desk.refuses(&format!("{line} --out flops"), 1, &["flops/seed-5/mix already holds another run"]);
    desk.refuses(
        &format!("{RUN} --equal flops --arms wmss --max-steps 1 --out none"),
        1,
        &["--equal flops", "wmss", "train for more --epochs"],
    );
}

#[test]
fn mistakes_come_before_any_work() {
    let desk = desk();
    desk.ok(&format!("{RUN} --arms sft --seeds 1 --max-steps 1 --out done"));
    let no_held_out = RUN.replace(" --held-out held.jsonl", "");
    for (line, code, wanted) in [
        (
            format!("{RUN} --arms wms --out s"),
            2,
            &["--arms: there is no arm \"wms\"", "mix, temperature, curriculum, wmss"][..],
        ),
        (format!("{RUN} --arms sft,mix,mix --out s"), 2, &["--arms: mix and mix are one arm"]),
        (format!("{RUN} --arms mix:lamda=0.7 --out s"), 2, &["lamda", "did you mean `lambda`?"]),
        (format!("{RUN} --arms mix:lambda=7 --out s"), 2, &["lambda=7", "at most 1"]),
        (format!("{RUN} --arms mix:lambda --out s"), 2, &["lambda", "key=value"]),
        (format!("{RUN} --arms distill --out s"), 2, &["`teacher` is not set"]),
        (format!("{RUN} --arms distill --teacher absent --out s"), 1, &["absent/config.json"]),
        (
            format!("{RUN} --arms mix:out=elsewhere --out s"),
            2,
            &["mix:out=elsewhere", "`out` is the same for all arms"],
        ),
        (format!("{RUN} --arms wmss:epochs=5 --out s"), 2, &["`epochs` is the same for all arms"]),
        (format!("{RUN} --arms mix:weights=none.jsonl --out s"), 1, &["none.jsonl"]),
        (format!("{RUN} --seeds 0 --out s"), 2, &["--seeds"]),
        (format!("{no_held_out} --out s"), 2, &["`held_out` is not set", "--held-out FILE"]),
        (RUN.replace("held.jsonl", "none.jsonl") + " --out s", 1, &["none.jsonl"]),
        (RUN.to_owned(), 2, &["`out` is not set"]),
        (format!("{RUN} --out m"), 1, &["m/", "already there"]),
        (
            format!("{RUN} --arms sft --seeds 1 --max-steps 2 --out done"),
            1,
            &["done already holds another run", "`max_steps`"],
        ),
        (format!("{RUN} --arms sft --seeds 1 --max-steps 1 --lr 1e-3 --out done"), 2, &["--lr"]),
        (
            RUN.replace("held.jsonl", "data.jsonl") + " --arms sft --seeds 1 --max-steps 1 --out done",
            1,
            &["done already holds another run", "`held_out`"],
        ),
    ] {
        desk.refuses(&line, code, wanted);
    }
}

#[cfg(unix)]
#[test]
#[ignore = "nightly: minutes on a software driver"]
fn an_interrupted_comparison_goes_on() {
    use super::support::{steps, stop};

    let desk = desk();
    let line = format!("{RUN} --arms mix,wmss --seeds 1 --batch-size 1 --epochs 2").replace("--batch-size 4 ", "");
    desk.ok(&format!("{line} --out whole"));
    for (arm, step) in [("1-sft", 1), ("mix", 2), ("wmss", 1)] {
        let metrics = format!("run/seed-5/{arm}/metrics.jsonl");
        let (code, stderr) = stop(&desk, &format!("{line} --out run"), "-INT", || steps(&desk, &metrics) > step);
        assert_eq!(code, Some(130), "{stderr}");
        assert!(stderr.contains("the same command goes on from there"), "{stderr}");
        assert!(!desk.has("run/table.json"));
    }
    let told = desk.ok(&format!("{line} --out run"));
    assert!(!told.stderr.contains("step 1/"), "{}", told.stderr);
    assert_eq!(timeless(table(&desk, "run")), timeless(table(&desk, "whole")));
}
