//! Examples for the OpenAPI document: requests that the service takes, and its answers to them.
//!
//! Answers are recorded ones; a test compares their form with what the service answers now.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, RefOr};

use crate::service::Service;

/// A small real photo, so that Execute in Swagger UI works without an edit.
pub static PHOTO: &[u8] = include_bytes!("../../openapi/example.jpg");

/// The same with what is found drawn on it, in both forms of the answer.
static ANNOTATED_JPEG: &[u8] = include_bytes!("../../openapi/examples/annotated.jpg");
static ANNOTATED_PNG: &[u8] = include_bytes!("../../openapi/examples/annotated.png");

/// Where the files are served that no JSON can hold.
const PHOTO_AT: &str = "/example.jpg";
const FORM_AT: &str = "/example.form";
const ANNOTATED_JPEG_AT: &str = "/example-annotated.jpg";
const ANNOTATED_PNG_AT: &str = "/example-annotated.png";

const BOUNDARY: &str = "example";

/// The files.
pub(super) fn routes() -> Router<Arc<Service>> {
    let picture = |media_type: &'static str, file: &'static [u8]| {
        get(move || async move { ([(CONTENT_TYPE, media_type)], file) })
    };
    let form = || async { ([(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"))], form()) };
    Router::new()
        .route(PHOTO_AT, picture("image/jpeg", PHOTO))
        .route(ANNOTATED_JPEG_AT, picture("image/jpeg", ANNOTATED_JPEG))
        .route(ANNOTATED_PNG_AT, picture("image/png", ANNOTATED_PNG))
        .route(FORM_AT, get(form))
}

/// A whole form, as a browser sends it.
fn form() -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"min_score\"\r\n\r\n0.3\r\n\
         --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"example.jpg\"\r\n\
         Content-Type: image/jpeg\r\n\r\n"
    );
    [head.as_bytes(), PHOTO, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}

/// Gives the bodies of an operation and its answer their examples.
pub(super) fn add(operation: &mut Operation) {
    let id = operation.operation_id.clone().unwrap_or_default();
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for (media_type, content) in &mut body.content {
            let RefOr::T(content) = content else { continue };
            match media_type.as_str() {
                // Alone, and not among `examples`: that is what Swagger UI prefills the editor with.
                "application/json" => content.example = Some(json_body(&id)),
                "multipart/form-data" => insert(content, "form", file("A whole form, as a browser sends it", FORM_AT)),
                _ => insert(content, "photo", file("A small photo", PHOTO_AT)),
            }
        }
    }
    let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") else { return };
    for (media_type, content) in &mut answer.content {
        let RefOr::T(content) = content else { continue };
        match media_type.as_str() {
            "application/json" => content.example = Some(answered(&id)),
            "image/jpeg" => insert(content, "annotated", file("The photo with its boxes", ANNOTATED_JPEG_AT)),
            "image/png" => insert(content, "annotated", file("The photo with its boxes", ANNOTATED_PNG_AT)),
            "application/openmetrics-text" => {
                content.example = Some(include_str!("../../openapi/examples/metrics.txt").into());
            }
            other => unreachable!("{id} has no example of its answer as {other}"),
        }
    }
}

fn json_body(operation_id: &str) -> Value {
    let image = BASE64_STANDARD.encode(PHOTO);
    if operation_id.starts_with("detectBatch") {
        json!({ "images": [{ "image": image, "max_detections": 1 }], "min_score": 0.3 })
    } else {
        json!({ "image": image, "min_score": 0.3 })
    }
}

fn answered(operation_id: &str) -> Value {
    let recorded = match operation_id {
        "detect" | "detectWithModel" => include_str!("../../openapi/examples/detect.json"),
        "detectBatch" | "detectBatchWithModel" => include_str!("../../openapi/examples/batch.json"),
        "listModels" => include_str!("../../openapi/examples/models.json"),
        "getModel" => include_str!("../../openapi/examples/model.json"),
        "listLabels" => include_str!("../../openapi/examples/labels.json"),
        "livez" => include_str!("../../openapi/examples/livez.json"),
        "readyz" => include_str!("../../openapi/examples/readyz.json"),
        other => unreachable!("{other} has no example of its answer"),
    };
    serde_json::from_str(recorded).expect("recorded answers are JSON")
}

fn file(summary: &str, at: &str) -> Example {
    ExampleBuilder::new().summary(summary).external_value(at).build()
}

fn insert(content: &mut Content, name: &str, example: Example) {
    content.examples.insert(name.to_owned(), RefOr::T(example));
}
