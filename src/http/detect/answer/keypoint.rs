//! A keypoint in an answer.

use serde::Serialize;
use utoipa::ToSchema;

use super::mask::pixels;
use super::round;
use crate::detect::Keypoint;

/// A point of an object, in the frame of all boxes.
#[derive(Debug, Serialize, ToSchema)]
pub struct ObjectKeypoint {
    /// Its number in the model's order, from 0; a number is missing where the model does not see the point.
    #[schema(example = 0)]
    pub id: usize,
    /// What it is called, where the label map says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "nose")]
    pub name: Option<String>,
    /// From the left, in pixels; it may lie outside of the photo.
    #[schema(example = 120.5)]
    pub x: f64,
    /// From above.
    #[schema(example = 88.0)]
    pub y: f64,
    /// How sure the model is, 0 to 1, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.9, minimum = 0.0, maximum = 1.0)]
    pub score: Option<f64>,
}

impl ObjectKeypoint {
    pub(super) fn new(point: &Keypoint) -> Self {
        Self {
            id: point.id,
            name: point.name.clone(),
            x: pixels(point.place.x),
            y: pixels(point.place.y),
            score: point.score.map(|score| round(f64::from(score), 1e4)),
        }
    }
}
