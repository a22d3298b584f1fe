//! `Server-Timing` (W3C): where the time went, as developer tools of browsers show it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::telemetry::{Stage, Told};

pub(super) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// `queue;dur=0.1, decode;dur=1.2, …, total;dur=63.1` in milliseconds. The total is that of the whole request, from its head
/// to its answer; the stages are those that a photo has passed, also where it failed after them, and for several photos their
/// sums.
pub(super) fn header(told: &Told, total: Duration) -> HeaderValue {
    let mut text = String::new();
    for stage in Stage::ALL {
        if let Some(time) = told.stage(stage) {
            let _ = write!(text, "{};dur={:.1}, ", stage.name(), time.as_secs_f64() * 1000.0);
        }
    }
    let _ = write!(text, "total;dur={:.1}", total.as_secs_f64() * 1000.0);
    HeaderValue::from_str(&text).expect("names and numbers are visible ASCII")
}

/// Gives an answer its total where it has none, because it comes from outside the layer that knows the stages.
pub(super) async fn total(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let mut response = next.run(request).await;
    response.headers_mut().entry(SERVER_TIMING).or_insert_with(|| header(&Told::default(), begin.elapsed()));
    response
}
