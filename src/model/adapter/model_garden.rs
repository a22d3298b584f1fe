//! Models of the TensorFlow Model Garden: `RetinaNet`, Faster and Mask R-CNN as `official/vision` exports them.
//!
//! Source: tensorflow/models, `official/vision/serving/detection.py` (outputs) and `ops/preprocess_ops.py` (`image_info`).
//! The names are those of the TF Object Detection API and the numbers are not: classes and count are int32 unless the
//! export casts them, and boxes, y first, are in pixels of the picture as the model resized it for itself.
//! `image_info [1, 4, 2]`, each pair y first, says how it did:
//!
//! | row | | |
//! |---|---|---|
//! | 0 | original | the picture that was sent |
//! | 1 | desired | the model's own size, which it pads to |
//! | 2 | scale | resized side / original side |
//! | 3 | offset | what was cut off at the upper left, in pixels of the resized picture; 0 when serving |
//!
//! `resize_and_crop_boxes` goes there by `y * y_scale - y_offset`, so the way back is `(y + y_offset) / y_scale`, and x
//! likewise. `desired` bounds the boxes and has no part in it.
//!
//! `output_normalized_coordinates` exports fractions of the original under the same signature; these are told by their
//! values, see `in_fractions`. Classes are ids of the label map: 0 is the background, which is never listed.
//! A float32 input is that of `input_type=tflite`: the client resizes and normalises.

use crate::fault::Fault;
use crate::geometry::{Canvas, Rect, Size};
use crate::model::adapter::masks::{MaskOutput, Placement};
use crate::model::adapter::rows::{BOXES, CLASSES, COUNT, IMAGE_INFO, Row, Rows, SCORES};
use crate::model::adapter::{
    Adapter, Candidate, Class, Origin, Outputs, Reader, best_first, broken, in_fractions, only_input, picture,
};
use crate::model::input::{Input, Samples};
use crate::model::signature::Signature;

/// `MEAN_RGB` and `STDDEV_RGB` of `preprocess_ops.py`, with which the model itself normalises other inputs.
const NORMALISED: Samples = Samples::F32 {
    mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
    std: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
};

#[derive(Debug)]
struct ModelGarden {
    rows: Rows,
}

/// How the model laid the picture out for itself; pairs of height and width.
#[derive(Debug)]
struct ImageInfo {
    original: [f32; 2],
    scale: [f32; 2],
    offset: [f32; 2],
}

/// Reads the signature, or says what it lacks.
pub(super) fn recognise(signature: &Signature) -> Result<Adapter, String> {
    const NEEDS: &str = "Model Garden needs one picture input (uint8 or float32 [1, H, W, 3], or string [1]) and the \
                         outputs detection_boxes, detection_scores, detection_classes, num_detections and image_info \
                         [1, 4, 2]";
    let needed = [BOXES, SCORES, CLASSES, COUNT, IMAGE_INFO];
    let missing: Vec<_> = needed.into_iter().filter(|&key| !signature.outputs.contains_key(key)).collect();
    if !missing.is_empty() {
        return Err(format!("{NEEDS}; missing: {}.", missing.join(", ")));
    }
    let info = &signature.outputs[IMAGE_INFO];
    if !matches!(info.axes.as_deref(), None | Some([Some(1) | None, Some(4) | None, Some(2) | None])) {
        return Err(format!("{NEEDS}; its {IMAGE_INFO} is {info}."));
    }
    let (key, spec) =
        only_input(signature).ok_or_else(|| format!("{NEEDS}; it has {} inputs.", signature.inputs.len()))?;
    let form = picture(spec, NORMALISED).ok_or_else(|| format!("{NEEDS}; its input '{key}' is {spec}."))?;
    let rows = Rows::named(BOXES, SCORES, CLASSES, Some(COUNT));
    Ok(Adapter {
        kind: "Model Garden",
        input: Input { key: key.to_owned(), form },
        outputs: rows.keys().into_iter().chain([IMAGE_INFO.to_owned()]).collect(),
        classes: None,
        or_one_more: false,
        masks: MaskOutput::of(signature, Placement::Cells),
        keypoints: None,
        class_offset: None,
        reader: Box::new(ModelGarden { rows }),
    })
}

impl Reader for ModelGarden {
    fn read(&self, outputs: &Outputs, canvas: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let rows = self.rows.read(outputs, min_score)?;
        let info = ImageInfo::read(outputs)?;
        let fractions = in_fractions(rows.iter().map(|row| row.edges[2].max(row.edges[3])));
        let rect = |row: &Row| if fractions { row.as_fractions_of(canvas) } else { info.undo(row, canvas) };
        let candidate = |row: &Row| Candidate {
            class: Class::Id(row.class),
            score: row.score,
            rect: rect(row),
            origin: Origin::row(row.index),
        };
        Ok(best_first(rows.iter().map(candidate).collect()))
    }
}

impl ImageInfo {
    fn read(outputs: &Outputs) -> Result<Self, Fault> {
        let numbers = outputs.shaped(IMAGE_INFO, &[1, 4, 2])?;
        let &[.., scale_y, scale_x, offset_y, offset_x] = numbers else { unreachable!("eight numbers") };
        let info = Self { original: [numbers[0], numbers[1]], scale: [scale_y, scale_x], offset: [offset_y, offset_x] };
        let positive = |pair: [f32; 2]| pair.iter().all(|&side| side > 0.0 && side.is_finite());
        if positive(info.original) && positive(info.scale) && info.offset.iter().all(|side| side.is_finite()) {
            Ok(info)
        } else {
            Err(broken(format!("output '{IMAGE_INFO}' holds {numbers:?}, in which a size or a scale is none")))
        }
    }

    /// From the model's own resized picture back to the canvas. The canvas is the original; should the two differ, the
    /// box keeps its place in fractions.
    fn undo(&self, row: &Row, canvas: Size) -> Rect<Canvas> {
        let sides = [canvas.height as f32, canvas.width as f32];
        let back = |edge: f32, axis: usize| {
            (edge + self.offset[axis]) / self.scale[axis] * (sides[axis] / self.original[axis])
        };
        let [y_min, x_min, y_max, x_max] = row.edges;
        Rect::new(back(x_min, 1), back(y_min, 0), back(x_max, 1), back(y_max, 0))
    }
}
