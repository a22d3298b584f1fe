//! A form, for one photo or for several.

use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;

use super::front;

const ROUTES: [&str; 2] = ["/v1/detect", "/v1/detect/batch"];

/// The first byte chooses the route; the rest is the body, whose parts are told apart by `--b`.
pub fn run(data: &[u8]) {
    let Some((route, body)) = super::choice(data, ROUTES.len()) else { return };
    let request = Request::post(ROUTES[route])
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b")
        .body(Body::from(Bytes::copy_from_slice(body)))
        .expect("a request");
    front::ask(request);
}
