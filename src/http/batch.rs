//! `POST /v1/detect/batch`: several photos in one request, each with its own answer.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::Value;
use utoipa::ToSchema;

use crate::answering::Held;
use crate::backend::Call;
use crate::detect::{Job, Keep, Model, Wanted};
use crate::fault::{Fault, unless_panicked};
use crate::fetch::{Allowance, Source};
use crate::http::accept::Answer;
use crate::http::detect::{self, DetectAnswer, JsonUpload, MODEL_VERSION, Query, RawUpload};
use crate::http::problem::Problem;
use crate::http::upload::{self, Batch, Upload};
use crate::service::Service;
use crate::telemetry::photo_failed;

/// Find objects in several photos with the default model
///
/// The photos are answered in their order, each with its detections or with its own problem, and the whole is 200; only a
/// request that is wrong as a whole is answered with a problem. The service works on some photos of a batch at once and
/// leaves room for other requests.
#[utoipa::path(
    post,
    path = "/v1/detect/batch",
    operation_id = "detectBatch",
    tag = "detect",
    params(Query),
    request_body(content((MultipartBatch = "multipart/form-data"), (JsonBatch = "application/json"))),
    responses((status = 200, description = "An answer for every photo, in order.", body = BatchAnswer)),
)]
pub(super) async fn detect_batch(
    State(service): State<Arc<Service>>,
    Extension(call): Extension<Call>,
    request: Request,
) -> Result<Response, Fault> {
    batch(&service, None, request, call).await
}

