//! Traces over OTLP, off unless a collector is named (docs/adr/0019).
//!
//! Spans that are meant for the collector have a target of their own, [`TARGET`]: they stay out of the log, and the log stays
//! out of them. Where nobody collects them they are disabled where they stand, which costs a load and a branch.
//!
//! A collector that is slow or away costs memory for 2,048 spans and no request anything: spans are sent by a thread of
//! their own, and dropped where it does not keep up.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TraceState, TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter as Export};
use tracing::field::Empty;
use tracing::{Instrument, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::fault::Fault;
use crate::telemetry::Stage;

/// What tells spans for the collector from those of the log.
const TARGET: &str = "spotter::trace";
/// Time that the last spans have to reach the collector when the service ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The way of spans to a collector.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// To the collector at this address, over gRPC. Connects to nothing yet; must be called inside a tokio runtime, which
    /// the connection then lives on. Headers, timeout, sampler and resource are the `OTEL_…` variables', as everywhere.
    ///
    /// # Errors
    /// When the address is none.
    pub fn to(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_attribute(version);
        // Named by OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES, else so.
        let named = Resource::builder().build().get(&"service.name".into()).map(|name| name.to_string());
        let resource = match named {
            Some(name) if !name.starts_with("unknown_service") => resource,
            Some(_) | None => resource.with_service_name("spotter"),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Telling { exporter, is_failing: AtomicBool::new(false) })
            .with_resource(resource.build())
            .build();
        Ok(Self { provider })
    }

    /// What collects the spans, beside the log.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("spotter"));
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        layer.with_filter(filter_fn(|of| of.target() == TARGET).with_max_level_hint(LevelFilter::DEBUG))
    }

    /// Sends what is left, within a few seconds. Blocks; the runtime must still run.
    pub fn close(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_WORDS) {
            tracing::warn!(%error, "the last spans have not reached the collector");
        }
    }
}

/// Tells in the log when the collector takes no spans, once, and when it takes them again.
#[derive(Debug)]
struct Telling {
    exporter: SpanExporter,
    is_failing: AtomicBool,
}

impl Export for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let done = self.exporter.export(batch).await;
        match (&done, self.is_failing.swap(done.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(%error, spans, "the collector takes no spans; they are dropped until it does");
            }
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        done
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Of a request, from its head to the head of its answer; a child of the caller's own span, where it names one
/// (W3C Trace Context).
pub fn request(name: impl FnOnce() -> String, request_id: &str, carrier: &dyn Extractor) -> Span {
    let span = tracing::debug_span!(
        target: TARGET, "request", otel.name = Empty, otel.kind = "server", otel.status_code = Empty, error.type = Empty,
        http.response.status_code = Empty, request_id
    );
    if !span.is_disabled() {
        span.record("otel.name", name());
        // Without a collector there is nothing to be a child of.
        let _ = span.set_parent(TraceContextPropagator::new().extract(carrier));
    }
    span
}

/// How a request ended. What failed on the client's side is told by its code alone, as OpenTelemetry has it for servers.
pub fn answered(span: &Span, status: u16, code: &str) {
    span.record("http.response.status_code", status);
    if !code.is_empty() {
        span.record("error.type", code);
    }
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The trace that the span belongs to, for the log.
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let of = context.span().span_context().clone();
    of.is_valid().then(|| of.trace_id().to_string())
}

fn stage_span(stage: Stage) -> Span {
    tracing::debug_span!(target: TARGET, "stage", otel.name = stage.name(), otel.status_code = Empty, error.type = Empty)
}

/// A stage on a core.
///
/// # Errors
/// The stage's own.
pub fn on_core<T>(stage: Stage, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let span = stage_span(stage);
    let done = span.in_scope(work);
    mark(&span, done.as_ref().err());
    done
}

/// A stage that is waited for.
///
/// # Errors
/// The stage's own.
pub async fn awaited<T>(stage: Stage, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let span = stage_span(stage);
    let done = work.instrument(span.clone()).await;
    mark(&span, done.as_ref().err());
    done
}

fn mark(span: &Span, fault: Option<&Fault>) {
    if let Some(fault) = fault {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", fault.code().name());
    }
}

/// Of a call of a model server.
pub fn call(host: &dyn std::fmt::Display) -> Span {
    tracing::debug_span!(
        target: TARGET, "call", otel.name = "TensorFlow Serving", otel.kind = "client", otel.status_code = Empty,
        error.type = Empty, server.address = %host
    )
}

/// How a call ended: `ok`, or what it is counted as.
pub fn called(span: &Span, outcome: &str) {
    if outcome != "ok" {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", outcome);
    }
}

/// Tells whoever is called which span is its parent: this one, or where nobody collects spans the caller's own.
pub fn inject(span: &Span, caller: Option<&Caller>, carrier: &mut dyn Injector) {
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), carrier);
    } else if let Some(Caller { parent, state }) = caller {
        carrier.set(TRACEPARENT, parent.clone());
        if let Some(state) = state {
            carrier.set(TRACESTATE, state.clone());
        }
    }
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Characters of a `traceparent` of version 00, which later ones begin with as well.
const PARENT_LENGTH: usize = 55;
/// What is passed on of later versions, which may be longer.
const MAX_PARENT: usize = 128;
/// What is passed on of `tracestate`: as much as W3C Trace Context (3.3.1.5) has everybody pass on.
const MAX_STATE: usize = 512;

