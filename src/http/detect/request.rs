//! What a request may say, for the document: its options in the query, and each form of its upload.
//!
//! Options are there three times because every form writes them in its own way: a list of classes is one text in a query and an
//! array in JSON, and a form has an example for every field, which Swagger UI would make up otherwise.

use utoipa::{IntoParams, ToSchema};

use super::answer::BoxPixels;

/// Options in the query. The same names stand in forms and in JSON.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name in detect::options; this is their documentation")]
pub(in crate::http) struct Query {
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
pub(in crate::http) struct JsonUpload {
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
pub(in crate::http) struct RawUpload(String);