/// Find objects in several photos with a named model
///
/// As `POST /v1/detect/batch`, with the model of this name.
#[utoipa::path(
    post,
    path = "/v1/models/{model}/detect/batch",
    operation_id = "detectBatchWithModel",
    tag = "detect",
    params(("model" = String, Path, description = "A name that GET /v1/models lists.", example = "nanodet-g"), Query),
    request_body(content((MultipartBatch = "multipart/form-data"), (JsonBatch = "application/json"))),
    responses((status = 200, description = "An answer for every photo, in order.", body = BatchAnswer)),
)]
pub(super) async fn detect_batch_with_model(
    State(service): State<Arc<Service>>,
    Extension(call): Extension<Call>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Fault> {
    batch(&service, Some(&model), request, call).await
}

async fn batch(service: &Service, name: Option<&str>, request: Request, call: Call) -> Result<Response, Fault> {
    let accepted = Answer::json_only(request.headers());
    let pipeline = &service.pipeline;
    let model = service.model(name);
    if let Ok(model) = &model
        && let Err(full) = pipeline.has_room(model, &call)
    {
        return Ok(upload::refuse_unread(full, request).await);
    }
    // As for a single photo, the upload is read before anything else is refused.
    let Batch { photos, common } = Batch::receive(request, service, model.as_ref().ok().copied(), &call).await?;
    accepted?;
    let model = model?;
    let read = {
        let (defaults, labels) = (model.profile().defaults, model.labels());
        move || {
            // Wrong for all of them is wrong as a whole.
            Wanted::read(&common, defaults, &labels)?;
            let asked = |Upload { photo, params }| Ok((photo, Wanted::read(&params, defaults, &labels)?));
            Ok(photos.into_iter().map(|photo| photo.and_then(asked)).collect::<Vec<Result<Asked, Fault>>>())
        }
    };
    let photos = pipeline.workers.run_ahead(call.deadline, read).await?;

    let allowance = Allowance::new(service.batch.max_bytes);
    let looks = photos.into_iter().map(|photo| look(service, model, photo, &allowance, &call));
    let seen: Vec<_> = stream::iter(looks).buffered(service.batch.at_once).collect().await;

    let mut versions: Vec<i64> = seen.iter().flatten().map(|seen| seen.version).collect();
    versions.dedup();
    let (pieces, rooms) = written(seen, &call);
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let held = service.answering.whole(length, rooms);
    let mut response = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>))).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(held) = held {
        response.extensions_mut().insert(held);
    }
    if let [version] = versions[..] {
        response.headers_mut().insert(MODEL_VERSION, HeaderValue::from(version));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// One photo of a batch; whatever becomes of it stays with it.
async fn look(
    service: &Service,
    model: &Model,
    asked: Result<Asked, Fault>,
    allowance: &Allowance,
    call: &Call,
) -> Result<Seen, Fault> {
    let (photo, wanted) = asked?;
    let normalized = wanted.options.normalized;
    let (pipeline, workers) = (&service.pipeline, &service.pipeline.workers);
    let looking = async {
        let job = Job { image: service.photo(photo, allowance, call).await?, wanted, keep: Keep::Nothing };
        let answer = pipeline.detect(model, job, call).await?;
        let version = answer.version;
        let written: Box<str> = detect::written(model.name(), answer, normalized, call, workers).await?.into();
        let held = service.answering.take(written.len())?;
        Ok(Seen { version, answer: String::from(written).into(), held })
    };
    unless_panicked(looking).await
}

/// A photo of a batch, and what is wanted of it.
type Asked = (Source, Wanted);

/// What became of a photo.
struct Seen {
    version: i64,
    /// A [`DetectAnswer`].
    answer: Bytes,
    /// The room that it takes.
    held: Option<Held>,
}

/// A [`BatchAnswer`] in pieces, each photo's as it is, because together they may be very long; and the room that these have.
fn written(seen: Vec<Result<Seen, Fault>>, call: &Call) -> (Vec<Bytes>, Vec<Held>) {
    let (mut rooms, mut failed) = (Vec::new(), 0);
    // A caller's own id may have quotes.
    let request_id = Value::from(call.request_id.as_str());
    let mut pieces = vec![format!(r#"{{"request_id":{request_id},"photos":["#).into()];
    for (index, seen) in seen.into_iter().enumerate() {
        let between = if index == 0 { "" } else { "," };
        match seen {
            Ok(Seen { answer, held, .. }) => {
                rooms.extend(held);
                pieces.extend([format!(r#"{between}{{"index":{index},"answer":"#).into(), answer, "}".into()]);
            }
            Err(fault) => {
                failed += 1;
                let problem = serde_json::to_string(&problem(index, fault, call)).expect("a problem is plain JSON");
                pieces.push(format!(r#"{between}{{"index":{index},"problem":{problem}}}"#).into());
            }
        }
    }
    pieces.push(format!(r#"],"failed":{failed}}}"#).into());
    (pieces, rooms)
}

/// What is wrong with the photo of this number.
fn problem(index: usize, fault: Fault, call: &Call) -> Problem {
    photo_failed(index as u64, &fault);
    // In a header it would be about the whole.
    let fault = match fault.retry_seconds() {
        Some(seconds) => fault.with("retry_after", seconds),
        None => fault,
    };
    Problem::new(&fault, &call.request_id)
}

/// Several photos in a form: a part `image` or `image_url` for each, and options that hold for all of them.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "read part by part in upload/multipart.rs; this is its documentation, to which docs.rs adds the options"
)]
pub(super) struct MultipartBatch {
    /// The photos.
    #[schema(value_type = Option<Vec<RawUpload>>, nullable = false)]
    image: Option<Vec<String>>,
    /// Addresses of photos on the public internet; where the service allows it. They take their place among the photos.
    #[schema(nullable = false)]
    image_url: Option<Vec<String>>,
}

/// Several photos, as base64 or by their addresses, each with options of its own, and options that hold where a photo has none.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read in upload/batch.rs; this is its documentation, to which docs.rs adds the options")]
pub(super) struct JsonBatch {
    /// The photos.
    #[schema(min_items = 1)]
    images: Vec<JsonUpload>,
}

/// What became of the photos, in their order.
#[derive(ToSchema)]
#[allow(dead_code, reason = "written piece by piece; this is its documentation")]
pub(super) struct BatchAnswer {
    /// The request's id, as in the X-Request-Id header.
    #[schema(example = "019ab3e0-5c2e-7d31-b3f4-6a0c1c2d3e4f")]
    request_id: String,
    /// One for each photo.
    photos: Vec<Photo>,
    /// How many of them have a problem.
    #[schema(example = 1)]
    failed: usize,
}

/// One photo of a batch: what was found in it, or why nothing could be.
#[derive(ToSchema)]
#[allow(dead_code, reason = "written piece by piece; this is its documentation")]
pub(super) struct Photo {
    /// Its place in the request, from 0.
    #[schema(example = 0)]
    index: usize,
    /// What was found; absent where there is a problem.
    #[schema(nullable = false)]
    answer: Option<DetectAnswer>,
    /// What is wrong with this photo; `retry_after` counts seconds, where trying again makes sense.
    #[schema(nullable = false)]
    problem: Option<Problem>,
}
