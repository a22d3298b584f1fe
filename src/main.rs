//! The binary: exit codes only.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(spotter::cli::run(std::env::args_os()))
}
