//! The benchmark suite: its statistics and its files as pure functions, its tables and pictures, and one run of it, of
//! which the structure is checked and never the times.

use std::{path::Path, process::Command, sync::atomic::AtomicBool};

use serde_json::{Value, json};
use underdog::{
    bench::{self, Comparison, Options, Results, Spread, drift, spread},
    report::{Console, Report},
};

fn entry(name: &str, group: &str, unit: &str, median: f64) -> Value {
    json!({
        "name": name, "group": group, "unit": unit, "median": median, "low": median * 0.9, "high": median * 1.1,
        "runs": 9, "share_of_ceiling": 0.5, "peak_bytes": null, "note": null,
    })
}

fn file(adapter: &str, factor: f64) -> Value {
    json!({
        "schema": 1, "version": "0.1.0", "date": "2026-11-21T14:00:00Z", "suite": "quick", "filter": null,
        "machine": {
            "adapter": adapter, "kind": "cpu", "backend": "vulkan", "driver": "driver", "driver_info": "1.2",
            "os": "linux, x86_64", "threads": 2,
        },
        "seconds": 12.5,
        "entries": [
            entry("multiply-add f32", "ceiling", "GFLOP/s", 100.0 * factor),
            entry("dispatch", "ceiling", "us", 10.0 / factor),
            entry("gemm nt f32", "gemm", "GFLOP/s", 20.0 * factor),
        ],
        "skipped": [{ "name": "step x", "reason": "too large" }],
        "checks": [{ "name": "gemm", "passed": true, "found": "near" }],
        "warnings": [],
    })
}

fn parse(value: &Value) -> Result<Results, String> {
    Results::parse(value.to_string().as_bytes(), Path::new("a.json")).map_err(|error| error.to_string())
}

#[test]
fn median_and_quartiles() {
    let of = |values: &[f64]| spread(values).map(|Spread { low, median, high }| [low, median, high]);
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[3.0]), Some([3.0; 3]));
    assert_eq!(of(&[2.0, 1.0]), Some([1.25, 1.5, 1.75]));
    assert_eq!(of(&[5.0, 1.0, 4.0, 2.0, 3.0]), Some([2.0, 3.0, 4.0]));
    assert_eq!(of(&[1.0, 2.0, 3.0, 4.0]), Some([1.75, 2.5, 3.25]));
    let rates = spread(&[1.0, 2.0, 4.0, 5.0, 10.0]).expect("values").rates(20.0);
    assert_eq!([rates.low, rates.median, rates.high], [4.0, 5.0, 10.0]);
}

