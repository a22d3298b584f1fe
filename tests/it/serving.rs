//! What goes to TensorFlow Serving and what comes back, over real gRPC.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use spotter::backend::serving::proto::tensorflow::DataType;
use spotter::backend::serving::proto::tensorflow::serving::{PredictRequest, model_spec};
use tonic::{Code, Status};

use crate::support::photos::photo;
use crate::support::scripted_serving::{
    Script, ScriptedServing, cat_and_dog, floats, grpc_timeout, raw_floats, response,
};
use crate::support::service::{Spotter, problem, problem_and_headers};

async fn behind(serving: &ScriptedServing, flags: &[&str]) -> Spotter {
    let url = serving.url();
    let flags: Vec<_> = ["--serving", &url, "--labels", "coco"].into_iter().chain(flags.iter().copied()).collect();
    Spotter::start(&flags).await
}

fn upload(spotter: &Spotter) -> reqwest::RequestBuilder {
    spotter.post("/v1/detect").body(photo("chelsea.png"))
}

#[tokio::test]
async fn boxes_come_back_in_pixels_with_the_version_that_answered() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    let body = spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(body["model"], json!({"name": "model", "version": "3"}));
    let cat = json!({
        "label": "cat", "class_id": 17, "score": 0.9,
        "box": {"x_min": 113, "y_min": 75, "x_max": 338, "y_max": 225}
    });
    assert_eq!(body["detections"], json!([cat]));
}

#[tokio::test]
async fn pixels_travel_raw_and_only_what_is_read_is_asked_for() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    let request = upload(&spotter).header("x-request-id", "trace-me");
    assert_eq!(request.send().await.unwrap().status(), 200);

    let (metadata, message) = serving.last_predict();
    let mut outputs = message.output_filter.clone();
    outputs.sort();
    assert_eq!(outputs, ["detection_boxes", "detection_classes", "detection_scores", "num_detections"]);
    let tensor = &message.inputs["input_tensor"];
    assert_eq!(tensor.dtype(), DataType::DtUint8);
    let sides: Vec<_> = tensor.tensor_shape.as_ref().unwrap().dim.iter().map(|dim| dim.size).collect();
    assert_eq!(sides, [1, 300, 451, 3]);
    assert!(tensor.int_val.is_empty());
    let pixels = image::load_from_memory(&photo("chelsea.png")).unwrap().to_rgb8();
    assert_eq!(tensor.tensor_content[..], pixels.as_raw()[..], "the photo's own pixels, RGB, row by row");
    assert_eq!(metadata.get("x-request-id").unwrap(), "trace-me");
    assert!(metadata.contains_key("grpc-timeout"), "every call has a deadline");
}

#[tokio::test]
async fn every_kind_of_input_is_adapted_to() {
    let floats = Script::detector("inputs", DataType::DtFloat, &[-1, -1, -1, 3]);
    let serving = ScriptedServing::start(floats).await;
    behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
    let (_, message) = serving.last_predict();
    let tensor = &message.inputs["inputs"];
    assert_eq!((tensor.dtype(), tensor.tensor_content.len()), (DataType::DtFloat, 300 * 451 * 3 * 4));
    let first = f32::from_le_bytes(tensor.tensor_content[..4].try_into().unwrap());
    let pixels = image::load_from_memory(&photo("chelsea.png")).unwrap().to_rgb8();
    assert!((first - f32::from(pixels.as_raw()[0])).abs() < f32::EPSILON, "0..255, unscaled");

    let strings = Script::detector("input_tensor", DataType::DtString, &[-1]);
    let serving = ScriptedServing::start(strings).await;
    behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
    let (_, message) = serving.last_predict();
    assert_eq!(message.inputs["input_tensor"].string_val, [photo("chelsea.png")], "the client's own bytes");

    let fixed = Script::detector("input_tensor", DataType::DtUint8, &[1, 320, 320, 3]);
    let serving = ScriptedServing::start(fixed).await;
    let body = behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
    let (_, message) = serving.last_predict();
    assert_eq!(message.inputs["input_tensor"].tensor_content.len(), 320 * 320 * 3);
    // A quarter of the canvas is a quarter of 320; the photo covers 320 x 213 of it.
    assert_eq!(body["detections"][0]["box"], json!({"x_min": 113, "y_min": 113, "x_max": 338, "y_max": 300}));
}

