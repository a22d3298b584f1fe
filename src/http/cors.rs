//! Pages of other origins: which of them a browser lets ask, and what it lets them read (CORS, the Fetch standard, 3.2).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::access::origin::Origin;
use crate::http::access::API_KEY;
use crate::http::context::REQUEST_ID;
use crate::http::detect::MODEL_VERSION;
use crate::http::request_timeout::REQUEST_TIMEOUT;
use crate::http::server_timing::SERVER_TIMING;

/// How long a browser may remember a preflight's answer. Chromium caps it at two hours.
const REMEMBERED: Duration = Duration::from_hours(2);

/// What pages may read of an answer beside what they always may.
const EXPOSED: [HeaderName; 5] =
    [REQUEST_ID, SERVER_TIMING, MODEL_VERSION, header::RETRY_AFTER, header::WWW_AUTHENTICATE];

/// What lets pages read a refusal for which no head was read, so that nobody knows its origin: where all origins may ask.
pub(super) fn of_refusals(origins: &[Origin]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if origins.contains(&Origin::Any) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let exposed = HeaderValue::from_str(&EXPOSED.map(|name| name.to_string()).join(","));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.expect("names are visible ASCII"));
    }
    headers
}

/// The layer that answers preflights by itself and gives every other answer its headers; none where no origin may ask.
pub(super) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let ones = origins.iter().map(|origin| match origin {
        Origin::Any => None,
        Origin::One(origin) => Some(HeaderValue::from_str(origin).expect("an origin is visible ASCII")),
    });
    // None among them stands for all.
    let allowed = ones.collect::<Option<Vec<_>>>().map_or_else(AllowOrigin::any, AllowOrigin::list);
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::HEAD, Method::POST])
            .allow_headers([
                header::ACCEPT,
                header::AUTHORIZATION,
                header::CONTENT_ENCODING,
                header::CONTENT_TYPE,
                API_KEY,
                REQUEST_ID,
                REQUEST_TIMEOUT,
                HeaderName::from_static("traceparent"),
                HeaderName::from_static("tracestate"),
            ])
            .expose_headers(EXPOSED)
            .max_age(REMEMBERED),
    )
}
