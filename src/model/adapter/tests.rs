//! Each adapter: which signatures it takes, and how tensors written by hand read.

use super::*;
use crate::tensor::Values;

mod mapping;
mod masks;
mod model_garden;
mod ssd;
mod yolo;

fn spec(dtype: DType, axes: &[Option<usize>]) -> TensorSpec {
    TensorSpec { dtype, axes: Some(axes.to_vec()) }
}

fn signature(inputs: &[(&str, TensorSpec)], outputs: &[(&str, TensorSpec)]) -> Signature {
    let own =
        |tensors: &[(&str, TensorSpec)]| tensors.iter().map(|(key, spec)| ((*key).to_owned(), spec.clone())).collect();
    Signature { name: "serving_default".to_owned(), inputs: own(inputs), outputs: own(outputs) }
}

fn numbers(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), Values::F32(values.to_vec())).expect("fits")
}

fn outputs<const N: usize>(tensors: [(&str, Tensor); N]) -> Outputs {
    tensors.into_iter().map(|(key, tensor)| (key.to_owned(), tensor)).collect()
}

/// What an answer that does not read as promised is put down to.
fn cause(answer: Result<Vec<Candidate>, Fault>) -> String {
    let fault = answer.expect_err("refused");
    assert_eq!(fault.code(), Code::ModelContract);
    fault.cause_chain().expect("kept")
}

/// Within a thousandth of a pixel.
fn assert_near(found: Rect<Canvas>, [x_min, y_min, x_max, y_max]: [f32; 4]) {
    let pairs = [(found.x_min, x_min), (found.y_min, y_min), (found.x_max, x_max), (found.y_max, y_max)].into_iter();
    for (found, expected) in pairs {
        assert!((found - expected).abs() < 1e-3, "{found} where {expected} was expected");
    }
}

mod tf_detection {
    use super::*;

    fn detector(input: TensorSpec) -> Signature {
        let f32_of = |axes: &[Option<usize>]| spec(DType::F32, axes);
        signature(
            &[("input_tensor", input)],
            &[
                ("detection_boxes", f32_of(&[Some(1), Some(100), Some(4)])),
                ("detection_scores", f32_of(&[Some(1), Some(100)])),
                ("detection_classes", f32_of(&[Some(1), Some(100)])),
                ("num_detections", f32_of(&[Some(1)])),
                ("detection_multiclass_scores", f32_of(&[Some(1), Some(100), Some(91)])),
                ("raw_detection_boxes", f32_of(&[Some(1), Some(51_150), Some(4)])),
            ],
        )
    }

    fn any_size() -> TensorSpec {
        spec(DType::U8, &[Some(1), None, None, Some(3)])
    }

