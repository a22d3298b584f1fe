//! Every way a request can fail: one row a failure.
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

/// What failed, as a stable name that clients may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table below says what each one means")]
pub enum Code {
    MissingImage,
    InvalidBase64,
    InvalidJson,
    InvalidMultipart,
    InvalidRequest,
    Unauthorized,
    NotFound,
    UnknownModel,
    UnknownVersion,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    UploadTimeout,
    PayloadTooLarge,
    BatchTooLarge,
    ImageTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    UnsupportedEncoding,
    UnsupportedImageFormat,
    UnreadableImage,
    InvalidOption,
    ImageUrlRefused,
    ImageUrlFailed,
    RateLimited,
    HeadTooLarge,
    Internal,
    ModelContract,
    ModelUnavailable,
    Overloaded,
    Draining,
    ModelDeadline,
    DeadlineExceeded,
}

/// What is fixed about a failure.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The stable name, as it stands in JSON, logs and docs.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A short text that is the same for every occurrence (RFC 9457, 3.1.3).
    pub title: &'static str,
    /// What it means and what to do about it; shown on the failure's own page.
    pub help: &'static str,
}

impl Code {
    /// Every failure, in the order of its status.
    pub const ALL: [Self; 33] = [
        Self::MissingImage,
        Self::InvalidBase64,
        Self::InvalidJson,
        Self::InvalidMultipart,
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::NotFound,
        Self::UnknownModel,
        Self::UnknownVersion,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::UploadTimeout,
        Self::PayloadTooLarge,
        Self::BatchTooLarge,
        Self::ImageTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::UnsupportedEncoding,
        Self::UnsupportedImageFormat,
        Self::UnreadableImage,
        Self::InvalidOption,
        Self::ImageUrlRefused,
        Self::ImageUrlFailed,
        Self::RateLimited,
        Self::HeadTooLarge,
        Self::Internal,
        Self::ModelContract,
        Self::ModelUnavailable,
        Self::Overloaded,
        Self::Draining,
        Self::ModelDeadline,
        Self::DeadlineExceeded,
    ];

