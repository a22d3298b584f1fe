//! `POST /v1/detect`: a photo in, boxes or the annotated photo out.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::backend::Call;
use crate::detect::{self, Job, Keep, OrientationPolicy};
use crate::fault::Fault;
use crate::fetch::Allowance;
use crate::geometry::{PixelBox, Size};
use crate::http::accept::Answer;
use crate::http::upload::{self, Upload};
use crate::image::{draw, encode};
use crate::request_id::RequestId;
use crate::service::Service;
use crate::workers::Workers;

mod keypoint;
mod mask;

pub use keypoint::ObjectKeypoint;
pub use mask::{ObjectMask, RunLengths};

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

/// Options in the query. The same names stand in forms and in JSON.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name in detect::options; this is their documentation")]
pub(super) struct Query {
    /// Least score that is listed.
    #[param(minimum = 0.0, maximum = 1.0)]
    min_score: Option<f32>,
    /// How many detections are listed at most; 1 gives the single best.
    #[param(minimum = 1, maximum = 1000)]
    max_detections: Option<u32>,
    /// Only these classes: labels or ids, separated by commas, such as `cat,person`.
    classes: Option<String>,
    /// None of these classes: labels or ids, separated by commas.
    exclude_classes: Option<String>,
    /// Least scores of single classes, such as `person:0.6,dog:0.3`; the others keep `min_score`.
    min_scores: Option<String>,
    /// Thins out boxes of a class that overlap by more than this (intersection over union), after the model's own.
    #[param(minimum = 0.0, maximum = 1.0)]
    iou: Option<f32>,
    /// With `iou`: boxes of different classes count as well.
    class_agnostic: Option<bool>,
    /// Looks only inside this part of the photo: `x_min,y_min,x_max,y_max` in pixels. Small objects are found better.
    region: Option<String>,
    /// Looks at a large photo in up to this many overlapping tiles as well, so that small objects are found. Each is one
    /// more inference.
    #[param(minimum = 0)]
    tiles: Option<u32>,
    /// `apply` sets the photo upright by its EXIF orientation; `ignore` takes the pixels, and the boxes, as stored.
    #[param(inline)]
    orientation: Option<OrientationChoice>,
    /// Adds each detection's part of the photo, as a file of this kind in base64. The best 32 get one, at full resolution
    /// up to 1024 pixels a side.
    #[param(inline)]
    crops: Option<CropFormat>,
    /// Adds `box_normalized`, the box in fractions of the photo.
    normalized: Option<bool>,
    /// Adds the pixels of each object, as run lengths or as polygons; in a picture they are tinted. The model must have
    /// masks, as Mask R-CNN does. Detections past 134 million pixels or a million numbers together go without.
    #[param(inline)]
    masks: Option<MaskFormat>,
    /// Adds the keypoints of each object; in a picture they are marked. The model must have them.
    keypoints: Option<bool>,
    /// A version of the model, by number.
    #[param(minimum = 0)]
    version: Option<i64>,
    /// A version of the model, by the label that the model server has for it. Not together with `version`.
    version_label: Option<String>,
}