    fn two_rows() -> [(&'static str, Tensor); 4] {
        [
            ("detection_boxes", numbers(&[1, 2, 4], &[0.125, 0.25, 0.5, 0.625, 0.0, 0.0, 1.0, 1.0])),
            ("detection_scores", numbers(&[1, 2], &[0.9, 0.8])),
            ("detection_classes", numbers(&[1, 2], &[17.0, 18.0])),
            ("num_detections", numbers(&[1], &[2.0])),
        ]
    }

    fn read(tensors: [(&str, Tensor); 4], min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let adapter = choose(&detector(any_size())).expect("understood");
        adapter.interpret(&outputs(tensors), Size::new(200, 100), min_score)
    }

    #[test]
    fn every_input_type_of_the_exporter_is_adapted_to() {
        let pixels = |input: TensorSpec| match &choose(&detector(input)).expect("understood").input.form {
            Form::Pixels(pixels) => (pixels.canvas, pixels.samples == Samples::U8),
            Form::Encoded => panic!("pixels"),
        };
        assert_eq!(pixels(any_size()), (CanvasSize::OfThePhoto, true));
        assert_eq!(pixels(spec(DType::F32, &[None, None, None, Some(3)])), (CanvasSize::OfThePhoto, false));
        let fixed = pixels(spec(DType::U8, &[Some(1), Some(320), Some(640), Some(3)]));
        assert_eq!(fixed, (CanvasSize::Fixed(Size::new(640, 320)), true));
        let string = choose(&detector(spec(DType::String, &[None]))).expect("understood");
        assert_eq!(string.input.form, Form::Encoded);
    }

    #[test]
    fn a_canvas_that_no_detector_has_is_refused() {
        for side in [0, 8_193, usize::MAX] {
            let input = spec(DType::U8, &[Some(1), Some(side), Some(side), Some(3)]);
            assert!(choose(&detector(input)).is_err(), "{side}");
            let planes = spec(DType::F32, &[Some(1), Some(3), Some(side), Some(side)]);
            let output = [("output", spec(DType::F32, &[Some(1), Some(21), Some(7)]))];
            assert!(choose(&signature(&[("images", planes)], &output)).is_err(), "{side}");
        }
    }

    #[test]
    fn only_the_outputs_that_are_read_are_asked_for() {
        let adapter = choose(&detector(any_size())).expect("understood");
        assert_eq!(adapter.outputs, ["detection_boxes", "detection_scores", "detection_classes", "num_detections"]);
        assert_eq!(adapter.classes, Some(90), "of 91, one is the background");
        assert_eq!(adapter.input.key, "input_tensor");
    }

    #[test]
    fn boxes_are_y_first_and_fractions() {
        let found = read(two_rows(), 0.85).expect("read");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, Class::Id(17));
        assert_eq!(found[0].rect, Rect::new(50.0, 12.5, 125.0, 50.0));
    }

    #[test]
    fn rows_past_the_count_are_padding() {
        let mut tensors = two_rows();
        tensors[3].1 = numbers(&[1], &[1.0]);
        assert_eq!(read(tensors, 0.0).expect("read").len(), 1);
    }

    #[test]
    fn a_nan_score_is_no_detection() {
        let mut tensors = two_rows();
        tensors[1].1 = numbers(&[1, 2], &[f32::NAN, 0.8]);
        let found = read(tensors, 0.0).expect("read");
        assert_eq!(found.iter().map(|c| c.class).collect::<Vec<_>>(), [Class::Id(18)]);
    }

    #[test]
    fn a_box_without_a_place_is_no_detection() {
        let mut tensors = two_rows();
        tensors[0].1 = numbers(&[1, 2, 4], &[f32::INFINITY, 0.25, 0.5, 0.625, 0.0, 0.0, 1.0, f32::NAN]);
        assert!(read(tensors, 0.0).expect("read").is_empty());
    }

    #[test]
    fn unsorted_rows_come_back_best_first() {
        let mut tensors = two_rows();
        tensors[1].1 = numbers(&[1, 2], &[0.5, 0.8]);
        let scores: Vec<_> = read(tensors, 0.0).expect("read").iter().map(|c| c.score).collect();
        assert_eq!(scores, [0.8, 0.5]);
    }

    #[test]
    fn an_answer_of_another_shape_breaks_the_contract() {
        let broken = |index: usize, tensor: Tensor| {
            let mut tensors = two_rows();
            tensors[index].1 = tensor;
            read(tensors, 0.0).expect_err("refused").code()
        };
        assert_eq!(broken(0, numbers(&[1, 3, 4], &[0.0; 12])), Code::ModelContract);
        assert_eq!(broken(0, numbers(&[2, 4], &[0.0; 8])), Code::ModelContract);
        assert_eq!(broken(1, numbers(&[2], &[0.0; 2])), Code::ModelContract);
        assert_eq!(broken(1, numbers(&[1, 2], &[1.5, 0.5])), Code::ModelContract);
        assert_eq!(broken(2, numbers(&[1, 2], &[f32::NAN, 1.0])), Code::ModelContract);
        assert_eq!(broken(2, numbers(&[1, 2], &[1e30, 1.0])), Code::ModelContract);
        assert_eq!(broken(3, numbers(&[1], &[f32::NAN])), Code::ModelContract);
        assert_eq!(broken(3, numbers(&[2], &[1.0, 1.0])), Code::ModelContract);
        let missing = outputs([("detection_scores", numbers(&[1, 1], &[0.5]))]);
        let adapter = choose(&detector(any_size())).expect("understood");
        let fault = adapter.interpret(&missing, Size::new(1, 1), 0.0).expect_err("refused");
        assert!(fault.cause_chain().expect("kept").contains("detection_boxes"));
    }

