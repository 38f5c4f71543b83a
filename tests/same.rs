//! Short runs of the program whose results are recorded: `make same` replays them and compares bits.
//!
//! On the driver they were recorded on (`tests/same/recorded/`), the weights, metrics, scores and texts of every run must be
//! the same bits. On another one the numbers must agree to 1e-5, and the last line says that only this was compared.
//!
//! This file knows nothing of the library: it starts the program and reads what that wrote, so that it can run older
//! revisions too. Arguments are parts of names of runs; the environment says the rest:
//! - `UNDERDOG_SAME_PROGRAM`: the program, instead of the one just built,
//! - `UNDERDOG_SAME_BASE`: another program, which is run too and compared with instead of the record,
//! - `UNDERDOG_SAME_RECORD`: write the record of this driver.

#[path = "same/files.rs"]
mod files;
#[path = "same/runs.rs"]
mod runs;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use files::{Results, Written};
use runs::Run;
use serde_json::{Value as Json, json};

/// What recorded numbers may differ by on another driver, as a share of the largest of their column.
const TOLERANCE: f64 = 1e-5;

fn main() -> ExitCode {
    let filters: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if env::args().any(|arg| arg == "--list" || arg == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let all = runs::all();
    let wanted = |run: &&Run| filters.is_empty() || filters.iter().any(|part| run.name.contains(part.as_str()));
    let program = variable("UNDERDOG_SAME_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_underdog").into());
    let began = Instant::now();
    let subject = Desk::new(&program);
    let device = subject.device();
    let against = match variable("UNDERDOG_SAME_BASE") {
        Some(base) => Against::Program(Desk::new(&base)),
        None => Against::record(&device),
    };
    let mut record = BTreeMap::new();
    let (mut compared, mut differences) = (0, Vec::new());
    for run in all.iter().filter(wanted) {
        let started = Instant::now();
        let got = subject.results(run, &all);
        let want = match &against {
            Against::Program(base) => Some(base.results(run, &all)),
            Against::Record { runs, .. } => runs.get(&run.name).cloned(),
        };
        let mut found = Vec::new();
        match want {
            Some(want) => {
                compared += want.len();
                for (name, want) in want {
                    let difference = match got.get(&name) {
                        None => Some("was not written".to_owned()),
                        Some(got) => got.difference(&want, against.tolerance(&device)),
                    };
                    found.extend(difference.map(|how| format!("{}: {name}: {how}", run.name)));
                }
            }
            None if variable("UNDERDOG_SAME_RECORD").is_none() => found.push(format!("{}: not recorded", run.name)),
            None => {}
        }
        let verdict = if found.is_empty() { "ok" } else { "DIFFERS" };
        println!("same: {} ... {verdict} ({:.1} s)", run.name, started.elapsed().as_secs_f64());
        found.iter().for_each(|line| println!("    {line}"));
        differences.append(&mut found);
        record.insert(run.name.clone(), got);
    }
    if variable("UNDERDOG_SAME_RECORD").is_some() {
        let path = recorded(&device);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder of records");
        let text = serde_json::to_string(&json!({ "device": device, "runs": record })).expect("JSON");
        // A line a file of a run, so that a change shows which.
        fs::write(&path, text.replace("},\"", "},\n\"") + "\n").expect("record");
        println!("same: recorded {} runs in {}", record.len(), path.display());
        return ExitCode::SUCCESS;
    }
    let how = match (&against, against.tolerance(&device)) {
        (Against::Program(_), _) => "bits of two programs".to_owned(),
        (_, None) => "bits".to_owned(),
        (Against::Record { device, .. }, Some(_)) => format!("numbers to {TOLERANCE:e} only, recorded on {device}"),
    };
    println!(
        "test result: {}. {} passed; {} failed; 0 ignored; same: {compared} results of {} runs in {:.0} s, compared {how}, on {device}",
        if differences.is_empty() { "ok" } else { "FAILED" },
        record.len().saturating_sub(differences.len()),
        differences.len(),
        record.len(),
        began.elapsed().as_secs_f64()
    );
    if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What results are compared with.
enum Against {
    Program(Desk),
    Record { device: String, runs: BTreeMap<String, Results> },
}

impl Against {
    /// The record of this device, or else any other.
    fn record(device: &str) -> Self {
        let own = recorded(device);
        let others =
            fs::read_dir(own.parent().expect("a folder")).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = others.collect();
        paths.sort_by_key(|path| (*path != own, path.clone()));
        let Some(path) = paths.first() else {
            return Self::Record { device: "nothing".into(), runs: BTreeMap::new() };
        };
        let mut json: Json = serde_json::from_slice(&fs::read(path).expect("record")).expect("a record");
        let runs = serde_json::from_value(json["runs"].take()).expect("runs of a record");
        Self::Record { device: json["device"].as_str().expect("device of a record").to_owned(), runs }
    }

    /// How far numbers may be off; nothing may where both ran on one driver.
    fn tolerance(&self, on: &str) -> Option<f64> {
        match self {
            Self::Record { device, .. } if device != on => Some(TOLERANCE),
            _ => None,
        }
    }
}

fn recorded(device: &str) -> PathBuf {
    let plain: String = device.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let name: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
    inputs().join(format!("recorded/{}.json", name.join("-").to_lowercase()))
}

fn inputs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/same")
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A program, and the folder in which it does its runs.
struct Desk {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Self { program: fs::canonicalize(program).expect("the program"), folder };
        let copy = |from: &Path, to: &str| fs::copy(from, desk.path(to)).expect("inputs");
        fs::create_dir(desk.path("tokenizer")).expect("a folder");
        for name in ["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "tokenizer/chat_template.jinja"] {
            copy(&inputs().join(name), name);
        }
        for name in ["data.jsonl", "asked.jsonl"] {
            copy(&inputs().join(name), name);
        }
        for (name, config) in runs::configs() {
            fs::write(desk.path(&format!("{name}.json")), config.to_string()).expect("a config");
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the program; what it printed.
    fn call(&self, line: &str) -> String {
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace()).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("UNDERDOG_CACHE", self.path("cache")).env("XDG_RUNTIME_DIR", self.folder.path());
        let output = command.output().expect("the program starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "underdog {line}\n{errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Adapter and driver with their versions, and the width of vectors.
    fn device(&self) -> String {
        let told: Json = serde_json::from_str(&self.call("devices --json")).expect("JSON");
        let adapters = told["adapters"].as_array().expect("adapters");
        let chosen = adapters.iter().find(|adapter| adapter["chosen"] == true).expect("a device");
        let text = |field: &str| chosen[field].as_str().unwrap_or("").to_owned();
        format!("{}, {}", text("name"), text("driver"))
    }

    /// Does a run, after those that it starts from; what it wrote and printed.
    fn results(&self, run: &Run, all: &[Run]) -> Results {
        for needed in run.after.iter().filter(|needed| !self.path(needed).exists()) {
            let needed = all.iter().find(|run| run.name == *needed).expect("a run that others start from");
            self.results(needed, all);
        }
        if self.path(&run.name).exists() {
            return self.read(run);
        }
        fs::create_dir(self.path(&run.name)).expect("a folder");
        for (i, line) in run.lines.iter().enumerate() {
            let printed = self.call(line);
            if line.contains("--json") {
                fs::write(self.path(&run.name).join(format!("{i}.stdout.jsonl")), printed).expect("output");
            }
        }
        self.read(run)
    }

    fn read(&self, run: &Run) -> Results {
        let root = self.path(&run.name);
        let mut results = Results::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(written) = Written::read(&path) {
                    let name = path.strip_prefix(&root).expect("below it").display().to_string();
                    results.insert(name.replace('\\', "/"), written);
                }
            }
        }
        assert!(!results.is_empty(), "{} wrote nothing that is compared", run.name);
        results
    }
}