/// A form with the photo and options.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read part by part in upload/multipart.rs; this is its documentation")]
pub(super) struct MultipartUpload {
    /// The photo.
    #[schema(value_type = Option<String>, format = Binary, content_media_type = "application/octet-stream", nullable = false)]
    image: Option<String>,
    /// The address of a photo on the public internet, instead of `image`; where the service allows it.
    #[schema(example = "", nullable = false)]
    image_url: Option<String>,
    // Swagger UI fills every field with its example and makes one up where there is none.
    /// Least score that is listed.
    #[schema(minimum = 0.0, maximum = 1.0, example = 0.3, nullable = false)]
    min_score: Option<f32>,
    /// How many detections are listed at most.
    #[schema(minimum = 1, maximum = 1000, example = 100, nullable = false)]
    max_detections: Option<u32>,
    /// Only these classes: labels or ids, separated by commas.
    #[schema(example = "", nullable = false)]
    classes: Option<String>,
    /// None of these classes: labels or ids, separated by commas.
    #[schema(example = "", nullable = false)]
    exclude_classes: Option<String>,
    /// Least scores of single classes, such as `person:0.6,dog:0.3`.
    #[schema(example = "", nullable = false)]
    min_scores: Option<String>,
    /// Thins out boxes of a class that overlap by more than this, 0 to 1, after the model's own.
    #[schema(value_type = Option<String>, example = "", nullable = false)]
    iou: Option<f32>,
    /// With `iou`: boxes of different classes count as well.
    #[schema(example = false, nullable = false)]
    class_agnostic: Option<bool>,
    /// Looks only inside this part of the photo: `x_min,y_min,x_max,y_max` in pixels.
    #[schema(example = "", nullable = false)]
    region: Option<String>,
    /// Looks at a large photo in up to this many tiles as well.
    #[schema(minimum = 0, example = 0, nullable = false)]
    tiles: Option<u32>,
    /// `apply` sets the photo upright by its EXIF orientation; `ignore` takes the pixels, and the boxes, as stored.
    #[schema(example = "apply", nullable = false)]
    orientation: Option<String>,
    /// Adds each detection's part of the photo: `jpeg` or `png`.
    #[schema(example = "", nullable = false)]
    crops: Option<String>,
    /// Adds `box_normalized`.
    #[schema(example = false, nullable = false)]
    normalized: Option<bool>,
    /// Adds the pixels of each object: `rle` or `polygon`. The model must have masks.
    #[schema(example = "", nullable = false)]
    masks: Option<String>,
    /// Adds the keypoints of each object. The model must have them.
    #[schema(example = false, nullable = false)]
    keypoints: Option<bool>,
    /// A version of the model, by number.
    #[schema(value_type = Option<String>, example = "", nullable = false)]
    version: Option<i64>,
    /// A version of the model, by label.
    #[schema(example = "", nullable = false)]
    version_label: Option<String>,
}

/// The photo as base64, and options.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read field by field in upload/json.rs; this is its documentation")]
pub(super) struct JsonUpload {
    /// The file as base64 (standard or URL-safe alphabet, padding optional), alone or as a `data:` URI.
    #[schema(nullable = false)]
    image: Option<String>,
    /// The address of a photo on the public internet, instead of `image`; where the service allows it.
    #[schema(nullable = false)]
    image_url: Option<String>,
    /// Least score that is listed.
    #[schema(minimum = 0.0, maximum = 1.0)]
    min_score: Option<f32>,
    /// How many detections are listed at most.
    #[schema(minimum = 1, maximum = 1000)]
    max_detections: Option<u32>,
    /// Only these classes: labels or ids.
    classes: Option<Vec<ClassSelector>>,
    /// None of these classes: labels or ids.
    exclude_classes: Option<Vec<ClassSelector>>,
    /// Least scores of single classes, by label or id; the others keep `min_score`.
    #[schema(example = json!({"person": 0.6, "dog": 0.3}))]
    min_scores: Option<std::collections::BTreeMap<String, f32>>,
    /// Thins out boxes of a class that overlap by more than this, after the model's own.
    #[schema(minimum = 0.0, maximum = 1.0)]
    iou: Option<f32>,
    /// With `iou`: boxes of different classes count as well.
    class_agnostic: Option<bool>,
    /// Looks only inside this part of the photo, in its pixels; also as `[x_min, y_min, x_max, y_max]`.
    region: Option<BoxPixels>,
    /// Looks at a large photo in up to this many overlapping tiles as well.
    #[schema(minimum = 0)]
    tiles: Option<u32>,
    /// `apply` sets the photo upright by its EXIF orientation; `ignore` takes the pixels as stored.
    orientation: Option<OrientationChoice>,
    /// Adds each detection's part of the photo, as a file of this kind in base64.
    crops: Option<CropFormat>,
    /// Adds `box_normalized`.
    normalized: Option<bool>,
    /// Adds the pixels of each object, as run lengths or as polygons. The model must have masks.
    masks: Option<MaskFormat>,
    /// Adds the keypoints of each object. The model must have them.
    keypoints: Option<bool>,
    /// A version of the model, by number.
    #[schema(minimum = 0)]
    version: Option<i64>,
    /// A version of the model, by label. Not together with `version`.
    version_label: Option<String>,
}

/// What to do about a photo that was taken sideways.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "documentation")]
enum OrientationChoice {
    /// Set it upright.
    Apply,
    /// Take it as it is stored.
    Ignore,
}

