//! The name of one request, the same in its answer, in the log and at the model server.

use std::fmt;
use std::sync::Arc;

/// Visible ASCII, at most 128 characters: fit for a header, a log line and gRPC metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    const MAX_LENGTH: usize = 128;

    /// The caller's own id, where it is fit to be passed on.
    pub fn from_caller(text: &str) -> Option<Self> {
        let fit = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fit.then(|| Self(text.into()))
    }

    /// A new id; ids sort by the time they were made (UUID version 7).
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_ascii_of_bounded_length_is_passed_on() {
        assert_eq!(RequestId::from_caller("abc-123").expect("fit").as_str(), "abc-123");
        for unfit in ["", "two words", "läuft", "a\nb", &"x".repeat(129)] {
            assert_eq!(RequestId::from_caller(unfit), None, "{unfit:?}");
        }
    }
}
