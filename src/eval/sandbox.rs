//! Runs programs that a model wrote, shut in: no network, no files of the user's, bounded time, memory and output.
//!
//! Under bubblewrap on Linux, else in namespaces built with util-linux, else under macOS's Seatbelt; a way counts as there
//! only once a probe could not get out of it. Without one nothing is run. Whether the user consents is the caller's
//! business, and so is what a run that could not be decided ([`Error`]) counts as.
//!
//! What is promised: a program passes only if its last line was reached by the process that began it. It must tell so
//! with a secret that it is not given: neither an early exit nor a faked message passes. What is not promised: tests and
//! program share an interpreter, as the published graders have it, so a program written against *this* harness can dig
//! the secret out of the interpreter's frames, or answer `==` as it likes. Memory is limited per process, and a program
//! may have 16 of them. Only Python's standard library is there. On macOS files can be read, and memory is looked at five
//! times a second instead of being limited by the system.

pub(super) mod child;
pub(super) mod isolation;
mod limits;
pub mod program;

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::process::{Command, ExitStatus};
use std::time::Duration;

pub use limits::Limits;

use child::{Bounds, End, Finished};
use isolation::{Isolation, Python, TOOLS_PATH};

const HARNESS: &str = include_str!("sandbox/harness.py");

/// What became of a program. All but `Passed` mean that it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its last line.
    Passed,
    /// It raised an exception or ended early.
    Failed {
        /// The exception with the program's line, or the exit code.
        reason: String,
        /// The end of what it printed.
        output: String,
    },
    /// It was still running at the limit.
    TimedOut {
        /// The end of what it printed.
        output: String,
    },
    /// It took the interpreter down, or was killed over a limit.
    Crashed {
        /// The signal or limit.
        reason: String,
        /// The end of what it printed.
        output: String,
    },
}

/// Why a program was not run, or not to an end that says anything about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No interpreter.
    #[error("code tasks need Python: no python3 on the PATH answers; install it")]
    NoPython,
    /// Nothing here can shut a program in.
    #[error("refusing to run generated code, for nothing here can shut it in: {tried}; {advice}")]
    NoIsolation {
        /// Each way and why it does not do.
        tried: String,
        /// What to do.
        advice: &'static str,
    },
    /// The sandbox failed, not the program.
    #[error("the sandbox ({name}) failed: {reason}")]
    Broken {
        /// Which.
        name: &'static str,
        /// What happened, with the end of what it printed.
        reason: String,
    },
}

/// A proven way to run programs. Shared between threads, it runs as many at once as it is asked to.
#[derive(Debug)]
pub struct Sandbox {
    isolation: Isolation,
    version: String,
    command: Vec<OsString>,
    limits: Limits,
}

impl Sandbox {
    /// Finds Python and the strongest isolation that proves itself within `limits`.
    pub fn find(limits: Limits) -> Result<Self, Error> {
        let ways = Isolation::all();
        let mut tried = Vec::new();
        let pythons = if ways.is_empty() { Vec::new() } else { Python::all() };
        if pythons.is_empty() && !ways.is_empty() {
            return Err(Error::NoPython);
        }
        for &isolation in ways {
            for python in &pythons {
                let proven = isolation.command(python, &limits).and_then(|command| {
                    let sandbox = Self { isolation, version: python.version.clone(), command, limits };
                    sandbox.prove().map(|()| sandbox)
                });
                match proven {
                    Ok(sandbox) => return Ok(sandbox),
                    Err(reason) => tried.push(format!("{}: {reason}", isolation.name())),
                }
            }
        }
        tried.dedup();
        Err(refusal(&tried))
    }

    /// What programs run under, in one line.
    pub fn describe(&self) -> String {
        let Limits { seconds, memory_bytes, .. } = self.limits;
        let mebibytes = memory_bytes >> 20;
        format!(
            "Python {} under {}: no network, no files, {seconds} s, {mebibytes} MiB a process",
            self.version,
            self.isolation.name()
        )
    }

    /// Runs a program to its end. An error says nothing about the program: it is undecided.
    pub fn run_python(&self, program: &str) -> Result<Outcome, Error> {
        let secret = secret();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(["-s", "-S", "-c", HARNESS]).current_dir("/").env_clear();
        // A fixed hash seed: the order of sets is the same on every run.
        command.envs([("PATH", TOOLS_PATH), ("HOME", "/tmp"), ("PYTHONHASHSEED", "0"), ("PYTHONUTF8", "1")]);
        let bounds = Bounds {
            time: Duration::from_secs(self.limits.seconds.into()),
            output_bytes: self.limits.output_bytes,
            resident_bytes: self.isolation.watches_memory().then_some(self.limits.memory_bytes),
        };
        let finished = child::run(command, format!("{secret}\n{program}"), &bounds)
            .map_err(|error| self.broken(error.to_string()))?;
        self.judge(&secret, finished)
    }