/// What kind of file a crop is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "documentation")]
enum CropFormat {
    /// Small.
    Jpeg,
    /// Every pixel as it is.
    Png,
}

/// How the pixels of an object are written.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "documentation")]
enum MaskFormat {
    /// As run lengths, pixel by pixel.
    Rle,
    /// As lines around them.
    Polygon,
}

/// A class by its label or by its id.
#[derive(ToSchema)]
#[schema(example = "cat")]
#[serde(untagged)]
#[allow(dead_code, reason = "documentation")]
enum ClassSelector {
    /// Its label.
    Label(String),
    /// Its id.
    Id(i64),
}

/// The bytes of an image file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "documentation")]
pub(super) struct RawUpload(String);

/// What was found in a photo.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetectAnswer {
    /// The request's id, as in the X-Request-Id header.
    pub request_id: String,
    /// The model that answered.
    pub model: ModelAnswered,
    /// The photo.
    pub image: ImageSeen,
    /// The objects, highest score first.
    pub detections: Vec<Found>,
    /// How many detections went without a mask, because those before cover 134 million pixels or take a million numbers
    /// together; absent where all have theirs, and where none are wanted.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false, example = 2)]
    pub masks_omitted: usize,
    /// How many detections went without a crop, because there are more than 32 or the files are too long together; absent
    /// where all have theirs, and where none are wanted.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false, example = 8)]
    pub crops_omitted: usize,
    /// Where the time went.
    pub timings_ms: Milliseconds,
}

/// The model that answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelAnswered {
    /// Its name.
    #[schema(example = "nanodet-g")]
    pub name: String,
    /// Its version; a string, because versions have 64 bits and JavaScript's numbers have 53.
    #[schema(example = "1")]
    pub version: String,
}

/// The photo as it was seen.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImageSeen {
    /// Pixels from left to right, upright; the frame of all boxes.
    #[schema(example = 451)]
    pub width: u32,
    /// Pixels from top to bottom, upright.
    #[schema(example = 300)]
    pub height: u32,
    /// The format that the bytes were recognised as.
    #[schema(example = "png")]
    pub format: &'static str,
    /// The EXIF orientation of the file, 1 (upright) to 8.
    #[schema(example = 1, minimum = 1, maximum = 8)]
    pub orientation: u8,
    /// Whether it was applied: the frame of all boxes is the upright photo; otherwise the pixels as stored.
    #[schema(example = true)]
    pub orientation_applied: bool,
    /// How many tiles were looked at beside the whole; absent where none were.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false, example = 9)]
    pub tiles: usize,
}

/// One object.
#[derive(Debug, Serialize, ToSchema)]
pub struct Found {
    /// What its class is called.
    #[schema(example = "cat")]
    pub label: String,
    /// The id of its class in the model's label map.
    #[schema(example = 17)]
    pub class_id: i64,
    /// How sure the model is, 0 to 1.
    #[schema(example = 0.56, minimum = 0.0, maximum = 1.0)]
    pub score: f64,
    /// Where it is, in pixels of the upright photo.
    #[serde(rename = "box")]
    pub pixels: BoxPixels,
    /// Where it is, in fractions of the upright photo; with `normalized=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub box_normalized: Option<BoxNormalized>,
    /// Its part of the photo; with `crops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub crop: Option<CropFile>,
    /// The pixels that it covers; with `masks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mask: Option<ObjectMask>,
    /// Its keypoints that the model sees; with `keypoints=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub keypoints: Option<Vec<ObjectKeypoint>>,
}

/// A detection's part of the photo: the pixels of its box in the upright photo.
#[derive(Debug, Serialize, ToSchema)]
pub struct CropFile {
    /// What kind of file it is: `jpeg` or `png`.
    #[schema(example = "jpeg")]
    pub format: &'static str,
    /// Its pixels from left to right: as many as the box has, or fewer where it was shrunk to 1024 on its longer side.
    #[schema(example = 438)]
    pub width: u32,
    /// Its pixels from top to bottom.
    #[schema(example = 296)]
    pub height: u32,
    /// The file as base64.
    #[schema(example = "/9j/4AAQSkZJRg==", content_encoding = "base64")]
    pub image: String,
}