#[tokio::test]
async fn a_large_photo_is_shrunk_to_max_side() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &["--max-side", "256"]).await;
    let body = spotter.detect("/v1/detect", photo("astronaut.png")).await;
    let (_, message) = serving.last_predict();
    assert_eq!(message.inputs["input_tensor"].tensor_content.len(), 256 * 256 * 3);
    assert_eq!(body["detections"][0]["box"], json!({"x_min": 128, "y_min": 128, "x_max": 384, "y_max": 384}));
}

#[tokio::test]
async fn raw_and_typed_tensors_read_the_same() {
    let answer = response(&[
        ("detection_boxes", raw_floats(&[1, 1, 4], &[0.25, 0.25, 0.75, 0.75])),
        ("detection_scores", raw_floats(&[1, 1], &[0.9])),
        ("detection_classes", raw_floats(&[1, 1], &[17.0])),
        ("num_detections", raw_floats(&[1], &[1.0])),
    ]);
    let serving = ScriptedServing::start(Script::answering(answer)).await;
    let raw = behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let typed = behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(raw["detections"], typed["detections"]);
}

#[tokio::test]
async fn classes_of_another_dtype_are_read_by_their_dtype() {
    let mut answer = cat_and_dog();
    let classes = answer.outputs.get_mut("detection_classes").unwrap();
    classes.dtype = DataType::DtInt64.into();
    classes.float_val.clear();
    classes.int64_val = vec![17, 18, 1];
    let serving = ScriptedServing::start(Script::answering(answer)).await;
    let body = behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(body["detections"][0]["label"], "cat");
}