    fn judge(&self, secret: &str, finished: Finished) -> Result<Outcome, Error> {
        let Finished { end, stdout, stderr: output } = finished;
        // The harness is the first to write there. A program that floods its words away has itself to blame.
        if stdout.is_empty() {
            let how = match end {
                End::OutOfTime => format!("Python did not start within {} s", self.limits.seconds),
                End::OutOfMemory => "Python did not start within its memory".into(),
                End::Exited(status) => status.to_string(),
            };
            return Err(self.broken(format!("{how}: {}", output.trim())));
        }
        let said = stdout.lines().filter_map(|line| line.strip_prefix(secret)?.strip_prefix(' ')).next_back();
        Ok(match (end, said.unwrap_or_default()) {
            (End::OutOfTime, _) => Outcome::TimedOut { output },
            (End::OutOfMemory, _) => Outcome::Crashed { reason: "out of memory".into(), output },
            (End::Exited(status), "pass") if status.success() => Outcome::Passed,
            (End::Exited(status), said) => match said.strip_prefix("fail ") {
                Some(reason) => Outcome::Failed { reason: reason.to_string(), output },
                None => ended_early(status, output),
            },
        })
    }

    fn broken(&self, reason: String) -> Error {
        Error::Broken { name: self.isolation.name(), reason }
    }

    /// Tries to get out. The error says what gave way.
    fn prove(&self) -> Result<(), String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("no port to probe: {error}"))?;
        let port = listener.local_addr().map_err(|error| format!("no port to probe: {error}"))?.port();
        let file = std::env::temp_dir().join(format!("underdog-probe-{}", secret()));
        let shown = file.to_str().ok_or("the temporary folder's name is not UTF-8")?;
        std::fs::write(&file, "").map_err(|error| format!("cannot write {shown}: {error}"))?;
        // Seatbelt leaves reading open; elsewhere the file must not even be there.
        let mode = if self.isolation == Isolation::Seatbelt { "w" } else { "r" };
        let outcome = self.run_python(&probe(port, shown, mode));
        let _ = std::fs::remove_file(&file);
        match outcome {
            Err(Error::Broken { reason, .. }) => return Err(reason),
            Ok(Outcome::Passed) => {}
            other => return Err(format!("its probe did not pass: {other:?}")),
        }
        let hog = format!("held = b'x' * {}\nimport time\ntime.sleep(0.6)", self.limits.memory_bytes);
        match self.run_python(&hog).map_err(|error| error.to_string())? {
            Outcome::Crashed { .. } => Ok(()),
            Outcome::Failed { reason, .. } if reason.starts_with("MemoryError") => Ok(()),
            other => Err(format!("memory is not limited: {other:?}")),
        }
    }
}

/// Fails unless connections and opening `file` are refused.
fn probe(port: u16, file: &str, mode: &str) -> String {
    let refused = |what: &str, open: &str| {
        format!("try:\n    {what}\nexcept OSError:\n    pass\nelse:\n    raise RuntimeError('{open} open')\n")
    };
    let connect = refused(&format!("socket.create_connection(('127.0.0.1', {port}), 1)"), "the network is");
    format!("import socket\n{connect}{}", refused(&format!("open({file:?}, {mode:?}).close()"), "files outside are"))
}

fn ended_early(status: ExitStatus, output: String) -> Outcome {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    // The tools that start the interpreter report its signal as a shell does.
    match signal.or_else(|| status.code().filter(|code| (129..160).contains(code)).map(|code| code - 128)) {
        Some(signal) => Outcome::Crashed { reason: format!("killed by signal {signal}"), output },
        None => Outcome::Failed { reason: format!("it ended before its tests did ({status})"), output },
    }
}

fn refusal(tried: &[String]) -> Error {
    let (tried, advice) = if cfg!(target_os = "linux") {
        (tried.join("; "), "install bubblewrap 0.7 or later and allow unprivileged user namespaces")
    } else if cfg!(target_os = "macos") {
        (tried.join("; "), "run code tasks on Linux")
    } else {
        ("this system has no sandbox that is supported".into(), "run code tasks on Linux, for instance under WSL 2")
    };
    Error::NoIsolation { tried, advice }
}

/// 128 bits that the system's randomness seeded.
fn secret() -> String {
    let half = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", half(), half())
}
