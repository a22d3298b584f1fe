//! On a canvas of 64 x 32: 32 + 8 + 2 = 42 cells, and one more at stride 64.

use super::*;

const CANVAS: Size = Size::new(64, 32);
const CELLS: usize = 42;

fn nchw() -> TensorSpec {
    spec(DType::F32, &[Some(1), Some(3), Some(32), Some(64)])
}

fn nhwc() -> TensorSpec {
    spec(DType::F32, &[Some(1), Some(32), Some(64), Some(3)])
}

fn exported(input: TensorSpec, output: &[Option<usize>]) -> Signature {
    signature(&[("images", input)], &[("output0", spec(DType::F32, output))])
}

fn chosen(input: TensorSpec, output: [usize; 2]) -> Adapter {
    choose(&exported(input, &[Some(1), Some(output[0]), Some(output[1])])).expect("understood")
}

fn answered(adapter: &Adapter, shape: &[usize], values: &[f32]) -> Result<Vec<Candidate>, Fault> {
    // Readiness names another canvas than the model's own; boxes must not depend on it.
    adapter.interpret(&outputs([("output0", numbers(shape, values))]), Size::new(1, 1), 0.3)
}

/// Rows as an untrained model answers them: a box of the cell's own size at each centre, and no scores.
fn idle(anchors: usize, columns: usize) -> Vec<f32> {
    let mut rows = Vec::new();
    for stride in STRIDES {
        for (column, row) in cells(CANVAS, stride) {
            for _ in 0..anchors {
                let stride = stride as f32;
                rows.extend([(column as f32 + 0.5) * stride, (row as f32 + 0.5) * stride, stride, stride]);
                rows.resize(rows.len() + columns - 4, 0.0);
            }
        }
    }
    rows
}

/// The same in fractions of the canvas.
fn in_fractions_of_the_canvas(mut rows: Vec<f32>, columns: usize) -> Vec<f32> {
    for row in rows.chunks_exact_mut(columns) {
        for (place, side) in row.iter_mut().zip([64.0, 32.0, 64.0, 32.0]) {
            *place /= side;
        }
    }
    rows
}

fn planes(rows: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| rows.chunks_exact(columns).map(move |row| row[column])).collect()
}

/// 80 classes: an object of class 16, another one of class 0 over it, and a worse one that the first suppresses.
fn three_boxes(columns: usize) -> Vec<f32> {
    let mut rows = idle(1, columns);
    for (at, score, class) in [(9, 0.75, 16), (10, 0.5, 0), (11, 0.625, 16)] {
        let row = &mut rows[at * columns..][..columns];
        row[..4].copy_from_slice(&[30.0, 16.0, 20.0, 8.0]);
        row[4 + class] = score;
    }
    rows
}

#[test]
fn yolov8_is_read_in_planes_and_in_rows_in_pixels_and_in_fractions() {
    let pixels = three_boxes(84);
    let fractions = in_fractions_of_the_canvas(pixels.clone(), 84);
    for rows in [pixels, fractions] {
        for (input, shape, values) in [
            (nchw(), [84, CELLS], planes(&rows, 84)),
            (nhwc(), [84, CELLS], planes(&rows, 84)),
            (nchw(), [CELLS, 84], rows.clone()),
            (nhwc(), [CELLS, 84], rows.clone()),
        ] {
            let adapter = chosen(input, shape);
            assert_eq!((adapter.kind, adapter.classes), ("YOLOv8", Some(80)));
            let found = answered(&adapter, &[1, shape[0], shape[1]], &values).expect("read");
            let classes: Vec<_> = found.iter().map(|found| (found.class, found.score)).collect();
            assert_eq!(classes, [(Class::Index(16), 0.75), (Class::Index(0), 0.5)]);
            assert_near(found[0].rect, [20.0, 12.0, 40.0, 20.0]);
        }
    }
}

