//! Several photos in one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use spotter::backend::{Backend, Call, Predict, Prediction, Target};
use spotter::detect::{Catalog, Model};
use spotter::fault::{Code, Fault};
use spotter::http::metrics::Scraping;
use spotter::model::signature::Signature;
use spotter::model::version::VersionStatus;
use spotter::service::{Current, Service};
use spotter::{app, http};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::support::photos::{ASTRONAUT, CHELSEA, COFFEE, assert_found, photo, small_astronaut};
use crate::support::service::{Spotter, problem, settings};

const BATCH: &str = "/v1/detect/batch";

fn base64(name: &str) -> String {
    BASE64_STANDARD.encode(photo(name))
}

fn part(file: &[u8]) -> Part {
    Part::bytes(file.to_vec()).file_name("photo")
}

async fn answer(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn photos_are_answered_in_order_each_with_its_detections() {
    let spotter = Spotter::start(&[]).await;
    let form = ["chelsea.png", "astronaut.png", "coffee.png"]
        .into_iter()
        .fold(Form::new(), |form, name| form.part("image", part(&photo(name))));
    let list = json!({"images": [
        {"image": base64("chelsea.png")}, {"image": base64("astronaut.png")}, {"image": base64("coffee.png")},
    ]});
    for request in [spotter.post(BATCH).multipart(form), spotter.post("/v1/models/nanodet-g/detect/batch").json(&list)]
    {
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["x-model-version"], "1");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: Value = response.json().await.unwrap();
        assert_eq!((&body["request_id"], &body["failed"]), (&id.into(), &0.into()));
        let photos = body["photos"].as_array().unwrap();
        assert_eq!(photos.len(), 3);
        for (index, (photo, objects)) in photos.iter().zip([CHELSEA, ASTRONAUT, COFFEE]).enumerate() {
            assert_eq!(photo["index"], index);
            assert!(photo.get("problem").is_none());
            assert_found(&photo["answer"], objects);
        }
    }
}

#[tokio::test]
async fn one_photos_failure_costs_the_others_nothing() {
    let spotter = Spotter::start(&["--max-image-bytes", "800000", "--max-image-pixels", "200000"]).await;
    let chelsea = photo("chelsea.png");
    let form = Form::new()
        .part("image", part(&chelsea))
        .part("image", part(&chelsea[..5000]))
        .part("image", part(b"hello"))
        .part("image", part(b""))
        .part("image", part(&vec![0; 800_001]))
        .part("image", part(&photo("coffee.png")))
        .part("image", part(&chelsea));
    let body = answer(spotter.post(BATCH).multipart(form)).await;
    let codes: Vec<_> =
        body["photos"].as_array().unwrap().iter().map(|photo| photo["problem"]["code"].clone()).collect();
    let refused =
        ["UNREADABLE_IMAGE", "UNSUPPORTED_IMAGE_FORMAT", "MISSING_IMAGE", "PAYLOAD_TOO_LARGE", "IMAGE_TOO_LARGE"];
    let expected: Vec<Value> =
        std::iter::once(Value::Null).chain(refused.map(Value::from)).chain(std::iter::once(Value::Null)).collect();
    assert_eq!(codes, expected);
    assert_eq!(body["failed"], 5);
    for index in [0, 6] {
        assert_found(&body["photos"][index]["answer"], CHELSEA);
    }
    let problem = &body["photos"][4]["problem"];
    assert_eq!((&problem["status"], &problem["max_bytes"]), (&413.into(), &800_000.into()), "facts and all");
    assert_eq!(problem["request_id"], body["request_id"]);
}

#[tokio::test]
async fn a_photos_own_options_go_before_the_common_ones_and_the_query_before_both() {
    let spotter = Spotter::start(&[]).await;
    let list = json!({
        "max_detections": 1,
        "images": [
            {"image": base64("coffee.png")},
            {"image": base64("coffee.png"), "max_detections": 2},
            {"image": base64("coffee.png"), "max_detections": 0},
            {"image": base64("coffee.png"), "colour": "red"},
        ],
    });
    let counts = |body: &Value| -> Vec<Option<usize>> {
        let photos = body["photos"].as_array().unwrap();
        photos.iter().map(|photo| photo["answer"]["detections"].as_array().map(Vec::len)).collect()
    };
    let body = answer(spotter.post(BATCH).json(&list)).await;
    assert_eq!(counts(&body), [Some(1), Some(2), None, None]);
    assert_eq!(body["photos"][2]["problem"]["errors"][0]["field"], "max_detections");
    assert_eq!(body["photos"][3]["problem"]["errors"][0]["field"], "colour");
    let body = answer(spotter.post(&format!("{BATCH}?max_detections=3")).json(&list)).await;
    assert_eq!(counts(&body), [Some(3), Some(3), Some(3), None]);
}

