//! Masks and keypoints: which signatures have them, what is asked for, and how their tensors read.

use super::*;
use crate::geometry::{Photo, PixelBox};
use crate::mask::Grid;

const ALL: Extras = Extras { masks: true, keypoints: true };

fn f32_of(axes: &[Option<usize>]) -> TensorSpec {
    spec(DType::F32, axes)
}

/// A TF Object Detection model with further outputs.
fn detector(more: &[(&str, TensorSpec)]) -> Adapter {
    let mut all = vec![
        ("detection_boxes", f32_of(&[Some(1), None, Some(4)])),
        ("detection_scores", f32_of(&[Some(1), None])),
        ("detection_classes", f32_of(&[Some(1), None])),
    ];
    all.extend_from_slice(more);
    choose(&signature(&[("input_tensor", spec(DType::U8, &[Some(1), None, None, Some(3)]))], &all)).expect("understood")
}

fn mask_rcnn() -> Adapter {
    detector(&[("detection_masks", f32_of(&[Some(1), None, Some(3), Some(3)]))])
}

fn center_net() -> Adapter {
    detector(&[
        ("detection_keypoints", f32_of(&[Some(1), None, Some(2), Some(2)])),
        ("detection_keypoint_scores", f32_of(&[Some(1), None, Some(2)])),
    ])
}

/// How many columns a row's mask covers of a box 30 wide.
fn columns(grid: &Grid<'_>) -> usize {
    let rect = Rect::<Photo>::new(0.0, 0.0, 30.0, 30.0);
    let mask = grid.mask(&rect, PixelBox::whole(Size::new(30, 30)), Size::new(30, 30));
    mask.runs().iter().map(|run| run.x).max().map_or(0, |last| last as usize + 1)
}

#[test]
fn they_are_asked_for_only_where_they_are_wanted_and_there() {
    let boxes = ["detection_boxes", "detection_scores", "detection_classes"];
    assert_eq!(mask_rcnn().outputs_with(Extras::default()), boxes);
    assert_eq!(mask_rcnn().outputs_with(ALL), [&boxes[..], &["detection_masks"]].concat());
    let keypoints = ["detection_keypoints", "detection_keypoint_scores"];
    assert_eq!(center_net().outputs_with(ALL), [&boxes[..], &keypoints].concat());
    assert_eq!(center_net().outputs_with(Extras { masks: true, keypoints: false }), boxes);
    let unscored = detector(&[("detection_keypoints", f32_of(&[Some(1), None, Some(17), Some(2)]))]);
    assert_eq!(unscored.outputs_with(ALL), [&boxes[..], &keypoints[..1]].concat());
}

#[test]
fn outputs_of_another_shape_or_type_are_not_taken_for_them() {
    let whole_pictures = spec(DType::U8, &[Some(1), None, None, None]);
    assert_eq!(detector(&[("detection_masks", whole_pictures)]).masks, None);
    assert_eq!(detector(&[("detection_masks", f32_of(&[Some(1), None, Some(33)]))]).masks, None);
    assert_eq!(detector(&[("detection_keypoints", f32_of(&[Some(1), None, Some(17), Some(3)]))]).keypoints, None);
    let open = TensorSpec { dtype: DType::F32, axes: None };
    assert!(detector(&[("detection_masks", open.clone())]).masks.is_some());
    assert!(detector(&[("detection_keypoints", open)]).keypoints.is_some());
}

#[test]
fn a_row_has_its_own_mask_and_it_is_the_row_of_its_box() {
    let adapter = mask_rcnn();
    // The better one comes second, and has the second mask.
    let answer = outputs([
        ("detection_boxes", numbers(&[1, 2, 4], &[0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0])),
        ("detection_scores", numbers(&[1, 2], &[0.6, 0.9])),
        ("detection_classes", numbers(&[1, 2], &[17.0, 18.0])),
        (
            "detection_masks",
            numbers(
                &[1, 2, 3, 3],
                &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0],
            ),
        ),
    ]);
    let found = adapter.interpret(&answer, Size::new(100, 100), 0.5).expect("read");
    assert_eq!(found.iter().map(|found| found.origin.row).collect::<Vec<_>>(), [1, 0]);
    let masks = adapter.masks.expect("declared");
    let grid = |row| masks.read(&answer, row).expect("read");
    assert_eq!((columns(&grid(0)), columns(&grid(1))), (0, 22), "from edge to edge");
}

