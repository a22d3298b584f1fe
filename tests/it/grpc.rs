//! The typed gRPC front, called with a generated client over real HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use prost::Message as _;
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::grpc::proto::v1::{self, result::Outcome, stream_detect_request::Message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use crate::problems::faulty;
use crate::support::photos::{photo, small_astronaut};
use crate::support::scripted_serving::{Script, ScriptedServing, grpc_timeout};
use crate::support::service::{Spotter, until_ready};

async fn channel(spotter: &Spotter) -> Channel {
    Channel::from_shared(spotter.url("")).unwrap().connect().await.unwrap()
}

async fn client(spotter: &Spotter) -> DetectionServiceClient<Channel> {
    DetectionServiceClient::new(channel(spotter).await)
}

fn ask(image: Bytes, options: v1::DetectOptions) -> v1::DetectRequest {
    v1::DetectRequest { photo: Some(Photo::Image(image)), model: None, options: Some(options) }
}

fn reason(status: &tonic::Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

fn labels(response: &v1::DetectResponse) -> Vec<&str> {
    response.detections.iter().map(|found| found.label.as_str()).collect()
}

#[tokio::test]
async fn a_photo_comes_back_as_named_fields() {
    let spotter = Spotter::start(&[]).await;
    let options = v1::DetectOptions { normalized: Some(true), ..Default::default() };
    let mut request = Request::new(ask(photo("chelsea.png"), options));
    request.metadata_mut().insert("x-request-id", "from-the-test".parse().unwrap());
    let answer = client(&spotter).await.detect(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "from-the-test");
    let answer = answer.into_inner();
    assert_eq!(answer.request_id, "from-the-test");
    assert_eq!(answer.model.as_ref().unwrap().name, "nanodet-g");
    let image = answer.image.as_ref().unwrap();
    assert_eq!((image.width, image.height, image.format.as_str(), image.orientation), (451, 300, "png", 1));
    assert_eq!(labels(&answer), ["cat"]);
    let cat = &answer.detections[0];
    let pixels = cat.r#box.unwrap();
    assert!(cat.class_id == 17 && pixels.x_max > 430 && pixels.x_max <= 451, "{cat:?}");
    let fraction = cat.box_normalized.unwrap().x_max;
    assert!((fraction - f64::from(pixels.x_max) / 451.0).abs() < 1e-9);
    assert!(answer.timings.unwrap().infer.unwrap().nanos > 0);
}

#[tokio::test]
async fn rest_and_grpc_say_the_same() {
    let spotter = Spotter::start(&[]).await;
    let rest = spotter.detect("/v1/detect?min_score=0.2", photo("coffee.png")).await;
    let options = v1::DetectOptions { min_score: Some(0.2), ..Default::default() };
    let grpc = client(&spotter).await.detect(ask(photo("coffee.png"), options)).await.unwrap().into_inner();
    let rest: Vec<_> =
        rest["detections"].as_array().unwrap().iter().map(|found| found["box"]["x_max"].clone()).collect();
    let grpc: Vec<serde_json::Value> = grpc.detections.iter().map(|found| found.r#box.unwrap().x_max.into()).collect();
    assert!(rest.len() > 2);
    assert_eq!(rest, grpc);
}

#[tokio::test]
async fn failures_are_a_status_with_details() {
    let spotter = Spotter::start(&[]).await;
    let mut client = client(&spotter).await;
    let options = v1::DetectOptions { min_score: Some(7.0), tiles: Some(999), ..Default::default() };
    let status = client.detect(ask(photo("chelsea.png"), options)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "INVALID_OPTION");
    let fields: Vec<_> =
        details.bad_request().unwrap().field_violations.iter().map(|each| each.field.clone()).collect();
    assert_eq!(fields, ["min_score", "tiles"]);
    let id = status.metadata().get("x-request-id").unwrap().to_str().unwrap();
    assert_eq!(details.request_info().unwrap().request_id, id);

    for (image, reason) in [
        (Bytes::new(), "MISSING_IMAGE"),
        (Bytes::from_static(b"no photo"), "UNSUPPORTED_IMAGE_FORMAT"),
        (photo("chelsea.png").slice(..5000), "UNREADABLE_IMAGE"),
    ] {
        let status = client.detect(ask(image, v1::DetectOptions::default())).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_error_details().error_info().unwrap().reason, reason);
    }
    let model = Some(v1::ModelChoice { name: "none".to_owned(), version_choice: None });
    let unknown = v1::DetectRequest { photo: Some(Photo::Image(photo("chelsea.png"))), model, options: None };
    let status = client.detect(unknown).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "UNKNOWN_MODEL"));
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_unimplemented_in_grpcs_own_words() {
    let spotter = Spotter::start(&[]).await;
    let mut grpc = tonic::client::Grpc::new(channel(&spotter).await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/spotter.v1.DetectionService/Dream");
    let codec = tonic_prost::ProstCodec::<v1::ListModelsRequest, v1::ListModelsResponse>::default();
    let status = grpc.unary(Request::new(v1::ListModelsRequest {}), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    // A path of no service at all meets the REST front's refusal, said in gRPC's words.
    let mut grpc = tonic::client::Grpc::new(channel(&spotter).await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/other.Service/Dream");
    let codec = tonic_prost::ProstCodec::<v1::ListModelsRequest, v1::ListModelsResponse>::default();
    let status = grpc.unary(Request::new(v1::ListModelsRequest {}), path, codec).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "NOT_FOUND"));
}

#[tokio::test]
async fn each_photo_of_a_batch_has_its_own_result_or_failure() {
    let spotter = Spotter::start(&[]).await;
    let images = vec![photo("chelsea.png"), Bytes::from_static(b"no photo"), photo("astronaut.png")];
    let request = v1::DetectBatchRequest { images, ..Default::default() };
    let answer = client(&spotter).await.detect_batch(request).await.unwrap().into_inner();
    let told = answer.results.into_iter().map(|result| match result.outcome.unwrap() {
        Outcome::Response(response) => labels(&response)[0].to_owned(),
        Outcome::Failure(failure) => failure.code,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["cat", "UNSUPPORTED_IMAGE_FORMAT", "person"]);
    let many = v1::DetectBatchRequest { images: vec![Bytes::new(); 17], ..Default::default() };
    let status = client(&spotter).await.detect_batch(many).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

/// One photo after the other, of which the third is never answered; the files of crops are so long that a core writes the answer.
#[tokio::test]
async fn photos_of_a_batch_that_were_answered_in_time_are_not_lost_to_one_that_was_not() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let time = ["--max-in-flight", "2", "--request-timeout-ms", "5000", "--labels", "coco"];
    let spotter = Spotter::start(&[&["--serving", &serving.url()], &time[..]].concat()).await;
    until_ready(&reqwest::Client::new(), &spotter.url("/readyz")).await;
    serving.change(|script| script.hang = true);
    let before = serving.received(|received| received.predicts.len());
    let request = v1::DetectBatchRequest {
        images: vec![photo("chelsea.png"); 3],
        options: Some(v1::DetectOptions { crops: v1::CropFormat::Png.into(), ..Default::default() }),
        ..Default::default()
    };
    let two_of_three = async {
        for photo in 1..=2 {
            serving.until(|received| received.predicts.len() == before + photo).await;
            serving.release();
        }
    };
    let mut client = client(&spotter).await;
    let (answer, ()) = tokio::join!(client.detect_batch(request), two_of_three);
    let answer = answer.unwrap().into_inner();
    assert!(answer.encoded_len() > 64 << 10);
    let told = answer.results.into_iter().map(|result| match result.outcome.unwrap() {
        Outcome::Response(response) => labels(&response)[0].to_owned(),
        Outcome::Failure(failure) => failure.code,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["cat", "cat", "MODEL_DEADLINE"]);
}

#[tokio::test]
async fn a_photo_of_a_batch_whose_answer_finds_no_room_is_its_own_failure() {
    let spotter = Spotter::start(&["--max-upload-bytes-in-flight", "400000"]).await;
    let options = v1::DetectOptions { crops: v1::CropFormat::Png.into(), ..Default::default() };
    let batch = |count| v1::DetectBatchRequest {
        images: vec![small_astronaut(); count],
        options: Some(options.clone()),
        ..Default::default()
    };
    let results = client(&spotter).await.detect_batch(batch(8)).await.unwrap().into_inner().results;
    let refused = results.iter().filter(
        |result| matches!(result.outcome.as_ref().unwrap(), Outcome::Failure(failure) if failure.code == "OVERLOADED"),
    );
    assert!((1..8).contains(&refused.count()), "some are answered and some are not");
    let again = client(&spotter).await.detect_batch(batch(1)).await.unwrap().into_inner();
    assert!(matches!(again.results[0].outcome, Some(Outcome::Response(_))), "it has been given back");
}

/// That the call was refused with this code, in the service's own words and details.
#[track_caller]
fn assert_refused(status: &tonic::Status, code: Code, reason_expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (code, reason_expected), "{status:?}");
    let id = status.get_error_details().request_info().unwrap().request_id.clone();
    assert_eq!(status.metadata().get("x-request-id").unwrap().to_str().unwrap(), id);
}

#[tokio::test]
async fn messages_are_bounded_by_what_their_method_takes_and_refused_in_the_services_words() {
    let spotter = Spotter::start(&["--max-image-bytes", "300000", "--max-batch-bytes", "500000"]).await;
    let mut client = client(&spotter).await;
    let batch = |count| v1::DetectBatchRequest { images: vec![photo("chelsea.png"); count], ..Default::default() };
    let answer = client.detect_batch(batch(2)).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), 2, "larger than one photo may be, and not than a batch");
    assert!(answer.results.iter().all(|result| matches!(result.outcome, Some(Outcome::Response(_)))));
    let status = client.detect_batch(batch(3)).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, "PAYLOAD_TOO_LARGE");
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["max_bytes"], "500000");
    for (size, detail) in [(300_001, "300001 bytes"), (400_000, "400006 bytes")] {
        let large = ask(Bytes::from(vec![0; size]), v1::DetectOptions::default());
        let status = client.detect(large).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, "PAYLOAD_TOO_LARGE");
        assert!(status.message().contains(detail), "{status:?}");
    }
    client.detect(ask(photo("chelsea.png"), v1::DetectOptions::default())).await.expect("the connection goes on");

    let frames = [photo("chelsea.png"), Bytes::from(vec![0; 400_000])].into_iter().zip(1..);
    let frames =
        frames.map(|(image, id)| v1::StreamDetectRequest { message: Some(Message::Frame(v1::Frame { id, image })) });
    let mut answers = client.stream_detect(futures::stream::iter(frames)).await.unwrap().into_inner();
    let first = answers.next().await.unwrap().unwrap();
    assert_eq!(first.frame_id, 1, "what came before is answered");
    assert_refused_in_stream(&answers.next().await.unwrap().unwrap_err(), Code::InvalidArgument, "PAYLOAD_TOO_LARGE");
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn options_and_photos_without_number_are_refused_before_they_are_decoded() {
    let spotter = Spotter::start(&[]).await;
    let mut client = client(&spotter).await;
    let many = || v1::DetectOptions { classes: vec![String::new(); 40_000], ..Default::default() };
    let status = client.detect(ask(photo("chelsea.png"), many())).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, "PAYLOAD_TOO_LARGE");
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["max_bytes"], "65536");
    let batch = v1::DetectBatchRequest { images: vec![Bytes::new(); 40_000], ..Default::default() };
    assert_refused(&client.detect_batch(batch).await.unwrap_err(), Code::InvalidArgument, "PAYLOAD_TOO_LARGE");
    let fewer = v1::DetectBatchRequest { images: vec![Bytes::new(); 1_000], ..Default::default() };
    assert_refused(&client.detect_batch(fewer).await.unwrap_err(), Code::InvalidArgument, "BATCH_TOO_LARGE");
    let stream = |options| {
        let settings = v1::StreamSettings { model: None, options: Some(options) };
        let frame = v1::Frame { id: 1, image: photo("chelsea.png") };
        futures::stream::iter([Message::Settings(settings), Message::Frame(frame)])
            .map(|message| v1::StreamDetectRequest { message: Some(message) })
    };
    let mut answers = client.stream_detect(stream(many())).await.unwrap().into_inner();
    assert_refused_in_stream(&answers.next().await.unwrap().unwrap_err(), Code::InvalidArgument, "PAYLOAD_TOO_LARGE");
    let some = v1::DetectOptions { classes: vec!["cat".to_owned(); 1_000], ..Default::default() };
    let mut answers = client.stream_detect(stream(some)).await.unwrap().into_inner();
    let Some(Outcome::Failure(failure)) = answers.next().await.unwrap().unwrap().result.unwrap().outcome else {
        panic!("too many classes")
    };
    assert_eq!(failure.code, "INVALID_OPTION");
}

