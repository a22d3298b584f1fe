//! A whole request: path, query, headers and a body in whatever form and compression the headers say.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use bytes::Bytes;

use super::front;

/// What hyper lets through at most.
const MAX_HEADERS: usize = 100;

/// `GET /path?query`, a line for each header, an empty line, the body. What is no request by the rules of `http` is
/// refused by hyper, and is not looked at here.
pub fn run(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    front::ask(request);
}

fn parse(data: &[u8]) -> Option<Request<Body>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (&data[..end], &data[end + 2..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let method = Method::from_bytes(&first[..space]).ok()?;
    let uri = Uri::try_from(&first[space + 1..]).ok()?;
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines.take(MAX_HEADERS) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request = request.header(name, value);
    }
    request.body(Body::from(Bytes::copy_from_slice(body))).ok()
}
