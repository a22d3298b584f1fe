//! `POST /v1/detect`: a photo in, boxes or the annotated photo out.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use crate::backend::Call;
use crate::detect::{self, Job, Keep};
use crate::fault::Fault;
use crate::fetch::Allowance;
use crate::http::accept::Answer;
use crate::http::upload::{self, Upload};
use crate::image::{draw, encode};
use crate::service::Service;
use crate::workers::Workers;

mod answer;
mod request;

pub use answer::{
    BoxNormalized, BoxPixels, CropFile, DetectAnswer, Found, ImageSeen, Milliseconds, ModelAnswered, ObjectKeypoint,
    ObjectMask, RunLengths,
};
use request::MultipartUpload;
pub(super) use request::{JsonUpload, Query, RawUpload};

pub(super) const MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

/// Find objects with the default model
///
/// Send a photo in one of three forms; the format is recognised by its bytes. JPEG, PNG, WebP, GIF, BMP and TIFF are
/// read; EXIF orientation is applied, and boxes are in pixels of the upright photo. `Accept: image/jpeg` or `image/png`
/// answers the photo with the boxes drawn on it. Where the service allows it, `image_url` in JSON or in a form names a
/// photo on the public internet instead.
#[utoipa::path(
    post,
    path = "/v1/detect",
    operation_id = "detect",
    tag = "detect",
    params(Query),
    request_body(content(
        (MultipartUpload = "multipart/form-data"),
        (JsonUpload = "application/json"),
        (RawUpload = "image/jpeg"),
        (RawUpload = "image/png"),
        (RawUpload = "application/octet-stream"),
    )),
    responses((status = 200, description = "What was found, best first.", content(
        (DetectAnswer = "application/json"),
        (RawUpload = "image/jpeg"),
        (RawUpload = "image/png"),
    ))),
)]
pub(super) async fn detect_default(
    State(service): State<Arc<Service>>,
    Extension(call): Extension<Call>,
    request: Request,
) -> Result<Response, Fault> {
    detect(&service, None, request, call).await
}

/// Find objects with a named model
///
/// As `POST /v1/detect`, with the model of this name.
#[utoipa::path(
    post,
    path = "/v1/models/{model}/detect",
    operation_id = "detectWithModel",
    tag = "detect",
    params(("model" = String, Path, description = "A name that GET /v1/models lists.", example = "nanodet-g"), Query),
    request_body(content(
        (MultipartUpload = "multipart/form-data"),
        (JsonUpload = "application/json"),
        (RawUpload = "image/jpeg"),
        (RawUpload = "image/png"),
        (RawUpload = "application/octet-stream"),
    )),
    responses((status = 200, description = "What was found, best first.", content(
        (DetectAnswer = "application/json"),
        (RawUpload = "image/jpeg"),
        (RawUpload = "image/png"),
    ))),
)]
pub(super) async fn detect_with_model(
    State(service): State<Arc<Service>>,
    Extension(call): Extension<Call>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Fault> {
    detect(&service, Some(&model), request, call).await
}

async fn detect(service: &Service, name: Option<&str>, request: Request, call: Call) -> Result<Response, Fault> {
    let form = Answer::negotiate(request.headers());
    let pipeline = &service.pipeline;
    let model = service.model(name);
    if let Ok(model) = &model
        && let Err(full) = pipeline.has_room(model, &call)
    {
        return Ok(upload::refuse_unread(full, request).await);
    }
    // The upload is read before anything else is refused: a client that is still sending would see a reset, not the answer.
    let upload = Upload::receive(request, service, model.as_ref().ok().copied(), &call).await?;
    let form = form?;
    let model = model?;
    let Upload { photo, params } = upload;
    let wanted = pipeline.wanted(model, params, &call).await?;
    let normalized = wanted.options.normalized;
    let keep = match form {
        Answer::Json => Keep::Nothing,
        Answer::Picture(_) => Keep::Photo,
    };
    let image = service.photo(photo, &Allowance::new(pipeline.limits.max_bytes), &call).await?;
    let answer = pipeline.detect(model, Job { image, wanted, keep }, &call).await?;

    let version = HeaderValue::from(answer.version);
    let mut response = match form {
        Answer::Json => {
            let body: Box<str> = written(model.name(), answer, normalized, &call, &pipeline.workers).await?.into();
            ([(header::CONTENT_TYPE, "application/json")], String::from(body)).into_response()
        }
        Answer::Picture(picture) => {
            let detect::Answer { pixels, detections, .. } = answer;
            let kept = pixels.ok_or_else(|| Fault::internal("the photo was not kept"))?;
            let drawing = move || {
                // As a whole, with its share of the memory.
                let mut kept = kept;
                draw::boxes(&mut kept.pixels, &tags(&detections));
                encode::encode(&kept.pixels, picture)
            };
            let file = pipeline.workers.run(call.deadline, drawing).await?;
            ([(header::CONTENT_TYPE, picture.media_type())], file).into_response()
        }
    };
    response.headers_mut().insert(MODEL_VERSION, version);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The JSON of an answer: a [`DetectAnswer`]. Written on a core where crops or masks make it long.
pub(super) async fn written(
    model: &str,
    answer: detect::Answer,
    normalized: bool,
    call: &Call,
    workers: &Workers,
) -> Result<Box<RawValue>, Fault> {
    let (model, request_id) = (model.to_owned(), call.request_id.clone());
    let is_long = answer.detections.iter().any(|found| found.crop.is_some() || found.segmentation.is_some());
    let write = move || {
        let answer = DetectAnswer::new(&model, &answer, normalized, &request_id);
        serde_json::value::to_raw_value(&answer).map_err(Fault::internal)
    };
    if is_long { workers.run(call.deadline, write).await } else { write() }
}

/// The detections as they are drawn: `cat 56 %`.
pub fn tags(detections: &[detect::Detection]) -> Vec<draw::Tag> {
    let tag = |found: &detect::Detection| {
        let percent = (found.score * 100.0).round();
        draw::Tag {
            pixels: found.pixels,
            text: format!("{} {percent} %", found.label),
            fallback: format!("class_{} {percent} %", found.class_id),
            color_key: found.class_id,
            mask: found.segmentation.as_ref().map(|found| found.mask.clone()),
            points: found.keypoints.iter().flatten().map(|point| point.place).collect(),
        }
    };
    detections.iter().map(tag).collect()
}