#[test]
fn a_device_that_slows_down_is_noticed() {
    let steady = [1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 0.9];
    assert_eq!(drift(&steady[..8]), None, "too few");
    assert_eq!(drift(&steady), Some(1.0));
    assert_eq!(drift(&[1.0, 1.0, 1.0, 1.2, 1.3, 1.4, 1.5, 1.5, 1.5]), Some(1.5));
    assert_eq!(drift(&[2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), Some(0.5));
}

#[test]
fn files_are_read_as_they_were_written() {
    let results = parse(&file("llvmpipe", 1.0)).expect("a whole file");
    let written = serde_json::to_value(&results).expect("json");
    assert_eq!(written, file("llvmpipe", 1.0));
    assert_eq!(results.machine.label(), "llvmpipe, driver 1.2");
}

#[test]
fn mistakes_in_files_are_named() {
    let deep = "[".repeat(100_000);
    for (text, want) in [
        ("", "a.json: EOF"),
        ("[]", "a.json: not a JSON object"),
        ("{}", "a.json: `schema` must be a whole number"),
        (r#"{"schema": 9}"#, "a.json: `schema` is 9, this program reads 1; use a newer underdog"),
        (deep.as_str(), "a.json: recursion limit"),
        (&" ".repeat(5 << 20), "a.json: more than 4194304 bytes are no results"),
    ] {
        let error = Results::parse(text.as_bytes(), Path::new("a.json")).expect_err(want).to_string();
        assert!(error.starts_with(want), "{error}");
    }
    let many: Vec<Value> = (0..2001).map(|_| entry("x", "y", "us", 1.0)).collect();
    for (place, value, want) in [
        ("/version", json!(null), "`version` must be a text"),
        ("/date", json!("a\u{1b}[2J"), "`date` must be a text of one line"),
        ("/suite", json!("x".repeat(1001)), "`suite` must be a text"),
        ("/machine", json!("llvmpipe"), "`machine` must be an object"),
        ("/machine/threads", json!(-1), "`machine.threads` must be a whole number"),
        ("/seconds", json!("long"), "`seconds` must be a number of at least 0"),
        ("/entries", json!({}), "`entries` must be a list of at most 2000 objects"),
        ("/entries", json!(many), "`entries` must be a list of at most 2000 objects"),
        ("/entries/1", json!(7), "`entries` must be a list"),
        ("/entries/1/median", json!(-1.0), "`entries[1].median` must be a number of at least 0"),
        ("/entries/2/unit", json!("furlongs"), "`entries[2].unit` must be GFLOP/s, GB/s, tokens/s or us"),
        ("/entries/0/share_of_ceiling", json!([]), "`entries[0].share_of_ceiling` must be a number"),
        ("/checks/0/passed", json!("yes"), "`checks[0].passed` must be true or false"),
        ("/warnings", json!(1), "`warnings` must be a list"),
    ] {
        let mut broken = file("llvmpipe", 1.0);
        *broken.pointer_mut(place).expect(place) = value;
        let error = parse(&broken).expect_err(place);
        assert!(error.starts_with(&format!("a.json: {want}")), "{place}: {error}");
    }
    let missing = Results::open(Path::new("no/such/file.json")).expect_err("no file").to_string();
    assert!(missing.starts_with("no/such/file.json: "), "{missing}");
}

fn comparison() -> Comparison {
    let mut other = file("GPU <fast> & new", 4.0);
    other["entries"].as_array_mut().expect("a list").push(entry("step tiny f32", "step", "tokens/s", 900.0));
    other["checks"][0]["passed"] = json!(false);
    Comparison::new([file("llvmpipe", 1.0), other].iter().map(|value| parse(value).expect("a file")).collect())
}

#[test]
fn machines_are_compared_with_the_first() {
    let want = "\
A  llvmpipe, driver 1.2; linux, x86_64; quick suite, underdog 0.1.0, 2026-11-21
B  GPU <fast> & new, driver 1.2; linux, x86_64; quick suite, underdog 0.1.0, 2026-11-21, CHECKS FAILED

         entry                          A    B/A
-------  ----------------  --------  ----  -----
ceiling  multiply-add f32  GFLOP/s    100  4.00x
         dispatch          us        10.0  4.00x
gemm     gemm nt f32       GFLOP/s   20.0  4.00x
step     step tiny f32     tokens/s     -      -

A ratio above 1 is faster than A.
";
    assert_eq!(comparison().render(), want);
}

#[test]
fn pictures_have_a_bar_for_each_machine_and_escape_names() {
    let svg = comparison().svg();
    let count = |what: &str| svg.matches(what).count();
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(svg.contains("GPU &lt;fast&gt; &amp; new") && !svg.contains("<fast>"), "{svg}");
    // The page, two of the legend, and two bars an entry, as long as the machine is fast.
    assert_eq!((count("<rect"), count(r#"width="420.0""#), count(r#"width="105.0""#)), (11, 4, 3));
    assert_eq!((count(">not measured<"), count(r#"class="group""#)), (1, 3));
    let heights = svg.lines().next().expect("a line");
    assert!(heights.contains(r#"viewBox="0 0 960 "#), "{heights}");
}

#[test]
fn every_name_is_measured_once_and_every_step_has_work() {
    let kernels = bench::kernel_cases();
    let mut names: Vec<&str> = kernels.iter().map(|case| case.name.as_str()).collect();
    let steps = bench::step_cases();
    names.extend(steps.iter().map(|case| case.name.as_str()));
    assert!(kernels.iter().all(|case| case.work > 0.0));
    // Twice two models of 135 million parameters: 12 operations a parameter and token, and attention beside.
    let smollm = steps.iter().find(|case| case.name.starts_with("step smollm2-135m wmss")).expect("its step");
    let a_token = smollm.flops() / smollm.tokens() as f64 / 134.5e6;
    assert!((12.0..14.0).contains(&a_token), "{a_token}");
    assert_eq!(
        steps.len(),
        4 * 7,
        "of four models: alone, computed twice and jointly, whole, by adapters, with kept states, in 4 bits"
    );
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn every_step_is_planned_for_small_bindings_and_refused_where_it_does_not_fit() {
    let peak = |name: &str, recompute| {
        let case = bench::step_cases().into_iter().find(|case| case.name.starts_with(name)).expect(name);
        case.plan(128 << 20, if recompute { usize::MAX } else { 0 }).expect(name).footprint().total() >> 30
    };
    for name in ["step tiny sft", "step smollm2-135m wmss", "step qwen3-0.6b wmss", "step qwen3-1.7b wmss"] {
        assert!(peak(name, true) <= peak(name, false), "{name}");
    }
    // Weights, gradients and two moments of 0.6 billion parameters, and activations.
    assert!((9..16).contains(&peak("step qwen3-0.6b sft", false)), "{} GiB", peak("step qwen3-0.6b sft", false));
    let gpu = underdog::platform::open(None).expect("a device");
    let tiny = &bench::step_cases()[0];
    let refused = tiny.load(&gpu, Some(1 << 20)).map(|_| ()).expect_err("a MiB is too little").to_string();
    assert!(refused.starts_with("this needs ") && refused.contains("there are 1.00 MiB"), "{refused}");
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn the_suite_measures_checks_and_says_what_it_left_out() {
    let gpu = underdog::platform::open(None).expect("a device");
    let options = Options { filter: Some("16x1024x1024".into()), ..Options::default() };
    let mut report = Report::new(Console::lines(std::io::sink()));
    let run =
        |options: &Options, report: &mut Report, stop| bench::run(&gpu, options, report, &AtomicBool::new(stop));
    let results = run(&options, &mut report, false).expect("a run");
    let groups: Vec<&str> = results.entries.iter().map(|entry| entry.group.as_str()).collect();
    // Six that every device has, then those of f16 and of matrix units where they are offered.
    let (ceilings, kernels) = groups.split_at(groups.len() - 1);
    assert!(ceilings.len() >= 6 && ceilings.iter().all(|group| *group == "ceiling"), "{groups:?}");
    assert_eq!(kernels, ["gemm"]);
    for entry in &results.entries {
        assert!(entry.low <= entry.median && entry.median <= entry.high && entry.low > 0.0, "{entry:?}");
        assert!(entry.runs >= 3, "{entry:?}");
        assert_eq!(entry.share_of_ceiling.is_some(), entry.group == "gemm", "{entry:?}");
    }
    let failed = results.failed();
    assert!(results.checks.len() > 12 && failed.is_empty(), "{failed:?}");
    let written = serde_json::to_vec(&results).expect("json");
    assert_eq!(Results::parse(&written, Path::new("r")).expect("readable"), results);
    let table = results.render();
    assert!(table.contains("gemm tn 16x1024x1024 (flat) f32") && table.contains("checks against the reference"));

    let unknown = Options { filter: Some("no such thing".into()), ..Options::default() };
    let error = run(&unknown, &mut report, false).expect_err("nothing to measure").to_string();
    assert!(error.starts_with("nothing is called `no such thing`; the names are, among others: gemm nt"), "{error}");
    let stopped = run(&options, &mut report, true).expect_err("stopped");
    assert_eq!(stopped.to_string(), "interrupted");
}

#[test]
fn the_program_compares_files_and_draws_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for (name, factor) in [("a.json", 1.0), ("b.json", 2.0)] {
        std::fs::write(path(name), file(name, factor).to_string()).expect("a file");
    }
    let bench = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_underdog"))
            .arg("bench")
            .args(args)
            .current_dir(folder.path())
            .output()
            .expect("the program");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, out, _) = bench(&["compare", "a.json", "b.json", "--svg", "both.svg"]);
    assert!(code == Some(0) && out.contains("2.00x"), "{out}");
    assert!(std::fs::read_to_string(path("both.svg")).expect("a picture").starts_with("<svg"));
    let (code, out, _) = bench(&["compare", "a.json", "b.json", "--json"]);
    let value: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &value["entries"][2]["medians"]), (Some(0), &json!([20.0, 40.0])));
    std::fs::write(path("c.json"), "{}").expect("a file");
    for (args, want) in [
        (&["compare", "a.json", "c.json"][..], "c.json: `schema` must be"),
        (&["compare", "a.json", "--svg", "both.svg"], "both.svg is already there"),
        (&["--out", "a.json"], "a.json is already there"),
        (&["--filter", "nonsense"], "nothing is called `nonsense`"),
    ] {
        let (code, _, err) = bench(args);
        assert!(code == Some(1) && err.contains(want), "{args:?}: {code:?} {err}");
    }
}
