//! `X-Request-Timeout` and `Server-Timing`.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use spotter::grpc::proto::v1::DetectRequest;
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;

use crate::support::photos::photo;
use crate::support::scripted_serving::{Script, ScriptedServing, grpc_timeout};
use crate::support::service::{Spotter, problem};

fn names(timing: &str) -> Vec<&str> {
    timing.split(", ").map(|entry| entry.split_once(";dur=").expect("a name and a duration").0).collect()
}

#[tokio::test]
async fn the_clients_own_patience_is_the_deadline_where_it_is_shorter() {
    let spotter = Spotter::start(&["--request-timeout-ms", "60000"]).await;
    let stalled = stream::once(async { Ok::<_, io::Error>(vec![0; 100]) }).chain(stream::pending());
    let request = spotter.post("/v1/detect").header("x-request-timeout", "200ms");
    problem(request.body(reqwest::Body::wrap_stream(stalled)), 408, "UPLOAD_TIMEOUT").await;

    let patient = Spotter::start(&["--request-timeout-ms", "200"]).await;
    let stalled = stream::once(async { Ok::<_, io::Error>(vec![0; 100]) }).chain(stream::pending());
    let request = patient.post("/v1/detect").header("x-request-timeout", "999999");
    problem(request.body(reqwest::Body::wrap_stream(stalled)), 408, "UPLOAD_TIMEOUT").await;
}

#[tokio::test]
async fn what_is_left_of_the_clients_patience_is_what_the_model_server_is_given() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &serving.url(), "--labels", "coco"]).await;
    let request = spotter.post("/v1/detect").header("x-request-timeout", "2.5").body(photo("chelsea.png"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let (metadata, _) = serving.last_predict();
    let seconds = grpc_timeout(&metadata);
    assert!(seconds > 0.0 && seconds <= 2.5, "{seconds}");
}

#[tokio::test]
async fn a_timeout_that_is_none_is_refused() {
    let spotter = Spotter::start(&[]).await;
    for wish in ["", "soon", "0", "0ms", "-1", "1m", "1e3"] {
        let request = spotter.get("/v1/models").header("x-request-timeout", wish);
        let body = problem(request, 400, "INVALID_REQUEST").await;
        assert!(body["detail"].as_str().unwrap().contains("X-Request-Timeout"), "{body}");
    }
    let twice = spotter.get("/v1/models").header("x-request-timeout", "1").header("x-request-timeout", "2");
    problem(twice, 400, "INVALID_REQUEST").await;
}

/// Whoever sends an upload with it is told from the head, before it is known who that is.
#[tokio::test]
async fn an_upload_with_a_timeout_that_is_none_is_not_waited_for() {
    let spotter = Spotter::start(&[]).await;
    for length in [1_000, 1_000_000_000] {
        let mut socket = TcpStream::connect(spotter.address()).await.unwrap();
        let head = format!(
            "POST /v1/detect HTTP/1.1\r\nhost: x\r\nx-request-timeout: soon\r\ncontent-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // To the end of the connection: nothing of the body has come.
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 ") && head.to_ascii_lowercase().contains("connection: close"), "{head}");
        assert!(body.contains("X-Request-Timeout"), "{body}");
    }
    // A body that has come along is read, and the connection kept.
    let mut socket = TcpStream::connect(spotter.address()).await.unwrap();
    let refused = "POST /v1/detect HTTP/1.1\r\nhost: x\r\nx-request-timeout: soon\r\ncontent-length: 4\r\n\r\nbody";
    let next = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(format!("{refused}{next}").as_bytes()).await.unwrap();
    let mut answers = String::new();
    socket.read_to_string(&mut answers).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 400 ") && answers.contains("HTTP/1.1 200 OK"), "{answers}");
}

#[tokio::test]
async fn every_answer_says_where_its_time_went() {
    let spotter = Spotter::start(&[]).await;
    let detected = spotter.upload("/v1/detect", photo("chelsea.png")).await;
    let timing = detected.headers()["server-timing"].to_str().unwrap().to_owned();
    assert_eq!(names(&timing), ["queue", "decode", "prepare", "infer", "interpret", "total"]);
    let body: Value = detected.json().await.unwrap();
    let infer = format!("infer;dur={:.1},", body["timings_ms"]["infer"].as_f64().unwrap());
    assert!(timing.contains(&infer), "{timing} is as in {body}");

    let batch = json!({"images": [{"image": BASE64_STANDARD.encode(photo("chelsea.png"))}]});
    let batch = spotter.post("/v1/detect/batch").json(&batch).send().await.unwrap();
    let stages = ["queue", "decode", "prepare", "infer", "interpret", "total"];
    assert_eq!(names(batch.headers()["server-timing"].to_str().unwrap()), stages);

    let mut client = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let answer = client
        .detect(DetectRequest { photo: Some(Photo::Image(photo("chelsea.png"))), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(names(answer.metadata().get("server-timing").unwrap().to_str().unwrap()), stages);
    let failure = client.detect(DetectRequest::default()).await.unwrap_err();
    assert_eq!(names(failure.metadata().get("server-timing").unwrap().to_str().unwrap()), ["total"]);

    for path in ["/v1/models", "/livez", "/docs/", "/nowhere"] {
        let answer = spotter.get(path).send().await.unwrap();
        assert_eq!(names(answer.headers()["server-timing"].to_str().unwrap()), ["total"], "{path}");
    }
}

/// A failure tells how far the photo came.
#[tokio::test]
async fn a_failure_says_where_its_time_went_as_well() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &serving.url()]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.predict = Arc::new(|_| Err(Status::invalid_argument("so wrong"))));
    let failed = spotter.upload("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(failed.status(), 502);
    let timing = failed.headers()["server-timing"].to_str().unwrap().to_owned();
    assert_eq!(names(&timing), ["queue", "decode", "prepare", "infer", "total"]);
}
