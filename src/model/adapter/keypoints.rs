//! Keypoints, as `CenterNet` and others of the TF Object Detection API answer them (`core/standard_fields.py`).
//!
//! `detection_keypoints [1, N, K, 2]`, K places for each of the N boxes, y first, in fractions of the picture, and
//! `detection_keypoint_scores [1, N, K]` where the model has them. A place that is NaN is one that the model does not see
//! (`utils/keypoint_ops.py`).

use crate::fault::Fault;
use crate::geometry::{Canvas, Point, Size};
use crate::model::adapter::{Outputs, broken, score};
use crate::model::signature::Signature;
use crate::tensor::{DType, show_shape};

pub(super) const KEYPOINTS: &str = "detection_keypoints";
pub(super) const KEYPOINT_SCORES: &str = "detection_keypoint_scores";

/// That a model answers keypoints for each box, and whether with scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeypointOutput {
    pub(super) is_scored: bool,
}

/// One keypoint of an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keypoint {
    /// Its number in the model's order, from 0.
    pub id: usize,
    /// Where.
    pub place: Point<Canvas>,
    /// How sure, 0..1, where the model says so.
    pub score: Option<f32>,
}

impl KeypointOutput {
    /// What a signature declares under the usual names, in the usual shapes and types.
    pub(super) fn of(signature: &Signature) -> Option<Self> {
        let axes = |key: &str| {
            let spec = signature.outputs.get(key).filter(|spec| spec.dtype == DType::F32)?;
            Some(spec.axes.as_deref())
        };
        match axes(KEYPOINTS)? {
            None | Some([_, _, _, Some(2) | None]) => {}
            Some(_) => return None,
        }
        let is_scored = axes(KEYPOINT_SCORES).is_some_and(|axes| axes.is_none_or(|axes| axes.len() == 3));
        Some(Self { is_scored })
    }

    /// The keypoints of a row that the model sees, in its order, in pixels of a canvas of this size.
    ///
    /// # Errors
    /// `MODEL_CONTRACT` where an output has another shape, or values that are none.
    pub fn read(&self, outputs: &Outputs, row: usize, canvas: Size) -> Result<Vec<Keypoint>, Fault> {
        let (shape, places) = outputs.numbers(KEYPOINTS)?;
        let wrong = || {
            let found = show_shape(shape);
            broken(format!("output '{KEYPOINTS}' has shape {found} where [1, N, K, 2] with N above {row} was expected"))
        };
        let &[1, rows, count, 2] = shape else { return Err(wrong()) };
        if row >= rows {
            return Err(wrong());
        }
        let scores = self.is_scored.then(|| outputs.shaped(KEYPOINT_SCORES, &[1, rows, count])).transpose()?;
        let scores = scores.map(|scores| &scores[row * count..][..count]);
        let places = places[row * count * 2..][..count * 2].as_chunks::<2>().0;
        let seen = places.iter().enumerate().filter(|(_, place)| place.iter().all(|edge| edge.is_finite()));
        seen.map(|(id, &[y, x])| {
            let score = scores.map(|scores| score(KEYPOINT_SCORES, scores[id], 0.0)).transpose()?.flatten();
            Ok(Keypoint { id, place: Point::new(x * canvas.width as f32, y * canvas.height as f32), score })
        })
        .collect()
    }
}