#[tokio::test]
async fn a_panic_over_one_photo_of_several_is_that_photos_failure() {
    let spotter = faulty(|| panic!("secret")).await;
    let mut client = client(&spotter).await;
    let internal = |result: Option<v1::Result>| match result.unwrap().outcome.unwrap() {
        Outcome::Failure(failure) => assert!(failure.code == "INTERNAL" && !failure.detail.contains("secret")),
        Outcome::Response(response) => panic!("{response:?}"),
    };
    let batch = v1::DetectBatchRequest { images: vec![photo("chelsea.png"); 2], ..Default::default() };
    let results = client.detect_batch(batch).await.unwrap().into_inner().results;
    assert_eq!(results.len(), 2);
    for result in results {
        internal(Some(result));
    }

    let (frames, receiver) = mpsc::channel(1);
    let mut answers = client.stream_detect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    for id in 1..=2 {
        let frame = v1::Frame { id, image: photo("chelsea.png") };
        frames.send(v1::StreamDetectRequest { message: Some(Message::Frame(frame)) }).await.unwrap();
        let answer = answers.next().await.expect("the stream goes on").unwrap();
        assert_eq!(answer.frame_id, id);
        internal(answer.result);
    }
}

/// As above; the headers of a stream have gone out by then.
#[track_caller]
fn assert_refused_in_stream(status: &tonic::Status, code: Code, reason_expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (code, reason_expected), "{status:?}");
}

