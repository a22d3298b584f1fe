//! What happens below requests, seen over plain TCP.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::photos::photo;
use crate::support::service::{Spotter, problem};

/// A connection of our own.
struct Raw(TcpStream);

impl Raw {
    async fn open(spotter: &Spotter) -> Self {
        Self(TcpStream::connect(spotter.address()).await.unwrap())
    }

    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    /// Everything up to the end of the connection.
    async fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Up to the end of what is expected.
    async fn until(&mut self, expected: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(expected.as_bytes()) {
            seen.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(seen).unwrap()
    }

    /// An upload of which the service has begun to read the body.
    async fn uploading(spotter: &Spotter, length: usize) -> Self {
        let mut raw = Self::open(spotter).await;
        let head = format!(
            "POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        raw.send(head).await;
        assert_eq!(raw.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        raw
    }
}

/// One problem and nothing else, however it came about.
#[track_caller]
fn assert_problem(text: &str, status: u16, code: &str) -> Value {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{text}");
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    };
    assert_eq!(header("content-type"), "application/problem+json");
    assert_eq!(header("connection"), "close");
    assert_eq!(header("content-length"), body.len().to_string());
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()), "{body}");
    assert_eq!(header("x-request-id"), body["request_id"].as_str().unwrap());
    assert!(header("server-timing").starts_with("total;dur="), "{text}");
    body
}

#[tokio::test]
async fn what_is_no_request_is_answered_like_one() {
    let spotter = Spotter::start(&["--max-head-bytes", "80000"]).await;
    let long = "x".repeat(70_000);
    let many = "a: b\r\n".repeat(101);
    for (sent, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
        ("GET /livez HTTP/1.1\r\nhost x\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
        ("\u{16}\u{3}\u{1} a TLS greeting\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
        ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(), 400, "INVALID_REQUEST"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), 414, "URI_TOO_LONG"),
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\na: {long}{long}\r\n\r\n"), 431, "HEAD_TOO_LARGE"),
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 431, "HEAD_TOO_LARGE"),
    ] {
        let mut raw = Raw::open(&spotter).await;
        raw.send(&sent).await;
        assert_problem(&raw.rest().await, status, code);
    }

    let spotter = Spotter::start(&["--max-headers", "20"]).await;
    for (headers, status) in [(20, 200), (21, 431)] {
        let mut raw = Raw::open(&spotter).await;
        let others = "a: b\r\n".repeat(headers - 2);
        raw.send(&format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{others}\r\n")).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(status == 200 || answer.contains("\"max_headers\":20"), "{answer}");
    }
}

