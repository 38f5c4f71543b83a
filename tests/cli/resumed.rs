//! A run that an earlier version began (`tests/golden/resumed`, written by commit 7d5bf47 and stopped after step 3 of 6).

use std::{fs, path::Path};

use super::support::{Desk, copy};

const LINE: &str = "train --model m --data data.jsonl --batch-size 4 --epochs 2 --lr 3e-3 --autotune off --dtype f32 --save-every 3 --out run --resume";

#[test]
fn a_run_of_an_earlier_version_goes_on_or_is_refused_by_name() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/resumed");
    let desk = Desk::new();
    desk.remove("m");
    copy(&golden, desk.path());
    let before = desk.everything();
    let told = desk.line(LINE);
    if told.code != Some(0) {
        // Another format of runs: said once, of this run, and nothing of it is touched.
        assert_eq!(told.stderr.matches("error: ").count(), 1, "{}", told.stderr);
        assert!(told.stderr.contains("run") && told.stderr.contains("version"), "{}", told.stderr);
        assert!(desk.everything() == before, "a refused run is left as it was");
        return;
    }
    assert!(told.stderr.contains("step 4/6") && !told.stderr.contains("step 3/6"), "{}", told.stderr);
    let whole = fs::read_to_string(golden.join("whole.jsonl")).unwrap();
    desk.write("whole.jsonl", &whole);
    for column in ["loss", "grad_norm", "lr"] {
        let [want, got] = ["whole.jsonl", "run/metrics.jsonl"].map(|file| desk.column(file, column));
        assert_eq!(got.len(), 6, "{column}");
        for (want, got) in want.iter().zip(got) {
            assert!((got - want).abs() <= 1e-5 * want.abs(), "{column}: {got}, then {want}");
        }
    }
}
