//! What Prometheus scrapes.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::RequestBuilder;
use spotter::app;
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::grpc::proto::v1::stream_detect_request::Message;
use spotter::grpc::proto::v1::{DetectBatchRequest, DetectRequest, Frame, StreamDetectRequest};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::support::photos::photo;
use crate::support::scripted_serving::{Script, ScriptedServing};
use crate::support::service::{Spotter, problem, settings};

const NO_PHOTO: Bytes = Bytes::from_static(b"no photo");

async fn scraped(spotter: &Spotter) -> String {
    let response = spotter.get("/metrics").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    response.text().await.unwrap()
}

/// A raw upload.
fn raw(spotter: &Spotter, path: &str, body: Bytes) -> RequestBuilder {
    spotter.post(path).header("content-type", "application/octet-stream").body(body)
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
}

/// A service that has answered, failed and called a model server once.
async fn busy() -> (ScriptedServing, Spotter) {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let url = serving.url();
    let spotter = Spotter::start(&["--serving", &url, "--labels", "coco"]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    problem(raw(&spotter, "/v1/detect?min_score=7", photo("chelsea.png")), 422, "INVALID_OPTION").await;
    problem(raw(&spotter, "/v1/detect", NO_PHOTO), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    (serving, spotter)
}

#[tokio::test]
async fn requests_stages_detections_and_hosts_are_counted() {
    let (serving, spotter) = busy().await;
    let text = scraped(&spotter).await;
    let (host, bytes) = (serving.url(), photo("chelsea.png").len() + NO_PHOTO.len());
    for line in [
        r#"spotter_requests_total{route="/v1/detect",status="200",code=""} 1"#,
        r#"spotter_requests_total{route="/v1/detect",status="422",code="INVALID_OPTION"} 1"#,
        r#"spotter_request_duration_seconds_count{route="/v1/detect"} 3"#,
        r#"spotter_photos_total{model="model",version="3"} 1"#,
        r#"spotter_photos_failed_total{model="model",version="",code="UNSUPPORTED_IMAGE_FORMAT"} 1"#,
        r#"spotter_detections_total{model="model",label="cat"} 1"#,
        r#"spotter_photos_in_flight{model="model"} 0"#,
        r#"spotter_photos_queued{model="model"} 0"#,
        r#"spotter_photos_in_flight_limit{model="model"} 64"#,
        "spotter_photo_bytes_count 2",
        "spotter_pixels_in_flight 0",
        "spotter_upload_bytes_in_flight 0",
        "spotter_upload_bytes_in_flight_limit 268435456",
        "spotter_answer_bytes_in_flight 0",
        "spotter_answer_bytes_in_flight_limit 268435456",
    ] {
        has(&text, line);
    }
    for stage in ["queue", "decode", "prepare", "infer", "interpret"] {
        let labels = format!(r#"stage="{stage}",model="model",version="3""#);
        has(&text, &format!("spotter_stage_duration_seconds_count{{{labels}}} 1"));
    }
    has(&text, &format!("spotter_photo_bytes_sum {bytes}.0"));
    has(&text, &format!(r#"spotter_serving_calls_total{{host="{host}",outcome="ok"}} 2"#));
    has(&text, &format!(r#"spotter_serving_call_duration_seconds_count{{host="{host}"}} 2"#));
    has(&text, &format!(r#"spotter_serving_host_up{{host="{host}"}} 1"#));
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_cpu_seconds_total"] {
        let value = text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().parse::<f64>());
        assert!(value.is_some_and(|value| value.is_ok_and(|value| value >= 0.0)), "{name} in\n{text}");
    }
}

#[tokio::test]
async fn grpc_calls_are_counted_by_method_with_the_status_that_http_has() {
    let (_serving, spotter) = busy().await;
    let mut client = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let ask = |image| DetectRequest { photo: Some(Photo::Image(image)), ..Default::default() };
    client.detect(ask(NO_PHOTO)).await.unwrap_err();
    client.detect(ask(photo("chelsea.png"))).await.unwrap();
    let images = vec![photo("chelsea.png"), NO_PHOTO];
    client.detect_batch(DetectBatchRequest { images, ..Default::default() }).await.unwrap();
    let text = scraped(&spotter).await;
    let calls =
        |method, rest| format!(r#"spotter_requests_total{{route="/spotter.v1.DetectionService/{method}",{rest}"#);
    has(&text, &calls("Detect", r#"status="415",code="UNSUPPORTED_IMAGE_FORMAT"} 1"#));
    has(&text, &calls("Detect", r#"status="200",code=""} 1"#));
    has(&text, &calls("DetectBatch", r#"status="200",code=""} 1"#));
    has(&text, r#"spotter_photos_total{model="model",version="3"} 3"#);
    has(&text, r#"spotter_photos_failed_total{model="model",version="",code="UNSUPPORTED_IMAGE_FORMAT"} 3"#);
}

#[tokio::test]
async fn what_a_version_fails_at_is_told_from_what_another_does() {
    let (serving, spotter) = busy().await;
    for (version, count) in [(3, 1), (4, 2)] {
        serving.change(|script| {
            script.version = version;
            script.predict = Arc::new(|_| Err(Status::internal("no kernel image is available")));
        });
        for _ in 0..count {
            problem(raw(&spotter, "/v1/detect", photo("chelsea.png")), 502, "MODEL_CONTRACT").await;
        }
        let labels = format!(r#"model="model",version="{version}",code="MODEL_CONTRACT""#);
        has(&scraped(&spotter).await, &format!("spotter_photos_failed_total{{{labels}}} {count}"));
    }
}

/// With its head nobody knows yet how it ends.
#[tokio::test]
async fn a_stream_is_counted_by_how_it_ends() {
    let spotter = Spotter::start(&["--max-image-bytes", "300000"]).await;
    let mut client = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let frame = |image| StreamDetectRequest { message: Some(Message::Frame(Frame { id: 1, image })) };
    let calls = |rest| format!(r#"spotter_requests_total{{route="/spotter.v1.DetectionService/StreamDetect",{rest}"#);
    for (image, is_whole) in [(photo("chelsea.png"), true), (Bytes::from(vec![0; 400_000]), false)] {
        let mut answers = client.stream_detect(futures::stream::iter([frame(image)])).await.unwrap().into_inner();
        assert_eq!(answers.next().await.unwrap().is_ok(), is_whole);
        assert!(answers.next().await.is_none());
    }
    let text = scraped(&spotter).await;
    has(&text, &calls(r#"status="200",code=""} 1"#));
    has(&text, &calls(r#"status="413",code="PAYLOAD_TOO_LARGE"} 1"#));
    // Whoever leaves has had its answer for as long as it liked.
    let (frames, receiver) = tokio::sync::mpsc::channel(1);
    let mut answers = client.stream_detect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    frames.send(frame(photo("chelsea.png"))).await.unwrap();
    answers.next().await.unwrap().unwrap();
    drop((answers, frames, client));
    while !scraped(&spotter).await.lines().any(|line| line == calls(r#"status="200",code=""} 2"#)) {}
}

/// A scrape of many series is a large answer itself.
#[tokio::test]
async fn that_the_room_for_answers_is_full_can_be_scraped() {
    let service = app::build(&settings(&["--max-upload-bytes-in-flight", "100000"])).unwrap();
    let (answering, metrics) = (service.answering.clone(), Arc::clone(&service.metrics));
    let spotter = Spotter::run(service).await;
    let _held = answering.take(100_000).unwrap().expect("it is large");
    let _host = metrics.hosts.host(&"x".repeat(100_000));
    let text = scraped(&spotter).await;
    assert!(text.len() > 100_000, "{} bytes", text.len());
    has(&text, "spotter_answer_bytes_in_flight 100000");
    has(&text, "spotter_answer_bytes_in_flight_limit 100000");
}

#[tokio::test]
async fn a_photo_that_is_worked_on_is_in_flight() {
    let (serving, spotter) = busy().await;
    serving.change(|script| script.hang = true);
    let before = serving.received(|received| received.predicts.len());
    let request = tokio::spawn(raw(&spotter, "/v1/detect", photo("chelsea.png")).send());
    serving.until(|received| received.predicts.len() > before).await;
    let text = scraped(&spotter).await;
    has(&text, r#"spotter_photos_in_flight{model="model"} 1"#);
    // 451 x 300 pixels, and as many for the model, in steps of 4096.
    has(&text, "spotter_pixels_in_flight 274432");
    serving.release();
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_before_it_is_answered_is_counted_as_gone() {
    let (serving, spotter) = busy().await;
    serving.change(|script| script.hang = true);
    let before = serving.received(|received| received.predicts.len());
    let request = tokio::spawn(raw(&spotter, "/v1/detect", photo("chelsea.png")).send());
    serving.until(|received| received.predicts.len() > before).await;
    request.abort();
    let gone = r#"spotter_requests_total{route="/v1/detect",status="499",code="CLIENT_GONE"} 1"#;
    while !scraped(&spotter).await.lines().any(|line| line == gone) {}
    let abandoned = format!(r#"spotter_serving_calls_total{{host="{}",outcome="abandoned"}} 1"#, serving.url());
    while !scraped(&spotter).await.lines().any(|line| line == abandoned) {}
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_down_and_its_calls_have_failed() {
    let (serving, spotter) = busy().await;
    let host = serving.url();
    serving.change(|script| script.refuse = Some(Status::invalid_argument("so wrong")));
    problem(raw(&spotter, "/v1/detect", photo("chelsea.png")), 502, "MODEL_CONTRACT").await;
    let text = scraped(&spotter).await;
    // The Predict, and the question whether the signature is another one by now.
    has(&text, &format!(r#"spotter_serving_calls_total{{host="{host}",outcome="invalid_argument"}} 2"#));
    drop(serving);
    problem(raw(&spotter, "/v1/detect", photo("chelsea.png")), 503, "MODEL_UNAVAILABLE").await;
    has(&scraped(&spotter).await, &format!(r#"spotter_serving_host_up{{host="{host}"}} 0"#));
}

#[tokio::test]
async fn what_a_client_sends_is_no_label() {
    let spotter = Spotter::start(&[]).await;
    for path in ["/nowhere", "/v1/models/zebra/detect", "/spotter.v1.DetectionService/Zebra", "/docs/zebra"] {
        spotter.post(path).header("content-type", "application/zebra").send().await.unwrap();
    }
    let text = scraped(&spotter).await;
    has(&text, r#"spotter_requests_total{route="-",status="404",code="NOT_FOUND"} 1"#);
    assert!(text.contains(r#"route="/v1/models/{model}/detect""#), "{text}");
    assert!(!text.to_lowercase().contains("zebra"), "{text}");
}

#[tokio::test]
async fn metrics_take_a_key_where_keys_are_set() {
    let mut keys = tempfile::NamedTempFile::new().unwrap();
    writeln!(keys, "prometheus: 0123456789abcdef0123456789abcdef").unwrap();
    let spotter = Spotter::start(&["--api-keys", keys.path().to_str().unwrap()]).await;
    problem(spotter.get("/metrics"), 401, "UNAUTHORIZED").await;
    let scrape = spotter.get("/metrics").bearer_auth("0123456789abcdef0123456789abcdef").send().await.unwrap();
    let text = scrape.text().await.unwrap();
    has(&text, r#"spotter_requests_total{route="/metrics",status="401",code="UNAUTHORIZED"} 1"#);
    assert!(!text.contains("0123456789abcdef"));
}

#[tokio::test]
async fn metrics_at_an_address_of_their_own_are_nowhere_else() {
    let spotter = Spotter::start(&["--metrics-listen", "127.0.0.1:0"]).await;
    problem(spotter.get("/metrics"), 404, "NOT_FOUND").await;
    let scrape = spotter.scrape("/metrics").send().await.unwrap();
    assert_eq!(scrape.status(), 200);
    assert!(scrape.headers()["server-timing"].to_str().unwrap().starts_with("total;dur="));
    has(&scrape.text().await.unwrap(), r#"spotter_requests_total{route="-",status="404",code="NOT_FOUND"} 1"#);
    for path in ["/", "/v1/models", "/livez", "/metrics/more"] {
        assert_eq!(spotter.scrape(path).send().await.unwrap().status(), 404, "{path}");
    }
}

/// Every name and its labels, as monitoring/README.md lists them: `name{label,label}`.
fn series(text: &str) -> BTreeSet<String> {
    let of = |line: &str| {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let labels = rest.split_once("} ").map_or("", |(labels, _)| labels);
        let names: Vec<_> =
            labels.split(r#"","#).filter_map(|label| label.split_once('=')).map(|(name, _)| name).collect();
        let names: Vec<_> = names.into_iter().filter(|name| *name != "le").collect();
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        if names.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", names.join(",")) }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(of).collect()
}

#[tokio::test]
async fn the_list_of_metrics_is_complete_and_true() {
    let (_serving, spotter) = busy().await;
    let found = series(&scraped(&spotter).await);
    let list = std::fs::read_to_string(crate::support::repo("monitoring/README.md")).unwrap();
    let listed = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: BTreeSet<_> = listed.map(|(series, _)| series.to_owned()).collect();
    assert_eq!(listed, found, "monitoring/README.md against the scrape");
}