#[tokio::test]
async fn pages_that_may_ask_may_read_refusals_of_what_is_no_request() {
    const SHOP: &str = "https://shop.example";
    let two = format!("{SHOP},http://localhost:3000");
    let long = "x".repeat(40_000);
    let told = async |origins: &str, said: &str, status: u16, code: &str| {
        let flags = ["--cors-origins", origins, "--head-timeout-ms", "300"];
        let spotter = Spotter::start(if origins.is_empty() { &[] } else { &flags[..] }).await;
        let mut raw = Raw::open(&spotter).await;
        raw.send(said).await;
        let text = raw.rest().await;
        assert_problem(&text, status, code);
        text.split_once("\r\naccess-control-allow-origin: ").map(|(_, rest)| {
            assert!(text.contains("\r\naccess-control-expose-headers: x-request-id,server-timing,"), "{text}");
            assert!(text.contains("\r\nvary: origin\r\n"), "{text}");
            rest.lines().next().unwrap().to_owned()
        })
    };
    let by = |origin: &str| format!("GET /livez HTTP/1.1\r\nhost: x\r\nORIGIN: {origin} \r\n");
    for (origins, said, status, code, expected) in [
        ("*", "nonsense\r\n\r\n".to_owned(), 400, "INVALID_REQUEST", Some("*")),
        (&two, by(SHOP) + "no header\r\n\r\n", 400, "INVALID_REQUEST", Some(SHOP)),
        (&two, by(SHOP) + &format!("a: {long}\r\n\r\n"), 431, "HEAD_TOO_LARGE", Some(SHOP)),
        // Browsers write it behind the headers of the page's own.
        (
            &two,
            format!("GET /livez HTTP/1.1\r\na: {long}\r\norigin: {SHOP}\r\n\r\n"),
            431,
            "HEAD_TOO_LARGE",
            Some(SHOP),
        ),
        (&two, by(SHOP), 408, "REQUEST_TIMEOUT", Some(SHOP)),
        (&two, by("https://evil.example"), 408, "REQUEST_TIMEOUT", None),
        (&two, format!("GET /livez HTTP/1.1\r\nhost: x\r\norigin: {SHOP}"), 408, "REQUEST_TIMEOUT", None),
        (&two, "nonsense\r\n\r\n".to_owned(), 400, "INVALID_REQUEST", None),
        // Browsers compare: a page of another origin is not let in by it.
        (SHOP, "nonsense\r\n\r\n".to_owned(), 400, "INVALID_REQUEST", Some(SHOP)),
        ("", by(SHOP) + "no header\r\n\r\n", 400, "INVALID_REQUEST", None),
    ] {
        assert_eq!(told(origins, &said, status, code).await.as_deref(), expected, "{origins}: {said:.80}");
    }
}