#[tokio::test]
async fn strange_numbers_are_dropped_or_clamped() {
    let answer = response(&[
        (
            "detection_boxes",
            floats(
                &[1, 4, 4],
                &[
                    -0.5,
                    -0.5,
                    1.5,
                    1.5, // larger than the photo
                    0.0,
                    0.0,
                    1.0,
                    1.0, // its score is NaN
                    f32::NAN,
                    0.0,
                    1.0,
                    1.0, // no box
                    2.0,
                    2.0,
                    3.0,
                    3.0, // beside the photo
                ],
            ),
        ),
        ("detection_scores", floats(&[1, 4], &[0.9, f32::NAN, 0.8, 0.7])),
        ("detection_classes", floats(&[1, 4], &[12.0, 1.0, 1.0, 1.0])),
        ("num_detections", floats(&[1], &[4.0])),
    ]);
    let serving = ScriptedServing::start(Script::answering(answer)).await;
    let body = behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
    let expected = json!([{
        "label": "class_12", "class_id": 12, "score": 0.9, "box": {"x_min": 0, "y_min": 0, "x_max": 451, "y_max": 300}
    }]);
    assert_eq!(body["detections"], expected, "an id in a gap of the label map keeps its number");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_a_bad_gateway() {
    let mut missing = cat_and_dog();
    missing.outputs.remove("detection_scores");
    let mut text = cat_and_dog();
    text.outputs.get_mut("detection_scores").unwrap().dtype = DataType::DtString.into();
    let mut wrong = cat_and_dog();
    wrong.outputs.insert("detection_boxes".to_owned(), floats(&[1, 4], &[0.0; 4]));
    let mut huge = cat_and_dog();
    huge.outputs.insert("detection_boxes".to_owned(), floats(&[1, 1 << 40, 4], &[0.0; 4]));
    let mut short = cat_and_dog();
    short.outputs.get_mut("num_detections").unwrap().tensor_content = Bytes::from_static(&[1, 2]);
    for answer in [missing, text, wrong, huge, short] {
        let serving = ScriptedServing::start(Script::answering(answer)).await;
        let spotter = behind(&serving, &[]).await;
        problem(upload(&spotter), 502, "MODEL_CONTRACT").await;
    }
}

#[tokio::test]
async fn an_answer_above_the_limit_is_a_bad_gateway_and_one_above_four_mebibytes_is_none() {
    let large = |rows: usize| {
        let mut answer = cat_and_dog();
        answer.outputs.insert("padding".to_owned(), floats(&[1, 1], &vec![0.5; rows]));
        answer
    };
    let serving = ScriptedServing::start(Script::answering(large(2_000_000))).await;
    let spotter = behind(&serving, &[]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;

    let spotter = behind(&serving, &["--serving-max-answer-bytes", "1000000"]).await;
    let body = problem(upload(&spotter), 502, "MODEL_CONTRACT").await;
    assert!(body["detail"].as_str().unwrap().contains("--serving-max-answer-bytes"), "{body}");
}

#[tokio::test]
async fn every_refusal_of_the_model_server_has_its_problem() {
    let leak = "[[{{function_node __inference___call___2212}}{{node resize/ResizeBilinear}}]]";
    for (refusal, status, code) in [
        (Status::new(Code::Unavailable, leak), 503, "MODEL_UNAVAILABLE"),
        (
            Status::new(Code::NotFound, format!("Servable not found for request: Latest(model) {leak}")),
            503,
            "MODEL_UNAVAILABLE",
        ),
        (Status::new(Code::Unavailable, format!("The batch scheduling queue is full {leak}")), 503, "OVERLOADED"),
        (Status::new(Code::ResourceExhausted, format!("Run() timeout exceeded {leak}")), 503, "OVERLOADED"),
        (Status::new(Code::DeadlineExceeded, leak), 504, "MODEL_DEADLINE"),
        (Status::new(Code::InvalidArgument, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::FailedPrecondition, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::Internal, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::Unknown, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::Unimplemented, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::PermissionDenied, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::Unauthenticated, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::Aborted, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::AlreadyExists, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::OutOfRange, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::DataLoss, leak), 502, "MODEL_CONTRACT"),
        (Status::new(Code::Cancelled, leak), 502, "MODEL_CONTRACT"),
    ] {
        let serving = ScriptedServing::start(Script::image_tensor()).await;
        serving.change(|script| {
            let refusal = refusal.clone();
            script.predict = Arc::new(move |_: &PredictRequest| Err(refusal.clone()));
        });
        let spotter = behind(&serving, &[]).await;
        let body = problem(upload(&spotter), status, code).await;
        assert!(!body.to_string().contains("node"), "the model server's words leaked: {body}");
    }
}

/// As a load balancer does that is to be taken out.
#[tokio::test]
async fn a_connection_that_the_model_server_takes_leave_of_is_noticed_by_no_client() {
    let serving = ScriptedServing::with_connections_of(Duration::from_millis(20), Script::image_tensor()).await;
    let spotter = behind(&serving, &["--serving-channels", "1"]).await;
    let photos = async {
        while serving.received(|received| received.peers.len()) < 6 {
            let response = upload(&spotter).send().await.unwrap();
            assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), photos).await.expect("five connections are left within a minute");
}

#[tokio::test]
async fn no_model_server_is_503_and_its_return_is_noticed() {
    let reserved = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let url = format!("http://{address}");
    let spotter = Spotter::start(&["--serving", &url, "--labels", "coco"]).await;
    let (headers, body) = problem_and_headers(upload(&spotter), 503, "MODEL_UNAVAILABLE").await;
    assert_eq!(headers["retry-after"], "2");
    assert!(!body.to_string().contains(&address.to_string()), "addresses are the operator's: {body}");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _serving = ScriptedServing::on(listener, Script::image_tensor());
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
}

#[tokio::test]
async fn with_two_hosts_a_dead_one_is_not_noticed() {
    let mut dead = ScriptedServing::start(Script::image_tensor()).await;
    let alive = ScriptedServing::start(Script::image_tensor()).await;
    let both = format!("{},{}", dead.url(), alive.url());
    let spotter = Spotter::start(&["--serving", &both]).await;
    dead.stop();
    for _ in 0..6 {
        spotter.detect("/v1/detect", photo("chelsea.png")).await;
    }
}

#[tokio::test]
async fn calls_are_spread_over_the_hosts() {
    let hosts =
        [ScriptedServing::start(Script::image_tensor()).await, ScriptedServing::start(Script::image_tensor()).await];
    let both = format!("{},{}", hosts[0].url(), hosts[1].url());
    let spotter = Spotter::start(&["--serving", &both]).await;
    for _ in 0..6 {
        spotter.detect("/v1/detect", photo("chelsea.png")).await;
    }
    for host in &hosts {
        assert!(host.received(|received| received.predicts.len()) >= 2);
    }
}

#[tokio::test]
async fn a_model_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &["--request-timeout-ms", "500"]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    problem(upload(&spotter), 504, "MODEL_DEADLINE").await;
    let (metadata, _) = serving.last_predict();
    let timeout = grpc_timeout(&metadata);
    assert!(timeout <= 0.5, "what is left of the deadline is sent: {timeout}");
}

#[tokio::test]
async fn versions_and_labels_are_chosen_and_unknown_ones_named() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| script.labels = [("stable".to_owned(), 3)].into());
    let spotter = behind(&serving, &[]).await;
    let chosen =
        |spec: Option<model_spec::VersionChoice>| serving.last_predict().1.model_spec.unwrap().version_choice == spec;

    spotter.detect("/v1/detect?version=3", photo("chelsea.png")).await;
    assert!(chosen(Some(model_spec::VersionChoice::Version(3))));
    let body = spotter.detect("/v1/detect?version_label=stable", photo("chelsea.png")).await;
    assert!(chosen(Some(model_spec::VersionChoice::VersionLabel("stable".to_owned()))));
    assert_eq!(body["model"]["version"], "3", "the concrete version behind the label");
    spotter.detect("/v1/models/model/detect", photo("chelsea.png")).await;
    assert!(chosen(None));

    let refused = |query: &str| {
        problem(spotter.post(&format!("/v1/detect?{query}")).body(photo("chelsea.png")), 404, "UNKNOWN_VERSION")
    };
    assert!(refused("version=7").await["detail"].as_str().unwrap().contains("version 7"));
    assert!(refused("version_label=canary").await["detail"].as_str().unwrap().contains("'canary'"));
}

