//! Failures as HTTP: `application/problem+json` (RFC 9457), written in one place.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::fault::{Code, Fault};
use crate::http::upload;
use crate::request_id::RequestId;

/// The media type of every failure.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A failure, as RFC 9457 has it. Members beyond these are facts about the failure, such as the bound that was crossed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The page that explains this kind of failure.
    #[serde(rename = "type")]
    #[schema(example = "/problems/unsupported-image-format")]
    pub kind: String,
    /// The kind of failure in a few words; always the same for a code.
    #[schema(example = "The image format is not supported")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 415)]
    pub status: u16,
    /// What failed, the value found, the bound, the way out.
    #[schema(example = "The upload looks like HEIC. Send JPEG, PNG, WebP, GIF, BMP or TIFF.")]
    pub detail: String,
    /// A stable name to branch on.
    #[schema(example = "UNSUPPORTED_IMAGE_FORMAT")]
    pub code: String,
    /// The request's id, as in the X-Request-Id header and in the log.
    #[schema(example = "019ab3e0-5c2e-7d31-b3f4-6a0c1c2d3e4f")]
    pub request_id: String,
    /// Which inputs are wrong, where inputs are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldProblem>,
    /// Facts.
    #[serde(flatten)]
    #[schema(ignore)]
    pub facts: Map<String, Value>,
}

/// One wrong input.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FieldProblem {
    /// The option's name.
    #[schema(example = "min_score")]
    pub field: String,
    /// What was found and what is allowed.
    #[schema(example = "min_score is '2'; it must be a number from 0 to 1, such as 0.5.")]
    pub detail: String,
}

impl Problem {
    /// The public half of a fault.
    pub(super) fn new(fault: &Fault, request_id: &RequestId) -> Self {
        let row = fault.code().row();
        let error = |error: &crate::fault::FieldError| FieldProblem {
            field: error.field.clone(),
            detail: error.detail.clone(),
        };
        Self {
            kind: format!("/problems/{}", fault.code().slug()),
            title: row.title.to_owned(),
            status: row.status,
            detail: fault.detail().to_owned(),
            code: row.name.to_owned(),
            request_id: request_id.to_string(),
            errors: fault.errors().iter().map(error).collect(),
            facts: fault.facts().clone(),
        }
    }
}

impl IntoResponse for Fault {
    /// The status, with the fault attached: the outermost layer knows the request's id and writes the body.
    fn into_response(self) -> Response {
        let mut response = status(self.code()).into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// The whole answer for a fault; headers that the failing layer had set, such as Allow, stay.
pub(super) fn render(mut failed: Response, fault: &Fault, request_id: &RequestId) -> Response {
    let mut response = (status(fault.code()), Json(Problem::new(fault, request_id))).into_response();
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE] {
        failed.headers_mut().remove(name);
    }
    let own = std::mem::take(failed.headers_mut());
    response.headers_mut().extend(own);
    *response.extensions_mut() = std::mem::take(failed.extensions_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if fault.code() == Code::UnsupportedEncoding {
        // Which ones are read (RFC 9110, 15.5.16).
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(upload::ACCEPTED_ENCODINGS));
    }
    if let Some(seconds) = fault.retry_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The fault behind a failed answer: the one attached, or the one that says what the framework meant.
pub(super) fn fault_of(response: &Response) -> Option<Arc<Fault>> {
    if let Some(fault) = response.extensions().get::<Arc<Fault>>() {
        return Some(Arc::clone(fault));
    }
    let status = response.status();
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (Code::NotFound, "There is no such route. GET /docs lists every route."),
        StatusCode::METHOD_NOT_ALLOWED => {
            (Code::MethodNotAllowed, "This route does not take this method; the Allow header lists those it takes.")
        }
        status if status.is_client_error() => (Code::InvalidRequest, "The request cannot be read."),
        status if status.is_server_error() => (Code::Internal, "Something broke in spotter."),
        _ => return None,
    };
    Some(Arc::new(Fault::new(code, detail).caused_by(format!("the framework answered {status}"))))
}

pub(super) fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.row().status).expect("the table holds valid statuses")
}
