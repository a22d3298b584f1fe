//! What the README says about settings is what the program does. Its commands are run end to end (tests/e2e).

use std::fmt::Write;

use clap::{Args, Command};
use spotter::config::{self, Settings};

use crate::support::repo;

#[test]
fn the_settings_table_is_complete_and_true() {
    let mut table = String::from("| flag | variable | default | what |\n|---|---|---|---|\n");
    let command = Settings::augment_args(Command::new("spotter"));
    let matches = command.get_matches_from(["spotter"]);
    for row in config::rows(&matches, None) {
        let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
        writeln!(table, "| `{}` | `{}` | {default} | {} |", row.flag, row.env, row.help).unwrap();
    }
    let readme = std::fs::read_to_string(repo("README.md")).unwrap();
    assert!(readme.contains(&table), "the README's settings table should be:\n{table}");
}
