//! A configuration file: refused with the line of every mistake, or read.

use std::path::Path;

use spotter::config;

/// Reads the bytes as the text of a file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/etc/spotter/spotter.toml");
    // What is missing at the end is missing on the line after the last line break.
    let lines = 1..=1 + text.matches('\n').count();
    match config::parse(path, text) {
        Ok(file) => {
            for model in &file.models {
                assert!(!model.name.is_empty(), "a model without a name");
                assert!(model.line.is_some_and(|line| lines.contains(&line)), "{model:?}");
            }
        }
        Err(config::Mistakes(mistakes)) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            for mistake in mistakes {
                let (_, line) = mistake.place.as_ref().expect("every mistake in a file has its line");
                assert!(lines.contains(line), "{mistake}");
            }
        }
    }
}
