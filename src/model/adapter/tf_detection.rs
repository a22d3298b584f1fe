//! Models of the TensorFlow Object Detection API, version 1 and 2, and whatever answers under the same names.
//!
//! Outputs, N being the model's own maximum (100 or 300 typically; read, not assumed):
//! `detection_boxes [1, N, 4]` as `y_min, x_min, y_max, x_max`, each 0..1 of the picture; `detection_scores [1, N]`;
//! `detection_classes [1, N]`, ids of the label map; `num_detections [1]`, rows past which are padding with a
//! plausible class and must not be read.

use crate::fault::Fault;
use crate::geometry::{Rect, Size};
use crate::model::adapter::{Adapter, Candidate, Class, Outputs, Reader, broken, only_input};
use crate::model::input::{CanvasSize, Channels, Form, Input, Layout, Pixels, Samples};
use crate::model::signature::Signature;
use crate::tensor::{DType, TensorSpec};

const BOXES: &str = "detection_boxes";
const SCORES: &str = "detection_scores";
const CLASSES: &str = "detection_classes";
const COUNT: &str = "num_detections";
/// `[1, N, C + 1]`, the background first: tells how many classes there are.
const MULTICLASS: &str = "detection_multiclass_scores";

#[derive(Debug)]
struct TfDetection {
    counted: bool,
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
    let (key, spec) =
        only_input(signature).ok_or_else(|| format!("{NEEDS}; it has {} inputs.", signature.inputs.len()))?;
    let form = form(spec).ok_or_else(|| format!("{NEEDS}; its input '{key}' is {spec}."))?;
    let counted = signature.outputs.contains_key(COUNT);
    let outputs = [BOXES, SCORES, CLASSES].into_iter().chain(counted.then_some(COUNT)).map(str::to_owned).collect();
    let classes = signature.outputs.get(MULTICLASS).and_then(|spec| match spec.axes.as_deref()? {
        [_, _, Some(classes)] => classes.checked_sub(1),
        _ => None,
    });
    Ok(Adapter {
        kind: "TF Object Detection",
        input: Input { key: key.to_owned(), form },
        outputs,
        classes,
        reader: Box::new(TfDetection { counted }),
    })
}

/// What the input takes: encoded pictures as strings, else pixels in rows of RGB. An export without a declared rank is
/// taken at its dtype.
fn form(spec: &TensorSpec) -> Option<Form> {
    let samples = match spec.dtype {
        DType::String => {
            let fits = matches!(spec.axes.as_deref(), None | Some([Some(1) | None]));
            return fits.then_some(Form::Encoded);
        }
        DType::U8 => Samples::U8,
        // `float_image_tensor` is 0..255 without any scaling.
        DType::F32 => Samples::PLAIN_F32,
        _ => return None,
    };
    let canvas = match spec.axes.as_deref() {
        None => CanvasSize::OfThePhoto,
        Some([Some(1) | None, Some(height), Some(width), Some(3) | None]) => {
            CanvasSize::Fixed(Size::new(u32::try_from(*width).ok()?, u32::try_from(*height).ok()?))
        }
        Some([Some(1) | None, None, None, Some(3) | None]) => CanvasSize::OfThePhoto,
        Some(_) => return None,
    };
    Some(Form::Pixels(Pixels { canvas, samples, layout: Layout::Nhwc, channels: Channels::Rgb, pad: [0; 3] }))
}

impl Reader for TfDetection {
    fn read(&self, outputs: &Outputs, canvas: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let (shape, scores) = outputs.numbers(SCORES)?;
        let &[1, rows] = shape else {
            return Err(broken(format!("output '{SCORES}' has shape {shape:?} where [1, N] was expected")));
        };
        let boxes = outputs.shaped(BOXES, &[1, rows, 4])?;
        let classes = outputs.shaped(CLASSES, &[1, rows])?;
        let listed = if self.counted { count(outputs, rows)? } else { rows };

        let (width, height) = (canvas.width as f32, canvas.height as f32);
        let mut candidates = Vec::new();
        for ((rect, &score), &class) in boxes.chunks_exact(4).zip(scores).zip(classes).take(listed) {
            if score.is_nan() || score < min_score {
                continue;
            }
            let &[y_min, x_min, y_max, x_max] = rect else { unreachable!("chunks of four") };
            if !class.is_finite() {
                return Err(broken(format!("output '{CLASSES}' holds {class}")));
            }
            candidates.push(Candidate {
                class: Class::Id(class.round() as i64),
                score: score.min(1.0),
                rect: Rect::new(x_min * width, y_min * height, x_max * width, y_max * height),
            });
        }
        candidates.sort_by(Candidate::best_first);
        Ok(candidates)
    }
}

/// How many rows are not padding.
fn count(outputs: &Outputs, rows: usize) -> Result<usize, Fault> {
    let (shape, count) = outputs.numbers(COUNT)?;
    match count {
        [count] if *count >= 0.0 => Ok((count.round() as usize).min(rows)),
        [count] => Err(broken(format!("output '{COUNT}' is {count}"))),
        _ => Err(broken(format!("output '{COUNT}' has shape {shape:?} where [1] was expected"))),
    }
}
