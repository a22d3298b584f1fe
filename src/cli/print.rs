//! Standard output, which may be a pipe that is closed early.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process;

/// Prints a line. A reader that has seen enough (`spotter openapi | head`) ends the command quietly, as other tools do.
pub(super) fn line(text: impl Display) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("spotter: cannot write to standard output: {error}");
        }
        process::exit(i32::from(error.kind() != ErrorKind::BrokenPipe));
    }
}
