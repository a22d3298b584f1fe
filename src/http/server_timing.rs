//! `Server-Timing` (W3C): where the time went, as developer tools of browsers show it.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use crate::detect::Timings;
use crate::telemetry::metrics::Stage;

pub(super) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// `queue;dur=0.1, decode;dur=1.2, …, total;dur=63.1` in milliseconds. The total is that of the whole request, from its head
/// to its answer; the stages are there where a photo went through them.
pub(super) fn header(stages: Option<&Timings>, total: Duration) -> HeaderValue {
    let mut text = String::new();
    if let Some(Timings { queue, decode, prepare, infer, interpret, total: _ }) = stages {
        for (stage, time) in Stage::ALL.into_iter().zip([queue, decode, prepare, infer, interpret]) {
            let _ = write!(text, "{};dur={:.1}, ", stage.name(), time.as_secs_f64() * 1000.0);
        }
    }
    let _ = write!(text, "total;dur={:.1}", total.as_secs_f64() * 1000.0);
    HeaderValue::from_str(&text).expect("names and numbers are visible ASCII")
}
