//! The one line of each request.

use std::io::Write;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::grpc::proto::v1::stream_detect_request::Message;
use spotter::grpc::proto::v1::{DetectBatchRequest, DetectRequest, Frame, StreamDetectRequest};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::cli::{log_of, serve};
use crate::support::photos::photo;
use crate::support::scripted_serving::{Script, ScriptedServing};

const KEY: &str = "0123456789abcdef-of-the-shop";

/// One line a request, whichever the dialect and however it ends, with nothing secret in it and nothing of the photo.
#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_one_line_with_what_it_met() {
    let serving_model = ScriptedServing::start(Script::image_tensor()).await;
    let mut keys = tempfile::NamedTempFile::new().unwrap();
    writeln!(keys, "shop: {KEY}").unwrap();
    let (model_server, keys) = (serving_model.url(), keys.path().to_str().unwrap());
    let flags = [
        &["--listen", "127.0.0.1:0", "--log-format", "json", "--log", "trace", "--api-keys", keys][..],
        &["--max-image-bytes", "300000"],
    ]
    .concat();
    let (mut serving, banner) = serve(&[&flags[..], &["--serving", &model_server, "--labels", "coco"]].concat());
    let log = log_of(&mut serving);
    let url = banner[1].split_whitespace().last().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let chelsea = photo("chelsea.png");

    let post = |id: &str, file: Vec<u8>| {
        let form = Form::new().part("image", Part::bytes(file).file_name("the-secret-name.png"));
        client.post(format!("{url}/v1/detect")).bearer_auth(KEY).header("x-request-id", id).multipart(form).send()
    };
    assert_eq!(post("http-good", chelsea.to_vec()).await.unwrap().status(), 200);
    assert_eq!(post("http-bad", b"no photo".to_vec()).await.unwrap().status(), 415);
    let mut grpc = DetectionServiceClient::connect(url.to_owned()).await.unwrap();
    let with_id = |id: &str| {
        let mut request = Request::new(());
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
        request
    };
    let ask =
        |id, image| with_id(id).map(|()| DetectRequest { photo: Some(Photo::Image(image)), ..Default::default() });
    grpc.detect(ask("grpc-good", chelsea.clone())).await.unwrap();
    grpc.detect(ask("grpc-bad", "no photo".into())).await.unwrap_err();
    let images = vec![chelsea.clone(), "no photo".into()];
    let batch = with_id("grpc-batch").map(|()| DetectBatchRequest { images, ..Default::default() });
    grpc.detect_batch(batch).await.unwrap();
    serving_model.change(|script| script.refuse = Some(Status::invalid_argument("the model's own words")));
    assert_eq!(post("model-bad", chelsea.to_vec()).await.unwrap().status(), 502);
    let frame = |image| StreamDetectRequest { message: Some(Message::Frame(Frame { id: 1, image })) };
    // The first is answered before the second comes, which is too large.
    let (frames, receiver) = tokio::sync::mpsc::channel(1);
    let stream = with_id("grpc-stream").map(|()| ReceiverStream::new(receiver));
    let mut answers = grpc.stream_detect(stream).await.unwrap().into_inner();
    for image in [chelsea.clone(), vec![0; 400_000].into()] {
        frames.send(frame(image)).await.unwrap();
        answers.message().await.ok();
    }
    let brew = reqwest::Method::from_bytes("BREW-".repeat(1000).as_bytes()).unwrap();
    let asked = client.request(brew, format!("{url}/v1/models")).bearer_auth(KEY).header("x-request-id", "brew").send();
    assert_eq!(asked.await.unwrap().status(), 405);
    // An ordinary answer, whatever kind of body the request says it has.
    let alive = client.get(format!("{url}/livez")).header("content-type", "application/grpc");
    assert_eq!(alive.header("x-request-id", "not-grpc").send().await.unwrap().status(), 200);
    // Refused by a layer around the services.
    let mut late = ask("grpc-late", chelsea.clone());
    late.metadata_mut().insert("x-request-timeout", "soon".parse().unwrap());
    grpc.detect(late).await.unwrap_err();
    drop((client, grpc, answers));
    serving.signal("TERM");
    assert!(serving.0.wait().unwrap().success());

    let log = log.join().unwrap();
    assert!(!log.contains(KEY) && !log.contains("the-secret-name"));
    // Four bytes in a row of the file's data, as text or as numbers, would be something of the photo.
    assert!(!log.contains("IDAT") && !log.contains("73, 68, 65, 84") && !log.contains("iVBORw0KGgo"));
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |id: &str| {
        let of: Vec<_> =
            lines.iter().filter(|line| line["request_id"] == id && line["message"] == "answered").collect();
        assert_eq!(of.len(), 1, "lines of {id} in {log}");
        of[0]
    };
    let bytes = chelsea.len();
    for (id, route) in [("http-good", "/v1/detect"), ("grpc-good", "/spotter.v1.DetectionService/Detect")] {
        let line = line(id);
        let told = json!({
            "method": "POST", "route": route, "status": 200, "key": "shop", "model": "model", "version": 3, "photos": 1,
            "bytes": bytes, "format": "png", "width": 451, "height": 300, "detections": 1, "level": "INFO",
        });
        for (name, value) in told.as_object().unwrap() {
            assert_eq!(&line[name], value, "{name} in {line}");
        }
        for stage in ["ms", "queue_ms", "decode_ms", "prepare_ms", "infer_ms", "interpret_ms"] {
            assert!(line[stage].as_f64().is_some_and(|ms| ms >= 0.0), "{stage} in {line}");
        }
        assert_eq!((line.get("code"), line.get("cause")), (None, None), "{line}");
    }
    for id in ["http-bad", "grpc-bad"] {
        let line = line(id);
        assert_eq!((&line["status"], &line["level"]), (&json!(415), &json!("INFO")), "{line}");
        assert_eq!(line["code"], "UNSUPPORTED_IMAGE_FORMAT", "{line}");
        assert_eq!((&line["model"], &line["bytes"]), (&json!("model"), &json!(8)), "{line}");
        assert!(line["detail"].is_string() && line.get("decode_ms").is_none() && line.get("width").is_none(), "{line}");
    }
    let stream = line("grpc-stream");
    assert_eq!((&stream["status"], &stream["code"]), (&json!(413), &json!("PAYLOAD_TOO_LARGE")), "{stream}");
    assert_eq!((&stream["photos"], &stream["bytes"], &stream["key"]), (&json!(1), &json!(bytes), &json!("shop")));
    assert!(stream["infer_ms"].is_number() && stream["detail"].is_string(), "{stream}");
    let brew = line("brew");
    assert_eq!((&brew["method"], &brew["status"]), (&json!("_OTHER"), &json!(405)), "{brew}");
    let alive = line("not-grpc");
    assert_eq!((&alive["level"], &alive["status"]), (&json!("DEBUG"), &json!(200)), "{alive}");
    assert_eq!(line("grpc-late")["code"], "INVALID_REQUEST");
    let batch = line("grpc-batch");
    assert_eq!((&batch["status"], &batch["photos"]), (&json!(200), &json!(2)), "{batch}");
    assert_eq!(batch["bytes"], bytes + 8, "{batch}");
    let failed = lines.iter().find(|line| line["message"] == "a photo among others failed").unwrap();
    assert_eq!((&failed["photo"], &failed["code"]), (&json!(1), &json!("UNSUPPORTED_IMAGE_FORMAT")), "{failed}");
    let model_bad = line("model-bad");
    assert_eq!((&model_bad["level"], &model_bad["code"]), (&json!("WARN"), &json!("MODEL_CONTRACT")), "{model_bad}");
    assert!(model_bad["cause"].as_str().unwrap().contains("the model's own words"), "{model_bad}");
    assert!(model_bad["infer_ms"].is_number() && model_bad.get("interpret_ms").is_none(), "{model_bad}");
}

