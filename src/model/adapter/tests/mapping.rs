//! What a configuration says of a model, against what its signature says.

use super::*;
use crate::model::input::{Input, Place};
use crate::model::mapping::{BoxFormat, BoxFrame, BoxOutputs, InputMapping};

fn named(format: BoxFormat, frame: BoxFrame) -> BoxOutputs {
    let key = |key: &str| Some(key.to_owned());
    BoxOutputs { boxes: "b".to_owned(), scores: "s".to_owned(), classes: key("c"), count: key("n"), format, frame }
}

fn boxes(named: BoxOutputs) -> Mapping {
    Mapping { kind: Some(Kind::Boxes(named)), ..Mapping::default() }
}

/// Outputs whose names say nothing.
fn nameless(input: TensorSpec) -> Signature {
    let of = |axes: &[Option<usize>]| spec(DType::F32, axes);
    let outputs = [
        ("b", of(&[Some(1), Some(2), Some(4)])),
        ("s", of(&[Some(1), Some(2)])),
        ("c", of(&[Some(1), Some(2)])),
        ("n", of(&[Some(1)])),
    ];
    signature(&[("x", input)], &outputs)
}

fn planes(height: Option<usize>, width: Option<usize>) -> TensorSpec {
    spec(DType::F32, &[Some(1), Some(3), height, width])
}

fn pixels(input: &Input) -> &Pixels {
    match &input.form {
        Form::Pixels(pixels) => pixels,
        Form::Encoded => panic!("pixels"),
    }
}

fn answer(edges: [f32; 4]) -> Outputs {
    let [a, b, c, d] = edges;
    outputs([
        ("b", numbers(&[1, 2, 4], &[a, b, c, d, 0.0, 0.0, 1.0, 1.0])),
        ("s", numbers(&[1, 2], &[0.75, 0.5])),
        ("c", numbers(&[1, 2], &[4.0, 1.0])),
        ("n", numbers(&[1], &[1.0])),
    ])
}

#[test]
fn named_boxes_read_in_every_format_and_frame() {
    let canvas = Size::new(200, 100);
    let expected = [20.0, 30.0, 60.0, 80.0];
    let rows = [
        (BoxFormat::Xyxy, [20.0, 30.0, 60.0, 80.0]),
        (BoxFormat::Yxyx, [30.0, 20.0, 80.0, 60.0]),
        (BoxFormat::Cxcywh, [40.0, 55.0, 40.0, 50.0]),
    ];
    for (format, edges) in rows {
        let [width, height] = [200.0, 100.0];
        let sides = if format == BoxFormat::Yxyx { [height, width] } else { [width, height] };
        let fractions = [edges[0] / sides[0], edges[1] / sides[1], edges[2] / sides[0], edges[3] / sides[1]];
        for (frame, edges) in [(BoxFrame::Pixels, edges), (BoxFrame::Normalized, fractions)] {
            let adapter = fit(&nameless(planes(Some(100), Some(200))), &boxes(named(format, frame))).expect("fits");
            let found = adapter.interpret(&answer(edges), canvas, 0.0).expect("read");
            assert_eq!(found.len(), 1, "the count is one of two rows");
            assert_eq!((found[0].class, found[0].score), (Class::Id(4), 0.75));
            assert_near(found[0].rect, expected);
        }
    }
}

#[test]
fn a_class_offset_gives_ids() {
    let named = named(BoxFormat::Xyxy, BoxFrame::Pixels);
    let mapping = Mapping { class_offset: Some(1), ..boxes(named) };
    let adapter = fit(&nameless(planes(Some(100), Some(200))), &mapping).expect("fits");
    let found = adapter.interpret(&answer([1.0, 2.0, 3.0, 4.0]), Size::new(200, 100), 0.0).expect("read");
    assert_eq!(found[0].class, Class::Id(5));
}