/// The span of whoever asks, as its own headers name it. They are a stranger's: what has another form is left out, and so is a
/// state that is too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    parent: String,
    state: Option<String>,
}

impl Caller {
    /// None where there is no `traceparent`, or none that is one.
    pub fn of(carrier: &dyn Extractor) -> Option<Self> {
        let parent = carrier.get(TRACEPARENT).filter(|text| is_parent(text))?.to_owned();
        let is_state = |text: &&str| text.len() <= MAX_STATE && TraceState::from_str(text).is_ok();
        let state = carrier.get(TRACESTATE).filter(|text| !text.is_empty()).filter(is_state).map(ToOwned::to_owned);
        Some(Self { parent, state })
    }
}

/// `version-trace-span-flags` in small hexadecimal digits, no id all zeros (W3C Trace Context, 3.2.2).
fn is_parent(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some((head, rest)) = text.split_at_checked(PARENT_LENGTH) else { return false };
    let [version, trace, span, flags] = head.split('-').collect::<Vec<_>>()[..] else { return false };
    let lengths = [version, trace, span, flags].map(str::len);
    let is_whole = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let is_some = |id: &str| id.bytes().any(|byte| byte != b'0');
    lengths == [2, 32, 16, 2]
        && [version, trace, span, flags].into_iter().all(is_hex)
        && version != "ff"
        && is_some(trace)
        && is_some(span)
        && is_whole
        && text.len() <= MAX_PARENT
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn caller(parent: &str, state: &str) -> Option<(String, Option<String>)> {
        let headers = [(TRACEPARENT, parent), (TRACESTATE, state)].map(|(key, text)| (key.to_owned(), text.to_owned()));
        Caller::of(&HashMap::from(headers)).map(|Caller { parent, state }| (parent, state))
    }

    #[test]
    fn what_is_no_parent_is_not_passed_on() {
        let zeros = "0".repeat(32);
        for wrong in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-"),
            &format!("{PARENT}0"),
            &PARENT.to_uppercase(),
            &PARENT.replace('f', "g"),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
            &PARENT.replace("00f067aa0ba902b7", &zeros[..16]),
            &PARENT.replacen("00", "ff", 1),
            &format!("é{}", &PARENT[2..]),
            &format!("01{}-{}", &PARENT[2..], "a".repeat(MAX_PARENT)),
        ] {
            assert_eq!(caller(wrong, ""), None, "{wrong}");
        }
        let later = PARENT.replacen("00", "01", 1) + "-more";
        assert_eq!(caller(&later, ""), Some((later, None)));
    }

    #[test]
    fn a_state_is_passed_on_where_it_is_one_of_the_length_that_everybody_passes_on() {
        let state = |state: &str| caller(PARENT, state).expect("a parent").1;
        assert_eq!(state("vendor=opaque,other=1").as_deref(), Some("vendor=opaque,other=1"));
        assert_eq!(state("no state"), None);
        assert_eq!(state(&format!("vendor={}", "a".repeat(MAX_STATE))), None);
    }
}
