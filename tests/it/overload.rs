//! More photos than can be answered: who is let in, who is told to come back, and what nobody pays for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use image::RgbImage;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use spotter::app;
use spotter::backend::Call;
use spotter::backend::serving::proto::tensorflow::DataType;
use spotter::deadline::Deadline;
use spotter::detect::{Job, Keep, Wanted};
use spotter::grpc::proto::v1::DetectRequest;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::request_id::RequestId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::photos::{photo, png};
use crate::support::scripted_serving::{Script, ScriptedServing};
use crate::support::service::{Spotter, problem, problem_and_headers, settings};

fn upload(spotter: &Spotter) -> reqwest::RequestBuilder {
    spotter.post("/v1/detect").body(photo("chelsea.png"))
}

#[tokio::test]
async fn a_burst_is_answered_or_refused_and_costs_the_model_server_nothing_in_vain() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let flags = ["--serving", &serving.url(), "--max-in-flight", "2", "--max-queue-ms", "200"];
    let spotter = Spotter::start(&flags).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.delay = Duration::from_millis(20));
    let before = serving.received(|received| received.predicts.len());

    let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
    for response in join_all((0..60).map(|_| upload(&spotter).send())).await {
        let response = response.unwrap();
        let status = response.status().as_u16();
        *seen.entry(status).or_default() += 1;
        if status == 503 {
            assert!(response.headers().contains_key("retry-after"));
            let body: serde_json::Value = response.json().await.unwrap();
            assert_eq!((&body["code"], &body["limit"]), (&"OVERLOADED".into(), &2.into()), "{body}");
        }
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [200, 503], "{seen:?}");
    let asked = serving.received(|received| received.predicts.len()) - before;
    assert_eq!(asked, seen[&200], "who is refused was never sent to the model server");
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
}

#[tokio::test]
async fn a_full_model_says_how_many_are_in_work_and_waiting() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let flags = ["--serving", &serving.url(), "--max-in-flight", "1", "--max-queue-ms", "50"];
    let spotter = Spotter::start(&flags).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    let busy = tokio::spawn(upload(&spotter).send());
    serving.until(|received| received.predicts.len() == 2).await;
    let (headers, body) = problem_and_headers(upload(&spotter), 503, "OVERLOADED").await;
    assert!(headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!((&body["in_flight"], &body["queued"], &body["limit"]), (&1.into(), &0.into(), &1.into()), "{body}");
    serving.release();
    assert_eq!(busy.await.unwrap().unwrap().status(), 200);
}

/// One place, taken by a photo that is held, and hardly any patience.
async fn full() -> (ScriptedServing, Spotter, JoinHandle<reqwest::Result<reqwest::Response>>) {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let flags = ["--serving", &serving.url(), "--max-in-flight", "1", "--max-queue-ms", "1"];
    let spotter = Spotter::start(&flags).await;
    // By this one it is known how long photos take.
    serving.change(|script| script.delay = Duration::from_millis(50));
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    let busy = tokio::spawn(upload(&spotter).send());
    serving.until(|received| received.predicts.len() == 2).await;
    (serving, spotter, busy)
}

