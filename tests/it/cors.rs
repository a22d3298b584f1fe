//! What browsers are told about pages of other origins.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use reqwest::{Method, RequestBuilder};

use crate::support::photos::photo;
use crate::support::service::{Spotter, problem_and_headers};

const SHOP: &str = "https://shop.example";

fn preflight(spotter: &Spotter, origin: &str) -> RequestBuilder {
    spotter
        .request(Method::OPTIONS, "/v1/detect")
        .header(ORIGIN, origin)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type,x-request-id,x-request-timeout")
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_is_not_counted() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "shop: 0123456789abcdef").unwrap();
    let keys = keys.path().to_str().unwrap();
    let flags = ["--cors-origins", SHOP, "--api-keys", keys, "--address-rate", "0.001", "--address-burst", "1"];
    let spotter = Spotter::start(&flags).await;
    for _ in 0..3 {
        let response = preflight(&spotter, SHOP).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], SHOP);
        let list = |name| headers[name].to_str().unwrap().to_ascii_lowercase();
        for header in ["authorization", "content-type", "x-api-key", "x-request-id", "x-request-timeout"] {
            assert!(list(ACCESS_CONTROL_ALLOW_HEADERS).split(',').any(|allowed| allowed == header), "{header}");
        }
        assert!(list(ACCESS_CONTROL_ALLOW_METHODS).contains("post"));
        assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "7200");
        assert!(list(VARY).contains("origin"));
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(headers["server-timing"].to_str().unwrap().starts_with("total;dur="));
    }
}

#[tokio::test]
async fn every_answer_may_be_read_by_the_page_failures_too() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "shop: 0123456789abcdef").unwrap();
    let keys = keys.path().to_str().unwrap();
    let flags = ["--cors-origins", SHOP, "--api-keys", keys, "--key-rate", "0.001", "--key-burst", "2"];
    let spotter = Spotter::start(&[&flags[..], &["--max-image-bytes", "1000"]].concat()).await;
    let keyed = |request: RequestBuilder| request.header(ORIGIN, SHOP).bearer_auth("0123456789abcdef");
    let upload = || spotter.post("/v1/detect").body(photo("chelsea.png"));

    let mut answers = vec![keyed(spotter.get("/v1/models")).send().await.unwrap().headers().clone()];
    for (request, status, code) in [
        (upload().header(ORIGIN, SHOP), 401, "UNAUTHORIZED"),
        (keyed(upload()), 413, "PAYLOAD_TOO_LARGE"),
        (keyed(upload()), 429, "RATE_LIMITED"),
        (spotter.get("/nowhere").header(ORIGIN, SHOP), 404, "NOT_FOUND"),
        (spotter.get("/v1/detect").header(ORIGIN, SHOP).bearer_auth("x"), 401, "UNAUTHORIZED"),
        (spotter.get("/livez").header(ORIGIN, SHOP).header("x-request-timeout", "soon"), 400, "INVALID_REQUEST"),
    ] {
        answers.push(problem_and_headers(request, status, code).await.0);
    }
    for headers in answers {
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], SHOP);
        assert!(headers.get_all(VARY).iter().any(|value| value.to_str().unwrap().contains("origin")));
        let exposed = headers[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap().to_ascii_lowercase();
        for name in ["x-request-id", "server-timing", "retry-after", "x-model-version"] {
            assert!(exposed.split(',').any(|exposed| exposed == name), "{name} in {exposed}");
        }
    }
}

#[tokio::test]
async fn other_origins_are_told_nothing() {
    let listed = Spotter::start(&["--cors-origins", "https://shop.example,http://localhost:3000"]).await;
    let off = Spotter::start(&[]).await;
    let allowed = async |request: RequestBuilder| {
        let headers = request.send().await.unwrap().headers().clone();
        headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|origin| origin.to_str().unwrap().to_owned())
    };
    for origin in ["https://evil.example", "http://shop.example", "https://shop.example:8443", "null"] {
        assert_eq!(allowed(preflight(&listed, origin)).await, None, "{origin}");
        assert_eq!(allowed(listed.get("/v1/models").header(ORIGIN, origin)).await, None, "{origin}");
    }
    let local = "http://localhost:3000";
    assert_eq!(allowed(listed.get("/v1/models").header(ORIGIN, local)).await.as_deref(), Some(local));
    assert_eq!(allowed(off.get("/v1/models").header(ORIGIN, SHOP)).await, None);
    assert_eq!(preflight(&off, SHOP).send().await.unwrap().status(), 405, "there are no preflights where it is off");

    let all = Spotter::start(&["--cors-origins", "*"]).await;
    assert_eq!(allowed(all.get("/v1/models").header(ORIGIN, SHOP)).await.as_deref(), Some("*"));
}