#[tokio::test]
async fn messages_are_counted_among_the_uploads_in_flight_and_their_room_is_given_back() {
    let full = Spotter::start(&["--max-upload-bytes-in-flight", "200000"]).await;
    let status = client(&full).await.detect(ask(photo("chelsea.png"), v1::DetectOptions::default())).await.unwrap_err();
    assert_refused(&status, Code::Unavailable, "OVERLOADED");
    assert!(status.get_error_details().retry_info().unwrap().retry_delay.is_some());
    let frame =
        |id| v1::StreamDetectRequest { message: Some(Message::Frame(v1::Frame { id, image: photo("chelsea.png") })) };
    let mut answers = client(&full).await.stream_detect(futures::stream::iter([frame(1)])).await.unwrap().into_inner();
    assert_refused_in_stream(&answers.next().await.unwrap().unwrap_err(), Code::Unavailable, "OVERLOADED");

    // Room for one photo at a time, and one after the other finds it.
    let spotter = Spotter::start(&["--max-upload-bytes-in-flight", "300000"]).await;
    let mut client = client(&spotter).await;
    for _ in 0..3 {
        client.detect(ask(photo("chelsea.png"), v1::DetectOptions::default())).await.unwrap();
        let batch = v1::DetectBatchRequest { images: vec![photo("chelsea.png")], ..Default::default() };
        client.detect_batch(batch).await.unwrap();
    }
    let (frames, receiver) = mpsc::channel(1);
    let mut answers = client.stream_detect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    for id in 1..=3 {
        frames.send(frame(id)).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().frame_id, id);
    }
}

