//! YOLO as Ultralytics and its kin export it: one output, boxes already decoded, scores already sigmoid.
//!
//! Source: ultralytics/ultralytics, `nn/modules/head.py`, `engine/exporter.py`; ultralytics/yolov5, `models/yolo.py`,
//! `models/tf.py`.
//! Input float32 `[1, 3, H, W]` or `[1, H, W, 3]`, RGB, 0..1, letterboxed with grey 114.
//!
//! Which export it is shows in the output's shape. N counts the cells of the grids at strides 8, 16, 32 (and 64 in the
//! P6 models): 8400 at 640 x 640. The rules, in their order:
//!
//! | output | read as | row |
//! |---|---|---|
//! | `[1, N, 5 + C]`, input `[1, 3, H, W]`, strides to 32 | YOLOX, by the file `yolox` | |
//! | `[1, 4 + C, N]` | `YOLOv8` and later | x y w h, C classes |
//! | `[1, N, 84]` | the same transposed, with the classes of COCO | x y w h, 80 classes |
//! | `[1, 3 N, 5 + C]` | `YOLOv5` and `v7`, three anchors a cell | x y w h, objectness, C classes |
//! | `[1, R, 6]`, R none of these | with suppression inside, or `YOLOv10` and later | x1 y1 x2 y2, score, class |
//!
//! `[1, N, K]` with any other K is YOLOX with K - 5 classes or a transposed `YOLOv8` with K - 4. Published YOLOX files
//! have `[1, 3, H, W]`, so there it is YOLOX; otherwise it is refused, because the two want different pixels.
//! A pose model, `[1, 5 + 3 K, N]`, looks like `YOLOv8` with more classes. Its keypoints are in pixels and so no scores:
//! the first answer breaks the contract instead of listing them.
//!
//! x, y, w, h are pixels of the canvas in ONNX and in `YOLOv8`'s `SavedModel`, and fractions of it in `YOLOv5`'s
//! `SavedModel` (`tf.py`: "Normalize xywh to 0-1") and in the one beside a `TFLite` export. No signature tells these
//! apart; the values do: every cell has a row, so that in pixels nearly all centres lie beyond 2. See `in_fractions`.

use crate::fault::Fault;
use crate::geometry::{Rect, Size};
use crate::model::adapter::{
    Adapter, Candidate, Class, Origin, Outputs, Reader, around, best_class, best_first, broken, cell_count,
    class_number, class_place, fixed_picture, in_fractions, only_input, score,
};
use crate::model::input::{CanvasSize, Channels, Form, Input, Pixels, Resize, Samples};
use crate::model::nms;
use crate::model::signature::Signature;
use crate::tensor::{DType, show_shape};

/// `YOLOv8`'s columns for the 80 classes of COCO. YOLOX with 79 classes would have as many.
pub(super) const COCO_COLUMNS: usize = 84;
const PAD: u8 = 114;
const IOU: f32 = 0.45;
/// Strides of the P5 models and of the P6 models.
const GRIDS: [&[u32]; 2] = [&[8, 16, 32], &[8, 16, 32, 64]];
/// Columns of a row with a box, a score and a class.
const LISTED: usize = 6;

const NEEDS: &str = "YOLO needs one input float32 [1, 3, H, W] or [1, H, W, 3] of a fixed size and one output float32: \
                     [1, 4 + classes, N], [1, 3 * N, 5 + classes] or, suppressed, [1, R, 6], N being the cells of \
                     the strides 8, 16, 32 (and 64)";

#[derive(Debug)]
struct Yolo {
    output: String,
    canvas: Size,
    head: Head,
}

/// The exports that can be named, where shapes alone do not tell them apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum Export {
    V8,
    V5,
    Suppressed,
}

/// What the output holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Head {
    /// `[1, 4 + C, N]`
    Planes { classes: usize, rows: usize },
    /// `[1, N, 4 + C]`
    Rows { classes: usize, rows: usize },
    /// `[1, N, 5 + C]`
    Objectness { classes: usize, rows: usize },
    /// `[1, R, 6]`, R not always known beforehand.
    Listed,
}

/// Reads the signature, or says what it lacks.
pub(super) fn recognise(signature: &Signature) -> Result<Adapter, String> {
    understand(signature, guess)
}