#[test]
fn model_garden_means_the_middle_of_cells() {
    let output = [
        ("detection_boxes", f32_of(&[Some(1), None, Some(4)])),
        ("detection_scores", f32_of(&[Some(1), None])),
        ("detection_classes", spec(DType::I32, &[Some(1), None])),
        ("num_detections", spec(DType::I32, &[Some(1)])),
        ("image_info", f32_of(&[Some(1), Some(4), Some(2)])),
        ("detection_masks", f32_of(&[Some(1), None, Some(3), Some(3)])),
    ];
    let input = spec(DType::U8, &[Some(1), None, None, Some(3)]);
    let adapter = choose(&signature(&[("inputs", input)], &output)).expect("understood");
    assert_eq!(adapter.kind, "Model Garden");
    let answer = outputs([("detection_masks", numbers(&[1, 1, 3, 3], &[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]))]);
    assert_eq!(columns(&adapter.masks.expect("declared").read(&answer, 0).expect("read")), 20);
}

#[test]
fn masks_that_are_none_are_refused_with_what_they_hold() {
    let masks = mask_rcnn().masks.expect("declared");
    let refused = |tensor: Tensor, row| {
        let answer = outputs([("detection_masks", tensor)]);
        let fault = masks.read(&answer, row).expect_err("refused");
        assert_eq!(fault.code(), Code::ModelContract);
        fault.cause_chain().expect("kept")
    };
    let logits = refused(numbers(&[1, 1, 2, 2], &[-4.0, 7.5, 0.0, 1.0]), 0);
    assert!(logits.contains("holds -4 where 0 to 1 was expected"), "{logits}");
    let nan = refused(numbers(&[1, 1, 2, 2], &[0.0, f32::NAN, 0.0, 1.0]), 0);
    assert!(nan.contains("holds NaN"), "{nan}");
    for (shape, row) in [(&[1, 2, 2][..], 0), (&[1, 1, 2, 2], 1), (&[2, 1, 2, 1], 0), (&[1, 1, 4, 1], 0)] {
        let cause = refused(numbers(shape, &[0.5; 4]), row);
        assert!(cause.contains("[1, N, height, width] with N above"), "{cause}");
    }
    let missing = masks.read(&outputs([]), 0).expect_err("refused").cause_chain().expect("kept");
    assert!(missing.contains("no output 'detection_masks'"), "{missing}");
}

#[test]
fn keypoints_are_y_first_and_fractions_and_what_is_not_seen_is_left_out() {
    let adapter = center_net();
    let output = adapter.keypoints.expect("declared");
    let places = [0.1, 0.2, f32::NAN, f32::NAN, 0.5, 0.25, -0.1, 1.5];
    let answer = outputs([
        ("detection_keypoints", numbers(&[1, 2, 2, 2], &places)),
        ("detection_keypoint_scores", numbers(&[1, 2, 2], &[0.9, 0.0, 0.75, 0.5])),
    ]);
    let read = |row| output.read(&answer, row, Size::new(200, 100)).expect("read");
    let point = |id, x, y, score| Keypoint { id, place: crate::geometry::Point::new(x, y), score: Some(score) };
    assert_eq!(read(0), [point(0, 40.0, 10.0, 0.9)]);
    assert_eq!(read(1), [point(0, 50.0, 50.0, 0.75), point(1, 300.0, -10.0, 0.5)]);
}

#[test]
fn keypoints_that_are_none_are_refused() {
    let output = center_net().keypoints.expect("declared");
    let refused = |places: Tensor, scores: Tensor| {
        let answer = outputs([("detection_keypoints", places), ("detection_keypoint_scores", scores)]);
        let fault = output.read(&answer, 0, Size::new(200, 100)).expect_err("refused");
        assert_eq!(fault.code(), Code::ModelContract);
        fault.cause_chain().expect("kept")
    };
    let triples = refused(numbers(&[1, 1, 1, 3], &[0.0; 3]), numbers(&[1, 1, 1], &[0.0]));
    assert!(triples.contains("[1, N, K, 2] with N above 0"), "{triples}");
    let none = refused(numbers(&[1, 0, 1, 2], &[]), numbers(&[1, 0, 1], &[]));
    assert!(none.contains("[1, N, K, 2] with N above 0"), "{none}");
    let fewer = refused(numbers(&[1, 1, 2, 2], &[0.0; 4]), numbers(&[1, 1, 1], &[0.0]));
    assert!(fewer.contains("where [1, 1, 2] was expected"), "{fewer}");
    let logits = refused(numbers(&[1, 1, 1, 2], &[0.0; 2]), numbers(&[1, 1, 1], &[3.5]));
    assert!(logits.contains("holds 3.5 where a score"), "{logits}");
}