#[tokio::test]
async fn an_answer_before_what_is_no_request_is_whole() {
    let spotter = Spotter::start(&[]).await;
    let mut raw = Raw::open(&spotter).await;
    raw.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n").await;
    let text = raw.rest().await;
    let (answer, refusal) = text.split_once(r#"{"status":"alive"}"#).unwrap_or_else(|| panic!("{text}"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_problem(refusal, 400, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_answered_and_silence_is_not() {
    let spotter = Spotter::start(&["--head-timeout-ms", "100"]).await;
    for part in ["G", "PRI * HTTP/2", "GET /livez HTTP/1.1\r\nhost: x\r\n"] {
        let mut raw = Raw::open(&spotter).await;
        raw.send(part).await;
        let body = assert_problem(&raw.rest().await, 408, "REQUEST_TIMEOUT");
        assert_eq!(body["max_ms"], 100);
    }
    assert_eq!(Raw::open(&spotter).await.rest().await, "");

    // On a connection that was kept as well.
    let mut raw = Raw::open(&spotter).await;
    raw.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    raw.until("alive\"}").await;
    raw.send("GET /").await;
    assert_problem(&raw.rest().await, 408, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn a_connection_is_kept_for_a_while_and_then_closed() {
    let spotter = Spotter::start(&["--keep-alive-ms", "200", "--head-timeout-ms", "1"]).await;
    let mut raw = Raw::open(&spotter).await;
    for _ in 0..2 {
        // In one piece, so that its head takes no time.
        raw.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        raw.until("alive\"}").await;
    }
    assert_eq!(raw.rest().await, "");
}

#[tokio::test]
async fn idle_connections_give_way_to_new_ones() {
    let spotter = Spotter::start(&["--max-connections", "2"]).await;
    let mut idle = [Raw::open(&spotter).await, Raw::open(&spotter).await];
    for raw in &mut idle {
        raw.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        raw.until("alive\"}").await;
    }
    let [mut longest, mut shorter] = idle;
    assert_eq!(spotter.get("/livez").send().await.unwrap().status(), 200);
    assert_eq!(longest.rest().await, "");
    shorter.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    shorter.until("alive\"}").await;
}

#[tokio::test]
async fn with_every_connection_busy_the_next_is_told_so() {
    let spotter = Spotter::start(&["--max-connections", "2"]).await;
    let photo = photo("chelsea.png");
    let mut busy = [Raw::uploading(&spotter, photo.len()).await, Raw::uploading(&spotter, photo.len()).await];
    problem(spotter.get("/livez"), 503, "OVERLOADED").await;
    for raw in &mut busy {
        raw.send(&photo).await;
        raw.until("HTTP/1.1 200 OK\r\n").await;
    }
}

#[tokio::test]
async fn http2_without_tls_is_spoken() {
    let spotter = Spotter::start(&["--keep-alive-ms", "200", "--head-timeout-ms", "60000"]).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let send = || client.post(spotter.url("/v1/detect")).body(photo("chelsea.png")).send();
    let answers = futures::future::join_all([send(), send(), send()]).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    }
}

#[tokio::test]
async fn over_http2_a_head_that_is_too_long_is_told_so_as_over_http1() {
    let spotter = Spotter::start(&["--max-head-bytes", "20000", "--cors-origins", "https://shop.example"]).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let with = |length: usize| {
        let ask = client.get(spotter.url("/livez")).header("a", "x".repeat(length));
        ask.header("origin", "https://shop.example")
    };
    assert_eq!(with(19_000).send().await.unwrap().status(), 200);
    let answer = with(21_000).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.example");
    assert!(answer.headers().contains_key("x-request-id"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!((&body["code"], &body["max_bytes"]), (&json!("HEAD_TOO_LARGE"), &json!(20_000)));
    // What is twice as long is not read to its end; h2 says 431 and no more, or resets the stream.
    assert!(with(60_000).send().await.map_or(true, |answer| answer.status() == 431));
}

#[tokio::test]
async fn while_draining_requests_are_answered_and_connections_are_not_kept() {
    let mut spotter = Spotter::start(&["--shutdown-delay-ms", "600000"]).await;
    spotter.ready().await;
    let mut kept = Raw::open(&spotter).await;
    kept.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!kept.until("alive\"}").await.contains("connection: close"));
    spotter.tell_to_stop();
    while spotter.get("/readyz").send().await.unwrap().status() == 200 {}
    problem(spotter.get("/readyz"), 503, "DRAINING").await;
    assert_eq!(spotter.get("/livez").send().await.unwrap().status(), 200);
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    kept.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let text = kept.rest().await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("connection: close\r\n"), "{text}");
}

#[tokio::test]
async fn when_stopping_new_connections_are_refused_and_what_is_in_flight_is_finished() {
    let mut spotter = Spotter::start(&[]).await;
    let photo = photo("chelsea.png");
    let mut idle = Raw::open(&spotter).await;
    idle.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.until("alive\"}").await;
    let mut silent = Raw::open(&spotter).await;
    let mut upload = Raw::uploading(&spotter, photo.len()).await;
    spotter.tell_to_stop();
    while TcpStream::connect(spotter.address()).await.is_ok() {}
    assert_eq!((idle.rest().await, silent.rest().await), (String::new(), String::new()));
    upload.send(&photo).await;
    let text = upload.rest().await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("connection: close\r\n"), "{text}");
    spotter.stopped().await;
}

#[tokio::test]
async fn who_has_connected_when_the_service_stops_is_not_hung_up_on() {
    let mut spotter = Spotter::start(&[]).await;
    let mut early = Raw::open(&spotter).await;
    spotter.tell_to_stop();
    while TcpStream::connect(spotter.address()).await.is_ok() {}
    early.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let text = early.rest().await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("connection: close\r\n"), "{text}");
    spotter.stopped().await;
}

#[tokio::test]
async fn what_is_not_done_after_the_grace_is_cut_off() {
    let mut spotter = Spotter::start(&["--shutdown-grace-ms", "50"]).await;
    let mut upload = Raw::uploading(&spotter, 1000).await;
    spotter.tell_to_stop();
    let mut seen = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), upload.0.read_to_end(&mut seen)).await.unwrap();
    assert!(end.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) || seen.is_empty());
    spotter.stopped().await;
}