/// In the form for people a line break in a client's own text would be the end of a line, and what follows whatever it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_line_breaks_make_no_lines() {
    let flags =
        ["--listen", "127.0.0.1:0", "--log-format", "text", "--log", "debug", "--key-rate", "1", "--key-burst", "2"];
    let mut keys = tempfile::NamedTempFile::new().unwrap();
    writeln!(keys, "shop: {KEY}").unwrap();
    let (mut serving, banner) = serve(&[&flags[..], &["--api-keys", keys.path().to_str().unwrap()]].concat());
    let log = log_of(&mut serving);
    let url = banner[1].split_whitespace().last().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let forged = "cat\nFORGED a line\r\x1b[2J";
    let item = json!({"image": "AQID", "classes": [forged], forged: 1, "version_label": forged});
    let batch = json!({"images": [&item]});
    let answer = client.post(format!("{url}/v1/detect/batch")).bearer_auth(KEY).json(&batch).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["failed"], 1);
    let answer = client.post(format!("{url}/v1/detect")).bearer_auth(KEY).json(&item).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    // One too many: a layer around the services refuses it, and its line names the key as any other does.
    let mut grpc = DetectionServiceClient::connect(url.to_owned()).await.unwrap();
    let mut request = Request::new(DetectRequest::default());
    request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    assert_eq!(grpc.detect(request).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    drop((client, grpc));
    serving.signal("TERM");
    assert!(serving.0.wait().unwrap().success());
    let log = log.join().unwrap();
    assert!(log.contains("FORGED") && log.contains("a photo among others failed"), "it is told: {log}");
    assert!(!log.lines().any(|line| line.starts_with("FORGED")) && !log.contains("\x1b[2J"), "{log}");
    let refused = log.lines().find(|line| line.contains("RATE_LIMITED")).expect("a line");
    assert!(refused.contains("key=\"shop\""), "{refused}");
}