    /// The table.
    pub const fn row(self) -> Row {
        let (name, status, title, help) = match self {
            Self::MissingImage => (
                "MISSING_IMAGE",
                400,
                "No image in the request",
                "Send the photo as multipart part `image`, as JSON field `image` (base64) or as the raw body.",
            ),
            Self::InvalidBase64 => (
                "INVALID_BASE64",
                400,
                "The image is not valid base64",
                "Encode the file's bytes as base64 (standard or URL-safe alphabet, padding optional), alone or as a data: URI.",
            ),
            Self::InvalidJson => (
                "INVALID_JSON",
                400,
                "The body is not valid JSON",
                "Send one JSON object; the detail names line and column.",
            ),
            Self::InvalidMultipart => (
                "INVALID_MULTIPART",
                400,
                "The multipart body is malformed",
                "Let the HTTP client build the form: it writes the boundary into Content-Type by itself.",
            ),
            Self::InvalidRequest => {
                ("INVALID_REQUEST", 400, "The request is malformed", "The detail says which part cannot be read.")
            }
            Self::Unauthorized => (
                "UNAUTHORIZED",
                401,
                "A key is needed",
                "Send one of the service's keys as `Authorization: Bearer <key>` or as `X-API-Key: <key>`. Whoever runs the service gives them out.",
            ),
            Self::NotFound => ("NOT_FOUND", 404, "No such route", "GET /docs lists every route."),
            Self::UnknownModel => ("UNKNOWN_MODEL", 404, "No such model", "GET /v1/models lists the models."),
            Self::UnknownVersion => (
                "UNKNOWN_VERSION",
                404,
                "No such version of the model",
                "GET /v1/models/{model} lists the versions and their states.",
            ),
            Self::MethodNotAllowed => (
                "METHOD_NOT_ALLOWED",
                405,
                "The route does not take this method",
                "The Allow header lists the methods it takes.",
            ),
            Self::NotAcceptable => (
                "NOT_ACCEPTABLE",
                406,
                "No answer in the accepted media types",
                "Accept application/json for boxes, image/jpeg or image/png for the annotated photo.",
            ),
            Self::RequestTimeout => (
                "REQUEST_TIMEOUT",
                408,
                "The request's head took too long",
                "Send the request line and the headers at once, within --head-timeout-ms.",
            ),
            Self::UploadTimeout => (
                "UPLOAD_TIMEOUT",
                408,
                "The upload took too long",
                "The body paused for longer than --upload-pause-ms, or did not arrive before the request's deadline. Send a smaller photo, or raise --request-timeout-ms.",
            ),
            Self::PayloadTooLarge => {
                ("PAYLOAD_TOO_LARGE", 413, "Too many bytes", "Send a smaller file, or raise --max-image-bytes.")
            }
            Self::BatchTooLarge => (
                "BATCH_TOO_LARGE",
                413,
                "Too many photos in one batch",
                "Send several smaller batches, or raise --max-batch-photos.",
            ),
            Self::ImageTooLarge => (
                "IMAGE_TOO_LARGE",
                413,
                "Too many pixels",
                "Send the photo at a smaller size, or raise --max-image-pixels. It is decided from the header, before any pixel is decoded.",
            ),
            Self::UriTooLong => (
                "URI_TOO_LONG",
                414,
                "The request's target is too long",
                "A target has up to 65534 bytes; options may be sent in the body.",
            ),
            Self::UnsupportedMediaType => (
                "UNSUPPORTED_MEDIA_TYPE",
                415,
                "The request form is not one of the three",
                "Send multipart/form-data, application/json, or the raw image as image/* or application/octet-stream.",
            ),
            Self::UnsupportedEncoding => (
                "UNSUPPORTED_ENCODING",
                415,
                "The body is compressed in a way that is not read",
                "Send the body as it is, or with Content-Encoding gzip or deflate.",
            ),
            Self::UnsupportedImageFormat => (
                "UNSUPPORTED_IMAGE_FORMAT",
                415,
                "The image format is not supported",
                "Send JPEG, PNG, WebP, GIF, BMP or TIFF. The format is recognised by the bytes, not by name or declared type.",
            ),
            Self::UnreadableImage => (
                "UNREADABLE_IMAGE",
                422,
                "The image cannot be decoded",
                "The file is truncated or damaged; export it again.",
            ),
            Self::InvalidOption => (
                "INVALID_OPTION",
                422,
                "An option is unknown or out of range",
                "`errors` names each option with its bound.",
            ),
            Self::ImageUrlRefused => (
                "IMAGE_URL_REFUSED",
                422,
                "The photo's address may not be asked",
                "Photos are fetched from public addresses only, by the schemes that --image-url-schemes allows (by default none). Send the photo itself, or an address that anybody on the internet could open.",
            ),
            Self::ImageUrlFailed => (
                "IMAGE_URL_FAILED",
                422,
                "No photo came from the address",
                "The host did not answer, answered something else than the photo, was not who its certificate says, or took too long. Open the address in a browser, or send the photo itself.",
            ),
            Self::RateLimited => (
                "RATE_LIMITED",
                429,
                "Too many requests from one client",
                "Wait as many seconds as Retry-After says. `limited_by` tells whether the key or the address has asked too often; whoever runs the service sets both rates.",
            ),
            Self::HeadTooLarge => (
                "HEAD_TOO_LARGE",
                431,
                "The request's head is too large",
                "The request line and the headers are too large together, or there are too many headers. Send fewer, such as cookies that are not meant for this service, or raise --max-head-bytes.",
            ),
            Self::Internal => (
                "INTERNAL",
                500,
                "Something broke in spotter",
                "It is a defect, not the request's fault. The log holds the cause under the request id.",
            ),
            Self::ModelContract => (
                "MODEL_CONTRACT",
                502,
                "The model server's answer does not fit",
                "The model's signature or its answer is not one spotter understands. `spotter doctor` says what was found; the log holds the model server's own words.",
            ),
            Self::ModelUnavailable => (
                "MODEL_UNAVAILABLE",
                503,
                "The model is not available",
                "The model server cannot be reached or has not loaded the model. Try again after Retry-After; `spotter doctor` finds the reason.",
            ),
            Self::Overloaded => {
                ("OVERLOADED", 503, "Too many requests at once", "Try again after Retry-After, or add replicas.")
            }
            Self::Draining => (
                "DRAINING",
                503,
                "The service is about to stop",
                "It still answers what reaches it; send new requests to another instance.",
            ),
            Self::ModelDeadline => (
                "MODEL_DEADLINE",
                504,
                "The model server did not answer in time",
                "The model is slower than --request-timeout-ms allows, or overloaded.",
            ),
            Self::DeadlineExceeded => (
                "DEADLINE_EXCEEDED",
                504,
                "The request's time ran out",
                "Time ran out while the photo waited for a core or was worked on. The service is busy, or --request-timeout-ms is too short.",
            ),
        };
        Row { name, status, title, help }
    }

    /// The stable name: `UNKNOWN_MODEL`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The name as a path segment: `unknown-model`.
    pub fn slug(self) -> String {
        self.name().to_ascii_lowercase().replace('_', "-")
    }
}

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
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_statuses_ascend() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.is_sorted_by_key(|code| code.row().status));
    }

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
