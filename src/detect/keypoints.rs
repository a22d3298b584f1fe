//! The named points of each detection.

use crate::backend::Prediction;
use crate::detect::select::Selected;
use crate::fault::Fault;
use crate::geometry::{Letterbox, Photo, Point};
use crate::model::adapter::KeypointOutput;
use crate::model::labels::LabelMap;

/// A point of an object, such as a person's nose.
#[derive(Debug, Clone, PartialEq)]
pub struct Keypoint {
    /// Its number in the model's order, from 0.
    pub id: usize,
    /// What it is called, where the label map says so.
    pub name: Option<String>,
    /// Where it is; it may lie outside of the photo.
    pub place: Point<Photo>,
    /// How sure the model is, 0..1, where it says so.
    pub score: Option<f32>,
}

/// Gives each detection its keypoints. `seen` holds the letterbox of each view with what the model answered.
///
/// # Errors
/// `MODEL_CONTRACT` where the model's keypoints are none.
pub(super) fn add(
    selected: &mut [Selected],
    seen: &[(Letterbox, Prediction)],
    output: KeypointOutput,
    labels: &LabelMap,
) -> Result<(), Fault> {
    for Selected { detection, candidate } in selected {
        let (letterbox, prediction) = &seen[candidate.origin.view];
        let points = output.read(&prediction.outputs, candidate.origin.row, letterbox.canvas)?;
        let named = points.into_iter().filter_map(|point| {
            let place = letterbox.inverse_point(point.place);
            let name = labels.keypoint(detection.class_id, point.id).map(str::to_owned);
            // So far away that numbers end is nowhere.
            place.is_finite().then_some(Keypoint { id: point.id, name, place, score: point.score })
        });
        detection.keypoints = Some(named.collect());
    }
    Ok(())
}
