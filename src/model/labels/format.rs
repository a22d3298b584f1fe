//! The kinds of label map files.

use std::path::Path;

/// How a label map is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelFormat {
    /// TensorFlow's label map: a `StringIntLabelMap` in protobuf's text format.
    ///
    /// ```text
    /// item { id: 1 name: "/m/01g317" display_name: "person" }
    /// ```
    ///
    /// `display_name` wins over `name`, the first item wins over a later one with the same id, and an item without a
    /// name is called `class_N`. Unknown fields are skipped, so that newer label maps can be read. A byte order mark is
    /// refused, because TensorFlow's own tools refuse it.
    Pbtxt,
    /// One label a line, counted from 1, or from 0 if the first line is `background` or `???`.
    ///
    /// A line that is empty, `???` or `N/A` leaves a gap. Empty lines at the end and a byte order mark at the start are
    /// ignored.
    Txt,
    /// One of
    ///
    /// ```json
    /// {"1": "person", "2": "bicycle"}
    /// ["person", "bicycle"]
    /// [{"id": 1, "name": "/m/01g317", "display_name": "person"}]
    /// ```
    ///
    /// The second is numbered like the lines of a `.txt`, with `null` as a further way to leave a gap. Two entries with
    /// one id are an error. A byte order mark at the start is ignored.
    Json,
}

impl LabelFormat {
    /// The format that goes with the extension of `path`, in upper or lower case.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "pbtxt" => Some(Self::Pbtxt),
            "txt" => Some(Self::Txt),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}
