//! Failures as gRPC: a status with the details that google.rpc defines.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;
use serde_json::Value;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::fault::{Code, Fault};
use crate::request_id::RequestId;

/// Whose codes the reasons are.
const DOMAIN: &str = "spotter";

/// Where a call leaves the fault that it failed with, for its line in the log: a gRPC status cannot carry one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failed(Arc<OnceLock<Arc<Fault>>>);

impl Failed {
    /// The call failed with this. The first one is what the caller is told.
    pub(super) fn with(&self, fault: Fault) {
        let _ = self.0.set(Arc::new(fault));
    }

    /// What the call failed with.
    pub(crate) fn get(&self) -> Option<Arc<Fault>> {
        self.0.get().cloned()
    }
}

/// A fault as the status of the whole call; the log line of the call tells it.
pub(super) fn refuse(fault: Fault, request_id: &RequestId, failed: &Failed) -> Status {
    let status = of(&fault, request_id);
    failed.with(fault);
    status
}

/// A whole answer for a fault, where a layer in front of the services refused the call.
pub(crate) fn answer(fault: &Fault, request_id: &RequestId) -> axum::response::Response {
    of(fault, request_id).into_http()
}

/// Whether an answer is over with its head: it has the status, or none will come.
pub(crate) fn has_status(head: &HeaderMap) -> bool {
    head.contains_key(Status::GRPC_STATUS)
}

/// What tonic itself refused, before any method of ours was called or where it read a stream: what it says is about the call's
/// form. The status stands in the head of an answer or in its trailers.
pub(crate) fn refused(status: &HeaderMap) -> Option<Code> {
    let code = tonic::Code::from_bytes(status.get(Status::GRPC_STATUS)?.as_bytes());
    match code {
        tonic::Code::Ok => None,
        tonic::Code::Unimplemented => Some(Code::NotFound),
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => Some(Code::PayloadTooLarge),
        _ => Some(Code::InvalidRequest),
    }
}

/// The public half of a fault.
pub(super) fn of(fault: &Fault, request_id: &RequestId) -> Status {
    let mut details = ErrorDetails::new();
    let facts = fault.facts().iter().map(|(name, value)| (name.clone(), text(value))).collect::<HashMap<_, _>>();
    details.set_error_info(fault.code().name(), DOMAIN, facts);
    details.set_request_info(request_id.as_str(), "");
    if !fault.errors().is_empty() {
        let violation = |error: &crate::fault::FieldError| FieldViolation::new(&*error.field, &*error.detail);
        details.set_bad_request(fault.errors().iter().map(violation).collect::<Vec<_>>());
    }
    if let Some(wait) = fault.retry_wait() {
        details.set_retry_info(Some(wait));
    }
    Status::with_error_details(grpc_code(fault.code()), fault.detail(), details)
}

fn text(fact: &Value) -> String {
    match fact {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a caller may do about it, in gRPC's terms: `UNAVAILABLE` is worth another try, `INVALID_ARGUMENT` is not.
fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::MissingImage
        | Code::InvalidBase64
        | Code::InvalidJson
        | Code::InvalidMultipart
        | Code::InvalidRequest
        | Code::NotAcceptable
        | Code::UriTooLong
        | Code::HeadTooLarge
        | Code::PayloadTooLarge
        | Code::BatchTooLarge
        | Code::ImageTooLarge
        | Code::UnsupportedMediaType
        | Code::UnsupportedEncoding
        | Code::UnsupportedImageFormat
        | Code::UnreadableImage
        | Code::InvalidOption
        | Code::ImageUrlRefused
        | Code::ImageUrlFailed => tonic::Code::InvalidArgument,
        Code::NotFound | Code::MethodNotAllowed => tonic::Code::Unimplemented,
        Code::UnknownModel | Code::UnknownVersion => tonic::Code::NotFound,
        Code::RequestTimeout | Code::UploadTimeout | Code::ModelDeadline | Code::DeadlineExceeded => {
            tonic::Code::DeadlineExceeded
        }
        Code::Unauthorized => tonic::Code::Unauthenticated,
        Code::RateLimited => tonic::Code::ResourceExhausted,
        Code::Internal | Code::ModelContract => tonic::Code::Internal,
        Code::ModelUnavailable | Code::Overloaded | Code::Draining => tonic::Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::FieldError;

    fn id() -> RequestId {
        RequestId::from_caller("r-1").expect("fit")
    }

    #[test]
    fn the_code_the_facts_and_the_wait_are_details_and_the_cause_is_not() {
        let fault = Fault::new(Code::Overloaded, "public")
            .with("queued", 7)
            .retry_after(Duration::from_secs(2))
            .caused_by("node {{secret}}");
        let status = of(&fault, &id());
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "public"));
        let details = status.get_error_details();
        let info = details.error_info().expect("always there");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OVERLOADED", "spotter"));
        assert_eq!(info.metadata["queued"], "7");
        assert_eq!(details.retry_info().expect("given").retry_delay, Some(Duration::from_secs(2)));
        assert_eq!(details.request_info().expect("always there").request_id, "r-1");
        assert!(!format!("{status:?}").contains("secret"));
    }

    #[test]
    fn wrong_options_are_field_violations() {
        let error = FieldError { field: "min_score".to_owned(), detail: "min_score is 7".to_owned() };
        let status = of(&Fault::invalid_options(vec![error]), &id());
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().expect("options are wrong").field_violations[0].field, "min_score");
    }
}
