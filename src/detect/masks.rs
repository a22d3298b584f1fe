//! The pixels that each detection covers.

use crate::backend::Prediction;
use crate::detect::options::MaskForm;
use crate::detect::select::Selected;
use crate::fault::Fault;
use crate::geometry::Letterbox;
use crate::mask::{Mask, Ring};
use crate::model::adapter::MaskOutput;

/// Pixels that all masks of a photo cover together: the whole of a photo of 12 megapixels eleven times over. It bounds what
/// drawing them costs.
pub const MAX_MASK_PIXELS: u64 = 1 << 27;
/// Numbers that all masks of a photo are written with together, run lengths or coordinates. It bounds the answer.
pub const MAX_MASK_NUMBERS: usize = 1 << 20;

/// The pixels that an object covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// Pixel by pixel.
    pub mask: Mask,
    /// As lines around them, where polygons are wanted.
    pub outlines: Option<Vec<Ring>>,
}

impl Segmentation {
    /// How many numbers write it.
    fn numbers(&self) -> usize {
        match &self.outlines {
            Some(rings) => 2 * rings.iter().map(Vec::len).sum::<usize>(),
            None => 2 * self.mask.runs().len() + 1,
        }
    }
}

/// What the masks of a photo may come to together.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    pixels: u64,
    numbers: usize,
}

/// Gives the best detections their masks; says how many went without for the bounds: the first that does not fit and those
/// after it. `seen` holds the letterbox of each view with what the model answered. Keeps a processor busy.
///
/// # Errors
/// `MODEL_CONTRACT` where the model's masks are none.
pub(super) fn add(
    selected: &mut [Selected],
    seen: &[(Letterbox, Prediction)],
    output: MaskOutput,
    form: MaskForm,
) -> Result<usize, Fault> {
    add_within(selected, seen, output, form, Bounds { pixels: MAX_MASK_PIXELS, numbers: MAX_MASK_NUMBERS })
}

