//! The tables of docs/RELIABILITY.md and docs/SECURITY.md name a test for every row, and each of them exists.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use crate::support::repo;

/// Where a file that a table names may be.
const FOLDERS: [&str; 4] = ["tests/it", "tests", "src", ""];

/// Every file of these kinds below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // What checks images that were built runs after the build, and not in `make test`.
    let entries = entries.filter(|path| !path.ends_with("tests/images"));
    let files = entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|kind| kind == "rs" || kind == "py")).collect()
}

/// The rows of tables whose last column is `test`: the first cell, and the last.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let mut rows = Vec::new();
    let mut is_in_table = false;
    for line in text.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            _ if !line.starts_with('|') => is_in_table = false,
            [.., "test"] => is_in_table = true,
            [first, .., last] if is_in_table && !first.starts_with("---") => rows.push((first, last)),
            _ => {}
        }
    }
    rows
}

/// What stands between backticks.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether the text has a test of that name which is run: a function of pytest, or one of Rust's with the attribute that makes
/// it a test and without the one that skips it.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_run = |index: usize| {
        let above = || lines[..index].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let is_test = above().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
        is_test && !above().any(|line| line.starts_with("#[ignore"))
    };
    let (python, rust) = (format!("def {name}("), format!("fn {name}("));
    lines.iter().enumerate().any(|(index, line)| {
        (name.starts_with("test_") && line.starts_with(&python)) || (line.contains(&rust) && is_run(index))
    })
}

#[test]
fn what_is_no_test_or_is_not_run_is_no_proof() {
    let text = "#[test]\n#[ignore = \"slow\"]\nfn skipped() {}\n#[tokio::test]\n/// Why.\nasync fn run() {}\n\
                fn plain() {}\n\ndef test_it(x):\ndef other(x):\n";
    let found = ["skipped", "run", "plain", "test_it", "other"].map(|name| has_test(text, name));
    assert_eq!(found, [false, true, false, true, false]);
}

#[track_caller]
fn assert_tests_exist(document: &str, least_rows: usize) {
    let everything: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| files_below(&repo(folder)))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let text = fs::read_to_string(repo(document)).unwrap();
    let rows = rows(&text);
    assert!(rows.len() >= least_rows, "{} rows were found in {document}", rows.len());
    let mut mistakes = Vec::new();
    for (row, cell) in rows {
        if cell == "the same" || cell.starts_with("the first of the same") {
            continue;
        }
        let (mut source, mut named) = (None, 0);
        for code in code(cell) {
            let is_file = Path::new(code).extension().is_some_and(|kind| kind == "rs" || kind == "py");
            if is_file {
                let path = FOLDERS.iter().map(|folder| repo(folder).join(code)).find(|path| path.is_file());
                match path {
                    Some(path) => source = Some(fs::read_to_string(path).unwrap()),
                    None => mistakes.push(format!("{row}: there is no file {code}")),
                }
                // What takes minutes is a program, not a test.
                named += usize::from(code.contains("soak/"));
            } else if !code.starts_with("make ") {
                named += 1;
                let found = source.as_ref().map_or(has_test(&everything, code), |source| has_test(source, code));
                mistakes.extend(iter::once(format!("{row}: there is no test {code}")).filter(|_| !found));
            }
        }
        if named == 0 {
            mistakes.push(format!("{row}: no test is named"));
        }
    }
    assert!(mistakes.is_empty(), "{document}\n{}", mistakes.join("\n"));
}

#[test]
fn every_fault_in_the_documents_has_a_test_that_exists() {
    assert_tests_exist("docs/RELIABILITY.md", 60);
    assert_tests_exist("docs/SECURITY.md", 30);
}
