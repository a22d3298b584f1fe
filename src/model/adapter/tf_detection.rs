//! Models of the TensorFlow Object Detection API, version 1 and 2, and whatever answers under the same names.
//!
//! Outputs, N being the model's own maximum (100 or 300 typically; read, not assumed):
//! `detection_boxes [1, N, 4]` as `y_min, x_min, y_max, x_max`, each 0..1 of the picture; `detection_scores [1, N]`;
//! `detection_classes [1, N]`, ids of the label map; `num_detections [1]`, rows past which are padding with a
//! plausible class and must not be read.

use crate::fault::Fault;
use crate::geometry::Size;
use crate::model::adapter::keypoints::KeypointOutput;
use crate::model::adapter::masks::{MaskOutput, Placement};
use crate::model::adapter::rows::{BOXES, CLASSES, COUNT, IMAGE_INFO, Row, Rows, SCORES};
use crate::model::adapter::{Adapter, Candidate, Class, Origin, Outputs, Reader, best_first, only_input, picture};
use crate::model::input::{Input, Samples};
use crate::model::signature::Signature;

/// `[1, N, C + 1]`, the background first: tells how many classes there are. With `add_background_class: false`, as upstream's
/// configurations of `EfficientDet` have it, it is `[1, N, C]`.
const MULTICLASS: &str = "detection_multiclass_scores";

#[derive(Debug)]
struct TfDetection {
    rows: Rows,
}

/// Reads the signature, or says what it lacks.
pub(super) fn recognise(signature: &Signature) -> Result<Adapter, String> {
    const NEEDS: &str = "TF Object Detection needs one picture input (uint8 or float32 [1, H, W, 3], or string [1]) and \
                         the outputs detection_boxes, detection_scores and detection_classes";
    let missing: Vec<_> =
        [BOXES, SCORES, CLASSES].into_iter().filter(|&key| !signature.outputs.contains_key(key)).collect();
    if !missing.is_empty() {
        return Err(format!("{NEEDS}; missing: {}.", missing.join(", ")));
    }
    if let Some(spec) = signature.outputs.get(IMAGE_INFO) {
        return Err(format!("{NEEDS}; an output {IMAGE_INFO} ({spec}) is of a model with boxes in other units."));
    }
    let (key, spec) =
        only_input(signature).ok_or_else(|| format!("{NEEDS}; it has {} inputs.", signature.inputs.len()))?;
    // `float_image_tensor` is 0..255 without any scaling.
    let form = picture(spec, Samples::PLAIN_F32).ok_or_else(|| format!("{NEEDS}; its input '{key}' is {spec}."))?;
    let rows = Rows::named(BOXES, SCORES, CLASSES, signature.outputs.contains_key(COUNT).then_some(COUNT));
    let classes = signature.outputs.get(MULTICLASS).and_then(|spec| match spec.axes.as_deref()? {
        [_, _, Some(classes)] => classes.checked_sub(1),
        _ => None,
    });
    Ok(Adapter {
        kind: "TF Object Detection",
        input: Input { key: key.to_owned(), form },
        outputs: rows.keys(),
        classes,
        or_one_more: true,
        masks: MaskOutput::of(signature, Placement::Edges),
        keypoints: KeypointOutput::of(signature),
        class_offset: None,
        reader: Box::new(TfDetection { rows }),
    })
}

impl Reader for TfDetection {
    fn read(&self, outputs: &Outputs, canvas: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let candidate = |row: Row| Candidate {
            class: Class::Id(row.class),
            score: row.score,
            rect: row.as_fractions_of(canvas),
            origin: Origin::row(row.index),
        };
        Ok(best_first(self.rows.read(outputs, min_score)?.into_iter().map(candidate).collect()))
    }
}