#[tokio::test]
async fn a_model_that_the_server_does_not_have_is_unavailable() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &["--model", "other,model"]).await;
    problem(upload(&spotter), 503, "MODEL_UNAVAILABLE").await;
    spotter.detect("/v1/models/model/detect", photo("chelsea.png")).await;
}

#[tokio::test]
async fn a_new_version_is_picked_up_while_serving() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    assert_eq!(spotter.detect("/v1/detect", photo("chelsea.png")).await["model"]["version"], "3");
    serving.change(|script| script.version = 4);
    assert_eq!(spotter.detect("/v1/detect", photo("chelsea.png")).await["model"]["version"], "4");
    let predicts = serving.received(|received| received.predicts.len());
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(serving.received(|received| received.predicts.len()), predicts + 1, "the photo is sent once");
}

#[tokio::test]
async fn a_new_version_with_another_input_gets_the_photo_in_its_own_form() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| {
        *script = Script { version: 4, ..Script::detector("image_bytes", DataType::DtString, &[-1]) };
        script.predict = Arc::new(|request| match request.inputs.get("image_bytes") {
            Some(_) => Ok(cat_and_dog()),
            None => Err(Status::invalid_argument("Signature input alias: image_bytes not found in request")),
        });
    });
    let body = spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(body["model"]["version"], "4");
}

