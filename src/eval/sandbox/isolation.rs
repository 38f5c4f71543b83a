//! The command lines that shut a program in: bubblewrap, bare namespaces, or macOS's Seatbelt.
//!
//! It only writes command lines and looks for files; whether one works here is found out by running it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Bounds, End};
use super::limits::Limits;

/// Processes and threads a program may have at once.
const PROCESSES: usize = 16;
/// Bytes of all files it may write, in memory.
const FILES_BYTES: u64 = 64 << 20;
/// Searched for the tools that run inside.
pub(super) const TOOLS_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

const ENTER: &str = include_str!("enter.sh");

/// Reads are open but for the network; no writing, and no second process, which also rules out a shell.
const SEATBELT: &str = "(version 1)(allow default)(deny network*)(deny process-fork)(deny file-write*)\
                        (allow file-write-data (literal \"/dev/null\"))(deny signal)(allow signal (target self))";

/// A Python interpreter outside of any virtual environment, with its standard library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    executable: PathBuf,
    prefix: PathBuf,
    pub(super) version: String,
}

impl Python {
    /// The interpreters worth trying, the user's own first.
    pub(super) fn all() -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for program in which("python3").into_iter().chain([PathBuf::from("/usr/bin/python3")]) {
            if let Some(python) = Self::ask(&program)
                && !found.contains(&python)
            {
                found.push(python);
            }
        }
        found
    }

    fn ask(program: &Path) -> Option<Self> {
        const QUESTION: &str = "import os, sys, platform\n\
             print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))\n\
             print(os.path.realpath(sys.base_prefix))\nprint(platform.python_version())";
        let mut command = Command::new(program);
        command.args(["-I", "-S", "-c", QUESTION]);
        let bounds = Bounds { time: Duration::from_secs(20), output_bytes: 1 << 14, resident_bytes: None };
        let answer = child::run(command, String::new(), &bounds).ok()?;
        let End::Exited(status) = answer.end else { return None };
        let mut lines = answer.stdout.lines();
        let python =
            Self { executable: lines.next()?.into(), prefix: lines.next()?.into(), version: lines.next()?.into() };
        status.success().then_some(python)
    }
}

/// A way to shut a program in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// `bwrap`, 0.7 or later.
    Bubblewrap,
    /// `unshare`, `mount`, `chroot` and `setpriv` of util-linux and coreutils: the same namespaces, built by hand.
    Namespaces,
    /// `sandbox-exec`.
    Seatbelt,
}

impl Isolation {
    /// The ways this system may have, the strongest first.
    pub(super) fn all() -> &'static [Self] {
        if cfg!(target_os = "linux") {
            &[Self::Bubblewrap, Self::Namespaces]
        } else if cfg!(target_os = "macos") {
            &[Self::Seatbelt]
        } else {
            &[]
        }
    }

    /// What it is called when it is spoken of.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Namespaces => "namespaces (unshare)",
            Self::Seatbelt => "sandbox-exec",
        }
    }

    /// Whether memory is policed by us, since the system enforces no limit.
    pub(super) fn watches_memory(self) -> bool {
        self == Self::Seatbelt
    }

    /// The command line that runs `python` shut in; the interpreter's arguments follow it. The error says what is missing.
    pub(super) fn command(self, python: &Python, limits: &Limits) -> Result<Vec<OsString>, String> {
        let mut line = Line::default();
        match self {
            Self::Bubblewrap => {
                let bwrap = tool("bwrap")?;
                line.unprivileged()?;
                line.add([bwrap]).add(["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
                for folder in system_folders(python) {
                    line.add(["--ro-bind"]).add([&folder, &folder]);
                }
                line.add(["--dev", "/dev", "--remount-ro", "/dev"]);
                line.add(["--size", &FILES_BYTES.to_string(), "--tmpfs", "/tmp", "--remount-ro", "/"]);
                line.add(["--chdir", "/tmp", "--"]).limited(limits)?;
            }
            Self::Namespaces => {
                let (unshare, setpriv) = (tool("unshare")?, inner_tool("setpriv")?);
                line.unprivileged()?;
                // Unlike bwrap, unshare does not end with the process that waits for it.
                line.add([tool("setpriv")?]).add(["--pdeathsig=KILL", "--"]);
                line.add([unshare]).add(["--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts"]);
                line.add(["--fork", "--kill-child", "--", "/bin/sh", "-c", ENTER, "enter", &FILES_BYTES.to_string()]);
                line.add(system_folders(python)).add(["/dev/null", "/dev/zero", "/dev/urandom", "--"]).add([setpriv]);
                line.add(["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]).limited(limits)?;
            }
            Self::Seatbelt => {
                let limit = format!("ulimit -c 0; ulimit -f 0; ulimit -t {}; exec \"$@\"", cpu_seconds(limits));
                line.add([tool("sandbox-exec")?]).add(["-p", SEATBELT, "/bin/sh", "-c", &limit, "limited"]);
            }
        }
        line.add([&python.executable]);
        Ok(line.0)
    }
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> &mut Self {
        self.0.extend(words.into_iter().map(Into::into));
        self
    }

    /// Root becomes nobody first: the kernel does not count root's processes, nor does it hold back root's hand.
    fn unprivileged(&mut self) -> Result<(), String> {
        if is_root() {
            self.add([tool("setpriv")?]).add(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        }
        Ok(())
    }

    fn limited(&mut self, limits: &Limits) -> Result<(), String> {
        let (memory, cpu) = (limits.memory_bytes, cpu_seconds(limits));
        self.add([inner_tool("prlimit")?]).add([format!("--as={memory}"), format!("--cpu={cpu}")]);
        self.add([format!("--fsize={FILES_BYTES}"), format!("--nproc={PROCESSES}")]);
        self.add(["--nofile=64", "--core=0", "--"]);
        Ok(())
    }
}

/// A backstop only: the clock on the wall comes first.
fn cpu_seconds(limits: &Limits) -> u32 {
    limits.seconds.saturating_add(1)
}

/// Every folder that the interpreter and its libraries lie in, and nothing of the user's.
fn system_folders(python: &Python) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store"]
        .iter()
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir())
        .collect();
    if !folders.iter().any(|folder| python.prefix.starts_with(folder)) {
        folders.push(python.prefix.clone());
    }
    folders
}

fn is_root() -> bool {
    #[cfg(unix)]
    return std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    #[cfg(not(unix))]
    false
}

fn tool(name: &str) -> Result<PathBuf, String> {
    which(name).ok_or_else(|| format!("{name} is not on the PATH"))
}

/// A tool that runs inside, where only the system's folders are.
fn inner_tool(name: &str) -> Result<PathBuf, String> {
    search(name, TOOLS_PATH.as_ref()).ok_or_else(|| format!("{name} is in none of {TOOLS_PATH}"))
}

/// The file that a command's name stands for, searched on the PATH unless it names a folder itself.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    if Path::new(name).components().count() > 1 {
        return Path::new(name).is_file().then(|| name.into());
    }
    search(name, &std::env::var_os("PATH")?)
}

fn search(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file() || file.with_extension("exe").is_file())
}