#[test]
fn without_an_output_for_classes_the_best_score_tells_and_overlaps_are_thinned_out() {
    let of = |axes: &[Option<usize>]| spec(DType::F32, axes);
    let outputs_of = [("b", of(&[Some(1), None, Some(4)])), ("s", of(&[Some(1), None, Some(3)]))];
    let signature = signature(&[("x", planes(Some(100), Some(200)))], &outputs_of);
    let named = BoxOutputs { classes: None, count: None, ..named(BoxFormat::Xyxy, BoxFrame::Pixels) };
    let adapter = fit(&signature, &boxes(named)).expect("fits");
    assert_eq!((adapter.classes, &adapter.outputs[..]), (Some(3), &["b".to_owned(), "s".to_owned()][..]));
    let answer = outputs([
        ("b", numbers(&[1, 2, 4], &[0.0, 0.0, 50.0, 50.0, 1.0, 1.0, 50.0, 50.0])),
        ("s", numbers(&[1, 2, 3], &[0.1, 0.6, 0.2, 0.1, 0.9, 0.2])),
    ]);
    let found = adapter.interpret(&answer, Size::new(200, 100), 0.3).expect("read");
    assert_eq!(found.iter().map(|c| (c.class, c.score)).collect::<Vec<_>>(), [(Class::Index(1), 0.9)]);
}

#[test]
fn an_answer_of_another_shape_breaks_the_contract() {
    let adapter =
        fit(&nameless(planes(Some(100), Some(200))), &boxes(named(BoxFormat::Xyxy, BoxFrame::Pixels))).expect("fits");
    let rows = outputs([
        ("b", numbers(&[1, 2, 4], &[0.0; 8])),
        ("s", numbers(&[1, 2, 2], &[0.0; 4])),
        ("c", numbers(&[1, 2], &[0.0; 2])),
        ("n", numbers(&[1], &[2.0])),
    ]);
    assert!(cause(adapter.interpret(&rows, Size::new(200, 100), 0.0)).contains("where [1, N] was expected"));
}

#[test]
fn the_input_is_filled_in_where_the_signature_leaves_it_open() {
    let input = InputMapping {
        size: Some(Size::new(640, 320)),
        channels: Some(Channels::Bgr),
        samples: Some(Samples::F32 { mean: [0.0; 3], std: [255.0; 3] }),
        resize: Some(Resize::Letterbox(Place::Center)),
        pad: Some([114; 3]),
        ..InputMapping::default()
    };
    let mapping = Mapping { input, ..boxes(named(BoxFormat::Xyxy, BoxFrame::Pixels)) };
    let adapter = fit(&nameless(planes(None, None)), &mapping).expect("fits");
    let expected = Pixels {
        canvas: CanvasSize::Fixed(Size::new(640, 320)),
        samples: Samples::F32 { mean: [0.0; 3], std: [255.0; 3] },
        layout: Layout::Nchw,
        channels: Channels::Bgr,
        resize: Resize::Letterbox(Place::Center),
        pad: [114; 3],
    };
    assert_eq!(pixels(&adapter.input), &expected);

    let rankless = TensorSpec { dtype: DType::U8, axes: None };
    let input = InputMapping { layout: Some(Layout::Nchw), ..InputMapping::default() };
    let mapping = Mapping { input, ..boxes(named(BoxFormat::Xyxy, BoxFrame::Pixels)) };
    let adapter = fit(&nameless(rankless), &mapping).expect("fits");
    assert_eq!((pixels(&adapter.input).layout, pixels(&adapter.input).canvas), (Layout::Nchw, CanvasSize::OfThePhoto));
}

