//! What is said about models, labels and health.

use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::scripted_serving::{Script, ScriptedServing};
use crate::support::service::{Spotter, problem};

async fn get(spotter: &Spotter, path: &str) -> Value {
    let response = spotter.get(path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

#[tokio::test]
async fn the_embedded_model_is_listed_described_and_labelled() {
    let spotter = Spotter::start(&[]).await;
    let entry = json!({"name": "nanodet-g", "default": true, "backend": "embedded", "labels": 80});
    assert_eq!(get(&spotter, "/v1/models").await, json!({ "models": [entry] }));

    let model = get(&spotter, "/v1/models/nanodet-g").await;
    assert_eq!(model["versions"], json!([{"version": "1", "state": "AVAILABLE"}]));
    assert_eq!(model["latest"]["kind"], "NanoDet");
    assert_eq!(model["latest"]["input"], json!({"form": "pixels", "width": 416, "height": 416}));
    let input = json!([{"key": "input_1:0", "dtype": "float32", "shape": [1, 3, 416, 416]}]);
    assert_eq!(model["latest"]["signature"]["inputs"], input);
    assert_eq!(model["latest"]["signature"]["outputs"].as_array().unwrap().len(), 6);

    let labels = get(&spotter, "/v1/models/nanodet-g/labels").await;
    let labels = labels["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 80);
    assert_eq!(
        (&labels[0], &labels[79]),
        (&json!({"class_id": 1, "label": "person"}), &json!({"class_id": 90, "label": "toothbrush"}))
    );
    for path in ["/v1/models/other", "/v1/models/other/labels"] {
        problem(spotter.get(path), 404, "UNKNOWN_MODEL").await;
    }
}

#[tokio::test]
async fn a_model_behind_tensorflow_serving_is_described_from_its_signature() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &serving.url(), "--labels", "coco"]).await;
    let model = get(&spotter, "/v1/models/model").await;
    assert_eq!(model["backend"], "tensorflow-serving");
    assert_eq!(model["versions"], json!([{"version": "3", "state": "AVAILABLE"}]));
    assert_eq!(model["latest"]["kind"], "TF Object Detection");
    assert_eq!(model["latest"]["input"], json!({"form": "pixels", "max_side": 1024}));
    let input = json!([{"key": "input_tensor", "dtype": "uint8", "shape": [1, -1, -1, 3]}]);
    assert_eq!(model["latest"]["signature"]["inputs"], input);
}

#[tokio::test]
async fn live_means_the_process_and_ready_means_the_model() {
    let mut serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &serving.url()]).await;
    assert_eq!(get(&spotter, "/livez").await, json!({"status": "alive"}));
    assert_eq!(get(&spotter, "/readyz").await, json!({"status": "ready", "model": "model", "version": "3"}));
    assert!(serving.received(|received| !received.predicts.is_empty()), "ready means it answered a Predict");

    serving.change(|script| {
        script.state = spotter::backend::serving::proto::tensorflow::serving::model_version_status::State::Loading;
    });
    // What was seen holds for half a second.
    while spotter.get("/readyz").send().await.unwrap().status() == 200 {}
    let body = problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
    assert!(body["detail"].as_str().unwrap().contains("3: LOADING"), "{body}");

    serving.stop();
    problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
    assert_eq!(get(&spotter, "/livez").await, json!({"status": "alive"}), "still alive");
}

#[tokio::test]
async fn however_many_ask_whether_it_is_ready_the_model_server_is_asked_now_and_then() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &serving.url()]).await;
    spotter.ready().await;
    let before = serving.received(|received| received.status);
    let begin = std::time::Instant::now();
    let probes = (0..50).map(|_| spotter.get("/readyz").send());
    let channel = Channel::from_shared(spotter.url("")).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    for probe in futures::future::join_all(probes).await {
        assert_eq!(probe.unwrap().status(), 200);
    }
    for _ in 0..10 {
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
    let most = 1 + begin.elapsed().as_millis() / 500;
    let asked = serving.received(|received| received.status) - before;
    assert!(asked as u128 <= most, "{asked} questions for 60 probes, {most} at most");
}

#[tokio::test]
async fn a_model_that_cannot_answer_is_not_ready_whatever_its_state() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| {
        script.predict = crate::support::service::shared(|_: &_| Err(tonic::Status::internal("out of memory")));
    });
    let spotter = Spotter::start(&["--serving", &serving.url()]).await;
    let body = problem(spotter.get("/readyz"), 502, "MODEL_CONTRACT").await;
    assert!(!body.to_string().contains("out of memory"), "{body}");
}

#[tokio::test]
async fn a_version_that_could_not_be_loaded_keeps_its_error_for_the_operator() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| {
        script.state = spotter::backend::serving::proto::tensorflow::serving::model_version_status::State::End;
        script.load_error = Some("secret path /models/model/3".to_owned());
    });
    let spotter = Spotter::start(&["--serving", &serving.url()]).await;
    let body = problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
    assert!(body["detail"].as_str().unwrap().contains("3: END"), "{body}");
    assert!(!body.to_string().contains("secret"), "{body}");
}
