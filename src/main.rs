//! The binary: exit codes only.

use std::process::ExitCode;

fn main() -> ExitCode {
    spotter::cli::run()
}
