//! What the models with suppression inside have in common: boxes, scores, classes and a count, each an output of its own.
//!
//! N being the model's own maximum (read, not assumed): boxes `[1, N, 4]` as `y_min, x_min, y_max, x_max`, scores
//! `[1, N]`, classes `[1, N]`, and how many rows count, `[1]`; rows past it are padding with a plausible class.

use crate::fault::Fault;
use crate::geometry::{Canvas, Rect, Size};
use crate::model::adapter::{Outputs, broken, class_number, score};
use crate::tensor::show_shape;

/// The names of the TF Object Detection API, which the Model Garden kept.
pub(super) const BOXES: &str = "detection_boxes";
pub(super) const SCORES: &str = "detection_scores";
pub(super) const CLASSES: &str = "detection_classes";
pub(super) const COUNT: &str = "num_detections";
/// The output that tells a Model Garden export from one of the TF Object Detection API.
pub(super) const IMAGE_INFO: &str = "image_info";

/// The keys of the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows {
    boxes: String,
    scores: String,
    classes: String,
    count: Option<String>,
}

/// One box that scores enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    /// 0..1.
    pub score: f32,
    /// In the model's own numbering.
    pub class: i64,
    /// `y_min, x_min, y_max, x_max`, in the model's own units.
    pub edges: [f32; 4],
    /// Its place among the rows.
    pub index: usize,
}

impl Rows {
    pub(super) fn named(boxes: &str, scores: &str, classes: &str, count: Option<&str>) -> Self {
        Self {
            boxes: boxes.to_owned(),
            scores: scores.to_owned(),
            classes: classes.to_owned(),
            count: count.map(str::to_owned),
        }
    }

    /// The outputs to ask for.
    pub(super) fn keys(&self) -> Vec<String> {
        [&self.boxes, &self.scores, &self.classes].into_iter().chain(&self.count).cloned().collect()
    }

    /// The rows that count and score at least `min_score`, in the model's order.
    pub(super) fn read(&self, outputs: &Outputs, min_score: f32) -> Result<Vec<Row>, Fault> {
        let (shape, scores) = outputs.numbers(&self.scores)?;
        let &[1, rows] = shape else {
            let found = show_shape(shape);
            return Err(broken(format!("output '{}' has shape {found} where [1, N] was expected", self.scores)));
        };
        let boxes = outputs.shaped(&self.boxes, &[1, rows, 4])?;
        let classes = outputs.shaped(&self.classes, &[1, rows])?;
        let listed = match &self.count {
            Some(key) => count(outputs, key, rows)?,
            None => rows,
        };
        let mut found = Vec::new();
        let rows = boxes.as_chunks().0.iter().zip(scores).zip(classes).take(listed).enumerate();
        for (index, ((edges, &value), &class)) in rows {
            if let Some(score) = score(&self.scores, value, min_score)? {
                found.push(Row { score, class: class_number(&self.classes, class)?, edges: *edges, index });
            }
        }
        Ok(found)
    }
}

impl Row {
    /// The box where its edges are fractions of the canvas.
    pub(super) fn as_fractions_of(&self, canvas: Size) -> Rect<Canvas> {
        let [y_min, x_min, y_max, x_max] = self.edges;
        let (width, height) = (canvas.width as f32, canvas.height as f32);
        Rect::new(x_min * width, y_min * height, x_max * width, y_max * height)
    }
}

/// How many rows are not padding.
pub(super) fn count(outputs: &Outputs, key: &str, rows: usize) -> Result<usize, Fault> {
    let (shape, count) = outputs.numbers(key)?;
    match count {
        [count] if *count >= 0.0 => Ok((count.round() as usize).min(rows)),
        [count] => Err(broken(format!("output '{key}' is {count} where a count was expected"))),
        _ => Err(broken(format!("output '{key}' has shape {} where [1] was expected", show_shape(shape)))),
    }
}
