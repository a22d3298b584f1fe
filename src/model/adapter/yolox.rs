//! YOLOX: one tensor of rows, one row a cell of the three grids.
//!
//! Source of the layout: Megvii-BaseDetection/YOLOX, `yolo_head.py` and `onnx_inference.py`.
//! Input float32 `[1, 3, H, W]`, BGR, 0..255 as they are, letterboxed to the upper left with grey 114.
//! Output `[1, N, 5 + C]`, N the cells of strides 8, 16, 32 in this order: x and y of the centre in cells from the
//! cell's own corner, width and height as logarithms in strides, objectness, C classes; the last two already sigmoid.
//! 84 columns are not taken for 79 classes: `yolo` has them.

use crate::fault::Fault;
use crate::geometry::Size;
use crate::model::adapter::{
    Adapter, Candidate, Class, Origin, Outputs, Reader, STRIDES, around, best_class, cell_count, cells, fixed_picture,
    only_input, score, yolo,
};
use crate::model::input::{CanvasSize, Channels, Form, Input, Layout, Pixels, Resize, Samples};
use crate::model::nms;
use crate::model::signature::Signature;

const PAD: u8 = 114;
const IOU: f32 = 0.45;
/// Columns before the classes: x, y, width, height, objectness.
const BEFORE_CLASSES: usize = 5;

const NEEDS: &str = "YOLOX needs one input float32 [1, 3, H, W] of a fixed size and one output [1, N, 5 + classes], N being \
                     the cells of the strides 8, 16 and 32 together.";

#[derive(Debug)]
struct YoloX {
    output: String,
    canvas: Size,
    rows: usize,
    classes: usize,
}

/// Reads the signature, or says what it lacks.
pub(super) fn recognise(signature: &Signature) -> Result<Adapter, String> {
    let is_other = |adapter: &Adapter| adapter.classes == Some(yolo::COCO_COLUMNS - BEFORE_CLASSES);
    // Open rows are as well those of a model that has suppressed itself.
    let is_open = signature.outputs.values().any(|spec| !matches!(spec.axes.as_deref(), Some([_, Some(_), _])));
    understand(signature).filter(|adapter| !is_open && !is_other(adapter)).ok_or_else(|| NEEDS.to_owned())
}

/// Reads a signature that is known to be YOLOX's, whatever else it looks like.
pub(super) fn assume(signature: &Signature) -> Result<Adapter, String> {
    understand(signature).ok_or_else(|| NEEDS.to_owned())
}

fn understand(signature: &Signature) -> Option<Adapter> {
    let (key, spec) = only_input(signature)?;
    let (Layout::Nchw, canvas) = fixed_picture(spec)? else { return None };
    let mut outputs = signature.outputs.iter();
    let (Some((output, spec)), None) = (outputs.next(), outputs.next()) else { return None };
    let &[_, rows, Some(columns)] = spec.axes.as_deref()? else { return None };
    let expected: usize = STRIDES.iter().map(|&stride| cell_count(canvas, stride)).sum();
    // An export of open size leaves its rows open as well.
    let rows = rows.unwrap_or(expected);
    if rows != expected || columns <= BEFORE_CLASSES {
        return None;
    }
    let form = Form::Pixels(Pixels {
        canvas: CanvasSize::Fixed(canvas),
        samples: Samples::PLAIN_F32,
        layout: Layout::Nchw,
        channels: Channels::Bgr,
        resize: Resize::LETTERBOX,
        pad: [PAD; 3],
    });
    let classes = columns - BEFORE_CLASSES;
    Some(Adapter {
        kind: "YOLOX",
        input: Input { key: key.to_owned(), form },
        outputs: vec![output.clone()],
        classes: Some(classes),
        or_one_more: false,
        masks: None,
        keypoints: None,
        class_offset: None,
        reader: Box::new(YoloX { output: output.clone(), canvas, rows, classes }),
    })
}

impl Reader for YoloX {
    fn read(&self, outputs: &Outputs, _: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let columns = BEFORE_CLASSES + self.classes;
        let rows = outputs.shaped(&self.output, &[1, self.rows, columns])?;
        let grid = STRIDES.iter().flat_map(|&stride| cells(self.canvas, stride).map(move |cell| (cell, stride as f32)));
        let mut candidates = Vec::new();
        for (((column, row), stride), values) in grid.zip(rows.chunks_exact(columns)) {
            let (place, scores) = values.split_at(BEFORE_CLASSES);
            let &[x, y, width, height, objectness] = place else { unreachable!("split at five") };
            let Some((index, class_score)) = best_class(scores) else { continue };
            // Each by itself: the product of two logits may be anything.
            let certainty =
                score(&self.output, objectness, min_score)?.zip(score(&self.output, class_score, min_score)?);
            let Some(score) = certainty.map(|(object, class)| object * class).filter(|score| *score >= min_score)
            else {
                continue;
            };
            let (x, y) = ((x + column as f32) * stride, (y + row as f32) * stride);
            let rect = around(x, y, width.exp() * stride, height.exp() * stride);
            if rect.is_finite() {
                candidates.push(Candidate { class: Class::Index(index), score, rect, origin: Origin::default() });
            }
        }
        Ok(nms::suppress(candidates, IOU))
    }
}
