//! The outermost layer: gives every request an id and a deadline, every failure its body, and sees that it is accounted for.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::backend::Call;
use crate::deadline::Deadline;
use crate::fault::Fault;
use crate::grpc;
use crate::http::account::{Account, Headers};
use crate::http::server_timing::{self, SERVER_TIMING};
use crate::http::{head, problem, request_timeout, upload};
use crate::request_id::RequestId;
use crate::service::Service;
use crate::telemetry::traces::Caller;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps everything else.
pub(super) async fn context(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let caller = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let request_id = caller.and_then(RequestId::from_caller).unwrap_or_else(RequestId::generate);
    let asked = request_timeout::asked(request.headers());
    let own = service.request_timeout;
    let deadline = Deadline::after(asked.as_ref().ok().copied().flatten().map_or(own, |asked| asked.min(own)));
    let caller = Caller::of(&Headers(request.headers())).map(Arc::new);
    let call = Call { caller, ..Call::new(deadline, request_id.clone()) };
    let record = Arc::clone(&call.record);
    let account = Account::open(&service.metrics, &request, &request_id, &record);
    request.extensions_mut().insert(call);
    let failed = grpc::Failed::default();
    request.extensions_mut().insert(failed.clone());
    let dialect = Dialect::of(request.headers());

    let span = tracing::info_span!("request", %request_id);
    let mut response = match asked.and_then(|_| head::room(&request, &service.head, &service.arriving)) {
        Ok(_room) => next.run(request).instrument(account.span()).instrument(span).await,
        // Nobody has asked yet who it is.
        Err(fault) => upload::refuse_unread(fault, request).await,
    };

    let mut fault = problem::fault_of(&response);
    if let Some(fault) = &fault {
        response = match dialect {
            Dialect::Problem => problem::render(response, fault, &request_id),
            Dialect::Grpc => {
                let mut answer = grpc::answer(fault, &request_id);
                *answer.extensions_mut() = std::mem::take(response.extensions_mut());
                answer
            }
        };
    }
    fault = fault.or_else(|| failed.get());
    let id = HeaderValue::from_str(request_id.as_str()).expect("a request id is visible ASCII");
    response.headers_mut().insert(REQUEST_ID, id);
    let told = record.told();
    response.headers_mut().insert(SERVER_TIMING, server_timing::header(&told, account.elapsed()));
    // The answer's own kind: an ordinary one to a request that bears gRPC's has no status that could come last.
    if Dialect::of(response.headers()) == Dialect::Grpc && fault.is_none() && !grpc::has_status(response.headers()) {
        return account.close_with_status(response, failed);
    }
    account.close(&response, fault.as_deref(), &told);
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

/// A panic in a handler, as a failure like any other; the panic's own text goes to the log.
#[allow(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    Fault::panic(panic.as_ref()).into_response()
}
