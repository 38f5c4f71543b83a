//! Programs that must pass, and programs that must not get out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::skip::skip;
use serde_json::Value;
use underdog::eval::sandbox::program::{cut, fenced, human_eval, mbpp};
use underdog::eval::sandbox::{Limits, Outcome, Sandbox};

const LIMITS: Limits = Limits { seconds: 2, memory_bytes: 256 << 20, output_bytes: 4096 };

/// The sandbox of this machine, or `None` after saying that `test` is skipped.
fn sandbox(test: &str) -> Option<&'static Sandbox> {
    static FOUND: LazyLock<Result<Sandbox, String>> =
        LazyLock::new(|| Sandbox::find(LIMITS).map_err(|error| error.to_string()));
    FOUND.as_ref().map_err(|error| skip(test, error)).ok()
}

/// Whether programs may write and fork inside: Seatbelt denies both.
const ROOMY: bool = cfg!(target_os = "linux");

fn shared(test: &str, file: &str) -> Option<PathBuf> {
    crate::skip::shared(test, file).map(|root| root.join(file))
}

fn run(sandbox: &Sandbox, program: &str) -> Outcome {
    sandbox.run_python(program).unwrap_or_else(|error| panic!("{error}\n{program}"))
}

/// The word for an outcome, and everything it says.
fn shown(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Failed { reason, output } => ("failed", format!("{reason}\n{output}")),
        Outcome::TimedOut { output } => ("timed out", output.clone()),
        Outcome::Crashed { reason, output } => ("crashed", format!("{reason}\n{output}")),
    }
}

#[test]
fn every_end_has_its_name() {
    let Some(sandbox) = sandbox("every_end_has_its_name") else { return };
    let cases = [
        ("x = 1\nassert x == 1", "passed", ""),
        ("", "passed", ""),
        ("print('ö' * 3)\nassert 1 + 1 == 3, 'sum'", "failed", "AssertionError: sum (line 2)\nööö\n"),
        ("def f(:\n    pass", "failed", "SyntaxError"),
        ("open('a\0b')", "failed", "null bytes"),
        ("int(input())", "failed", "EOFError"),
        ("raise KeyboardInterrupt", "failed", "KeyboardInterrupt (line 1)"),
        ("def f(n): return f(n + 1)\nf(0)", "failed", "RecursionError"),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "failed", "cannot be shown"),
        ("while True: pass", "timed out", ""),
        ("import time\nprint('before', flush=True)\ntime.sleep(60)", "timed out", "before"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\nwhile True: pass", "crashed|timed out", ""),
        ("import ctypes\nctypes.string_at(0)", "crashed", "signal 11"),
        // Neither a namespace of its own nor a helper of the published form is missing.
        (
            "import dataclasses, pickle\n@dataclasses.dataclass\nclass P:\n    x: int\n\
          assert pickle.loads(pickle.dumps(P(3))) == P(3)",
            "passed",
            "",
        ),
        ("if __name__ == '__main__':\n    raise ValueError", "passed", ""),
        ("import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()", "passed", ""),
        ("open('notes', 'w').write('x')\nassert open('notes').read() == 'x'", "passed", ""),
    ];
    for (program, word, says) in cases {
        if program.contains("open('notes'") && !ROOMY {
            continue;
        }
        let (got, text) = shown(&run(sandbox, program));
        assert!(word.split('|').any(|word| word == got), "{program}\n{got}: {text}");
        assert!(text.contains(says), "{program}\n{got}: {text}");
    }
}

#[test]
fn who_leaves_before_the_tests_does_not_pass() {
    let Some(sandbox) = sandbox("who_leaves_before_the_tests_does_not_pass") else { return };
    let early = [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "print('pass'); import os; os._exit(0)",
        "import os; os.write(1, b'pass\\n'); os.write(3, b'pass\\n'); os._exit(0)",
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'0' * 32 + b' pass\\n')\n    except OSError: pass\nos._exit(0)",
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
        "import atexit, os\natexit.register(os._exit, 0)\nraise ValueError",
        // The copy reaches the end; the process that began does not.
        "import os\nif os.fork(): os._exit(0)",
    ];
    for start in early {
        let (got, text) = shown(&run(sandbox, &format!("{start}\n\nx = 1\n")));
        assert_eq!(got, "failed", "{start}: {text}");
    }
    // One that runs on in a copy and is wrong there does not fail the other either.
    if !ROOMY {
        return;
    }
    let copied = run(sandbox, "import os\nif not os.fork():\n    raise ValueError\nos.wait()");
    assert_eq!(copied, Outcome::Passed);
}