#[tokio::test]
async fn a_request_that_is_wrong_as_a_whole_is_refused_as_a_whole() {
    let spotter = Spotter::start(&["--max-batch-photos", "2", "--max-batch-bytes", "600000"]).await;
    let chelsea = photo("chelsea.png");
    let forms = |count| (0..count).fold(Form::new(), |form, _| form.part("image", part(&chelsea)));
    let post = || spotter.post(BATCH);
    problem(post().multipart(Form::new().text("min_score", "0.5")), 400, "MISSING_IMAGE").await;
    problem(post().json(&json!({"images": []})), 400, "MISSING_IMAGE").await;
    problem(post().header(CONTENT_TYPE, "application/json").body("{"), 400, "INVALID_JSON").await;
    problem(post().header(CONTENT_TYPE, "image/png").body(chelsea.clone()), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    let image = json!({"image": "AQID"});
    let body = problem(post().json(&json!({"images": [image, image, image]})), 413, "BATCH_TOO_LARGE").await;
    assert_eq!(body["max_photos"], 2);
    let tiny = |count| (0..count).fold(Form::new(), |form, _| form.part("image", part(b"x")));
    problem(post().multipart(tiny(3)), 413, "BATCH_TOO_LARGE").await;
    problem(post().multipart(tiny(80)), 400, "INVALID_MULTIPART").await;
    let body = problem(post().multipart(forms(3)), 413, "PAYLOAD_TOO_LARGE").await;
    assert_eq!(body["max_bytes"], 600_000);
    let body = problem(spotter.post(&format!("{BATCH}?min_score=2")).multipart(forms(1)), 422, "INVALID_OPTION").await;
    assert_eq!(body["errors"][0]["field"], "min_score");
    problem(spotter.post("/v1/models/none/detect/batch").multipart(forms(1)), 404, "UNKNOWN_MODEL").await;
    problem(post().header(ACCEPT, "image/jpeg").multipart(forms(1)), 406, "NOT_ACCEPTABLE").await;
    assert_eq!(answer(post().multipart(forms(2))).await["failed"], 0, "the bound itself is fine");
}

/// A detector that is held until the test lets it go, and that panics if it is told so.
struct Held {
    inner: Service,
    asked: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
    panics_at: Option<usize>,
}

#[async_trait]
impl Backend for Held {
    fn kind(&self) -> &'static str {
        "held"
    }

    fn describe(&self) -> String {
        "a backend that waits".to_owned()
    }

    async fn versions(&self, model: &str, call: &Call) -> Result<Vec<VersionStatus>, Fault> {
        self.inner.catalog.default_model().backend().versions(model, call).await
    }

    async fn signature(&self, target: &Target, name: Option<&str>, call: &Call) -> Result<(i64, Signature), Fault> {
        self.inner.catalog.default_model().backend().signature(target, name, call).await
    }

    async fn predict(&self, request: Predict, call: &Call) -> Result<Prediction, Fault> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(self.panics_at != Some(number), "secret");
        let late = |_| Fault::new(Code::ModelDeadline, "held for too long");
        call.deadline.bound(self.go.acquire()).await.map_err(late)?.unwrap().forget();
        self.inner.catalog.default_model().backend().predict(request, call).await
    }
}

