//! Models whose outputs an operator has named one by one, because nothing in the signature says which is which.

use crate::fault::Fault;
use crate::geometry::{Canvas, Rect, Size};
use crate::model::adapter::rows::count;
use crate::model::adapter::{
    Adapter, Candidate, Class, Origin, Outputs, Reader, around, best_class, best_first, broken, class_number,
    only_input, score, size,
};
use crate::model::input::{CanvasSize, Channels, Form, Input, Layout, Pixels, Resize, Samples};
use crate::model::mapping::{BoxFormat, BoxFrame, BoxOutputs};
use crate::model::nms;
use crate::model::signature::Signature;
use crate::tensor::{DType, TensorSpec, show_shape};

/// As YOLO suppresses: rows with a score for every class come from a model that has not done it itself.
const IOU: f32 = 0.45;

const NEEDS: &str = "Named boxes need one picture input: uint8 or float32 [1, H, W, 3] or [1, 3, H, W], or string [1]";

#[derive(Debug)]
struct Boxes(BoxOutputs);

/// Reads the signature with the outputs that were named, or says what it lacks.
pub(super) fn recognise(signature: &Signature, named: &BoxOutputs) -> Result<Adapter, String> {
    let keys = [Some(&named.boxes), Some(&named.scores), named.classes.as_ref(), named.count.as_ref()];
    let keys: Vec<String> = keys.into_iter().flatten().cloned().collect();
    let missing: Vec<_> = keys.iter().filter(|key| !signature.outputs.contains_key(*key)).map(String::as_str).collect();
    if !missing.is_empty() {
        let found: Vec<_> = signature.outputs.keys().map(String::as_str).collect();
        return Err(format!(
            "The configuration names outputs that the signature does not have: {}; it has {}.",
            missing.join(", "),
            found.join(", ")
        ));
    }
    let spec = &signature.outputs[&named.boxes];
    if !matches!(spec.axes.as_deref(), None | Some([Some(1) | None, _, Some(4) | None])) {
        return Err(format!("The configuration names '{}' as the boxes [1, N, 4]; it is {spec}.", named.boxes));
    }
    let (key, spec) =
        only_input(signature).ok_or_else(|| format!("{NEEDS}; it has {} inputs.", signature.inputs.len()))?;
    let form = form(spec).ok_or_else(|| format!("{NEEDS}; its input '{key}' is {spec}."))?;
    let classes = match (&named.classes, signature.outputs[&named.scores].axes.as_deref()) {
        (None, Some([_, _, Some(classes)])) => Some(*classes),
        _ => None,
    };
    Ok(Adapter {
        kind: "boxes by name",
        input: Input { key: key.to_owned(), form },
        outputs: keys,
        classes,
        or_one_more: false,
        masks: None,
        keypoints: None,
        class_offset: None,
        reader: Box::new(Boxes(named.clone())),
    })
}

fn form(spec: &TensorSpec) -> Option<Form> {
    let samples = match spec.dtype {
        DType::String => {
            return matches!(spec.axes.as_deref(), None | Some([Some(1) | None])).then_some(Form::Encoded);
        }
        DType::U8 => Samples::U8,
        DType::F32 => Samples::PLAIN_F32,
        _ => return None,
    };
    let (layout, sides) = match spec.axes.as_deref() {
        None => (Layout::Nhwc, [None, None]),
        Some(&[Some(1) | None, Some(3), height, width]) => (Layout::Nchw, [height, width]),
        Some(&[Some(1) | None, height, width, Some(3) | None]) => (Layout::Nhwc, [height, width]),
        Some(_) => return None,
    };
    let canvas = match sides {
        [None, None] => CanvasSize::OfThePhoto,
        [Some(height), Some(width)] => CanvasSize::Fixed(size(width, height)?),
        [_, _] => return None,
    };
    Some(Form::Pixels(Pixels {
        canvas,
        samples,
        layout,
        channels: Channels::Rgb,
        resize: Resize::LETTERBOX,
        pad: [0; 3],
    }))
}

impl Reader for Boxes {
    fn read(&self, outputs: &Outputs, canvas: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let Self(named) = self;
        let (shape, scores) = outputs.numbers(&named.scores)?;
        let (rows, classes) = match (shape, &named.classes) {
            (&[1, rows], _) => (rows, 1),
            (&[1, rows, classes], None) => (rows, classes),
            _ => {
                let expected = if named.classes.is_some() { "[1, N]" } else { "[1, N] or [1, N, classes]" };
                let found = show_shape(shape);
                return Err(broken(format!(
                    "output '{}' has shape {found} where {expected} was expected",
                    named.scores
                )));
            }
        };
        let boxes = outputs.shaped(&named.boxes, &[1, rows, 4])?;
        let numbers = named.classes.as_ref().map(|key| Ok((key, outputs.shaped(key, &[1, rows])?))).transpose()?;
        let listed = named.count.as_ref().map_or(Ok(rows), |key| count(outputs, key, rows))?;

        let mut candidates = Vec::new();
        for (row, (edges, scores)) in
            boxes.as_chunks().0.iter().zip(scores.chunks(classes.max(1))).take(listed).enumerate()
        {
            let Some((place, value)) = best_class(scores) else { continue };
            let Some(score) = score(&named.scores, value, min_score)? else { continue };
            let class = match numbers {
                Some((key, numbers)) => Class::Id(class_number(key, numbers[row])?),
                None => Class::Index(place),
            };
            let rect = named.rect(*edges, canvas);
            if rect.is_finite() {
                candidates.push(Candidate { class, score, rect, origin: Origin::default() });
            }
        }
        Ok(if classes > 1 { nms::suppress(candidates, IOU) } else { best_first(candidates) })
    }
}

impl BoxOutputs {
    fn rect(&self, edges: [f32; 4], canvas: Size) -> Rect<Canvas> {
        let (width, height) = match self.frame {
            BoxFrame::Pixels => (1.0, 1.0),
            BoxFrame::Normalized => (canvas.width as f32, canvas.height as f32),
        };
        match (self.format, edges) {
            (BoxFormat::Yxyx, [y_min, x_min, y_max, x_max]) | (BoxFormat::Xyxy, [x_min, y_min, x_max, y_max]) => {
                Rect::new(x_min * width, y_min * height, x_max * width, y_max * height)
            }
            (BoxFormat::Cxcywh, [x, y, across, down]) => around(x * width, y * height, across * width, down * height),
        }
    }
}