#[test]
fn a_contradiction_is_refused_with_both_sides() {
    let xyxy = || boxes(named(BoxFormat::Xyxy, BoxFrame::Pixels));
    let with = |input: InputMapping| Mapping { input, ..xyxy() };
    let refused =
        |input: TensorSpec, mapping: Mapping| fit(&nameless(input), &mapping).expect_err("refused").to_string();
    let fixed = || planes(Some(100), Some(200));

    let size = InputMapping { size: Some(Size::new(640, 320)), ..InputMapping::default() };
    let text = refused(fixed(), with(size.clone()));
    assert!(text.contains("float32 [1, 3, 320, 640]; the signature says float32 [1, 3, 100, 200]"), "{text}");
    let layout = InputMapping { layout: Some(Layout::Nhwc), ..InputMapping::default() };
    let text = refused(fixed(), with(layout));
    assert!(text.contains("[1, ?, ?, 3]; the signature says float32 [1, 3, 100, 200]"), "{text}");
    let string = spec(DType::String, &[None]);
    assert!(refused(string.clone(), with(size)).contains("whole files"));
    let channels = InputMapping { channels: Some(Channels::Bgr), ..InputMapping::default() };
    assert!(refused(string, with(channels)).contains("whole files"));
    let scaled = InputMapping { samples: Some(Samples::PLAIN_F32), ..InputMapping::default() };
    let bytes = spec(DType::U8, &[Some(1), None, None, Some(3)]);
    assert!(refused(bytes, with(scaled)).contains("uint8, 0 to 255"));
    let key = InputMapping { key: Some("image".to_owned()), ..InputMapping::default() };
    assert!(refused(fixed(), with(key)).contains("names the input 'image'; the signature has x"));
    let other = BoxOutputs { scores: "scores".to_owned(), ..named(BoxFormat::Xyxy, BoxFrame::Pixels) };
    let text = refused(fixed(), boxes(other));
    assert!(text.contains("does not have: scores; it has b, c, n, s"), "{text}");
    let swapped = BoxOutputs { boxes: "s".to_owned(), ..named(BoxFormat::Xyxy, BoxFrame::Pixels) };
    assert!(refused(fixed(), boxes(swapped)).contains("names 's' as the boxes [1, N, 4]; it is float32 [1, 2]"));
    let kind = Mapping { kind: Some(Kind::YoloV5), ..Mapping::default() };
    assert!(refused(fixed(), kind).contains("YOLO needs"));
}

#[test]
fn a_kind_decides_where_shapes_do_not() {
    let rows = [("output", spec(DType::F32, &[Some(1), Some(21), Some(7)]))];
    let square = signature(&[("images", planes(Some(32), Some(32)))], &rows);
    let classes = |kind: Kind| fit(&square, &Mapping { kind: Some(kind), ..Mapping::default() }).expect("fits").classes;
    assert_eq!(classes(Kind::YoloX), Some(2));
    assert_eq!(classes(Kind::YoloV8), Some(3));
}

#[test]
fn a_yolo_of_open_size_is_understood_once_its_size_is_said() {
    let open = signature(&[("images", planes(None, None))], &[("o", spec(DType::F32, &[Some(1), Some(7), None]))]);
    assert!(choose(&open).is_err());
    let input = InputMapping { size: Some(Size::new(32, 32)), ..InputMapping::default() };
    let mapping = Mapping { kind: Some(Kind::YoloV8), input, class_offset: None };
    let adapter = fit(&open, &mapping).expect("fits");
    assert_eq!((adapter.kind, adapter.classes), ("YOLOv8", Some(3)));
    // The only cell of stride 32 sees class 2.
    let mut columns = vec![0.0; 7 * 21];
    for (column, value) in [(0, 16.0), (1, 16.0), (2, 8.0), (3, 8.0), (6, 0.9)] {
        columns[column * 21 + 20] = value;
    }
    columns[..20].fill(10.0);
    let found =
        adapter.interpret(&outputs([("o", numbers(&[1, 7, 21], &columns))]), Size::new(32, 32), 0.5).expect("read");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].class, Class::Index(2));
    assert_near(found[0].rect, [12.0, 12.0, 20.0, 20.0]);
}