#[test]
fn yolov5_multiplies_with_the_objectness() {
    // numpy after models/tf.py: column 2, row 1 of stride 8, anchor 16 x 30, raw 0.3 -0.7 0.4 -0.2; 0.8 * 0.75.
    let mut rows = idle(3, 7);
    rows[(8 + 2) * 3 * 7..][..7].copy_from_slice(&[21.191_08, 9.308_996, 22.939_322, 24.317_93, 0.8, 0.1, 0.75]);
    for (input, rows) in [(nchw(), rows.clone()), (nhwc(), in_fractions_of_the_canvas(rows, 7))] {
        let adapter = chosen(input, [3 * CELLS, 7]);
        assert_eq!((adapter.kind, adapter.classes), ("YOLOv5", Some(2)));
        let found = answered(&adapter, &[1, 3 * CELLS, 7], &rows).expect("read");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, Class::Index(1));
        assert!((found[0].score - 0.6).abs() < 1e-6);
        assert_near(found[0].rect, [9.721_419, -2.849_97, 32.660_74, 21.467_96]);
    }
}

#[test]
fn suppressed_rows_are_listed_as_they_are() {
    let adapter = chosen(nhwc(), [300, 6]);
    assert_eq!((adapter.kind, adapter.classes), ("YOLO with suppression", None));
    // The second lies over the first and stays: the model has decided. Rows of zeros are padding.
    let rows = [[8.0, 4.0, 32.0, 16.0, 0.5, 2.0], [8.0, 4.0, 32.0, 16.0, 0.75, 2.0], [0.0; 6]].concat();
    for rows in [
        rows.clone(),
        rows.chunks(6).flat_map(|r| [r[0] / 64.0, r[1] / 32.0, r[2] / 64.0, r[3] / 32.0, r[4], r[5]]).collect(),
    ] {
        let found = answered(&adapter, &[1, 3, 6], &rows).expect("read");
        let scores: Vec<_> = found.iter().map(|found| (found.class, found.score)).collect();
        assert_eq!(scores, [(Class::Index(2), 0.75), (Class::Index(2), 0.5)]);
        assert_near(found[0].rect, [8.0, 4.0, 32.0, 16.0]);
    }
    let open = exported(nchw(), &[None, None, Some(6)]);
    assert_eq!(choose(&open).expect("understood").kind, "YOLO with suppression");
}

#[test]
fn the_picture_is_rgb_from_zero_to_one_on_grey() {
    for (input, layout) in [(nchw(), Layout::Nchw), (nhwc(), Layout::Nhwc)] {
        let adapter = chosen(input, [84, CELLS]);
        let expected = Pixels {
            canvas: CanvasSize::Fixed(CANVAS),
            samples: Samples::F32 { mean: [0.0; 3], std: [255.0; 3] },
            layout,
            channels: Channels::Rgb,
            resize: Resize::LETTERBOX,
            pad: [114; 3],
        };
        assert_eq!(adapter.input.form, Form::Pixels(expected));
    }
}

#[test]
fn each_shape_is_one_kind() {
    let kind = |input, output| chosen(input, output).kind;
    assert_eq!(kind(nchw(), [CELLS, 85]), "YOLOX");
    assert_eq!(kind(nchw(), [CELLS, 6]), "YOLOX", "one class");
    assert_eq!(kind(nchw(), [CELLS, 84]), "YOLOv8", "COCO without objectness");
    assert_eq!(kind(nchw(), [6, CELLS]), "YOLOv8", "two classes");
    assert_eq!(kind(nchw(), [84, CELLS + 1]), "YOLOv8", "P6");
    assert_eq!(kind(nchw(), [3 * CELLS, 6]), "YOLOv5", "one class");
    assert_eq!(kind(nchw(), [3 * (CELLS + 1), 85]), "YOLOv5", "P6");
    // At 640 x 640, as the exporters print them.
    let at_640 = || spec(DType::F32, &[Some(1), Some(3), Some(640), Some(640)]);
    assert_eq!(kind(at_640(), [84, 8400]), "YOLOv8");
    assert_eq!(kind(at_640(), [25_200, 85]), "YOLOv5");
    assert_eq!(kind(at_640(), [8400, 85]), "YOLOX");
    assert_eq!(kind(at_640(), [300, 6]), "YOLO with suppression");
}

