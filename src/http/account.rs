//! Every request is accounted for once: counted, and told in one line of the log, also where its client did not wait for the
//! answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::Response;
use opentelemetry::propagation::Extractor;
use tracing::Span;

use crate::access::key_ring::KeyName;
use crate::fault::{Code, Fault};
use crate::grpc;
use crate::request_id::RequestId;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{Record, Stage, Told, traces};

mod until_status;

/// What a request is counted as whose client left before it was answered, as nginx numbers it. No problem of ours: nobody
/// reads it.
const GONE: (u16, &str) = (499, "CLIENT_GONE");

/// A request that is not answered yet.
pub(super) struct Account {
    metrics: Arc<Metrics>,
    method: &'static str,
    route: Route,
    request_id: RequestId,
    record: Arc<Record>,
    begin: Instant,
    span: Span,
    /// Once it goes out.
    head: Option<Head>,
    is_closed: bool,
}

/// The head of an answer.
struct Head {
    status: u16,
    /// The name of the key that was used; the key itself is known nowhere but in its digest.
    key: Option<KeyName>,
    /// How long the client waited for it.
    took: Duration,
}

/// What is said of a method that is the client's own word, of any length, as OpenTelemetry has it.
const OTHER_METHOD: &str = "_OTHER";

/// The methods of RFC 9110 and RFC 5789.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

/// Where a request went: never its path, which is the client's own text and of any length.
enum Route {
    Method(&'static str),
    Pattern(MatchedPath),
    None,
}

impl Route {
    fn of(request: &Request) -> Self {
        match (grpc::method(request.uri().path()), request.extensions().get::<MatchedPath>()) {
            (Some(method), _) => Self::Method(method),
            (None, Some(pattern)) => Self::Pattern(pattern.clone()),
            (None, None) => Self::None,
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Method(method) => method,
            Self::Pattern(pattern) => pattern.as_str(),
            Self::None => "-",
        }
    }
}

/// Where the caller's own span is named.
pub(super) struct Headers<'a>(pub(super) &'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// How a request ended.
struct End<'a> {
    status: u16,
    /// The problem's code; empty for success.
    code: &'static str,
    fault: Option<&'a Fault>,
}

impl Account {
    pub(super) fn open(
        metrics: &Arc<Metrics>,
        request: &Request,
        request_id: &RequestId,
        record: &Arc<Record>,
    ) -> Self {
        let (method, route) = (method(request.method()), Route::of(request));
        let name = || format!("{method} {}", route.as_str());
        let span = traces::request(name, request_id.as_str(), &Headers(request.headers()));
        Self {
            metrics: Arc::clone(metrics),
            method,
            route,
            request_id: request_id.clone(),
            record: Arc::clone(record),
            begin: Instant::now(),
            span,
            head: None,
            is_closed: false,
        }
    }

    /// Of the request, for the collector of traces.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Since the head of the request was there.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The request is answered. A gRPC call that failed counts as the status that its code has over HTTP.
    pub(super) fn close(mut self, response: &Response, fault: Option<&Fault>, told: &Told) {
        self.answers(response);
        self.end(fault, grpc::refused(response.headers()), told);
    }

    /// The answer goes on after its head, and says at its end whether it has failed: the account is closed then.
    pub(super) fn close_with_status(mut self, response: Response, failed: grpc::Failed) -> Response {
        self.answers(&response);
        response.map(|body| Body::new(until_status::UntilStatus::new(body, self, failed)))
    }

    fn answers(&mut self, response: &Response) {
        let key = response.extensions().get::<KeyName>().cloned();
        self.head = Some(Head { status: response.status().as_u16(), key, took: self.elapsed() });
    }

    /// `refused` is what the status says where there is no fault of ours.
    fn end(mut self, fault: Option<&Fault>, refused: Option<Code>, told: &Told) {
        self.is_closed = true;
        let code = fault.map(Fault::code).or(refused);
        let answered = self.head.as_ref().map_or(0, |head| head.status);
        let (status, code) = code.map_or((answered, ""), |code| (code.row().status, code.name()));
        self.tell(&End { status, code, fault }, told);
    }

    fn tell(&self, end: &End<'_>, told: &Told) {
        let End { status, code, fault } = *end;
        let (route, took) = (self.route.as_str(), self.elapsed());
        let to_head = self.head.as_ref().map_or(took, |head| head.took);
        self.metrics.requests.answered(route, status, code, to_head);
        traces::answered(&self.span, status, code);
        let trace_id = traces::trace_id(&self.span);

        let model = told.model.as_ref().map(|(model, _)| model.as_str());
        let version = told.model.as_ref().and_then(|(_, version)| *version);
        // Of a request without photos nothing is said of photos.
        let some = |count: usize| (told.photos > 0).then_some(count);
        let (photos, bytes, detections) = (some(told.photos), some(told.bytes), some(told.detections));
        let format = told.seen.map(|(format, _)| format);
        let (width, height) = told.seen.map(|(_, size)| (size.width, size.height)).unzip();
        let [fetch_ms, queue_ms, decode_ms, prepare_ms, infer_ms, interpret_ms] =
            Stage::ALL.map(|stage| told.stage(stage).map(milliseconds));
        let (request_id, method, ms) = (self.request_id.as_str(), self.method, milliseconds(took));
        let key = self.head.as_ref().and_then(|head| head.key.as_ref()).map(KeyName::as_str);
        let code = (!code.is_empty()).then_some(code);
        let detail = fault.map(Fault::detail);
        let cause = fault.and_then(Fault::cause_chain);
        macro_rules! line {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    request_id,
                    trace_id,
                    method,
                    route,
                    status,
                    ms,
                    key,
                    code,
                    detail,
                    cause,
                    model,
                    version,
                    photos,
                    bytes,
                    format,
                    width,
                    height,
                    detections,
                    fetch_ms,
                    queue_ms,
                    decode_ms,
                    prepare_ms,
                    infer_ms,
                    interpret_ms,
                    $message
                )
            };
        }
        if !self.is_closed && self.head.is_some() {
            line!(info, "answered until the client has left");
        } else if !self.is_closed {
            line!(info, "not answered: the client has left");
        } else if status >= 500 {
            // It failed on our side or behind us.
            line!(warn, "answered");
        } else if matches!(route, "/livez" | "/readyz" | "/metrics") {
            line!(debug, "answered");
        } else {
            line!(info, "answered");
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.is_closed {
            // Who leaves a stream has been answered for as long as it liked.
            let (status, code) = self.head.as_ref().map_or(GONE, |head| (head.status, ""));
            self.tell(&End { status, code, fault: None }, &self.record.told());
        }
    }
}

/// To a tenth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_told_only_where_it_is_one_that_everybody_knows() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        for own in ["get", "BREW", &"X".repeat(60_000)] {
            let own = Method::from_bytes(own.as_bytes()).expect("a token");
            assert_eq!(method(&own), "_OTHER");
        }
    }
}
