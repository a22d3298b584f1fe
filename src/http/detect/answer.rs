//! What is answered in JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use crate::detect::{self, OrientationPolicy};
use crate::geometry::{PixelBox, Size};
use crate::request_id::RequestId;

mod keypoint;
mod mask;

pub use keypoint::ObjectKeypoint;
pub use mask::{ObjectMask, RunLengths};

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

/// Milliseconds of each stage. Waiting for a free core counts in the total only; of several views, the others wait and are prepared while the model answers.
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