/// All that comes back for these bytes until the connection ends.
async fn answer_to(mut socket: TcpStream, bytes: &str) -> String {
    socket.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn with_a_full_model_an_upload_is_refused_by_its_head() {
    let (serving, spotter, busy) = full().await;
    for (path, more) in [
        ("/v1/detect", "content-length: 240512\r\n"),
        ("/v1/detect", "content-length: 20000000\r\n"),
        ("/v1/detect", "content-length: 240512\r\nexpect: 100-continue\r\n"),
        ("/v1/detect", "transfer-encoding: chunked\r\n"),
        ("/v1/models/model/detect", "content-length: 240512\r\n"),
        ("/v1/detect/batch", "content-type: application/json\r\ncontent-length: 240512\r\n"),
    ] {
        let socket = TcpStream::connect(spotter.address()).await.unwrap();
        let answer = answer_to(socket, &format!("POST {path} HTTP/1.1\r\nhost: x\r\n{more}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("OVERLOADED"), "{path} {more}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nretry-after: "), "{path} {more}: {answer}");
    }
    // What is not for this model is not its matter.
    problem(spotter.post("/v1/models/none/detect").body(photo("chelsea.png")), 404, "UNKNOWN_MODEL").await;
    let mut grpc = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let status = grpc.detect(DetectRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "before it is seen that there is no photo: {status:?}");
    serving.release();
    assert_eq!(busy.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_upload_that_finds_the_model_full_when_it_has_arrived_is_not_unpacked() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let flags = ["--serving", &serving.url(), "--max-in-flight", "1", "--max-queue-ms", "1"];
    let service = app::build(&settings(&flags)).unwrap();
    let arriving = service.arriving.clone();
    let spotter = Spotter::run(service).await;
    serving.change(|script| script.delay = Duration::from_millis(50));
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    // What is no base64 would be told so, if anybody looked.
    let (begin, end) = (r#"{"image": "%%%"#, r#"%"}"#);
    let head = "POST /v1/detect HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let mut socket = TcpStream::connect(spotter.address()).await.unwrap();
    let length = begin.len() + end.len();
    socket.write_all(format!("{head}content-length: {length}\r\n\r\n{begin}").as_bytes()).await.unwrap();
    until(|| arriving.bytes().0 > 0).await;
    serving.change(|script| script.hang = true);
    let busy = tokio::spawn(upload(&spotter).send());
    serving.until(|received| received.predicts.len() == 2).await;
    let answer = answer_to(socket, end).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("OVERLOADED"), "{answer}");
    serving.release();
    assert_eq!(busy.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_version_that_nobody_knows_is_asked_for_once_however_many_name_it() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &serving.url()]).await;
    let made_up =
        || problem(spotter.post("/v1/detect?version_label=made-up").body(photo("chelsea.png")), 404, "UNKNOWN_VERSION");
    join_all((0..30).map(|_| made_up())).await;
    let asked = serving.received(|received| received.metadata);
    // It is remembered for a second, which thirty photos on a busy machine may outlast.
    assert!(asked <= 5, "{asked} of 30");
    serving.change(|script| script.labels = [("made-up".to_owned(), 3)].into());
    let path = "/v1/detect?version_label=made-up";
    while spotter.upload(path, photo("chelsea.png")).await.status() != 200 {}
}

#[tokio::test]
async fn a_photo_that_is_not_let_in_costs_the_model_server_no_question() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let flags = ["--serving", &serving.url(), "--max-in-flight", "1", "--max-queue-ms", "50"];
    let spotter = Spotter::start(&flags).await;
    serving.change(|script| script.hang = true);
    let busy = tokio::spawn(upload(&spotter).send());
    serving.until(|received| received.predicts.len() == 1).await;
    let other = spotter.post("/v1/detect?version=9").body(photo("chelsea.png"));
    problem(other, 503, "OVERLOADED").await;
    assert_eq!(serving.received(|received| received.metadata), 1, "what the photo in work needed");
    serving.release();
    assert_eq!(busy.await.unwrap().unwrap().status(), 200);
}

/// However the client ends it, a job on a core goes on to its end, and with it the photo's share of the memory.
#[tokio::test]
async fn a_photo_takes_its_memory_for_as_long_as_a_core_works_on_it() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let service = app::build(&settings(&["--serving", &serving.url()])).unwrap();
    let (pipeline, model) = (&service.pipeline, service.catalog.default_model());
    let mut large = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut large, CompressionType::Fast, FilterType::Up);
    RgbImage::new(4000, 4000).write_with_encoder(encoder).unwrap();
    let large = Bytes::from(large);
    let detect = |image: Bytes, time: Duration| {
        let wanted = Wanted::read(&[], model.profile().defaults, &model.labels()).unwrap();
        let call = Call::new(Deadline::after(time), RequestId::generate());
        async move { pipeline.detect(model, Job { image, wanted, keep: Keep::Nothing }, &call).await }
    };
    detect(photo("chelsea.png"), Duration::from_secs(60)).await.unwrap();
    // Which deadline comes while it is decoded depends on the machine: each time a little later, until one does.
    let mut held = Vec::new();
    for milliseconds in 10..40 {
        let outcome = detect(large.clone(), Duration::from_millis(milliseconds)).await;
        let pixels = pipeline.admission.pixels().0;
        held.extend(outcome.err().filter(|fault| fault.detail().contains("worked on")).map(|_| pixels));
        if pixels > 0 {
            break;
        }
    }
    assert!(held.iter().any(|pixels| *pixels >= 16_000_000), "{held:?}");
    until(|| pipeline.admission.pixels().0 == 0).await;
}

/// A photo of one row is a hundred bytes, and in tiles seventeen pictures of the model's size.
#[tokio::test]
async fn views_are_made_one_after_the_other_and_count_among_the_pixels() {
    let script = Script::detector("input", DataType::DtFloat, &[1, 640, 640, 3]);
    let serving = ScriptedServing::start(script).await;
    let service = app::build(&settings(&["--serving", &serving.url()])).unwrap();
    let admission = service.pipeline.admission.clone();
    let spotter = Spotter::run(service).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    let row = png(&RgbImage::new(6000, 1));
    let tiles = tokio::spawn(spotter.post("/v1/detect?tiles=16").body(row).send());
    serving.until(|received| received.predicts.len() == 1 + 4).await;
    let pixels = admission.pixels().0;
    // Of float32, which takes half as much again as a photo does.
    let expected = 6000 + 4 * 640 * 640 * 3 / 2;
    assert!((expected..expected + 4096).contains(&pixels), "{pixels}");
    tiles.abort();
    until(|| admission.pixels().0 == 0).await;
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