/// A box in whole pixels, inside the photo and never empty; `x_max` and `y_max` are the first pixels outside.
#[derive(Debug, Serialize, ToSchema)]
pub struct BoxPixels {
    /// First column inside.
    #[schema(example = 1)]
    pub x_min: u32,
    /// First row inside.
    #[schema(example = 1)]
    pub y_min: u32,
    /// First column outside to the right.
    #[schema(example = 439)]
    pub x_max: u32,
    /// First row outside below.
    #[schema(example = 297)]
    pub y_max: u32,
}

/// The same box in fractions of the photo's width and height.
#[derive(Debug, Serialize, ToSchema)]
pub struct BoxNormalized {
    /// Left edge.
    #[schema(example = 0.002_217, minimum = 0.0, maximum = 1.0)]
    pub x_min: f64,
    /// Upper edge.
    #[schema(example = 0.003_333, minimum = 0.0, maximum = 1.0)]
    pub y_min: f64,
    /// Right edge.
    #[schema(example = 0.973_392, minimum = 0.0, maximum = 1.0)]
    pub x_max: f64,
    /// Lower edge.
    #[schema(example = 0.99, minimum = 0.0, maximum = 1.0)]
    pub y_max: f64,
}

/// Milliseconds of each stage. Waiting for a free core counts in the total only.
#[derive(Debug, Serialize, ToSchema)]
pub struct Milliseconds {
    /// Until there was room among the photos that are worked on.
    #[schema(example = 0.0)]
    pub queue: f64,
    /// From the file to upright pixels.
    #[schema(example = 1.2)]
    pub decode: f64,
    /// From pixels to the model's input.
    #[schema(example = 0.4)]
    pub prepare: f64,
    /// The model, there and back.
    #[schema(example = 61.0)]
    pub infer: f64,
    /// From the model's answer to detections.
    #[schema(example = 0.2)]
    pub interpret: f64,
    /// From the whole upload to the detections.
    #[schema(example = 63.1)]
    pub total: f64,
}

impl DetectAnswer {
    /// The JSON of an answer.
    pub fn new(model: &str, answer: &detect::Answer, normalized: bool, request_id: &RequestId) -> Self {
        let Size { width, height } = answer.photo;
        let ms = |duration: std::time::Duration| round(duration.as_secs_f64() * 1000.0, 10.0);
        let timings = &answer.timings;
        Self {
            request_id: request_id.to_string(),
            model: ModelAnswered { name: model.to_owned(), version: answer.version.to_string() },
            image: ImageSeen {
                width,
                height,
                format: answer.format.name(),
                orientation: answer.orientation,
                orientation_applied: answer.policy == OrientationPolicy::Apply,
                tiles: answer.tiles,
            },
            masks_omitted: answer.masks_omitted,
            crops_omitted: answer.crops_omitted,
            detections: answer.detections.iter().map(|found| Found::new(found, answer.photo, normalized)).collect(),
            timings_ms: Milliseconds {
                queue: ms(timings.queue),
                decode: ms(timings.decode),
                prepare: ms(timings.prepare),
                infer: ms(timings.infer),
                interpret: ms(timings.interpret),
                total: ms(timings.total),
            },
        }
    }
}

impl Found {
    fn new(found: &detect::Detection, photo: Size, normalized: bool) -> Self {
        let PixelBox { x_min, y_min, x_max, y_max } = found.pixels;
        let of = |edge: u32, side: u32| round(f64::from(edge) / f64::from(side), 1e6);
        Self {
            label: found.label.clone(),
            class_id: found.class_id,
            score: round(f64::from(found.score), 1e4),
            pixels: BoxPixels { x_min, y_min, x_max, y_max },
            box_normalized: normalized.then(|| BoxNormalized {
                x_min: of(x_min, photo.width),
                y_min: of(y_min, photo.height),
                x_max: of(x_max, photo.width),
                y_max: of(y_max, photo.height),
            }),
            crop: found.crop.as_ref().map(|crop| CropFile {
                format: crop.picture.name(),
                width: crop.size.width,
                height: crop.size.height,
                image: BASE64_STANDARD.encode(&crop.file),
            }),
            mask: found.segmentation.as_ref().map(|found| ObjectMask::new(found, photo)),
            keypoints: found.keypoints.as_ref().map(|points| points.iter().map(ObjectKeypoint::new).collect()),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// To as many places as mean something.
fn round(value: f64, places: f64) -> f64 {
    (value * places).round() / places
}
