//! The outermost layer: gives every request an id and a deadline, every failure its body, and the log its one line.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::access::key_ring::KeyName;
use crate::backend::Call;
use crate::deadline::Deadline;
use crate::detect::Timings;
use crate::fault::Fault;
use crate::grpc;
use crate::http::server_timing::{self, SERVER_TIMING};
use crate::http::{problem, request_timeout};
use crate::request_id::RequestId;
use crate::service::Service;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps everything else.
pub(super) async fn context(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let caller = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let request_id = caller.and_then(RequestId::from_caller).unwrap_or_else(RequestId::generate);
    let asked = request_timeout::asked(request.headers());
    let own = service.request_timeout;
    let deadline = Deadline::after(asked.as_ref().ok().copied().flatten().map_or(own, |asked| asked.min(own)));
    request.extensions_mut().insert(Call { deadline, request_id: request_id.clone() });
    let failed = grpc::Failed::default();
    request.extensions_mut().insert(failed.clone());
    let dialect = Dialect::of(request.headers());

    let method = request.method().clone();
    // The pattern, not the path: a path is the client's own text and of any length.
    let route = match grpc::method(request.uri().path()) {
        Some(method) => method.to_owned(),
        None => request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned(),
    };
    let span = tracing::info_span!("request", %request_id);
    let mut response = match asked {
        Ok(_) => next.run(request).instrument(span.clone()).await,
        Err(fault) => fault.into_response(),
    };

    let mut fault = problem::fault_of(&response);
    if let Some(fault) = &fault {
        response = match dialect {
            Dialect::Problem => problem::render(response, fault, &request_id),
            Dialect::Grpc => grpc::answer(fault, &request_id),
        };
    }
    fault = fault.or_else(|| failed.get());
    let id = HeaderValue::from_str(request_id.as_str()).expect("a request id is visible ASCII");
    response.headers_mut().insert(REQUEST_ID, id);
    let timing = server_timing::header(response.extensions().get::<Timings>(), begin.elapsed());
    response.headers_mut().insert(SERVER_TIMING, timing);
    let code = fault.as_ref().map(|fault| fault.code()).or_else(|| grpc::refused(&response));
    let (status, name) = code.map_or((response.status().as_u16(), ""), |code| (code.row().status, code.name()));
    service.metrics.requests.answered(&route, status, name, begin.elapsed());
    span.in_scope(|| log(&method, &route, &response, fault.as_deref(), begin));
    response
}

/// How a failure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// As `application/problem+json`.
    Problem,
    /// As the status of a gRPC call.
    Grpc,
}

impl Dialect {
    fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/grpc") { Self::Grpc } else { Self::Problem }
    }
}

/// One line a request; what failed on our side or behind us is a warning, with its cause.
fn log(method: &axum::http::Method, route: &str, response: &Response, fault: Option<&Fault>, begin: Instant) {
    let status = response.status().as_u16();
    let ms = (begin.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    let code = fault.map(|fault| fault.code().name());
    let detail = fault.map(Fault::detail);
    let cause = fault.and_then(Fault::cause_chain);
    // Its name; the key itself is known nowhere but in its digest.
    let key = response.extensions().get::<KeyName>().map(KeyName::as_str);
    if status >= 500 {
        tracing::warn!(%method, route, status, ms, key, code, detail, cause, "answered");
    } else if matches!(route, "/livez" | "/readyz" | "/metrics") {
        tracing::debug!(%method, route, status, ms, "answered");
    } else {
        tracing::info!(%method, route, status, ms, key, code, detail, cause, "answered");
    }
}

/// A panic in a handler, as a failure like any other; the panic's own text goes to the log.
#[allow(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    Fault::panic(panic.as_ref()).into_response()
}
