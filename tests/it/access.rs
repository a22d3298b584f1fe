//! Keys and rates, as clients meet them.

use std::fs;
use std::path::PathBuf;

use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::grpc::proto::v1::{self, result::Outcome, stream_detect_request::Message};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::photos::photo;
use crate::support::service::{Spotter, problem, problem_and_headers};

const SHOP: &str = "0123456789abcdef-shop";
const PARTNER: &str = "0123456789abcdef-partner";

/// A file of keys that a test can rewrite.
struct KeyFile(TempDir);

impl KeyFile {
    fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    async fn spotter(&self, flags: &[&str]) -> Spotter {
        let path = self.path();
        let keys = ["--api-keys", path.to_str().unwrap()];
        Spotter::start(&[&keys, flags].concat()).await
    }
}

fn both() -> KeyFile {
    KeyFile::new(&format!("shop: {SHOP}\npartner: {PARTNER}\n"))
}

#[tokio::test]
async fn a_key_is_taken_in_either_header() {
    let keys = both();
    let spotter = keys.spotter(&[]).await;
    for (name, value) in [
        ("authorization", format!("Bearer {SHOP}")),
        ("authorization", format!("bearer {PARTNER}")),
        ("x-api-key", SHOP.to_owned()),
        ("x-api-key", format!(" {PARTNER} ")),
    ] {
        let response = spotter.post("/v1/detect").header(name, &value).body(photo("chelsea.png")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn without_a_key_that_is_known_nothing_is_answered() {
    let keys = both();
    let spotter = keys.spotter(&[]).await;
    let get = || spotter.get("/v1/models");
    let upload = || spotter.post("/v1/detect").body(photo("chelsea.png"));
    for (request, challenge) in [
        (get(), r#"Bearer realm="spotter""#),
        (upload(), r#"Bearer realm="spotter""#),
        (get().header(AUTHORIZATION, format!("Basic {SHOP}")), r#"Bearer realm="spotter""#),
        (get().header(AUTHORIZATION, SHOP), r#"Bearer realm="spotter""#),
        (get().header("x-api-key", ""), r#"Bearer realm="spotter""#),
        (get().bearer_auth(&SHOP[1..]), r#"Bearer realm="spotter", error="invalid_token""#),
        (upload().header("x-api-key", "shop"), r#"Bearer realm="spotter", error="invalid_token""#),
    ] {
        let (headers, body) = problem_and_headers(request, 401, "UNAUTHORIZED").await;
        assert_eq!(headers[WWW_AUTHENTICATE], challenge, "{body}");
    }
}

#[tokio::test]
async fn health_documents_and_pages_stay_open() {
    let keys = both();
    let spotter = keys.spotter(&["--address-rate", "0.001", "--address-burst", "1"]).await;
    spotter.ready().await;
    for path in
        ["/", "/livez", "/readyz", "/web/main.js", "/docs/", "/openapi.json", "/problems/unauthorized", "/example.jpg"]
    {
        assert_eq!(spotter.get(path).send().await.unwrap().status(), 200, "{path}");
    }
    problem(spotter.get("/v1/nothing"), 404, "NOT_FOUND").await;
}

#[tokio::test]
async fn keys_are_read_again_and_a_bad_file_keeps_the_old_ones() {
    let keys = KeyFile::new(&format!("shop: {SHOP}"));
    let spotter = keys.spotter(&[]).await;
    let ask = async |key: &str| spotter.get("/v1/models").bearer_auth(key).send().await.unwrap().status();
    let held = spotter.access().keys.clone().unwrap();

    keys.write("no key at all");
    held.reload().unwrap_err();
    assert_eq!(ask(SHOP).await, 200);
    keys.write(&format!("partner: {PARTNER}"));
    held.reload().unwrap();
    assert_eq!(ask(SHOP).await, 401);
    assert_eq!(ask(PARTNER).await, 200);
}

/// Sends requests until one is refused; how many were not.
async fn until_refused(ask: impl AsyncFn() -> Response) -> (usize, Response) {
    for count in 0..100 {
        let response = ask().await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            return (count, response);
        }
    }
    panic!("none of a hundred was refused");
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_to_wait_and_others_are_not() {
    let keys = both();
    let spotter = keys.spotter(&["--key-rate", "0.01", "--key-burst", "3"]).await;
    let ask = async |key: &str| spotter.get("/v1/models").bearer_auth(key).send().await.unwrap();
    let (count, refused) = until_refused(async || ask(SHOP).await).await;
    assert_eq!(count, 3);
    let wait: u64 = refused.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((90..=100).contains(&wait), "{wait}");
    let body = problem(spotter.get("/v1/models").bearer_auth(SHOP), 429, "RATE_LIMITED").await;
    assert_eq!(body["limited_by"], "key");
    assert_eq!(ask(PARTNER).await.status(), 200);
}

#[tokio::test]
async fn guessing_keys_is_held_back_by_the_rate_of_the_address() {
    let keys = both();
    let spotter = keys.spotter(&["--address-rate", "0.01", "--address-burst", "5"]).await;
    let guess = async || spotter.get("/v1/models").bearer_auth("a-guess-of-some-key").send().await.unwrap();
    let (count, _) = until_refused(guess).await;
    assert_eq!(count, 5);
    let body = problem(spotter.get("/v1/models").bearer_auth(SHOP), 429, "RATE_LIMITED").await;
    assert_eq!(body["limited_by"], "address");
}

#[tokio::test]
async fn a_proxy_is_believed_only_where_it_is_trusted() {
    let rate = ["--address-rate", "0.01", "--address-burst", "1"];
    let from = |spotter: &Spotter, address: &str| {
        let request = spotter.get("/v1/models").header("x-forwarded-for", address);
        async move { request.send().await.unwrap().status() }
    };
    let open = Spotter::start(&rate).await;
    assert_eq!(from(&open, "198.51.100.1").await, 200);
    assert_eq!(from(&open, "198.51.100.2").await, 429, "whoever writes the header is not another client");

    let behind = Spotter::start(&[&rate[..], &["--trusted-proxies", "127.0.0.0/8,::1"]].concat()).await;
    assert_eq!(from(&behind, "198.51.100.1").await, 200);
    assert_eq!(from(&behind, "198.51.100.2").await, 200);
    assert_eq!(from(&behind, "203.0.113.7, 198.51.100.2").await, 429, "what stands before is the client's own word");
}

#[tokio::test]
async fn grpc_calls_need_a_key_as_well_and_its_health_does_not() {
    let keys = both();
    let spotter = keys.spotter(&["--key-rate", "0.001", "--key-burst", "1"]).await;
    let channel = Channel::from_shared(spotter.url("")).unwrap().connect().await.unwrap();
    let mut client = DetectionServiceClient::new(channel.clone());
    let ask = |key: Option<&str>| {
        let mut request =
            Request::new(v1::DetectRequest { photo: Some(Photo::Image(photo("chelsea.png"))), ..Default::default() });
        if let Some(key) = key {
            request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        request
    };
    assert_eq!(client.detect(ask(None)).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(client.detect(ask(Some("a-guess-of-some-key"))).await.unwrap_err().code(), Code::Unauthenticated);
    client.detect(ask(Some(SHOP))).await.unwrap();
    assert_eq!(client.detect(ask(Some(SHOP))).await.unwrap_err().code(), Code::ResourceExhausted);
    let mut health = HealthClient::new(channel);
    health.check(HealthCheckRequest::default()).await.unwrap();
}

/// A stream of frames with the shop's key.
struct Stream {
    frames: mpsc::Sender<v1::StreamDetectRequest>,
    answers: tonic::Streaming<v1::StreamDetectResponse>,
    next: u64,
}

impl Stream {
    async fn open(spotter: &Spotter) -> Self {
        let (frames, receiver) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("authorization", format!("Bearer {SHOP}").parse().unwrap());
        let mut client = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
        let answers = client.stream_detect(request).await.unwrap().into_inner();
        Self { frames, answers, next: 1 }
    }

    /// The answer to one more frame.
    async fn ask(&mut self) -> Result<Outcome, tonic::Status> {
        let frame = v1::Frame { id: self.next, image: photo("chelsea.png") };
        self.frames.send(v1::StreamDetectRequest { message: Some(Message::Frame(frame)) }).await.unwrap();
        let answer = self.answers.message().await?.unwrap();
        assert_eq!(answer.frame_id, self.next);
        self.next += 1;
        Ok(answer.result.unwrap().outcome.unwrap())
    }
}

#[tokio::test]
async fn each_frame_of_a_stream_counts_as_a_request() {
    let keys = both();
    for rate in ["--key", "--address"] {
        let spotter = keys.spotter(&[&format!("{rate}-rate"), "0.001", &format!("{rate}-burst"), "3"]).await;
        let mut stream = Stream::open(&spotter).await;
        for _ in 0..2 {
            assert!(
                matches!(stream.ask().await.unwrap(), Outcome::Response(_)),
                "opening it was one, these are two more"
            );
        }
        for _ in 0..2 {
            let Outcome::Failure(failure) = stream.ask().await.unwrap() else { panic!("one too many") };
            assert_eq!(failure.code, "RATE_LIMITED");
            assert!(failure.detail.contains("wait "), "{}", failure.detail);
        }
        let others = spotter.get("/v1/models").bearer_auth(SHOP).send().await.unwrap();
        assert_eq!(others.status(), 429, "streams and requests are counted together");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let keys = both();
    let spotter = keys.spotter(&[]).await;
    let mut stream = Stream::open(&spotter).await;
    assert!(matches!(stream.ask().await.unwrap(), Outcome::Response(_)));
    keys.write(&format!("partner: {PARTNER}"));
    spotter.access().keys.as_ref().unwrap().reload().unwrap();
    assert_eq!(stream.ask().await.unwrap_err().code(), Code::Unauthenticated);
}

/// An upload that goes on and on: what is answered, and how much of it could be sent.
async fn endless_upload(spotter: &Spotter, headers: &str) -> (String, usize) {
    let socket = TcpStream::connect(spotter.address()).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let head = format!("POST /v1/detect HTTP/1.1\r\nhost: x\r\n{headers}content-length: 1000000000\r\n\r\n");
    writing.write_all(head.as_bytes()).await.unwrap();
    let sending = tokio::spawn(async move {
        let (mut sent, piece) = (0, vec![0; 1 << 16]);
        while let Ok(count) = writing.write(&piece).await {
            sent += count;
        }
        sent
    });
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = reading.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    (String::from_utf8(answer).unwrap(), sending.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_upload_without_a_key_next_to_nothing_is_read() {
    let keys = both();
    let spotter = keys.spotter(&["--address-rate", "0.001", "--address-burst", "2"]).await;
    for (headers, status) in [
        ("", "401 Unauthorized"),
        ("authorization: Bearer a-guess-of-some-key\r\n", "401 Unauthorized"),
        (&*format!("authorization: Bearer {SHOP}\r\n"), "429 Too Many Requests"),
    ] {
        let (answer, sent) = endless_upload(&spotter, headers).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\nconnection: close"), "{head}");
        serde_json::from_str::<serde_json::Value>(body).expect("the answer is whole");
        // What the system's buffers hold, and the megabyte.
        assert!(sent < 64 << 20, "{sent} bytes of a billion");
    }
}

#[tokio::test]
async fn a_connection_is_kept_where_there_is_no_body_to_leave() {
    let keys = both();
    let spotter = keys.spotter(&[]).await;
    let mut socket = TcpStream::connect(spotter.address()).await.unwrap();
    let ask = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = ask.replace("host: x", "host: x\r\nconnection: close");
    socket.write_all(format!("{ask}{last}").as_bytes()).await.unwrap();
    let mut answers = String::new();
    socket.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 401 Unauthorized").count(), 2, "{answers}");
}