#[test]
fn nothing_outgrows_its_limits() {
    let Some(sandbox) = sandbox("nothing_outgrows_its_limits") else { return };
    let hungry = [
        ("held = []\nwhile True: held.append(bytearray(1 << 20))", "failed|crashed"),
        ("import os\nwhile True: os.fork()", "failed|timed out"),
        ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "timed out"),
        (
            "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
            "failed|timed out",
        ),
        ("while True: print('x' * 10000)", "timed out"),
        ("import os\nwhile True: os.write(3, b'x' * 10000)", "timed out|failed"),
        ("n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'wb').write(bytes(1 << 20))", "failed"),
        ("f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 20))", "failed"),
        ("held = []\nwhile True: held.append(open('/dev/null'))", "failed"),
        (
            "import os, time\nn = 0\ntry:\n    while n < 40:\n        if not os.fork(): time.sleep(60)\n        n += 1\n\
          except OSError:\n    pass\nassert 0 < n < 16, n",
            "passed",
        ),
        // A grandchild that outlives its parent, in a session of its own, with our pipes.
        ("import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n    os._exit(0)", "passed"),
    ];
    for (program, words) in hungry {
        if program.contains("fork") && !ROOMY {
            continue;
        }
        let started = Instant::now();
        let outcome = run(sandbox, program);
        let (got, text) = shown(&outcome);
        assert!(words.split('|').any(|word| word == got), "{program}\n{got}: {text}");
        assert!(text.len() <= LIMITS.output_bytes + 400, "{program}: {} bytes kept", text.len());
        let limit = Duration::from_secs(u64::from(LIMITS.seconds) + 2);
        assert!(started.elapsed() < limit, "{program}: {:?}", started.elapsed());
    }
    let flood = run(sandbox, "print('x' * 3_000_000)\nprint('last')\nraise ValueError");
    assert!(shown(&flood).1.ends_with("xxx\nlast\n"), "the end of the output is what is kept");
}

#[test]
fn nothing_gets_out() {
    let Some(sandbox) = sandbox("nothing_gets_out") else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listener");
    let port = listener.local_addr().expect("address").port();
    let outside = tempfile::tempdir().expect("folder");
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "kept").expect("secret");
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let here = env!("CARGO_MANIFEST_DIR");
    let refused = |what: &str| format!("try:\n    {what}\nexcept OSError:\n    pass\nelse:\n    raise ValueError");
    let mut programs = vec![
        refused(&format!("import socket; socket.create_connection(('127.0.0.1', {port}), 1)")),
        refused("import socket; socket.create_connection(('1.1.1.1', 53), 1)"),
        refused("import socket; socket.getaddrinfo('example.com', 80)"),
        refused(&format!("open({secret:?}, 'w').write('x')")),
        refused(&format!("open({home:?} + '/underdog-was-here', 'w')")),
        refused(&format!("open({here:?} + '/Cargo.toml', 'a')")),
        "import os\nassert set(os.environ) <= {'PATH', 'HOME', 'PWD', 'PYTHONHASHSEED', 'PYTHONUTF8', 'LC_CTYPE', \
         '__CF_USER_TEXT_ENCODING'}, os.environ"
            .into(),
    ];
    if cfg!(target_os = "linux") {
        programs.extend([
            refused(&format!("open({secret:?})")),
            refused(&format!("import os; os.listdir({home:?})")),
            refused("open('/etc/passwd')"),
            refused("open('/etc/underdog-was-here', 'w')"),
            refused("open('/usr/underdog-was-here', 'w')"),
            refused("open('/dev/shm/left', 'w')"),
            refused("import os; os.mkdir('/tmp/m'); os.chroot('/tmp/m')"),
            refused("import os; os.setuid(12)"),
        ]);
    }
    for program in programs {
        assert_eq!(run(sandbox, &program), Outcome::Passed, "{program}");
    }
    assert_eq!(std::fs::read_to_string(&secret).expect("secret"), "kept");
    listener.set_nonblocking(true).expect("listener");
    assert!(listener.accept().is_err(), "a program reached the listener");
    if ROOMY {
        // Each run is new: what one leaves, the next does not see.
        assert_eq!(run(sandbox, "open('/tmp/left', 'w')"), Outcome::Passed);
        assert_eq!(run(sandbox, "import os\nassert os.listdir('/tmp') == []"), Outcome::Passed);
    }
}

/// The same programs where there is no bubblewrap: in a process whose PATH lacks it.
#[cfg(target_os = "linux")]
#[test]
fn namespaces_stand_in_for_bubblewrap() {
    const NAME: &str = "namespaces_stand_in_for_bubblewrap";
    let Some(found) = sandbox(NAME) else { return };
    if !found.describe().contains("bubblewrap") {
        return;
    }
    let tools = tempfile::tempdir().expect("folder");
    for tool in ["python3", "unshare", "setpriv"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(tool), tools.path().join(tool)).expect("link");
    }
    let without = |path: &Path| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        for test in ["every_end_has", "who_leaves_before", "nothing_outgrows", "nothing_gets_out"] {
            command.arg(test);
        }
        let output = command.env("PATH", path).output().expect("this program");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    let text = without(tools.path());
    assert!(text.contains("4 passed"), "{text}");
    if text.contains("SKIPPED") {
        skip(NAME, &text);
    }
    // Without either, nothing is run, and it is said what to install.
    std::fs::remove_file(tools.path().join("unshare")).expect("link");
    let text = without(tools.path());
    assert!(text.contains("refusing to run generated code") && text.contains("install bubblewrap"), "{text}");
}

