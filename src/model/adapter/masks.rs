//! Instance masks, as Mask R-CNN answers them.
//!
//! `detection_masks [1, N, height, width]`, float32, a row for each of the N boxes: 0..1, relative to the box, to be laid over
//! it by the client. Where in the box the values lie depends on the exporter:
//!
//! | exporter | values | source |
//! |---|---|---|
//! | TF Object Detection API | from edge to edge | `research/object_detection/utils/ops.py`, `reframe_box_masks_to_image_masks` |
//! | Model Garden | in the middle of cells | `official/vision/ops/mask_ops.py`, `paste_instance_masks` |
//!
//! They are asked for only where a client wants them: a mask has a thousand values.

use crate::fault::Fault;
use crate::mask::Grid;
use crate::model::adapter::{Outputs, broken};
use crate::model::signature::Signature;
use crate::tensor::{DType, show_shape};

pub(super) const MASKS: &str = "detection_masks";

/// That a model answers a mask for each box, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskOutput {
    placement: Placement,
}

/// Where in a box the values of its mask lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// The outermost on the edges of the box.
    Edges,
    /// Each in the middle of a cell.
    Cells,
}

impl MaskOutput {
    /// What a signature declares under the usual name, in the usual shape and type. Masks of the whole picture, as some
    /// exports of one's own have them, are integers as a rule, and are not taken for these.
    pub(super) fn of(signature: &Signature, placement: Placement) -> Option<Self> {
        let spec = signature.outputs.get(MASKS)?;
        let fits = spec.dtype == DType::F32 && spec.axes.as_ref().is_none_or(|axes| axes.len() == 4);
        fits.then_some(Self { placement })
    }

    /// The mask of a row.
    ///
    /// # Errors
    /// `MODEL_CONTRACT` where the output has another shape, or values that are none.
    pub fn read<'a>(&self, outputs: &'a Outputs, row: usize) -> Result<Grid<'a>, Fault> {
        /// What rounding in half precision may add; logits and whole classes do not stay within.
        const ROUNDING: f32 = 0.001;
        let (shape, values) = outputs.numbers(MASKS)?;
        let wrong = || {
            let found = show_shape(shape);
            broken(format!(
                "output '{MASKS}' has shape {found} where [1, N, height, width] with N above {row} was expected"
            ))
        };
        let &[1, rows, height, width] = shape else { return Err(wrong()) };
        if row >= rows {
            return Err(wrong());
        }
        let values = &values[row * height * width..][..height * width];
        if let Some(value) = values.iter().find(|value| !(-ROUNDING..=1.0 + ROUNDING).contains(*value)) {
            return Err(broken(format!("output '{MASKS}' holds {value} where 0 to 1 was expected")));
        }
        let grid = match self.placement {
            Placement::Edges => Grid::to_the_edges(width, values),
            Placement::Cells => Grid::of_cells(width, values),
        };
        grid.ok_or_else(wrong)
    }
}
