//! The way of one photo: inspect -> decode -> prepare -> infer -> interpret -> select.
//!
//! Fronts call [`Pipeline::detect`] and translate its answer; nothing in here knows HTTP.

mod catalog;
mod crops;
mod keypoints;
mod masks;
mod merge;
mod options;
mod pipeline;
mod select;
mod versions;
mod views;

pub use catalog::{Catalog, DEFAULT_MAX_SIDE, Model, Profile, Resolved};
pub use crops::{Crop, MAX_CROP_BYTES, MAX_CROP_SIDE, MAX_CROPS};
pub use keypoints::Keypoint;
pub use masks::{MAX_MASK_NUMBERS, MAX_MASK_PIXELS, Segmentation};
pub use options::{
    DEFAULT_MAX_DETECTIONS, DEFAULT_MIN_SCORE, Defaults, MAX_DETECTIONS, MAX_PARAMS, MAX_SELECTORS, MaskForm, NAMES,
    Options, OrientationPolicy, Param, Wanted, check_count,
};
pub use pipeline::{Answer, Job, Keep, Kept, Pipeline, Timings};
pub use select::Detection;
