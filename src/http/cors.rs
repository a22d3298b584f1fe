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

/// What lets pages read a refusal of a head that never became a request, over HTTP/1.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(Vec<Origin>);

impl Refusals {
    /// For pages of these origins.
    pub(super) fn new(origins: &[Origin]) -> Self {
        Self(origins.to_vec())
    }

    /// Whether they differ by the origin that a head names.
    pub(super) fn ask_for_the_origin(&self) -> bool {
        self.0.len() > 1 && !self.0.contains(&Origin::Any)
    }

    /// The headers, where `head`, as far as it has come, is of a page that may ask. Of one that has not said its origin by then
    /// it is not known; the only one that may ask is told all the same, because browsers compare.
    pub(super) fn headers(&self, head: &[u8]) -> HeaderMap {
        let allowed = match &self.0[..] {
            origins if origins.contains(&Origin::Any) => Some("*"),
            [Origin::One(only)] => Some(only.as_str()),
            origins => origin_in(head).filter(|said| origins.contains(&Origin::One((*said).to_owned()))),
        };
        let mut headers = HeaderMap::new();
        let Some(allowed) = allowed else { return headers };
        let visible = |text: &str| HeaderValue::from_str(text).expect("origins and names are visible ASCII");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, visible(allowed));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, visible(&EXPOSED.map(|name| name.to_string()).join(",")));
        headers.insert(header::VARY, visible("origin"));
        headers
    }
}

/// The origin that a head names; only lines that are whole are looked at.
fn origin_in(head: &[u8]) -> Option<&str> {
    const NAME: &[u8] = b"origin:";
    let mut lines = head.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let is_origin = |line: &&[u8]| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
    lines.find(is_origin).and_then(|line| std::str::from_utf8(line[NAME.len()..].trim_ascii()).ok())
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
