//! Traces: from the caller's span over the service's to the model server, and in the collector.

use std::process::Command;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::grpc::proto::v1::stream_detect_request::Message;
use spotter::grpc::proto::v1::{DetectRequest, Frame, StreamDetectRequest};
use tonic::{Request, Status};

use crate::cli::{Serving, serve};
use crate::support::collector::{Collector, texts};
use crate::support::photos::photo;
use crate::support::scripted_serving::{Script, ScriptedServing};
use crate::support::service::Spotter;

/// The caller's trace, its span, and that it is sampled, as the W3C writes them.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "vendor=opaque,other=1";

fn hex(id: &[u8]) -> String {
    use std::fmt::Write;
    id.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn url(banner: &[String]) -> String {
    banner[1].split_whitespace().last().unwrap().to_owned()
}

fn stop(mut serving: Serving) -> Vec<Value> {
    serving.signal("TERM");
    assert!(serving.0.wait().unwrap().success());
    let log = std::io::read_to_string(serving.0.stderr.take().unwrap()).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_with_one_for_each_stage_and_the_model_server_is_told() {
    let (model, collector) = (ScriptedServing::start(Script::image_tensor()).await, Collector::start().await);
    let (model_url, collector_url) = (model.url(), collector.url());
    let flags =
        ["--listen", "127.0.0.1:0", "--log-format", "json", "--serving", &model_url, "--otlp-endpoint", &collector_url];
    let (serving, banner) = serve(&flags);
    let url = url(&banner);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |id: &str| {
        let request =
            client.post(format!("{url}/v1/detect")).header("content-type", "image/png").body(photo("chelsea.png"));
        request.header("traceparent", PARENT).header("tracestate", STATE).header("x-request-id", id).send()
    };
    assert_eq!(ask("good").await.unwrap().status(), 200);
    let mut grpc = DetectionServiceClient::connect(url.clone()).await.unwrap();
    let mut request =
        Request::new(DetectRequest { photo: Some(Photo::Image(photo("chelsea.png"))), ..Default::default() });
    request.metadata_mut().insert("traceparent", PARENT.parse().unwrap());
    request.metadata_mut().insert("tracestate", STATE.parse().unwrap());
    request.metadata_mut().insert("x-request-id", "grpc".parse().unwrap());
    grpc.detect(request).await.unwrap();
    model.change(|script| script.refuse = Some(Status::invalid_argument("the model's own words")));
    assert_eq!(ask("bad").await.unwrap().status(), 502);
    drop((client, grpc));
    let lines = stop(serving);

    // Everything is there when the process has ended.
    let collected = collector.collected();
    assert_eq!(collected.service, "spotter");
    let spans = collected.spans;
    let of = |id: &str| {
        let is_it = |span: &&Span| texts(&span.attributes).get("request_id").is_some_and(|found| found == id);
        spans.iter().find(is_it).unwrap_or_else(|| panic!("no {id} in {spans:?}"))
    };
    let children = |parent: &Span| {
        let mut children: Vec<_> = spans.iter().filter(|span| span.parent_span_id == parent.span_id).collect();
        children.sort_by_key(|span| span.start_time_unix_nano);
        children
    };
    let stages = ["queue", "decode", "prepare", "infer", "interpret"];
    for (id, name) in [("good", "POST /v1/detect"), ("grpc", "POST /spotter.v1.DetectionService/Detect")] {
        let request = of(id);
        assert_eq!((request.name.as_str(), hex(&request.trace_id).as_str()), (name, TRACE));
        assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
        assert_eq!(texts(&request.attributes)["http.response.status_code"], "200");
        let names: Vec<_> =
            children(request).iter().map(|span| span.name.as_str()).filter(|name| stages.contains(name)).collect();
        assert_eq!(names, stages, "{id}");
    }
    // The call that the model server saw is the span below "infer".
    let infer = |id| children(of(id)).into_iter().find(|span| span.name == "infer").unwrap();
    let sent: Vec<String> = model.received(|received| {
        let parent =
            |metadata: &tonic::metadata::MetadataMap| metadata.get("traceparent").unwrap().to_str().unwrap().to_owned();
        received.predicts.iter().map(|(metadata, _)| parent(metadata)).collect()
    });
    for id in ["good", "grpc"] {
        let call = children(infer(id))[0];
        assert_eq!(call.name, "TensorFlow Serving");
        assert!(model_url.contains(&texts(&call.attributes)["server.address"]), "{call:?}");
        assert!(sent.contains(&format!("00-{TRACE}-{}-01", hex(&call.span_id))), "{id}: {sent:?}");
    }
    let states = model.received(|received| {
        let of_trace = received.predicts.iter().map(|(metadata, _)| metadata).filter(|metadata| {
            metadata.get("traceparent").is_some_and(|parent| parent.to_str().unwrap().contains(TRACE))
        });
        of_trace.map(|metadata| metadata.get("tracestate").cloned()).collect::<Vec<_>>()
    });
    assert_eq!(states.len(), 3);
    assert!(states.iter().all(|state| state.as_ref().is_some_and(|state| state == STATE)), "{states:?}");

    let failed = of("bad");
    assert_eq!(failed.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(texts(&failed.attributes)["error.type"], "MODEL_CONTRACT");
    let stage = infer("bad");
    assert_eq!(stage.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(texts(&stage.attributes)["error.type"], "MODEL_CONTRACT");
    assert_eq!(texts(&children(stage)[0].attributes)["error.type"], "invalid_argument");
    assert!(!format!("{spans:?}").contains("the model's own words"));
    let line = lines.iter().find(|line| line["request_id"] == "good").unwrap();
    assert_eq!(line["trace_id"], TRACE, "{line}");
}

#[tokio::test]
async fn without_a_collector_the_model_server_is_told_the_callers_own_span() {
    let model = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &model.url()]).await;
    let rest = |parent: &'static str| {
        let request = spotter.post("/v1/detect").header("content-type", "image/png").body(photo("chelsea.png"));
        request.header("traceparent", parent).header("tracestate", STATE).send()
    };
    assert_eq!(rest(PARENT).await.unwrap().status(), 200);
    let mut grpc = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let mut request =
        Request::new(DetectRequest { photo: Some(Photo::Image(photo("chelsea.png"))), ..Default::default() });
    request.metadata_mut().insert("traceparent", PARENT.parse().unwrap());
    request.metadata_mut().insert("tracestate", STATE.parse().unwrap());
    grpc.detect(request).await.unwrap();
    let frame = StreamDetectRequest { message: Some(Message::Frame(Frame { id: 1, image: photo("chelsea.png") })) };
    let mut request = Request::new(tokio_stream::iter([frame]));
    request.metadata_mut().insert("traceparent", PARENT.parse().unwrap());
    request.metadata_mut().insert("tracestate", STATE.parse().unwrap());
    grpc.stream_detect(request).await.unwrap().into_inner().message().await.unwrap();
    assert_eq!(rest("00-of-a-stranger-01").await.unwrap().status(), 200);

    let told = model.received(|received| {
        let one = |metadata: &tonic::metadata::MetadataMap, key: &str| {
            metadata.get(key).map(|value| value.to_str().unwrap().to_owned())
        };
        let both = |(metadata, _): &(_, _)| (one(metadata, "traceparent"), one(metadata, "tracestate"));
        received.predicts.iter().map(both).collect::<Vec<_>>()
    });
    let own = (Some(PARENT.to_owned()), Some(STATE.to_owned()));
    assert_eq!(told, [own.clone(), own.clone(), own, (None, None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_no_request_anything() {
    // A port that nobody listens on.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--log-format", "json", "--otlp-endpoint", &format!("http://{gone}")];
    let (serving, banner) = serve(&flags);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/v1/detect", url(&banner))).header("content-type", "image/png");
    assert_eq!(request.body(photo("chelsea.png")).send().await.unwrap().status(), 200);
    drop(client);
    let lines = stop(serving);
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().contains("collector")), "{lines:?}");
}

#[test]
fn what_is_no_address_of_a_collector_is_refused_at_the_start() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
    let output = command.args(["serve", "--otlp-endpoint", "collector:4317"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("http://host:4317"));
}
