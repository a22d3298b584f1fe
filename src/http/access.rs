//! Who may ask, and how often: told from headers and the connection, before anything of the body is read.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;

use crate::access::key_ring::{KeyDigest, KeyName};
use crate::access::{Access, Caller, Refusal};
use crate::backend::Call;
use crate::http::server::BodyLeft;
use crate::http::upload;
use crate::service::Service;

pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Around every route that is not open to all. The name of the key that was used goes out with the answer, for the log; who
/// asked stays with the request, for calls that go on.
pub(super) async fn access(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let caller = caller(&service.access, &request);
    match service.access.admit(&caller) {
        Ok(key) => {
            request.extensions_mut().insert(caller);
            with_name(next.run(request).await, key)
        }
        Err(refusal) => refuse(refusal, request).await,
    }
}

fn caller(access: &Access, request: &Request) -> Caller {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| {
        let forwarded_for: Vec<_> = texts(request.headers(), &FORWARDED_FOR).collect();
        access.trusted_proxies.client(peer.ip(), forwarded_for.into_iter())
    });
    Caller { address, key: presented(request.headers()).as_ref().map(KeyDigest::of) }
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

/// The answer to a request that is not let in.
async fn refuse(refusal: Refusal, request: Request) -> Response {
    let deadline = request.extensions().get::<Call>().map(|call| call.deadline);
    let (parts, mut body) = request.into_parts();
    let mut answer = refusal.fault().into_response();
    // Over HTTP/2 an answer may overtake the body, and a stream of a gRPC call need not end.
    if parts.version < Version::HTTP_2 && !body.is_end_stream() {
        match (&refusal, deadline) {
            // A client of ours keeps its connection: its body is read and dropped as for any other refusal.
            (Refusal::KeyTooOften(..), Some(deadline)) => upload::drain(&mut body, &parts.headers, 0, deadline).await,
            (Refusal::KeyTooOften(..), None) => {}
            // From a stranger nothing is read.
            (Refusal::NoKey | Refusal::UnknownKey | Refusal::AddressTooOften(_), _) => BodyLeft::mark(&mut answer),
        }
    }
    // RFC 6750, section 3.1: no error where nothing was presented.
    let challenge = match &refusal {
        Refusal::NoKey => Some(r#"Bearer realm="spotter""#),
        Refusal::UnknownKey => Some(r#"Bearer realm="spotter", error="invalid_token""#),
        Refusal::AddressTooOften(_) | Refusal::KeyTooOften(..) => None,
    };
    if let Some(challenge) = challenge {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    match refusal {
        Refusal::KeyTooOften(key, _) => with_name(answer, Some(key)),
        Refusal::NoKey | Refusal::UnknownKey | Refusal::AddressTooOften(_) => answer,
    }
}

fn with_name(mut answer: Response, key: Option<KeyName>) -> Response {
    if let Some(key) = key {
        answer.extensions_mut().insert(key);
    }
    answer
}
