//! The REST and gRPC fronts with all that lies behind them, in front of a model that answers at once.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use clap::Parser;
use http_body_util::BodyExt;
use serde_json::Value;
use spotter::config::Settings;
use spotter::detect::{Catalog, Model, Profile};
use spotter::http::metrics::Scraping;
use spotter::model::labels::LabelMap;
use spotter::service::Current;
use spotter::{app, http};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::model_server::AtOnce;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
}

/// As many pixels as the target `image` has, and for the same reason; a batch and its list of options small as well.
const FLAGS: [&str; 9] = [
    "spotter",
    "--max-image-pixels=65536",
    "--max-image-bytes=1048576",
    "--max-batch-photos=4",
    "--max-tiles=8",
    "--max-side=64",
    "--workers=1",
    "--request-timeout-ms=60000",
    "--max-queue-ms=60000",
];

static FRONT: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let settings = CommandLine::parse_from(FLAGS).settings;
    let router = runtime.block_on(async {
        let mut service = app::build(&settings).expect("a service");
        let mut profile =
            Profile { labels: LabelMap::coco(), max_side: settings.max_side, ..Profile::named("detector") };
        profile.defaults.max_tiles = usize::from(settings.max_tiles);
        service.catalog = Catalog::new(vec![Model::new(profile, Arc::new(AtOnce), service.pipeline.workers.clone())]);
        http::router(&Current::new(service), Scraping::Here)
    });
    (runtime, router)
});

/// Asks, and checks what holds for every answer: no failure of the service's own, and a problem for whoever failed.
pub(super) fn ask(request: Request<Body>) {
    let (runtime, router) = &*FRONT;
    let wants_body = request.method() != Method::HEAD;
    runtime.block_on(async {
        let (parts, body) = router.clone().oneshot(request).await.expect("the router always answers").into_parts();
        let body = body.collect().await.expect("an answer that is whole").to_bytes();
        check(parts.status, &parts.headers, wants_body.then_some(&body));
    });
}

fn check(status: StatusCode, headers: &HeaderMap, body: Option<&Bytes>) {
    let shown = || format!("{status} {headers:?} {}", String::from_utf8_lossy(body.map_or(&[], |body| body)));
    assert!(status != StatusCode::INTERNAL_SERVER_ERROR && status != StatusCode::BAD_GATEWAY, "{}", shown());
    assert!(headers.contains_key("x-request-id"), "{}", shown());
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let Some(body) = body else { return };
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(kind, b"application/problem+json", "{}", shown());
        let problem: Value = serde_json::from_slice(body).expect("a problem is JSON");
        assert_eq!(problem["status"], status.as_u16(), "{}", shown());
        assert!(problem["code"].is_string() && problem["detail"].is_string(), "{}", shown());
    } else if kind == b"application/json" {
        let answer: Value = serde_json::from_slice(body).expect("an answer is JSON");
        let photos = answer["photos"].as_array().into_iter().flatten().map(|photo| &photo["answer"]);
        photos.chain([&answer]).for_each(check_boxes);
    }
}

/// Boxes are within their photo, and none is empty.
fn check_boxes(answer: &Value) {
    for detection in answer["detections"].as_array().into_iter().flatten() {
        let edge = |name: &str| detection["box"][name].as_u64().unwrap_or_else(|| panic!("{name} in {detection}"));
        let side = |name: &str| answer["image"][name].as_u64().unwrap_or_else(|| panic!("{name} of {answer}"));
        assert!(edge("x_min") < edge("x_max") && edge("x_max") <= side("width"), "{answer}");
        assert!(edge("y_min") < edge("y_max") && edge("y_max") <= side("height"), "{answer}");
    }
}
