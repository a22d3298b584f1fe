use super::*;

const TF1: [&str; 4] = [
    "TFLite_Detection_PostProcess",
    "TFLite_Detection_PostProcess:1",
    "TFLite_Detection_PostProcess:2",
    "TFLite_Detection_PostProcess:3",
];

/// Keys of boxes, classes, scores and count.
fn exported(keys: [&str; 4], input: TensorSpec) -> Signature {
    let [boxes, classes, scores, count] = keys;
    signature(
        &[("normalized_input_image_tensor", input)],
        &[
            (boxes, spec(DType::F32, &[Some(1), Some(10), Some(4)])),
            (classes, spec(DType::F32, &[Some(1), Some(10)])),
            (scores, spec(DType::F32, &[Some(1), Some(10)])),
            (count, spec(DType::F32, &[Some(1)])),
        ],
    )
}

fn floats() -> TensorSpec {
    spec(DType::F32, &[Some(1), Some(300), Some(400), Some(3)])
}

fn read(keys: [&str; 4], classes: &[f32]) -> Result<Vec<Candidate>, Fault> {
    let [boxes_key, classes_key, scores_key, count_key] = keys;
    let tensors = [
        (boxes_key, numbers(&[1, 3, 4], &[0.1, 0.2, 0.5, 0.6, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0])),
        (classes_key, numbers(&[1, 3], classes)),
        (scores_key, numbers(&[1, 3], &[0.6, 0.9, 0.9])),
        (count_key, numbers(&[1], &[2.0])),
    ];
    let adapter = choose(&exported(keys, floats())).expect("understood");
    adapter.interpret(&outputs(tensors), Size::new(400, 300), 0.3)
}

fn refusal(signature: &Signature) -> String {
    choose(signature).expect_err("refused").to_string()
}

#[test]
fn both_documented_namings_are_read() {
    let tf2 = |stem: &str| [3, 2, 1, 0].map(|place| format!("{stem}{place}"));
    let (partitioned, numbered) = (tf2("StatefulPartitionedCall:"), tf2("output_"));
    for keys in [TF1, partitioned.each_ref().map(String::as_str), numbered.each_ref().map(String::as_str)] {
        let found = read(keys, &[0.0, 16.0, 1.0]).expect("read");
        let classes: Vec<_> = found.iter().map(|found| (found.class, found.score)).collect();
        assert_eq!(classes, [(Class::Index(16), 0.9), (Class::Index(0), 0.6)], "best first, two of three: {keys:?}");
        assert_near(found[1].rect, [80.0, 30.0, 240.0, 150.0]);
    }
}

#[test]
fn floats_are_minus_one_to_one_and_bytes_are_as_they_are() {
    let pixels = |input| match choose(&exported(TF1, input)).expect("understood") {
        Adapter { kind: "SSD (TFLite)", input: Input { form: Form::Pixels(pixels), .. }, .. } => pixels,
        other => panic!("{other:?}"),
    };
    let float = pixels(floats());
    assert_eq!(float.canvas, CanvasSize::Fixed(Size::new(400, 300)));
    assert_eq!(float.samples, Samples::F32 { mean: [127.5; 3], std: [127.5; 3] });
    let quantised = pixels(spec(DType::U8, &[Some(1), Some(300), Some(300), Some(3)]));
    assert_eq!(quantised.samples, Samples::U8);
}

#[test]
fn names_that_do_not_tell_classes_from_scores_are_refused() {
    // The last is what combined_non_max_suppression answers: boxes first under TF2's names, scores before classes.
    for keys in [["a", "b", "c", "d"], ["output_0", "output_2", "output_1", "output_3"]] {
        let text = refusal(&exported(keys, floats()));
        assert!(
            text.contains(&format!("'{}' and '{}' have one shape", keys[1].min(keys[2]), keys[1].max(keys[2]))),
            "{text}"
        );
        assert!(text.contains("an explicit mapping is needed"), "{text}");
    }
}

#[test]
fn other_outputs_and_inputs_are_refused() {
    let mut three = exported(TF1, floats());
    three.outputs.remove(TF1[3]);
    assert!(refusal(&three).contains("boxes [1, N, 4], classes [1, N], scores [1, N] and a count [1]"));
    let mut wide = exported(TF1, floats());
    wide.outputs.insert(TF1[0].to_owned(), spec(DType::F32, &[Some(1), Some(10), Some(5)]));
    assert!(choose(&wide).is_err());
    let text = refusal(&exported(TF1, spec(DType::String, &[None])));
    assert!(text.contains("its input 'normalized_input_image_tensor' is string [?]"), "{text}");
    assert!(choose(&exported(TF1, spec(DType::I8, &[Some(1), Some(300), Some(300), Some(3)]))).is_err());
}

#[test]
fn a_class_that_is_no_place_breaks_the_contract() {
    let text = cause(read(TF1, &[-1.0, 0.0, 0.0]));
    assert!(text.contains("holds -1 where a class from 0 was expected"), "{text}");
    for class in [f32::NAN, f32::INFINITY, 1e19] {
        let text = cause(read(TF1, &[class, 0.0, 0.0]));
        assert!(text.contains("where a class was expected"), "{text}");
    }
}

#[test]
fn classes_where_scores_were_expected_break_the_contract() {
    let tensors = [
        (TF1[0], numbers(&[1, 1, 4], &[0.0, 0.0, 1.0, 1.0])),
        (TF1[1], numbers(&[1, 1], &[0.9])),
        (TF1[2], numbers(&[1, 1], &[16.0])),
        (TF1[3], numbers(&[1], &[1.0])),
    ];
    let adapter = choose(&exported(TF1, floats())).expect("understood");
    // A blank picture, with which readiness asks, wants a score of 1.
    let text = cause(adapter.interpret(&outputs(tensors), Size::new(64, 64), 1.0));
    assert!(text.contains("holds 16 where a score of 0 to 1 was expected"), "{text}");
}
