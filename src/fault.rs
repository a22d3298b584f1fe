//! A failure, as it happened. What can fail is in [`Code`].
//!
//! A [`Fault`] has two halves. The public half (code, detail, facts) is written for the client: what failed, the value
//! found, the bound, the way out. The private half is the cause, an error chain for the log; it may hold what the model
//! server said and never reaches a client.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Map, Value};

mod code;

pub use code::{Code, Row};

/// One failure, as it happened.
///
/// `Display` says the public detail and never the cause; the cause is [`Error::source`].
#[derive(Debug, Clone)]
pub struct Fault(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: String,
    facts: Map<String, Value>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// Which input a failure is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The option's name.
    pub field: String,
    /// What was found and what is allowed.
    pub detail: String,
}

impl Fault {
    /// A failure with its public text.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            facts: Map::new(),
            errors: Vec::new(),
            retry_after: None,
            cause: None,
        }))
    }

    /// A defect of ours: the public text says only that, the cause goes to the log.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "Something broke in spotter. The log holds the cause under this request id.")
            .caused_by(cause)
    }

    /// A panic, as a failure like any other; the panic's own text goes to the log.
    pub fn panic(panic: &(dyn Any + Send)) -> Self {
        let text =
            panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
        Self::internal(format!("panic: {}", text.as_deref().unwrap_or("of an unknown kind")))
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    /// Adds a machine-readable fact to the answer, such as the bound that was crossed.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Tells the client when to try again; whole seconds are sent, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// One bad input or several, as a single failure.
    pub fn invalid_options(errors: Vec<FieldError>) -> Self {
        let detail = errors.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join(" ");
        let mut fault = Self::new(Code::InvalidOption, detail);
        fault.0.errors = errors;
        fault
    }

    /// What failed.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The public text.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Machine-readable facts beside the text.
    pub fn facts(&self) -> &Map<String, Value> {
        &self.0.facts
    }

    /// The inputs that are wrong, where the failure is about inputs.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// When trying again makes sense.
    pub fn retry_wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The same in whole seconds, rounded up, as Retry-After has it.
    pub fn retry_seconds(&self) -> Option<u64> {
        self.retry_wait().map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// The private cause with everything behind it, for the log: `outer: inner: innermost`.
    pub fn cause_chain(&self) -> Option<String> {
        self.source().map(chain)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// What the work comes to. A panic in it is a failure of this work alone, and not of what it is done beside.
///
/// # Errors
/// The work's own, and `INTERNAL` for a panic.
pub async fn unless_panicked<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    // What the work was at is given up with it.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(Fault::panic(panic.as_ref())))
}

/// An error and everything behind it, each text once: `outer: inner: innermost`.
pub fn chain(error: &dyn Error) -> String {
    let mut said = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        // Layers of a client often say what the one below has said already.
        if !said.contains(&text) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stays_out_of_the_public_text() {
        let fault = Fault::new(Code::ModelContract, "public").caused_by("node name {{secret}}");
        assert_eq!(fault.to_string(), "public");
        assert_eq!(fault.cause_chain().as_deref(), Some("node name {{secret}}"));
    }

    #[test]
    fn what_several_layers_say_is_said_once() {
        let innermost = Fault::new(Code::ModelUnavailable, "refused");
        let again = Fault::new(Code::ModelUnavailable, "cannot connect").caused_by(innermost);
        let outer = Fault::new(Code::ModelUnavailable, "cannot connect").caused_by(again);
        assert_eq!(chain(&outer), "cannot connect: refused");
    }
}
