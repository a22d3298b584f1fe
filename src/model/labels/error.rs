//! Why a label map was refused.

use std::io;
use std::path::PathBuf;

use super::MAX_FILE_BYTES;

/// What is wrong in a label map, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct LabelError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was found, what was expected, and the way out.
    pub message: String,
}

impl LabelError {
    /// An error at a place given in bytes from the start of `text`.
    pub(super) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: line_of(text, offset), column: before[line_start..].chars().count() + 1, message: message.into() }
    }
}

/// The line, from 1, of a place given in bytes from the start of `text`.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Why a label map file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file's name does not say which format it is in.
    #[error(
        "the label map {} has none of the known extensions; name it .pbtxt (TensorFlow's label map), .txt (one label a \
         line) or .json",
        .0.display()
    )]
    Format(PathBuf),

    /// The file cannot be read.
    #[error("the label map {} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error(
        "the label map {} is larger than {} MiB; it is probably another kind of file",
        .0.display(),
        MAX_FILE_BYTES >> 20
    )]
    TooLarge(PathBuf),

    /// The file was read, but it is not a label map.
    #[error("the label map {} is not valid", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it, and where.
        source: LabelError,
    },
}
