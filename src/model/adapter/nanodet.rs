//! NanoDet in its first form: per stride one tensor of class scores and one of box distributions.
//!
//! Source of the constants: RangiLyu/nanodet, `nanodet_g.yml` and `gfl_head.py`.
//! Input float32 `[1, 3, H, W]`, BGR, mean and std per channel, letterboxed to the upper left with grey 114.
//! Outputs, N being the cells of the stride's grid, row by row: classes `[1, N, C]`, already sigmoid; boxes
//! `[1, N, 4 * bins]`. Each of the four distances left, top, right, bottom from the cell's centre is the expectation of
//! a softmax over its bins, in units of the stride.

use std::collections::BTreeSet;

use crate::fault::Fault;
use crate::geometry::{Canvas, Rect, Size};
use crate::model::adapter::{
    Adapter, Candidate, Class, Origin, Outputs, Reader, STRIDES, best_class, cell_count, cells, fixed_picture,
    only_input, score,
};
use crate::model::input::{CanvasSize, Channels, Form, Input, Layout, Pixels, Resize, Samples};
use crate::model::nms;
use crate::model::signature::Signature;

/// In the order blue, green, red.
const MEAN: [f32; 3] = [103.53, 116.28, 123.675];
const STD: [f32; 3] = [57.375, 57.12, 58.395];
const PAD: u8 = 114;
const IOU: f32 = 0.6;
/// `4 * (reg_max + 1)` for the values of `reg_max` that NanoDet is published with: 7, 10 and 16. Class counts are
/// told from box tensors by these.
const BOX_CHANNELS: [usize; 3] = [32, 44, 68];

#[derive(Debug)]
struct NanoDet {
    canvas: Size,
    classes: usize,
    bins: usize,
    levels: Vec<Level>,
}

/// The two outputs of one stride.
#[derive(Debug)]
struct Level {
    stride: u32,
    classes: String,
    boxes: String,
}

/// Reads the signature, or says what it lacks.
pub(super) fn recognise(signature: &Signature) -> Result<Adapter, String> {
    const NEEDS: &str = "NanoDet needs one input float32 [1, 3, H, W] and, for each of the strides 8, 16 and 32, outputs \
                         [1, N, classes] and [1, N, 4 * bins], N being the cells of that stride.";
    understand(signature).ok_or_else(|| NEEDS.to_owned())
}

fn understand(signature: &Signature) -> Option<Adapter> {
    let (key, spec) = only_input(signature)?;
    let (Layout::Nchw, canvas) = fixed_picture(spec)? else { return None };
    if signature.outputs.len() != 2 * STRIDES.len() {
        return None;
    }
    let shapes = signature.outputs.iter().map(|(key, spec)| match spec.axes.as_deref() {
        Some([_, Some(cells), Some(channels)]) => Some((key, *cells, *channels)),
        _ => None,
    });
    let shapes: Vec<_> = shapes.collect::<Option<_>>()?;
    let widths: BTreeSet<_> = shapes.iter().map(|&(_, _, channels)| channels).collect();
    let [one, other] = widths.into_iter().collect::<Vec<_>>()[..] else { return None };
    let (classes, box_channels) = match (BOX_CHANNELS.contains(&one), BOX_CHANNELS.contains(&other)) {
        (true, false) => (other, one),
        (false, true) => (one, other),
        _ => return None,
    };
    let find = |cells, channels| {
        shapes.iter().find(|&&(_, n, c)| n == cells && c == channels).map(|(key, _, _)| (*key).clone())
    };
    let levels = STRIDES.map(|stride| {
        let cells = cell_count(canvas, stride);
        Some(Level { stride, classes: find(cells, classes)?, boxes: find(cells, box_channels)? })
    });
    let levels: Vec<_> = levels.into_iter().collect::<Option<_>>()?;
    let outputs = levels.iter().flat_map(|level| [level.classes.clone(), level.boxes.clone()]).collect();
    let form = Form::Pixels(Pixels {
        canvas: CanvasSize::Fixed(canvas),
        samples: Samples::F32 { mean: MEAN, std: STD },
        layout: Layout::Nchw,
        channels: Channels::Bgr,
        resize: Resize::LETTERBOX,
        pad: [PAD; 3],
    });
    Some(Adapter {
        kind: "NanoDet",
        input: Input { key: key.to_owned(), form },
        outputs,
        classes: Some(classes),
        or_one_more: false,
        masks: None,
        keypoints: None,
        class_offset: None,
        reader: Box::new(NanoDet { canvas, classes, bins: box_channels / 4, levels }),
    })
}

impl Reader for NanoDet {
    fn read(&self, outputs: &Outputs, _: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let mut candidates = Vec::new();
        for level in &self.levels {
            let n = cell_count(self.canvas, level.stride);
            let classes = outputs.shaped(&level.classes, &[1, n, self.classes])?;
            let boxes = outputs.shaped(&level.boxes, &[1, n, 4 * self.bins])?;
            let rows = classes.chunks_exact(self.classes).zip(boxes.chunks_exact(4 * self.bins));
            for ((column, row), (scores, distances)) in cells(self.canvas, level.stride).zip(rows) {
                // One class a cell reads better to people than every class above the threshold.
                let Some((index, highest)) = best_class(scores) else { continue };
                let Some(score) = score(&level.classes, highest, min_score)? else { continue };
                let rect = self.rect(column, row, level.stride, distances);
                if rect.is_finite() {
                    candidates.push(Candidate { class: Class::Index(index), score, rect, origin: Origin::default() });
                }
            }
        }
        Ok(nms::suppress(candidates, IOU))
    }
}

impl NanoDet {
    fn rect(&self, column: u32, row: u32, stride: u32, distances: &[f32]) -> Rect<Canvas> {
        let stride = stride as f32;
        let centre = |cell: u32| cell as f32 * stride + 0.5 * (stride - 1.0);
        let (x, y) = (centre(column), centre(row));
        let mut sides = distances.chunks_exact(self.bins).map(|bins| expectation(bins) * stride);
        let mut side = || sides.next().expect("four sides");
        let (left, top, right, bottom) = (side(), side(), side(), side());
        Rect::new(x - left, y - top, x + right, y + bottom)
    }
}

/// The expected bin under the softmax of these values.
fn expectation(bins: &[f32]) -> f32 {
    let highest = bins.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, value) in bins.iter().enumerate() {
        let weight = (value - highest).exp();
        sum += weight;
        weighted += weight * bin as f32;
    }
    weighted / sum
}
