//! Every problem code, by a request that causes it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use spotter::app;
use spotter::backend::{Backend, Call, Predict, Prediction, Target};
use spotter::deadline::Deadline;
use spotter::detect::{Catalog, Model, Profile};
use spotter::fault::{Code, Fault};
use spotter::model::signature::Signature;
use spotter::model::version::VersionStatus;
use spotter::workers::Workers;

use crate::support::photos::photo;
use crate::support::service::{Spotter, problem, problem_and_headers, settings};

#[tokio::test]
async fn a_request_without_an_image() {
    let spotter = Spotter::start(&[]).await;
    let post = || spotter.post("/v1/detect");
    problem(post(), 400, "MISSING_IMAGE").await;
    problem(post().header(CONTENT_TYPE, "image/jpeg"), 400, "MISSING_IMAGE").await;
    problem(post().json(&json!({"min_score": 0.5})), 400, "MISSING_IMAGE").await;
    let body = problem(post().multipart(Form::new().text("photo", "x")), 400, "MISSING_IMAGE").await;
    assert!(body["detail"].as_str().unwrap().contains("Parts found: photo"), "{body}");
}

#[tokio::test]
async fn forms_that_cannot_be_read() {
    let spotter = Spotter::start(&[]).await;
    let post = |content_type: &'static str, body: &'static str| {
        spotter.post("/v1/detect").header(CONTENT_TYPE, content_type).body(body)
    };
    problem(post("application/json", "{"), 400, "INVALID_JSON").await;
    problem(post("application/json", r#"{"image": "*"}"#), 400, "INVALID_BASE64").await;
    problem(post("multipart/form-data", "x"), 400, "INVALID_MULTIPART").await;
    problem(post("multipart/form-data; boundary=b", "--b\r\nnonsense"), 400, "INVALID_MULTIPART").await;
    let part = || Part::bytes(b"x".to_vec());
    let twice = Form::new().part("image", part()).part("image", part());
    problem(spotter.post("/v1/detect").multipart(twice), 400, "INVALID_MULTIPART").await;
}

#[tokio::test]
async fn content_types_that_are_no_upload() {
    let spotter = Spotter::start(&[]).await;
    for content_type in ["text/plain", "application/xml", "nonsense"] {
        let request = spotter.post("/v1/detect").header(CONTENT_TYPE, content_type).body(photo("chelsea.png"));
        let body = problem(request, 415, "UNSUPPORTED_MEDIA_TYPE").await;
        assert!(body["detail"].as_str().unwrap().contains(content_type), "{body}");
    }
    let form = spotter.post("/v1/detect").header(CONTENT_TYPE, "application/x-www-form-urlencoded").body("image=abc");
    problem(form, 415, "UNSUPPORTED_MEDIA_TYPE").await;
}

#[tokio::test]
async fn files_that_are_no_photo() {
    let spotter = Spotter::start(&[]).await;
    let post = |body: Bytes| spotter.post("/v1/detect").header(CONTENT_TYPE, "image/jpeg").body(body);
    let heic = Bytes::from_static(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    let body = problem(post(heic), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    assert!(body["detail"].as_str().unwrap().contains("HEIC"), "{body}");
    let avif = Bytes::from_static(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif");
    let body = problem(post(avif), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    assert!(body["detail"].as_str().unwrap().contains("AVIF"), "{body}");
    problem(post(Bytes::from_static(b"hello")), 415, "UNSUPPORTED_IMAGE_FORMAT").await;

    // Also as curl sends a file unless told otherwise, and without any type.
    let heic = Bytes::from_static(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    for request in [
        spotter.post("/v1/detect").header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(heic.clone()),
        spotter.post("/v1/detect").body(heic),
    ] {
        let body = problem(request, 415, "UNSUPPORTED_IMAGE_FORMAT").await;
        assert!(body["detail"].as_str().unwrap().contains("HEIC"), "{body}");
    }

    let whole = photo("chelsea.png");
    problem(post(whole.slice(..whole.len() / 2)), 422, "UNREADABLE_IMAGE").await;
    problem(post(whole.slice(..12)), 422, "UNREADABLE_IMAGE").await;
}

#[tokio::test]
async fn too_many_bytes_in_every_form() {
    let spotter = Spotter::start(&["--max-image-bytes", "100000"]).await;
    let photo = photo("chelsea.png");
    let form = Form::new().part("image", Part::bytes(photo.to_vec()));
    let chunks = stream::iter(photo.chunks(10_000).map(|chunk| Ok::<_, io::Error>(chunk.to_vec())).collect::<Vec<_>>());
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &photo);
    for request in [
        spotter.post("/v1/detect").body(photo.clone()),
        spotter.post("/v1/detect").body(reqwest::Body::wrap_stream(chunks)),
        spotter.post("/v1/detect").multipart(form),
        spotter.post("/v1/detect").json(&json!({ "image": text })),
    ] {
        let body = problem(request, 413, "PAYLOAD_TOO_LARGE").await;
        assert_eq!(body["max_bytes"], 100_000);
    }
    // Small enough for the form, too large for an image.
    let form = Form::new().part("image", Part::bytes(photo.slice(..120_000).to_vec()));
    problem(spotter.post("/v1/detect").multipart(form), 413, "PAYLOAD_TOO_LARGE").await;
}

#[tokio::test]
async fn a_photo_of_three_megabytes_is_no_problem_in_any_form() {
    let spotter = Spotter::start(&[]).await;
    // Trailing bytes count as bytes and are no part of the picture.
    let mut large = photo("chelsea.png").to_vec();
    large.resize(3 << 20, 0);
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &large);
    for request in [
        spotter.post("/v1/detect").body(large.clone()),
        spotter.post("/v1/detect").multipart(Form::new().part("image", Part::bytes(large))),
        spotter.post("/v1/detect").json(&json!({ "image": text })),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn too_many_pixels() {
    let spotter = Spotter::start(&["--max-image-pixels", "100000"]).await;
    let body = problem(spotter.post("/v1/detect").body(photo("chelsea.png")), 413, "IMAGE_TOO_LARGE").await;
    assert_eq!((&body["width"], &body["height"], &body["max_pixels"]), (&451.into(), &300.into(), &100_000.into()));
}

#[tokio::test]
async fn options_models_and_versions_that_do_not_exist() {
    let spotter = Spotter::start(&[]).await;
    let post = |path: &str| spotter.post(path).body(photo("chelsea.png"));
    let body = problem(post("/v1/detect?min_score=2&colour=red"), 422, "INVALID_OPTION").await;
    let fields: Vec<_> = body["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
    assert_eq!(fields, ["colour", "min_score"]);
    let form = Form::new().part("image", Part::bytes(photo("chelsea.png").to_vec()));
    let form = form.part("mask", Part::bytes(vec![0xff]).file_name("mask.png"));
    let body = problem(spotter.post("/v1/detect").multipart(form), 422, "INVALID_OPTION").await;
    assert_eq!(body["errors"][0]["field"], "mask");
    problem(post("/v1/models/other/detect"), 404, "UNKNOWN_MODEL").await;
    problem(post("/v1/detect?version=2"), 404, "UNKNOWN_VERSION").await;
    problem(post("/v1/detect?version_label=stable"), 404, "UNKNOWN_VERSION").await;
}

#[tokio::test]
async fn routes_methods_and_answers_that_do_not_exist() {
    let spotter = Spotter::start(&[]).await;
    problem(spotter.get("/v2/detect"), 404, "NOT_FOUND").await;
    problem(spotter.get("/docs/nothing.js"), 404, "NOT_FOUND").await;
    problem(spotter.get("/problems/nothing"), 404, "NOT_FOUND").await;
    for (method, path, allow) in [
        (Method::GET, "/v1/detect", "POST"),
        (Method::DELETE, "/v1/models", "GET,HEAD"),
        (Method::POST, "/livez", "GET,HEAD"),
    ] {
        let (headers, _) = problem_and_headers(spotter.request(method, path), 405, "METHOD_NOT_ALLOWED").await;
        assert_eq!(headers[ALLOW], allow, "{path}");
    }
    let request = spotter.post("/v1/detect").header(ACCEPT, "text/html").body(photo("chelsea.png"));
    problem(request, 406, "NOT_ACCEPTABLE").await;
    problem(spotter.get("/v1/models/%ff"), 400, "INVALID_REQUEST").await;
}

#[tokio::test]
async fn an_upload_that_stops() {
    let spotter = Spotter::start(&["--request-timeout-ms", "200"]).await;
    let stalled = stream::once(async { Ok::<_, io::Error>(vec![0; 100]) });
    let stalled = futures::StreamExt::chain(stalled, stream::pending());
    let request = spotter.post("/v1/detect").body(reqwest::Body::wrap_stream(stalled));
    let body = problem(request, 408, "UPLOAD_TIMEOUT").await;
    assert!(body["detail"].as_str().unwrap().contains("100 bytes"), "{body}");
}

#[tokio::test]
async fn an_upload_that_drips_has_no_more_than_the_whole_time() {
    let spotter = Spotter::start(&["--request-timeout-ms", "500", "--upload-pause-ms", "60000"]).await;
    let begin = std::time::Instant::now();
    // It never pauses, and would go on for ever; it ends only so that the answer meets nothing on its way.
    let drops = stream::unfold((), |()| async move {
        tokio::task::yield_now().await;
        Some((Ok::<_, io::Error>(vec![0]), ()))
    });
    let drops = futures::StreamExt::take_while(drops, move |_| {
        std::future::ready(begin.elapsed() < Duration::from_millis(450))
    });
    let drops = futures::StreamExt::chain(drops, stream::pending());
    let body = problem(spotter.post("/v1/detect").body(reqwest::Body::wrap_stream(drops)), 408, "UPLOAD_TIMEOUT").await;
    assert!(!body["detail"].as_str().unwrap().contains("nothing came"), "{body}");
}

#[tokio::test]
async fn an_upload_that_pauses_too_long_does_not_have_the_whole_time() {
    let spotter = Spotter::start(&["--upload-pause-ms", "100"]).await;
    let stalled = stream::once(async { Ok::<_, io::Error>(vec![0; 100]) });
    let stalled = futures::StreamExt::chain(stalled, stream::pending());
    let request = spotter.post("/v1/detect").body(reqwest::Body::wrap_stream(stalled));
    let body = problem(request, 408, "UPLOAD_TIMEOUT").await;
    assert!(body["detail"].as_str().unwrap().contains("nothing came for 100 ms"), "{body}");
}

#[tokio::test]
async fn uploads_are_bounded_by_their_bytes_together() {
    let photo = photo("chelsea.png");
    let room = (photo.len() + photo.len() / 2).to_string();
    let spotter = Spotter::start(&["--max-upload-bytes-in-flight", &room]).await;
    let (feed, pieces) = tokio::sync::mpsc::unbounded_channel();
    let pieces = tokio_stream::wrappers::UnboundedReceiverStream::new(pieces);
    let first = spotter.post("/v1/detect").body(reqwest::Body::wrap_stream(pieces)).send();
    let first = tokio::spawn(first);
    feed.send(Ok::<_, io::Error>(photo.slice(..photo.len() - 1))).unwrap();
    // Until the first one's bytes have arrived there is room.
    while spotter.upload("/v1/detect", photo.clone()).await.status() == 200 {}
    let body = problem(spotter.post("/v1/detect").body(photo.clone()), 503, "OVERLOADED").await;
    assert_eq!(body["max_bytes_in_flight"].to_string(), room);
    feed.send(Ok(photo.slice(photo.len() - 1..))).unwrap();
    drop(feed);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    spotter.detect("/v1/detect", photo).await;
}

/// A backend with one purpose.
struct Faulty(Box<dyn Fn() -> Fault + Send + Sync>);

#[async_trait]
impl Backend for Faulty {
    fn kind(&self) -> &'static str {
        "faulty"
    }

    fn describe(&self) -> String {
        "a backend that fails".to_owned()
    }

    async fn versions(&self, _: &str, _: &Call) -> Result<Vec<VersionStatus>, Fault> {
        Err((self.0)())
    }

    async fn signature(&self, _: &Target, _: Option<&str>, _: &Call) -> Result<(i64, Signature), Fault> {
        Err((self.0)())
    }

    async fn predict(&self, _: Predict, _: &Call) -> Result<Prediction, Fault> {
        Err((self.0)())
    }
}

/// A service whose model answers nothing but this.
pub async fn faulty(fault: impl Fn() -> Fault + Send + Sync + 'static) -> Spotter {
    let mut service = app::build(&settings(&[])).unwrap();
    let (backend, workers) = (Arc::new(Faulty(Box::new(fault))), service.pipeline.workers.clone());
    service.catalog = Catalog::new(vec![Model::new(Profile::named("faulty"), backend, workers)]);
    Spotter::run(service).await
}

#[tokio::test]
async fn a_panic_is_answered_and_the_service_goes_on() {
    let spotter = faulty(|| panic!("secret")).await;
    for _ in 0..2 {
        let body = problem(spotter.post("/v1/detect").body(photo("chelsea.png")), 500, "INTERNAL").await;
        assert!(!body.to_string().contains("secret"), "{body}");
    }
}

/// Each code with the status, the page and the headers of its row; how they come about is tested beside what fails.
#[tokio::test]
async fn every_code_is_answered_as_its_row_says_and_has_a_page() {
    for code in Code::ALL {
        let spotter = faulty(move || Fault::new(code, "detail").retry_after(Duration::from_millis(1500))).await;
        let response = spotter.post("/v1/detect").body(photo("chelsea.png")).send().await.unwrap();
        assert_eq!(response.status(), code.row().status);
        assert_eq!(response.headers()[RETRY_AFTER], "2", "rounded up to whole seconds");
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!((&body["code"], &body["title"]), (&code.name().into(), &code.row().title.into()));
        let page = spotter.get(body["type"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert!(page.text().await.unwrap().contains(code.row().title));
    }
}

/// Keeps the only core busy until the sender says so, or is dropped.
async fn occupy(workers: &Workers) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (started, starts) = tokio::sync::oneshot::channel();
    let workers = workers.clone();
    tokio::spawn(async move {
        let hold = move || {
            started.send(()).unwrap();
            Ok(released.recv().is_ok())
        };
        workers.run(Deadline::after(Duration::from_secs(60)), hold).await
    });
    starts.await.unwrap();
    release
}

#[tokio::test]
async fn a_photo_that_finds_no_free_core_in_time_is_never_started() {
    let service = app::build(&settings(&["--workers", "1", "--request-timeout-ms", "300"])).unwrap();
    let release = occupy(&service.pipeline.workers).await;
    let spotter = Spotter::run(service).await;
    problem(spotter.post("/v1/detect").body(photo("chelsea.png")), 504, "DEADLINE_EXCEEDED").await;
    release.send(()).expect("the core was busy all the while");
}

#[tokio::test]
async fn what_a_header_decides_is_answered_while_every_core_is_busy() {
    let service = app::build(&settings(&["--workers", "1", "--max-image-pixels", "250000"])).unwrap();
    let release = occupy(&service.pipeline.workers).await;
    let spotter = Spotter::run(service).await;
    let upload = |file: &str| spotter.post("/v1/detect").header(CONTENT_TYPE, "image/png").body(photo(file));
    let zip = photo("formats/refused/unsupported_image_format/photos.zip");
    problem(upload("formats/refused/unsupported_image_format/photos.zip"), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    // As long as photos are that a camera takes, in the forms that have to be taken apart first.
    let mut long = zip.to_vec();
    long.resize(12 << 20, 0);
    let form = Form::new().part("image", Part::bytes(long.clone()));
    problem(spotter.post("/v1/detect").multipart(form), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    let json = json!({ "image": BASE64_STANDARD.encode(&long) });
    problem(spotter.post("/v1/detect").json(&json), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    problem(spotter.post("/v1/detect?min_score=0.5").body(zip.clone()), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    let batch = Form::new().part("image", Part::bytes(long)).part("image", Part::bytes(zip.to_vec()));
    let batch = spotter.post("/v1/detect/batch?min_score=0.5").multipart(batch).send().await.unwrap();
    let batch: serde_json::Value = batch.json().await.unwrap();
    for photo in batch["photos"].as_array().unwrap() {
        assert_eq!(photo["problem"]["code"], "UNSUPPORTED_IMAGE_FORMAT", "{batch}");
    }
    // 512 x 512.
    problem(upload("astronaut.png"), 413, "IMAGE_TOO_LARGE").await;
    let declared = spotter.post("/v1/detect").header(CONTENT_TYPE, "image/png").body(vec![0; 21 << 20]);
    problem(declared, 413, "PAYLOAD_TOO_LARGE").await;
    problem(spotter.post("/v1/detect").header(CONTENT_TYPE, "text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    release.send(()).expect("the core was busy all the while");
}
