//! `POST /v1/detect/batch`: several photos in one request, each with its own answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

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
    let photos = pipeline.workers.run(call.deadline, read).await?;

    let allowance = Allowance::new(service.batch.max_bytes);
    let looks = photos.into_iter().map(|photo| look(service, model, photo, &allowance, &call));
    let seen: Vec<_> = futures::stream::iter(looks).buffered(service.batch.at_once).collect().await;

    let mut versions: Vec<i64> = seen.iter().flatten().map(|seen| seen.version).collect();
    versions.dedup();
    let photos: Vec<_> = seen.into_iter().enumerate().map(|(index, seen)| Photo::new(index, seen, &call)).collect();
    let failed = photos.iter().filter(|photo| photo.problem.is_some()).count();
    let mut response = Json(BatchAnswer { request_id: call.request_id.to_string(), photos, failed }).into_response();
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
        Ok(Seen { version, answer: detect::written(model.name(), answer, normalized, call, workers).await? })
    };
    unless_panicked(looking).await
}

/// A photo of a batch, and what is wanted of it.
type Asked = (Source, Wanted);

/// What became of a photo.
struct Seen {
    version: i64,
    /// A [`DetectAnswer`].
    answer: Box<RawValue>,
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
#[derive(Debug, Serialize, ToSchema)]
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
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Photo {
    /// Its place in the request, from 0.
    #[schema(example = 0)]
    index: usize,
    /// What was found; absent where there is a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DetectAnswer>, nullable = false)]
    answer: Option<Box<RawValue>>,
    /// What is wrong with this photo; `retry_after` counts seconds, where trying again makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<Problem>,
}

impl Photo {
    fn new(index: usize, seen: Result<Seen, Fault>, call: &Call) -> Self {
        let fault = match seen {
            Ok(Seen { answer, .. }) => return Self { index, answer: Some(answer), problem: None },
            Err(fault) => fault,
        };
        photo_failed(index as u64, &fault);
        // In a header it would be about the whole.
        let fault = match fault.retry_seconds() {
            Some(seconds) => fault.with("retry_after", seconds),
            None => fault,
        };
        Self { index, answer: None, problem: Some(Problem::new(&fault, &call.request_id)) }
    }
}