/// Between the answer to "which signature" and the photo in its form, the version may be gone.
#[tokio::test]
async fn a_version_that_is_gone_before_the_photo_is_in_its_form_is_noticed_by_no_client() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| {
        let strings = Script::detector("image_bytes", DataType::DtString, &[-1]);
        *script = Script { version: 4, successor: Some(5), ..strings };
        script.predict = Arc::new(|request| match request.inputs.get("image_bytes") {
            Some(_) => Ok(cat_and_dog()),
            None => Err(Status::invalid_argument("Signature input alias: image_bytes not found in request")),
        });
    });
    let body = spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(body["model"]["version"], "5");
    // Who asks for a version by its number is told that it is gone.
    let gone = spotter.post("/v1/detect?version=4").body(photo("chelsea.png"));
    problem(gone, 404, "UNKNOWN_VERSION").await;
}

#[tokio::test]
async fn the_signature_is_asked_for_once() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    spotter.get("/readyz").send().await.unwrap();
    let before = serving.received(|received| received.metadata);
    for _ in 0..5 {
        spotter.detect("/v1/detect", photo("chelsea.png")).await;
    }
    assert_eq!(serving.received(|received| received.metadata), before);
}

#[tokio::test]
async fn a_signature_that_nothing_fits_is_refused() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| {
        script.signature.outputs.remove("detection_boxes");
    });
    let spotter = behind(&serving, &[]).await;
    let body = problem(upload(&spotter), 502, "MODEL_CONTRACT").await;
    assert!(body["detail"].as_str().unwrap().contains("signature"), "{body}");
    assert!(serving.received(|received| received.predicts.is_empty()), "no photo is sent to a model nobody can read");
}

#[tokio::test]
async fn a_file_that_the_model_cannot_decode_is_the_clients_fault_only_if_it_is_broken() {
    let serving = ScriptedServing::start(Script::detector("input_tensor", DataType::DtString, &[-1])).await;
    serving.change(|script| {
        script.predict = Arc::new(|_| Err(Status::invalid_argument("Unknown image file format. [[{{node Decode}}]]")));
    });
    let spotter = behind(&serving, &[]).await;
    problem(upload(&spotter), 502, "MODEL_CONTRACT").await;
    let whole = photo("chelsea.png");
    let cut = whole.slice(..whole.len() / 2);
    problem(spotter.post("/v1/detect").body(cut), 422, "UNREADABLE_IMAGE").await;
}

#[tokio::test]
async fn bad_photos_cost_the_model_server_nothing() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    spotter.get("/readyz").send().await.unwrap();
    let before = serving.received(|received| received.predicts.len());
    problem(
        spotter.post("/v1/detect").header("content-type", "image/png").body("no photo"),
        415,
        "UNSUPPORTED_IMAGE_FORMAT",
    )
    .await;
    problem(spotter.post("/v1/detect?min_score=7").body(photo("chelsea.png")), 422, "INVALID_OPTION").await;
    assert_eq!(serving.received(|received| received.predicts.len()), before);
}

/// `proc_net_tcp(5)`: the third field is the other end, the sixth the timer and when it is due in hundredths of a second; the
/// keepalive of a connection at rest is timer 2.
#[tokio::test]
async fn a_connection_at_rest_is_kept_alive() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    let port: u16 = serving.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let other_end = format!("0100007F:{port:04X}");
    let timers = || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        fields.filter(|fields| fields[2] == other_end).map(|fields| fields[5].to_owned()).collect::<Vec<_>>()
    };
    let is_kept_alive = |timer: &String| {
        let (kind, due) = timer.split_once(':').unwrap();
        kind == "02" && (1..=3000).contains(&u32::from_str_radix(due, 16).unwrap())
    };
    // What was sent last has to be acknowledged first.
    let at_rest = async {
        while timers().is_empty() || !timers().iter().all(is_kept_alive) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), at_rest).await.expect("TCP asks whether the other end is there");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_while_the_service_stops() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &[]).await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    serving.change(|script| script.hang = true);
    let before = serving.received(|received| received.predicts.len());
    let request = tokio::spawn(upload(&spotter).header("connection", "close").send());
    serving.until(|received| received.predicts.len() > before).await;
    let stopping = tokio::spawn(spotter.stop());
    serving.release();
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
    stopping.await.unwrap();
}