fn add_within(
    selected: &mut [Selected],
    seen: &[(Letterbox, Prediction)],
    output: MaskOutput,
    form: MaskForm,
    bounds: Bounds,
) -> Result<usize, Fault> {
    let (count, mut left) = (selected.len(), bounds);
    for (done, Selected { detection, candidate }) in selected.iter_mut().enumerate() {
        let (letterbox, prediction) = &seen[candidate.origin.view];
        let grid = output.read(&prediction.outputs, candidate.origin.row)?;
        let mask = grid.mask(&candidate.rect, detection.pixels, letterbox.view.photo);
        let outlines = match form {
            MaskForm::Rle => None,
            MaskForm::Polygon => Some(grid.outlines(&candidate.rect, detection.pixels)),
        };
        let segmentation = Segmentation { mask, outlines };
        let (pixels, numbers) = (segmentation.mask.area(), segmentation.numbers());
        if pixels > left.pixels || numbers > left.numbers {
            return Ok(count - done);
        }
        left = Bounds { pixels: left.pixels - pixels, numbers: left.numbers - numbers };
        detection.segmentation = Some(segmentation);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Detection;
    use crate::geometry::{Canvas, PixelBox, Rect, Size, View};
    use crate::model::adapter::{self, Candidate, Class, Origin};
    use crate::model::signature::Signature;
    use crate::tensor::{DType, Tensor, TensorSpec, Values};

    const PHOTO: Size = Size::new(40, 30);

    fn output() -> MaskOutput {
        let spec = |dtype, axes: &[Option<usize>]| TensorSpec { dtype, axes: Some(axes.to_vec()) };
        let outputs = [
            ("detection_boxes", vec![Some(1), None, Some(4)]),
            ("detection_scores", vec![Some(1), None]),
            ("detection_classes", vec![Some(1), None]),
            ("detection_masks", vec![Some(1), None, None, None]),
        ];
        let signature = Signature {
            name: "serving_default".to_owned(),
            inputs: [("input_tensor".to_owned(), spec(DType::U8, &[Some(1), None, None, Some(3)]))].into(),
            outputs: outputs.map(|(key, axes)| (key.to_owned(), spec(DType::F32, &axes))).into(),
        };
        adapter::choose(&signature).expect("understood").masks.expect("declared")
    }

    /// A box ten pixels wide and high that was seen in a view, at a row of its answer.
    fn selected(x: u32, y: u32, view: usize, row: usize) -> Selected {
        let pixels = PixelBox { x_min: x, y_min: y, x_max: x + 10, y_max: y + 10 };
        let detection = Detection {
            label: "cat".to_owned(),
            class_id: 17,
            score: 0.5,
            pixels,
            crop: None,
            segmentation: None,
            keypoints: None,
        };
        let rect = Rect::new(x as f32, y as f32, x as f32 + 10.0, y as f32 + 10.0);
        let candidate = Candidate { class: Class::Id(17), score: 0.5, rect, origin: Origin { view, row } };
        Selected { detection, candidate }
    }

    /// A view with masks that are the same value everywhere, one a row.
    fn view(window: PixelBox, rows: &[f32]) -> (Letterbox, Prediction) {
        let values = rows.iter().flat_map(|&value| [value; 4]).collect();
        let tensor = Tensor::new(vec![1, rows.len(), 2, 2], Values::F32(values)).expect("fits");
        let outputs = [("detection_masks".to_owned(), tensor)].into_iter().collect();
        let view = View::part(PHOTO, window).expect("inside");
        (Letterbox::inside(view, Size::new(20, 20)), Prediction { version: 1, outputs, room: None })
    }

    fn areas(selected: &[Selected]) -> Vec<Option<u64>> {
        selected.iter().map(|Selected { detection, .. }| Some(detection.segmentation.as_ref()?.mask.area())).collect()
    }

    #[test]
    fn a_mask_is_that_of_the_view_and_the_row_that_saw_the_box_in_the_frame_of_the_photo() {
        let tile = PixelBox { x_min: 20, y_min: 10, x_max: 40, y_max: 30 };
        let seen = [view(PixelBox::whole(PHOTO), &[0.0, 1.0]), view(tile, &[1.0])];
        let mut selected = [selected(0, 0, 0, 0), selected(5, 0, 0, 1), selected(25, 15, 1, 0)];
        assert_eq!(add(&mut selected, &seen, output(), MaskForm::Rle).expect("read"), 0);
        assert_eq!(areas(&selected), [Some(0), Some(100), Some(100)]);
        let found = selected[2].detection.segmentation.as_ref().expect("given");
        assert!(found.mask.runs().iter().all(|run| (25..35).contains(&run.x) && (run.y_min, run.y_max) == (15, 25)));
        assert_eq!(found.mask.run_lengths().iter().sum::<u64>(), PHOTO.pixels());
        assert_eq!(found.outlines, None);
    }

    #[test]
    fn polygons_come_with_the_pixels_that_they_enclose() {
        let seen = [view(PixelBox::whole(PHOTO), &[1.0])];
        let mut selected = [selected(5, 0, 0, 0)];
        add(&mut selected, &seen, output(), MaskForm::Polygon).expect("read");
        let found = selected[0].detection.segmentation.as_ref().expect("given");
        let rings = found.outlines.as_ref().expect("wanted");
        assert_eq!((rings.len(), found.mask.area()), (1, 100));
        assert!(rings[0].iter().all(|corner| (5.0..=15.0).contains(&corner.x) && (0.0..=10.0).contains(&corner.y)));
    }

    #[test]
    fn masks_are_bounded_in_pixels_and_in_numbers_and_the_best_come_first() {
        let seen = [view(PixelBox::whole(PHOTO), &[1.0])];
        let bounded = |bounds| {
            let mut selected = [selected(0, 0, 0, 0), selected(5, 0, 0, 0), selected(9, 9, 0, 0)];
            let omitted = add_within(&mut selected, &seen, output(), MaskForm::Rle, bounds).expect("read");
            (omitted, areas(&selected))
        };
        let two = (1, vec![Some(100), Some(100), None]);
        assert_eq!(bounded(Bounds { pixels: 299, numbers: 1000 }), two);
        assert_eq!(bounded(Bounds { pixels: 300, numbers: 62 }), two, "ten columns: twenty-one numbers each");
        assert_eq!(bounded(Bounds { pixels: 300, numbers: 63 }).0, 0);
        assert_eq!(bounded(Bounds { pixels: 99, numbers: 63 }), (3, vec![None; 3]));
    }

    #[test]
    fn a_row_without_a_mask_is_the_models_fault() {
        let seen = [view(PixelBox::whole(PHOTO), &[1.0])];
        let fault = add(&mut [selected(0, 0, 0, 1)], &seen, output(), MaskForm::Rle).expect_err("refused");
        assert_eq!(fault.code(), crate::fault::Code::ModelContract);
    }

    #[test]
    fn boxes_and_masks_of_a_padded_canvas_agree() {
        // A region twice as wide as high, centred on a square canvas.
        let window = PixelBox { x_min: 10, y_min: 5, x_max: 30, y_max: 15 };
        let view = View::part(PHOTO, window).expect("inside");
        let letterbox = Letterbox::centred(view, Size::new(40, 40));
        let rect = letterbox.inverse(&Rect::<Canvas>::new(0.0, 10.0, 20.0, 20.0));
        assert_eq!(rect, Rect::new(10.0, 5.0, 20.0, 10.0));
        let grid = crate::mask::Grid::to_the_edges(2, &[1.0; 4]).expect("two by two");
        let pixels = rect.to_pixels(window).expect("inside");
        assert_eq!(grid.mask(&rect, pixels, PHOTO).area(), pixels.size().pixels());
    }
}