#[tokio::test]
async fn a_call_that_does_not_arrive_is_not_waited_for_without_end() {
    let spotter = Spotter::start(&["--upload-pause-ms", "200"]).await;
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    // A message of a thousand bytes, of which one comes; the caller's deadline is over before the pause in one case.
    for (timeout, detail) in [("30S", "nothing came for 200 ms"), ("50m", "before its deadline")] {
        let sent = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(&[0, 0, 0, 3, 232, 7]))]);
        let body = reqwest::Body::wrap_stream(sent.chain(futures::stream::pending()));
        let request = http2.post(spotter.url("/spotter.v1.DetectionService/Detect")).body(body);
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let answer = request.header("grpc-timeout", timeout).send().await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4");
        let message = answer.headers()["grpc-message"].to_str().unwrap().replace("%20", " ");
        assert!(message.contains(detail), "{message}");
    }
}

#[tokio::test]
async fn of_frames_that_wait_the_newest_is_looked_at() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let url = serving.url();
    let spotter = Spotter::start(&["--serving", &url, "--labels", "coco"]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    let before = serving.received(|received| received.predicts.len());

    let (frames, receiver) = mpsc::channel(8);
    let send = |id: u64| {
        let frame = v1::Frame { id, image: photo("chelsea.png") };
        frames.send(v1::StreamDetectRequest { message: Some(Message::Frame(frame)) })
    };
    let mut client = client(&spotter).await;
    let mut answers = client.stream_detect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    send(1).await.unwrap();
    serving.until(|received| received.predicts.len() == before + 1).await;
    for id in 2..=5 {
        send(id).await.unwrap();
    }
    // The last frame is on its way before the first is let go: this one is answered only after it was read.
    serving.release();
    let first = answers.next().await.unwrap().unwrap();
    assert_eq!((first.frame_id, first.passed_over), (1, 0));
    let Some(Outcome::Response(response)) = first.result.unwrap().outcome else { panic!("an answer") };
    assert_eq!(labels(&response), ["cat"]);

    // Whichever of the others were there when the second turn began, each is looked at or counted, and the last is last.
    drop(frames);
    serving.change(|script| script.hang = false);
    let (mut seen, mut passed_over, mut last) = (1, 0, 1);
    serving.release();
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        assert!(answer.frame_id > last);
        (seen, passed_over, last) = (seen + 1, passed_over + answer.passed_over, answer.frame_id);
    }
    assert_eq!((seen + passed_over, last), (5, 5));
}