#[test]
fn a_program_is_put_together_as_published() {
    assert_eq!(cut("    return 1\n\nprint(f(2))\n", &["\nprint", "\ndef"]), "    return 1\n");
    assert_eq!(cut("whole", &["\nprint"]), "whole");
    let fences = [
        ("no fence", None),
        ("Here:\n```python\nx = 1\n```\nand\n```python\ny\n```", Some("x = 1\n")),
        ("```\nx\n```", Some("x\n")),
        ("```py\nnever closed", Some("never closed")),
        ("```bash\npip\n```\nthen\n```Python\nx\n```", Some("x\n")),
        ("```bash\npip\n```", None),
        ("inline ``` is none", None),
        ("```python", None),
    ];
    for (text, code) in fences {
        assert_eq!(fenced(text), code, "{text:?}");
    }
    let Some(sandbox) = sandbox("a_program_is_put_together_as_published") else { return };
    let prompt = "import math\n\ndef root(x):\n    \"\"\"Root.\"\"\"\n";
    let test = "def check(candidate):\n    assert candidate(4) == 2\n";
    let answers = [
        ("    return math.sqrt(x)\n\nprint(root('no'))\n", true),
        ("    return math.sqrt(x)\n# done\n)(", true),
        ("```python\n    return math.sqrt(x)\n```", true),
        ("Sure:\n```python\ndef half(x):\n    return x / 2\n\ndef root(x):\n    return half(x)\n```\nDone.", true),
        ("def root(x):\n    return math.sqrt(x)", true),
        ("    return x\n", false),
        ("", false),
        ("I cannot.", false),
    ];
    for (answer, right) in answers {
        let outcome = run(sandbox, &human_eval(prompt, answer, test, "root"));
        assert_eq!(outcome == Outcome::Passed, right, "{answer}: {outcome:?}");
    }
    let asserts = ["assert f(1) == 2".to_string(), "assert f(2) == k".to_string()];
    for (answer, right) in [
        ("def f(x): return x + 1\n[DONE]\n[BEGIN]\nrubbish (", true),
        ("[BEGIN]\ndef f(x): return x + 1\n[DONE]", true),
        ("```python\ndef f(x): return x + 1\n```", true),
        ("def f(x): return 2", false),
    ] {
        assert_eq!(run(sandbox, &mbpp("k = 3", answer, &asserts)) == Outcome::Passed, right, "{answer}");
    }
}

fn rows(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).expect("file");
    let mut text = String::new();
    if path.extension().is_some_and(|end| end == "gz") {
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).expect("gzip");
    } else {
        text = String::from_utf8(bytes).expect("UTF-8");
    }
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().expect("a string")
}

#[test]
fn human_eval_solutions_pass_and_empty_ones_fail() {
    const NAME: &str = "human_eval_solutions_pass_and_empty_ones_fail";
    let Some(file) = shared(NAME, "humaneval/HumanEval.jsonl.gz") else { return };
    let Some(sandbox) = sandbox(NAME) else { return };
    let rows = rows(&file);
    assert_eq!(rows.len(), 164);
    for (index, row) in rows.iter().enumerate() {
        let run_with = |answer: &str| {
            run(sandbox, &human_eval(text(row, "prompt"), answer, text(row, "test"), text(row, "entry_point")))
        };
        assert_eq!(run_with(text(row, "canonical_solution")), Outcome::Passed, "{}", row["task_id"]);
        if index % 4 == 0 {
            assert_ne!(run_with("    return None\n"), Outcome::Passed, "{}", row["task_id"]);
        }
    }
}

#[test]
fn mbpp_references_pass() {
    const NAME: &str = "mbpp_references_pass";
    let Some(file) = shared(NAME, "mbpp/mbpp.jsonl") else { return };
    let Some(sandbox) = sandbox(NAME) else { return };
    let rows = rows(&file);
    assert_eq!(rows.len(), 974);
    // Every twelfth, and those with a setup.
    let chosen =
        rows.iter().enumerate().filter(|(index, row)| index % 12 == 0 || !text(row, "test_setup_code").is_empty());
    for (_, row) in chosen {
        let tests: Vec<String> = serde_json::from_value(row["test_list"].clone()).expect("tests");
        let outcome = run(sandbox, &mbpp(text(row, "test_setup_code"), text(row, "code"), &tests));
        assert_eq!(outcome, Outcome::Passed, "{}", row["task_id"]);
        assert_ne!(run(sandbox, &mbpp("", "", &tests)), Outcome::Passed, "{}", row["task_id"]);
    }
}