/// Reads a signature that is known to be of this export, whatever else it looks like.
pub(super) fn assume(signature: &Signature, export: Export) -> Result<Adapter, String> {
    understand(signature, |canvas, axes| export.head(canvas, axes))
}

fn understand(
    signature: &Signature,
    head: impl Fn(Size, [Option<usize>; 2]) -> Result<Head, &'static str>,
) -> Result<Adapter, String> {
    let understood = only_input(signature).zip(only_output(signature)).and_then(|((key, spec), (output, columns))| {
        let (layout, canvas) = fixed_picture(spec)?;
        Some((key, layout, canvas, output, columns))
    });
    let (key, layout, canvas, output, columns) = understood.ok_or_else(|| format!("{NEEDS}."))?;
    let head = head(canvas, columns).map_err(|why| format!("{NEEDS}{why}."))?;
    let form = Form::Pixels(Pixels {
        canvas: CanvasSize::Fixed(canvas),
        samples: Samples::F32 { mean: [0.0; 3], std: [255.0; 3] },
        layout,
        channels: Channels::Rgb,
        resize: Resize::LETTERBOX,
        pad: [PAD; 3],
    });
    let (kind, classes) = match head {
        Head::Planes { classes, .. } | Head::Rows { classes, .. } => ("YOLOv8", Some(classes)),
        Head::Objectness { classes, .. } => ("YOLOv5", Some(classes)),
        Head::Listed => ("YOLO with suppression", None),
    };
    Ok(Adapter {
        kind,
        input: Input { key: key.to_owned(), form },
        outputs: vec![output.to_owned()],
        classes,
        or_one_more: false,
        masks: None,
        keypoints: None,
        class_offset: None,
        reader: Box::new(Yolo { output: output.to_owned(), canvas, head }),
    })
}

/// The only output of a signature and its two axes after the batch.
fn only_output(signature: &Signature) -> Option<(&str, [Option<usize>; 2])> {
    let mut outputs = signature.outputs.iter();
    let (Some((key, spec)), None) = (outputs.next(), outputs.next()) else { return None };
    match spec.axes.as_deref()? {
        &[Some(1) | None, one, other] if spec.dtype == DType::F32 => Some((key, [one, other])),
        _ => None,
    }
}

/// How many cells the grids of these strides have together.
fn cells(canvas: Size, strides: &[u32]) -> usize {
    strides.iter().map(|&stride| cell_count(canvas, stride)).sum()
}

/// What an output with these axes holds; what speaks against it where it is none of ours.
fn guess(canvas: Size, axes: [Option<usize>; 2]) -> Result<Head, &'static str> {
    let grid = |side: usize, anchors: usize| GRIDS.iter().any(|strides| anchors * cells(canvas, strides) == side);
    match axes {
        [Some(columns @ 5..), Some(rows)] if grid(rows, 1) => Ok(Head::Planes { classes: columns - 4, rows }),
        [Some(rows), Some(COCO_COLUMNS)] if grid(rows, 1) => Ok(Head::Rows { classes: COCO_COLUMNS - 4, rows }),
        [Some(rows), Some(columns @ 6..)] if grid(rows, 3) => Ok(Head::Objectness { classes: columns - 5, rows }),
        [Some(rows), Some(5..)] if grid(rows, 1) => Err(
            "; [1, N, K] is either YOLOX with K - 5 classes or YOLOv8 with K - 4, and the shape does not say which: \
                 an explicit mapping is needed",
        ),
        [_, Some(LISTED)] => Ok(Head::Listed),
        _ => Err(""),
    }
}

impl Export {
    /// What an output of this export holds. Rows that the signature leaves open are those of the P5 models.
    fn head(self, canvas: Size, axes: [Option<usize>; 2]) -> Result<Head, &'static str> {
        let [p5, p6] = GRIDS.map(|strides| cells(canvas, strides));
        match (self, axes) {
            (Self::V8, [Some(columns @ 5..), rows]) if rows.is_none_or(|rows| rows == p5 || rows == p6) => {
                Ok(Head::Planes { classes: columns - 4, rows: rows.unwrap_or(p5) })
            }
            (Self::V8, [rows, Some(columns @ 5..)]) if rows.is_none_or(|rows| rows == p5 || rows == p6) => {
                Ok(Head::Rows { classes: columns - 4, rows: rows.unwrap_or(p5) })
            }
            (Self::V5, [rows, Some(columns @ 6..)]) if rows.is_none_or(|rows| rows == 3 * p5 || rows == 3 * p6) => {
                Ok(Head::Objectness { classes: columns - 5, rows: rows.unwrap_or(3 * p5) })
            }
            (Self::Suppressed, [_, Some(LISTED)]) => Ok(Head::Listed),
            _ => Err(""),
        }
    }
}