#[tokio::test]
async fn a_bad_frame_fails_by_itself_and_settings_hold_from_then_on() {
    let spotter = Spotter::start(&[]).await;
    let mut client = client(&spotter).await;
    let (frames, receiver) = mpsc::channel(8);
    let send = |message| frames.send(v1::StreamDetectRequest { message: Some(message) });
    let mut answers = client.stream_detect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    send(Message::Frame(v1::Frame { id: 1, image: Bytes::from_static(b"no photo") })).await.unwrap();
    let Some(Outcome::Failure(failure)) = answers.next().await.unwrap().unwrap().result.unwrap().outcome else {
        panic!("a failure")
    };
    assert_eq!(failure.code, "UNSUPPORTED_IMAGE_FORMAT");
    let options = v1::DetectOptions { exclude_classes: vec!["cat".to_owned()], ..Default::default() };
    send(Message::Settings(v1::StreamSettings { model: None, options: Some(options) })).await.unwrap();
    send(Message::Frame(v1::Frame { id: 2, image: photo("chelsea.png") })).await.unwrap();
    let answer = answers.next().await.unwrap().unwrap();
    let Some(Outcome::Response(response)) = answer.result.unwrap().outcome else { panic!("an answer") };
    assert!(response.detections.is_empty());
    drop(frames);
    assert!(answers.next().await.is_none(), "all was sent and answered");
}

