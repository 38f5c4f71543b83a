//! The `underdog` program: see `underdog --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    underdog::cli::main()
}
