//! What is wrong with the settings, all of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file and the line, from 1, where it stands in one.
    pub place: Option<(PathBuf, usize)>,
    /// The thing, the value found and the bound.
    pub what: String,
}

impl Mistake {
    /// A mistake in a file.
    pub(super) fn in_file(path: &Path, line: usize, what: String) -> Self {
        Self { place: Some((path.to_owned(), line)), what }
    }
}

impl fmt::Display for Mistake {
    /// `spotter.toml:12: max_side is 5; it must be …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((path, line)) => write!(f, "{}:{line}: {}", path.display(), self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Everything that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    /// One a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}
