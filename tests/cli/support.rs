//! Folders with a tiny model and data in them, the binary run there, and what it said.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use underdog::data::arithmetic::{self, CHAT_TEMPLATE, Split, problems, tokenizer_config, tokenizer_json};

/// Rows of `data.jsonl`.
pub(crate) const ROWS: usize = 12;

/// A working directory: what a case starts from, and where it runs the program.
pub(crate) struct Desk(TempDir);

/// What came of a call.
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Desk {
    /// A directory with the model folder `m`, the trained `sft`, `data.jsonl`, and the scores and curriculum of both.
    pub(crate) fn new() -> Self {
        static FIRST: OnceLock<Desk> = OnceLock::new();
        let first = FIRST.get_or_init(Desk::first);
        let desk = Desk(tempfile::tempdir().unwrap());
        copy(first.path(), desk.path());
        desk
    }

    fn first() -> Self {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.write("tokenizer/tokenizer.json", &tokenizer_json());
        desk.write("tokenizer/tokenizer_config.json", &tokenizer_config());
        desk.write("tokenizer/chat_template.jinja", CHAT_TEMPLATE);
        desk.write("config.json", &shape().to_string());
        let rows = problems(7, ROWS, Split::Train).into_iter();
        let rows = rows.map(|p| json!({ "prompt": p.prompt, "completion": p.completion }).to_string() + "\n");
        desk.write("data.jsonl", &rows.collect::<String>());
        for line in [
            "init --config config.json --tokenizer tokenizer --seed 1 --out m",
            "train --model m --data data.jsonl --out sft --lr 3e-3 --batch-size 4 --epochs 2",
            "score --model m --data data.jsonl --out weak.jsonl",
            "score --model sft --data data.jsonl --out strong.jsonl",
            "curriculum --weak weak.jsonl --strong strong.jsonl --out curriculum.jsonl",
        ] {
            desk.ok(line);
        }
        desk
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        let path = self.path().join(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// The rows of a JSONL file.
    pub(crate) fn rows(&self, name: &str) -> Vec<Json> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// One number of every row of a JSONL file.
    pub(crate) fn column(&self, name: &str, field: &str) -> Vec<f64> {
        self.rows(name).iter().map(|row| row[field].as_f64().unwrap()).collect()
    }

    /// Names of what lies in a folder, sorted.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path().join(name)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Every file below this directory with its contents, and every folder.
    pub(crate) fn everything(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        walk(self.path(), self.path(), &mut found);
        found
    }

    /// The program with these arguments, to be started here.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_underdog"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null()).env_remove("NO_COLOR");
        command.env("UNDERDOG_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            // Mesa's layer that chooses devices complains on stderr where this is not set.
            command.env("XDG_RUNTIME_DIR", self.path());
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Told {
        Told::of(self.command(args))
    }

    /// Splits a line at its spaces and runs it.
    pub(crate) fn line(&self, line: &str) -> Told {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`Desk::line`]; it must succeed.
    pub(crate) fn ok(&self, line: &str) -> Told {
        let told = self.line(line);
        assert_eq!(told.code, Some(0), "underdog {line}\n{}", told.stderr);
        told
    }

    /// A line that must end with `code`, say what is `wanted` in one error and nothing else, and leave everything as it was.
    pub(crate) fn refuses(&self, line: &str, code: i32, wanted: &[&str]) {
        let before = self.everything();
        let Told { code: got, stdout, stderr } = self.line(line);
        assert_eq!(got, Some(code), "underdog {line}\n{stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "underdog {line}\n{stderr}");
        for want in wanted {
            assert!(stderr.contains(want), "underdog {line}: `{want}` not in\n{stderr}");
        }
        for noise in ["Some(", "Os {", "Err(", "panicked", "step 1/"] {
            assert!(!stderr.contains(noise), "underdog {line}: `{noise}` in\n{stderr}");
        }
        assert!(stdout.is_empty(), "underdog {line}\n{stdout}");
        assert!(self.everything() == before, "underdog {line} left something: {:?}", self.list("."));
    }

    /// As [`Desk::ok`] with `--json`; the one line of JSON that it prints.
    pub(crate) fn json(&self, line: &str) -> Json {
        let told = self.ok(&format!("{line} --json"));
        serde_json::from_str(&told.stdout).unwrap_or_else(|e| panic!("underdog {line}: {e}\n{}", told.stdout))
    }
}

impl Told {
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        // Paths in messages are the system's own.
        let stderr = text(output.stderr).replace('\\', "/");
        Told { code: output.status.code(), stdout: text(output.stdout), stderr }
    }
}

/// A Qwen3-shaped model of one block that fits the tokenizer of the built-in task.
pub(crate) fn shape() -> Json {
    json!({
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "vocab_size": arithmetic_vocab(),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "tie_word_embeddings": true,
        "max_position_embeddings": 256,
        "rope_theta": 10000.0,
        "initializer_range": 0.06,
    })
}

fn arithmetic_vocab() -> u64 {
    let tokenizer: Json = serde_json::from_str(&arithmetic::tokenizer_json()).unwrap();
    let of_vocab = tokenizer["model"]["vocab"].as_object().unwrap().values().filter_map(Json::as_u64);
    let added = tokenizer["added_tokens"].as_array().unwrap().iter().filter_map(|token| token["id"].as_u64());
    1 + of_vocab.chain(added).max().unwrap()
}

/// Starts a run and sends it a signal as soon as `ready`.
#[cfg(unix)]
pub(crate) fn stop(desk: &Desk, line: &str, signal: &str, ready: impl Fn() -> bool) -> (Option<i32>, String) {
    use std::{
        thread::sleep,
        time::{Duration, Instant},
    };

    let mut command = desk.command(&line.split_whitespace().collect::<Vec<_>>());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(60), "the run never came so far");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Lines of a file that may not be there yet.
#[cfg(unix)]
pub(crate) fn steps(desk: &Desk, file: &str) -> usize {
    fs::read_to_string(desk.path().join(file)).map_or(0, |text| text.lines().count())
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if path.is_dir() {
            found.insert(name, None);
            walk(root, &path, found);
        } else {
            found.insert(name, Some(fs::read(&path).unwrap()));
        }
    }
}
