//! Who may ask, and how often: told from headers and the connection, before anything of the body is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;

use crate::access::Access;
use crate::access::key_ring::KeyName;
use crate::backend::Call;
use crate::fault::{Code, Fault};
use crate::http::upload;
use crate::service::Service;

pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Around every route that is not open to all. The name of the key that was used goes out with the answer, for the log.
pub(super) async fn access(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    match admit(&service.access, &request) {
        Ok(key) => with_name(next.run(request).await, key),
        Err(refusal) => refuse(refusal, request).await,
    }
}

/// Why a request is not let in.
enum Refusal {
    NoKey,
    UnknownKey,
    AddressTooOften(Duration),
    KeyTooOften(KeyName, Duration),
}

/// The address first: guessing keys is held back by it.
fn admit(access: &Access, request: &Request) -> Result<Option<KeyName>, Refusal> {
    if let (Some(limiter), Some(ConnectInfo(peer))) =
        (&access.per_address, request.extensions().get::<ConnectInfo<SocketAddr>>())
    {
        let forwarded_for: Vec<_> = texts(request.headers(), &FORWARDED_FOR).collect();
        let client = access.trusted_proxies.client(peer.ip(), forwarded_for.into_iter());
        limiter.check(client.into()).map_err(Refusal::AddressTooOften)?;
    }
    let Some(keys) = &access.keys else { return Ok(None) };
    let presented = presented(request.headers()).ok_or(Refusal::NoKey)?;
    let key = keys.find(&presented).ok_or(Refusal::UnknownKey)?;
    if let Some(limiter) = &access.per_key {
        limiter.check(key.clone()).map_err(|wait| Refusal::KeyTooOften(key.clone(), wait))?;
    }
    Ok(Some(key))
}

/// The key of a request: `Authorization: Bearer`, or else `X-API-Key`.
fn presented(headers: &HeaderMap) -> Option<SecretString> {
    let bearer = texts(headers, &header::AUTHORIZATION).find_map(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    });
    let key = bearer.or_else(|| texts(headers, &API_KEY).next())?.trim();
    (!key.is_empty()).then(|| SecretString::from(key.to_owned()))
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// The answer to a request that is not let in. Its body is read and dropped as for any other refusal.
async fn refuse(refusal: Refusal, request: Request) -> Response {
    let deadline = request.extensions().get::<Call>().map(|call| call.deadline);
    let (parts, mut body) = request.into_parts();
    // Over HTTP/2 an answer may overtake the body, and a stream of a gRPC call need not end.
    if let Some(deadline) = deadline.filter(|_| parts.version < Version::HTTP_2) {
        upload::drain(&mut body, &parts.headers, 0, deadline).await;
    }
    match refusal {
        Refusal::NoKey => unauthorized(
            "The request has no key. Send one as `Authorization: Bearer <key>` or `X-API-Key: <key>`.",
            // RFC 6750, section 3.1: no error where nothing was presented.
            r#"Bearer realm="spotter""#,
        ),
        Refusal::UnknownKey => unauthorized(
            "The key of the request is not one of this service's keys; it may be mistyped or have been replaced.",
            r#"Bearer realm="spotter", error="invalid_token""#,
        ),
        Refusal::AddressTooOften(wait) => too_often("address", wait),
        Refusal::KeyTooOften(key, wait) => with_name(too_often("key", wait), Some(key)),
    }
}

fn unauthorized(detail: &str, challenge: &'static str) -> Response {
    let mut answer = Fault::new(Code::Unauthorized, detail).into_response();
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}

fn too_often(whose: &str, wait: Duration) -> Response {
    let detail = format!("This {whose} has asked more often than it may; wait as long as Retry-After says.");
    Fault::new(Code::RateLimited, detail).with("limited_by", whose).retry_after(wait).into_response()
}

fn with_name(mut answer: Response, key: Option<KeyName>) -> Response {
    if let Some(key) = key {
        answer.extensions_mut().insert(key);
    }
    answer
}