#[tokio::test]
async fn a_stream_is_told_when_the_service_is_about_to_stop() {
    let mut spotter = Spotter::start(&[]).await;
    let mut client = client(&spotter).await;
    let (frames, receiver) = mpsc::channel(1);
    let mut answers = client.stream_detect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let frame = v1::Frame { id: 1, image: photo("chelsea.png") };
    frames.send(v1::StreamDetectRequest { message: Some(Message::Frame(frame)) }).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().frame_id, 1);
    spotter.tell_to_stop();
    let status = answers.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"));
    spotter.stopped().await;
}

#[tokio::test]
async fn a_watch_of_health_is_told_that_the_service_stops_and_holds_up_nothing() {
    // A grace that the test would not outlive.
    let mut spotter = Spotter::start(&["--shutdown-delay-ms", "300", "--shutdown-grace-ms", "3600000"]).await;
    spotter.ready().await;
    let mut health = HealthClient::new(channel(&spotter).await);
    let watch = async |health: &mut HealthClient<Channel>, service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        health.watch(request).await.unwrap().into_inner()
    };
    let mut watched = watch(&mut health, "").await;
    let mut unknown = watch(&mut health, "other").await;
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(unknown.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    spotter.tell_to_stop();
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watched.next().await.is_none() && unknown.next().await.is_none());
    tokio::time::timeout(Duration::from_secs(60), spotter.stopped()).await.expect("long before the grace is over");
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_frame_along() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let url = serving.url();
    let spotter = Spotter::start(&["--serving", &url, "--labels", "coco"]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    let (frames, receiver) = mpsc::channel(1);
    let mut client = client(&spotter).await;
    let answers = client.stream_detect(ReceiverStream::new(receiver)).await.unwrap();
    let frame = v1::Frame { id: 1, image: photo("chelsea.png") };
    frames.send(v1::StreamDetectRequest { message: Some(Message::Frame(frame)) }).await.unwrap();
    serving.until(|received| received.predicts.len() == 2).await;
    drop((answers, frames, client));
    let cancelled = serving.until(|received| received.cancelled == 1);
    tokio::time::timeout(Duration::from_secs(10), cancelled).await.expect("long before the deadline of thirty seconds");
}

#[tokio::test]
async fn the_callers_deadline_is_carried_on() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let url = serving.url();
    let spotter = Spotter::start(&["--serving", &url]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    let mut request = Request::new(ask(photo("chelsea.png"), v1::DetectOptions::default()));
    request.set_timeout(Duration::from_millis(300));
    client(&spotter).await.detect(request).await.unwrap_err();
    let (metadata, _) = serving.last_predict();
    let timeout = grpc_timeout(&metadata);
    assert!(timeout <= 0.3, "what is left of the caller's deadline is sent: {timeout}");
}

#[tokio::test]
async fn models_are_listed() {
    let spotter = Spotter::start(&[]).await;
    let models = client(&spotter).await.list_models(v1::ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].name.as_str(), models[0].default, models[0].labels), ("nanodet-g", true, 80));
}

#[tokio::test]
async fn health_is_readiness() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let url = serving.url();
    let spotter = Spotter::start(&["--serving", &url]).await;
    let mut health = HealthClient::new(channel(&spotter).await);
    let named = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let status = |response: HealthCheckResponse| response.status();
    for service in ["", "spotter.v1.DetectionService"] {
        let answer = health.check(named(service)).await.unwrap().into_inner();
        assert_eq!(status(answer), ServingStatus::Serving);
    }
    assert_eq!(health.check(named("other")).await.unwrap_err().code(), Code::NotFound);
    let mut watched = health.watch(named("")).await.unwrap().into_inner();
    assert_eq!(status(watched.next().await.unwrap().unwrap()), ServingStatus::Serving);
    serving.change(|script| script.refuse = Some(tonic::Status::unavailable("gone")));
    assert_eq!(status(watched.next().await.unwrap().unwrap()), ServingStatus::NotServing, "a change is told");
}