#[tokio::test]
async fn refusals_of_every_call_have_their_problem_and_no_words_of_the_server() {
    for (refusal, status, code) in [
        (Status::unavailable("secret"), 503, "MODEL_UNAVAILABLE"),
        (Status::not_found("Servable not found for request: Latest(model) secret"), 503, "MODEL_UNAVAILABLE"),
        (Status::invalid_argument("Metadata field secret is not supported"), 502, "MODEL_CONTRACT"),
        (Status::deadline_exceeded("secret"), 504, "MODEL_DEADLINE"),
    ] {
        let serving = ScriptedServing::start(Script::image_tensor()).await;
        serving.change(|script| script.refuse = Some(refusal));
        let spotter = behind(&serving, &[]).await;
        for request in [upload(&spotter), spotter.get("/v1/models/model"), spotter.get("/readyz")] {
            let body = problem(request, status, code).await;
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }
}

#[tokio::test]
async fn hosts_with_different_versions_answer_every_photo() {
    let old = ScriptedServing::start(Script::image_tensor()).await;
    let strings = Script::detector("image_bytes", DataType::DtString, &[-1]);
    let new = ScriptedServing::start(Script { version: 4, ..strings }).await;
    for (host, key) in [(&old, "input_tensor"), (&new, "image_bytes")] {
        host.change(|script| {
            script.predict = Arc::new(move |request| match request.inputs.get(key) {
                Some(_) => Ok(cat_and_dog()),
                None => Err(Status::invalid_argument("Signature input alias not found in request")),
            });
        });
    }
    let both = format!("{},{}", old.url(), new.url());
    let spotter = Spotter::start(&["--serving", &both, "--labels", "coco"]).await;
    for _ in 0..8 {
        let body = spotter.detect("/v1/detect", photo("chelsea.png")).await;
        assert_eq!(body["detections"][0]["label"], "cat");
        for version in ["3", "4"] {
            let body = spotter.detect(&format!("/v1/detect?version={version}"), photo("chelsea.png")).await;
            assert_eq!(body["model"]["version"], version);
        }
    }
}

#[tokio::test]
async fn outputs_that_were_not_asked_for_are_not_read() {
    let mut answer = cat_and_dog();
    for index in 0..16 {
        answer.outputs.insert(format!("extra_{index}"), floats(&[1 << 40], &[]));
    }
    let serving = ScriptedServing::start(Script::answering(answer)).await;
    behind(&serving, &[]).await.detect("/v1/detect", photo("chelsea.png")).await;
}

#[tokio::test]
async fn a_request_above_the_limit_names_the_setting() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = behind(&serving, &["--serving-max-request-bytes", "100000"]).await;
    let body = problem(upload(&spotter), 413, "IMAGE_TOO_LARGE").await;
    assert!(body["detail"].as_str().unwrap().contains("--serving-max-request-bytes"), "{body}");
    assert_eq!(body["max_bytes"], 100_000, "{body}");
    let asked = serving.received(|received| (received.predicts.len(), received.metadata));
    assert_eq!(asked, (0, 1), "nothing was sent, so nothing says that the model has changed");
}

#[tokio::test]
async fn a_model_slower_than_a_probe_becomes_ready_all_the_same() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| script.hang = true);
    let spotter = behind(&serving, &[]).await;
    let body = problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
    assert!(body["detail"].as_str().unwrap().contains("warming up"), "{body}");
    problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
    assert_eq!(serving.received(|received| received.predicts.len()), 1, "one probe's question serves them all");
    serving.release();
    while spotter.get("/readyz").send().await.unwrap().status() != 200 {
        tokio::task::yield_now().await;
    }
}