/// The service with its detector held.
async fn held(flags: &[&str], panics_at: Option<usize>) -> (Spotter, Arc<AtomicUsize>, Arc<Semaphore>) {
    let settings = settings(flags);
    let (mut service, inner) = (app::build(&settings).unwrap(), app::build(&settings).unwrap());
    let (asked, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let profile = inner.catalog.default_model().profile().clone();
    let backend = Held { inner, asked: Arc::clone(&asked), go: Arc::clone(&go), panics_at };
    service.catalog = Catalog::new(vec![Model::new(profile, Arc::new(backend), service.pipeline.workers.clone())]);
    (Spotter::run(service).await, asked, go)
}

async fn until(asked: &AtomicUsize, count: usize) {
    while asked.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_batch_leaves_room_for_a_single_photo() {
    let (spotter, asked, go) = held(&["--max-in-flight", "4"], None).await;
    let form = (0..6).fold(Form::new(), |form, _| form.part("image", part(&photo("chelsea.png"))));
    let batch = tokio::spawn(answer(spotter.post(BATCH).multipart(form)));
    until(&asked, 2).await;
    // The batch is held with half of the places; a photo that comes now is asked about before the other four of the batch.
    let single = tokio::spawn(answer(spotter.post("/v1/detect").body(photo("astronaut.png"))));
    until(&asked, 3).await;
    assert_eq!(asked.load(Ordering::SeqCst), 3, "two of the batch and the single photo");
    // One after the other, in the order in which they came: the batch's two, then the single one.
    go.add_permits(3);
    assert_found(&single.await.unwrap(), ASTRONAUT);
    assert!(!batch.is_finished(), "the batch has photos left");
    go.add_permits(4);
    let body = batch.await.unwrap();
    assert_eq!(body["failed"], 0);
    assert_eq!(body["photos"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn photos_that_do_not_make_the_deadline_leave_those_that_did() {
    let (spotter, _, go) = held(&["--max-in-flight", "2", "--request-timeout-ms", "2000"], None).await;
    let form = (0..3).fold(Form::new(), |form, _| form.part("image", part(&photo("chelsea.png"))));
    go.add_permits(1);
    let body = answer(spotter.post(BATCH).multipart(form)).await;
    assert_found(&body["photos"][0]["answer"], CHELSEA);
    assert_eq!(body["failed"], 2, "{body}");
    for photo in &body["photos"].as_array().unwrap()[1..] {
        let status = photo["problem"]["status"].as_u64().unwrap();
        assert!(status == 503 || status == 504, "{photo}");
        assert_eq!(status == 503, photo["problem"]["retry_after"].is_u64(), "{photo}");
    }
}

#[tokio::test]
async fn a_panic_over_one_photo_is_that_photos_problem() {
    let (spotter, _, go) = held(&["--max-in-flight", "2"], Some(1)).await;
    go.add_permits(9);
    let form = (0..3).fold(Form::new(), |form, _| form.part("image", part(&photo("chelsea.png"))));
    let body = answer(spotter.post(BATCH).multipart(form)).await;
    assert_eq!(body["failed"], 1);
    assert_eq!(body["photos"][1]["problem"]["code"], "INTERNAL");
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[tokio::test]
async fn a_photo_whose_answer_finds_no_room_has_that_problem_and_the_others_are_answered() {
    // The photos fit all together; of their answers, each with a crop that is not compressed as much, only some.
    let small = small_astronaut();
    let spotter = Spotter::start(&["--max-upload-bytes-in-flight", "400000"]).await;
    let form = |count| (0..count).fold(Form::new(), |form, _| form.part("image", part(&small)));
    let batch = |count| spotter.post(&format!("{BATCH}?crops=png")).multipart(form(count));
    let response = batch(8).send().await.unwrap();
    let length = response.content_length();
    let text = response.text().await.unwrap();
    assert_eq!(length, Some(text.len() as u64));
    let body: Value = serde_json::from_str(&text).unwrap();
    let photos = body["photos"].as_array().unwrap();
    let (answered, refused): (Vec<_>, Vec<_>) = photos.iter().partition(|photo| photo["problem"].is_null());
    assert!(!answered.is_empty() && !refused.is_empty(), "{} of 8 refused", refused.len());
    assert_eq!(body["failed"], refused.len());
    assert!(answered.iter().all(|photo| photo["answer"]["detections"][0]["label"] == "person"), "{body}");
    for photo in refused {
        assert_eq!((&photo["problem"]["code"], &photo["problem"]["retry_after"]), (&"OVERLOADED".into(), &1.into()));
    }
    assert_eq!(answer(batch(1)).await["failed"], 0, "it has been given back");
}

#[tokio::test]
async fn the_room_of_a_batch_goes_with_its_answer_and_not_with_its_bytes() {
    let service = app::build(&settings(&[])).unwrap();
    let answering = service.answering.clone();
    let router = http::router(&Current::new(service), Scraping::Here);
    let file = BASE64_STANDARD.encode(small_astronaut());
    let body = json!({ "images": [{ "image": file }, { "image": file }], "crops": "png" }).to_string();
    let request = Request::post(BATCH).header(CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap();
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    // Over HTTP/1 hyper copies what it is given, and has it until the client takes it: the connection keeps the head's room.
    let around = body.len() as u64 - answering.bytes().0;
    assert!(around < 1000, "{around} of {} bytes are not counted", body.len());
    drop(head);
    assert_eq!(answering.bytes().0, 0);
}
