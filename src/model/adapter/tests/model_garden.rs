//! The reference numbers are numpy's: boxes of a photo of 451 x 300 through `resize_and_crop_boxes` for a model of
//! 640 x 512, with an offset, which only training has.

use super::*;

const PHOTO: Size = Size::new(451, 300);
const INFO: [f32; 8] = [300.0, 451.0, 512.0, 640.0, 1.42, 1.419_068_7, 3.0, 7.0];
/// 20, 10 to 220, 110 and the whole photo.
const PIXELS: [f32; 8] = [11.2, 21.381_374, 153.2, 305.195_1, -3.0, -7.0, 423.0, 633.0];
const FRACTIONS: [f32; 8] = [0.033_333_335, 0.044_345_897, 0.366_666_67, 0.487_804_9, 0.0, 0.0, 1.0, 1.0];

fn exported(input: TensorSpec) -> Signature {
    let rows = |dtype, axes: &[Option<usize>]| spec(dtype, axes);
    signature(
        &[("inputs", input)],
        &[
            ("detection_boxes", rows(DType::F32, &[None, Some(100), Some(4)])),
            ("detection_scores", rows(DType::F32, &[None, Some(100)])),
            ("detection_classes", rows(DType::I32, &[None, Some(100)])),
            ("num_detections", rows(DType::I32, &[None])),
            ("image_info", rows(DType::F32, &[None, Some(4), Some(2)])),
        ],
    )
}

fn detector() -> Adapter {
    choose(&exported(spec(DType::U8, &[Some(1), None, None, Some(3)]))).expect("understood")
}

fn answer(boxes: &[f32], info: &[f32]) -> [(&'static str, Tensor); 5] {
    [
        ("detection_boxes", numbers(&[1, 2, 4], boxes)),
        ("detection_scores", numbers(&[1, 2], &[0.9, 0.8])),
        ("detection_classes", numbers(&[1, 2], &[17.0, 18.0])),
        ("num_detections", numbers(&[1], &[2.0])),
        ("image_info", numbers(&[1, info.len() / 2, 2], info)),
    ]
}

fn read(boxes: &[f32], info: &[f32], canvas: Size) -> Result<Vec<Candidate>, Fault> {
    detector().interpret(&outputs(answer(boxes, info)), canvas, 0.3)
}

#[test]
fn image_info_is_asked_for_and_the_classes_are_ids() {
    let adapter = detector();
    assert_eq!((adapter.kind, adapter.input.key.as_str()), ("Model Garden", "inputs"));
    assert_eq!(
        adapter.outputs,
        ["detection_boxes", "detection_scores", "detection_classes", "num_detections", "image_info"]
    );
    let classes: Vec<_> = read(&PIXELS, &INFO, PHOTO).expect("read").iter().map(|found| found.class).collect();
    assert_eq!(classes, [Class::Id(17), Class::Id(18)]);
}

#[test]
fn boxes_return_from_the_pixels_of_the_resized_picture() {
    let found = read(&PIXELS, &INFO, PHOTO).expect("read");
    assert_near(found[0].rect, [20.0, 10.0, 220.0, 110.0]);
    assert_near(found[1].rect, [0.0, 0.0, 451.0, 300.0]);
}

#[test]
fn a_canvas_that_is_not_the_original_keeps_the_place() {
    let found = read(&PIXELS, &INFO, Size::new(902, 150)).expect("read");
    assert_near(found[0].rect, [40.0, 5.0, 440.0, 55.0]);
}

#[test]
fn an_export_with_normalised_coordinates_is_told_by_its_values() {
    let found = read(&FRACTIONS, &INFO, PHOTO).expect("read");
    assert_near(found[0].rect, [20.0, 10.0, 220.0, 110.0]);
}

#[test]
fn every_input_type_of_the_exporter_is_adapted_to() {
    let form = |input| choose(&exported(input)).expect("understood").input.form;
    assert_eq!(form(spec(DType::String, &[None])), Form::Encoded);
    let Form::Pixels(tflite) = form(spec(DType::F32, &[Some(1), Some(512), Some(640), Some(3)])) else {
        panic!("pixels")
    };
    assert_eq!(tflite.canvas, CanvasSize::Fixed(Size::new(640, 512)));
    let Samples::F32 { mean, std } = tflite.samples else { panic!("floats") };
    assert!((mean[0] - 123.675).abs() < 1e-3 && (std[2] - 57.375).abs() < 1e-3, "{mean:?} {std:?}");
}

#[test]
fn an_image_info_that_cannot_be_undone_breaks_the_contract() {
    for (at, value) in [(0, 0.0), (1, f32::NAN), (4, 0.0), (5, f32::INFINITY), (6, f32::NAN)] {
        let mut info = INFO;
        info[at] = value;
        let text = cause(read(&PIXELS, &info, PHOTO));
        assert!(text.contains("'image_info' holds"), "{text}");
    }
    let text = cause(read(&PIXELS, &INFO[..6], PHOTO));
    assert!(text.contains("[1, 3, 2] where [1, 4, 2] was expected"), "{text}");
    let mut missing = answer(&PIXELS, &INFO);
    missing[4].0 = "info";
    let text = cause(detector().interpret(&outputs(missing), PHOTO, 0.3));
    assert!(text.contains("no output 'image_info'"), "{text}");
}

#[test]
fn nothing_found_is_no_failure() {
    let mut none = answer(&[0.0; 8], &INFO);
    none[3].1 = numbers(&[1], &[0.0]);
    assert!(detector().interpret(&outputs(none), PHOTO, 0.0).expect("read").is_empty());
}
