//! Which version of a model is meant, and in which state a version is.

use std::fmt;

/// The version that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum VersionChoice {
    /// Whatever the backend considers the latest that is loaded.
    #[default]
    Latest,
    /// This one.
    Number(i64),
    /// The one that the model server's configuration has given this label, such as `stable`.
    Label(String),
}

impl fmt::Display for VersionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest version"),
            Self::Number(number) => write!(f, "version {number}"),
            Self::Label(label) => write!(f, "version label '{label}'"),
        }
    }
}

/// Where a version stands in its life. The states are TensorFlow Serving's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum State {
    Unknown,
    Start,
    Loading,
    Available,
    Unloading,
    End,
}

impl State {
    /// `AVAILABLE`
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Start => "START",
            Self::Loading => "LOADING",
            Self::Available => "AVAILABLE",
            Self::Unloading => "UNLOADING",
            Self::End => "END",
        }
    }
}

/// A version and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionStatus {
    /// The version's number.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// Why loading failed, in the model server's words: for the operator, not for clients.
    pub error: Option<String>,
}