    #[test]
    fn a_signature_that_fits_nothing_says_what_was_found_and_what_was_missing() {
        let mut strange = detector(any_size());
        strange.outputs.remove("detection_scores");
        let text = choose(&strange).expect_err("refused").to_string();
        assert!(text.contains("input_tensor: uint8 [1, ?, ?, 3]"), "{text}");
        assert!(text.contains("missing: detection_scores"), "{text}");
        let mut garden = detector(any_size());
        garden.outputs.insert("image_info".to_owned(), spec(DType::F32, &[Some(1), Some(7)]));
        let text = choose(&garden).expect_err("pixel boxes must not be read as fractions").to_string();
        assert!(text.contains("its image_info is float32 [1, 7]"), "{text}");
        let wrong_input = detector(spec(DType::I64, &[None]));
        assert!(choose(&wrong_input).expect_err("refused").to_string().contains("'input_tensor' is int64 [?]"));
    }
}

/// A canvas of 32 x 32: 16 + 4 + 1 cells.
const SMALL: [Option<usize>; 4] = [Some(1), Some(3), Some(32), Some(32)];

mod yolox {
    use super::*;

    fn detector() -> Adapter {
        let outputs = [("output", spec(DType::F32, &[Some(1), Some(21), Some(7)]))];
        choose(&signature(&[("images", spec(DType::F32, &SMALL))], &outputs)).expect("understood")
    }

    #[test]
    fn the_grid_is_applied_and_the_score_is_the_product() {
        let mut rows = vec![0.0; 21 * 7];
        // The cell at column 1, row 2 of stride 8: half a cell in, e^0 strides wide, 0.8 * 0.5 for class 1.
        rows[(2 * 4 + 1) * 7..][..7].copy_from_slice(&[0.5, 0.5, 0.0, 0.0, 0.8, 0.1, 0.5]);
        let adapter = detector();
        assert_eq!((adapter.kind, adapter.classes), ("YOLOX", Some(2)));
        let answer = outputs([("output", numbers(&[1, 21, 7], &rows))]);
        let found = adapter.interpret(&answer, Size::new(32, 32), 0.3).expect("read");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, Class::Index(1));
        assert!((found[0].score - 0.4).abs() < 1e-6);
        assert_eq!(found[0].rect, Rect::new(8.0, 16.0, 16.0, 24.0));
    }

    #[test]
    fn nan_and_overflow_are_no_detections() {
        let mut rows = vec![0.0; 21 * 7];
        rows[..7].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 1.0, 1.0]);
        rows[7..14].copy_from_slice(&[0.0, 0.0, 1e9, 0.0, 1.0, 1.0, 1.0]);
        rows[14..21].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 1.0, f32::NAN, f32::NAN]);
        let answer = outputs([("output", numbers(&[1, 21, 7], &rows))]);
        assert!(detector().interpret(&answer, Size::new(32, 32), 0.3).expect("read").is_empty());
    }

    #[test]
    fn logits_in_the_place_of_scores_break_the_contract() {
        for (objectness, class) in [(4.5, 0.9), (0.9, 4.5)] {
            let mut rows = vec![0.0; 21 * 7];
            rows[..7].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, objectness, -3.0, class]);
            let answer = outputs([("output", numbers(&[1, 21, 7], &rows))]);
            let text = cause(detector().interpret(&answer, Size::new(32, 32), 0.3));
            assert!(text.contains("'output' holds 4.5 where a score of 0 to 1 was expected"), "{text}");
        }
        // Less than nothing twice is not something.
        let mut rows = vec![0.0; 21 * 7];
        rows[..7].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, -0.9, -0.9, -0.9]);
        let answer = outputs([("output", numbers(&[1, 21, 7], &rows))]);
        assert!(detector().interpret(&answer, Size::new(32, 32), 0.3).expect("read").is_empty());
    }

    #[test]
    fn another_number_of_rows_is_another_model() {
        let outputs = [("output", spec(DType::F32, &[Some(1), Some(22), Some(7)]))];
        assert!(choose(&signature(&[("images", spec(DType::F32, &SMALL))], &outputs)).is_err());
    }
}