#[test]
fn what_cannot_be_told_apart_is_refused() {
    let text = |input, output: &[Option<usize>]| choose(&exported(input, output)).expect_err("refused").to_string();
    for columns in [6, 85] {
        let ambiguous = text(nhwc(), &[Some(1), Some(CELLS), Some(columns)]);
        assert!(ambiguous.contains("either YOLOX with K - 5 classes or YOLOv8 with K - 4"), "{ambiguous}");
        assert!(ambiguous.contains("an explicit mapping is needed"), "{ambiguous}");
    }
    let unknown = text(nchw(), &[Some(1), Some(300), Some(7)]);
    assert!(unknown.contains("YOLO needs one input float32 [1, 3, H, W] or [1, H, W, 3] of a fixed size"), "{unknown}");
    text(nchw(), &[Some(1), Some(4), Some(CELLS)]);
    text(nchw(), &[Some(2), Some(84), Some(CELLS)]);
    text(nchw(), &[Some(84), Some(CELLS)]);
    text(nchw(), &[Some(1), None, None]);
    text(spec(DType::F32, &[Some(1), Some(3), None, None]), &[Some(1), Some(84), Some(8400)]);
    text(spec(DType::U8, &[Some(1), Some(32), Some(64), Some(3)]), &[Some(1), Some(84), Some(CELLS)]);
    text(spec(DType::F32, &[Some(1), Some(3), Some(0), Some(64)]), &[Some(1), Some(300), Some(6)]);
}

#[test]
fn nan_and_infinity_are_no_detections() {
    let mut rows = three_boxes(84);
    rows[9 * 84] = f32::NAN;
    rows[10 * 84 + 2] = f32::INFINITY;
    rows[11 * 84 + 4 + 16] = f32::NAN;
    let adapter = chosen(nchw(), [84, CELLS]);
    assert!(answered(&adapter, &[1, 84, CELLS], &planes(&rows, 84)).expect("read").is_empty());
    assert!(answered(&adapter, &[1, 84, CELLS], &vec![f32::NAN; 84 * CELLS]).expect("read").is_empty());

    let listed = chosen(nchw(), [300, 6]);
    let rows = [[f32::NAN, 4.0, 32.0, 16.0, 0.5, 2.0], [8.0, 4.0, 32.0, 16.0, f32::NAN, 2.0]].concat();
    assert!(answered(&listed, &[1, 2, 6], &rows).expect("read").is_empty());
    assert!(answered(&listed, &[1, 0, 6], &[]).expect("read").is_empty());
}

#[test]
fn keypoints_in_the_place_of_scores_break_the_contract() {
    let mut rows = idle(1, 56);
    rows[9 * 56 + 5] = 41.5;
    let adapter = chosen(nchw(), [56, CELLS]);
    let text = cause(answered(&adapter, &[1, 56, CELLS], &planes(&rows, 56)));
    assert!(text.contains("'output0' holds 41.5 where a score of 0 to 1 was expected"), "{text}");
}

#[test]
fn an_answer_of_another_form_breaks_the_contract() {
    let adapter = chosen(nchw(), [84, CELLS]);
    let text = cause(answered(&adapter, &[1, CELLS, 84], &three_boxes(84)));
    assert!(text.contains("[1, 42, 84] where [1, 84, 42] was expected"), "{text}");
    let listed = chosen(nchw(), [300, 6]);
    let text = cause(answered(&listed, &[2, 1, 6], &[0.0; 12]));
    assert!(text.contains("[2, 1, 6] where [1, R, 6] was expected"), "{text}");
    for class in [-1.0, f32::NAN, 9.3e18] {
        let row = [8.0, 4.0, 32.0, 16.0, 0.5, class];
        assert!(cause(answered(&listed, &[1, 1, 6], &row)).contains("where a class"), "{class}");
    }
}