impl Reader for Yolo {
    fn read(&self, outputs: &Outputs, _: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        match self.head {
            Head::Planes { classes, rows } => {
                let planes = outputs.shaped(&self.output, &[1, 4 + classes, rows])?;
                self.decoded(&transposed(planes, rows), classes, 4, min_score)
            }
            Head::Rows { classes, rows } => {
                let rows = outputs.shaped(&self.output, &[1, rows, 4 + classes])?;
                self.decoded(rows, classes, 4, min_score)
            }
            Head::Objectness { classes, rows } => {
                let rows = outputs.shaped(&self.output, &[1, rows, 5 + classes])?;
                self.decoded(rows, classes, 5, min_score)
            }
            Head::Listed => self.listed(outputs, min_score),
        }
    }
}

impl Yolo {
    /// Rows with a box and a score for each class; a fifth column before the classes is the objectness.
    fn decoded(&self, rows: &[f32], classes: usize, before: usize, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let rows = rows.chunks_exact(before + classes);
        let (x_unit, y_unit) = self.units(rows.clone().map(|row| row[0].max(row[1])));
        let mut candidates = Vec::new();
        for row in rows {
            let (place, scores) = row.split_at(before);
            let Some((index, class_score)) = best_class(scores) else { continue };
            let objectness = place.get(4).copied().unwrap_or(1.0);
            let Some(score) = score(&self.output, objectness * class_score, min_score)? else { continue };
            let rect = around(place[0] * x_unit, place[1] * y_unit, place[2] * x_unit, place[3] * y_unit);
            if rect.is_finite() {
                candidates.push(Candidate { class: Class::Index(index), score, rect, origin: Origin::default() });
            }
        }
        Ok(nms::suppress(candidates, IOU))
    }

    /// Rows that the model has suppressed itself; those that score 0 are padding.
    fn listed(&self, outputs: &Outputs, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let (shape, numbers) = outputs.numbers(&self.output)?;
        let &[1, _, LISTED] = shape else {
            let found = show_shape(shape);
            return Err(broken(format!("output '{}' has shape {found} where [1, R, 6] was expected", self.output)));
        };
        let rows = numbers.as_chunks::<LISTED>().0.iter().filter(|[.., score, _]| *score > 0.0);
        let (x_unit, y_unit) = self.units(rows.clone().map(|[_, _, x_max, y_max, ..]| x_max.max(*y_max)));
        let mut candidates = Vec::new();
        for &[x_min, y_min, x_max, y_max, value, class] in rows {
            let Some(score) = score(&self.output, value, min_score)? else { continue };
            let class = class_place(&self.output, class_number(&self.output, class)?)?;
            let rect = Rect::new(x_min * x_unit, y_min * y_unit, x_max * x_unit, y_max * y_unit);
            candidates.push(Candidate { class, score, rect, origin: Origin::default() });
        }
        Ok(best_first(candidates))
    }

    /// What a coordinate is multiplied with to be in pixels of the canvas, judged by the largest of each box.
    fn units(&self, largest: impl Iterator<Item = f32>) -> (f32, f32) {
        if in_fractions(largest) { (self.canvas.width as f32, self.canvas.height as f32) } else { (1.0, 1.0) }
    }
}

/// Planes of one column each, as rows.
fn transposed(planes: &[f32], rows: usize) -> Vec<f32> {
    let columns = planes.len() / rows;
    let mut transposed = vec![0.0; planes.len()];
    for (column, plane) in planes.chunks_exact(rows).enumerate() {
        for (row, &number) in plane.iter().enumerate() {
            transposed[row * columns + column] = number;
        }
    }
    transposed
}