mod nanodet {
    use super::*;

    const CLASSES: usize = 2;

    fn specs() -> Vec<(String, TensorSpec)> {
        let level = |cells: usize, channels: usize| spec(DType::F32, &[Some(1), Some(cells), Some(channels)]);
        let rows = [16, 4, 1].into_iter().enumerate();
        rows.flat_map(|(i, cells)| [(format!("a{i}"), level(cells, CLASSES)), (format!("b{i}"), level(cells, 44))])
            .collect()
    }

    fn detector() -> Adapter {
        let specs = specs();
        let outputs: Vec<_> = specs.iter().map(|(key, spec)| (key.as_str(), spec.clone())).collect();
        choose(&signature(&[("input_1:0", spec(DType::F32, &SMALL))], &outputs)).expect("understood")
    }

    /// An answer of zeros.
    fn nothing() -> Vec<(String, Tensor)> {
        let zeros = |(key, spec): (String, TensorSpec)| {
            let shape: Vec<_> = spec.axes.expect("known").into_iter().map(|axis| axis.expect("known")).collect();
            let zeros = vec![0.0; shape.iter().product()];
            (key, Tensor::new(shape, Values::F32(zeros)).expect("fits"))
        };
        specs().into_iter().map(zeros).collect()
    }

    #[test]
    fn logits_in_the_place_of_scores_break_the_contract() {
        let mut tensors = nothing();
        tensors[4].1 = numbers(&[1, 1, CLASSES], &[-2.0, 4.5]);
        let text = cause(detector().interpret(&tensors.into_iter().collect(), Size::new(32, 32), 0.3));
        assert!(text.contains("'a2' holds 4.5 where a score of 0 to 1 was expected"), "{text}");
    }

    #[test]
    fn distances_are_expectations_from_the_centre_of_the_cell() {
        let adapter = detector();
        assert_eq!((adapter.kind, adapter.classes), ("NanoDet", Some(CLASSES)));
        let mut tensors = nothing();
        // The only cell of stride 32: centre 15.5; each side certain to be in bin 0 or halfway between 0 and 1.
        let mut scores = vec![0.0; CLASSES];
        scores[1] = 0.7;
        let mut bins = vec![-1e3; 44];
        for side in 0..4 {
            bins[side * 11] = 5.0;
        }
        bins[2 * 11 + 1] = 5.0;
        tensors[4].1 = numbers(&[1, 1, CLASSES], &scores);
        tensors[5].1 = numbers(&[1, 1, 44], &bins);
        let answer = tensors.into_iter().collect();
        let found = adapter.interpret(&answer, Size::new(32, 32), 0.3).expect("read");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].class, found[0].score), (Class::Index(1), 0.7));
        assert_eq!(found[0].rect, Rect::new(15.5, 15.5, 31.5, 15.5));
    }

    #[test]
    fn two_outputs_of_one_width_cannot_be_told_apart() {
        let level = |cells: usize| spec(DType::F32, &[Some(1), Some(cells), Some(44)]);
        let outputs =
            [("a", level(16)), ("b", level(16)), ("c", level(4)), ("d", level(4)), ("e", level(1)), ("f", level(1))];
        assert!(choose(&signature(&[("x", spec(DType::F32, &SMALL))], &outputs)).is_err());
    }
}
