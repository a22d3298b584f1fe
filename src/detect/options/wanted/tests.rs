//! Every option as text and as JSON: what is read out of it, and what is said where it is wrong.

use super::*;
use crate::fault::Code;
use serde_json::json;

fn read(params: &[Param]) -> Result<Wanted, Fault> {
    Wanted::read(params, Defaults::default(), &LabelMap::coco())
}

fn text(pairs: &[(&str, &str)]) -> Result<Wanted, Fault> {
    read(&pairs.iter().map(|&(name, value)| Param::text(name, value)).collect::<Vec<_>>())
}

fn refused(pairs: &[(&str, &str)]) -> String {
    let fault = text(pairs).expect_err("refused");
    assert_eq!(fault.code(), Code::InvalidOption);
    assert_eq!(fault.errors()[0].field, pairs[pairs.len() - 1].0, "{fault}");
    fault.detail().to_owned()
}

#[test]
fn nothing_given_means_the_defaults() {
    assert_eq!(text(&[]).expect("fine"), Wanted::default());
    let empty = NAMES.map(|name| (name, " "));
    assert_eq!(text(&empty).expect("empty values count as absent"), Wanted::default());
    let nulls = NAMES.map(|name| Param::json(name, Value::Null));
    assert_eq!(read(&nulls).expect("null counts as absent"), Wanted::default());
}

#[test]
fn text_and_json_mean_the_same() {
    let from_text = text(&[
        ("min_score", "0.5"),
        ("max_detections", "7"),
        ("classes", "cat, dog"),
        ("classes", "3"),
        ("normalized", "true"),
        ("version", "2"),
    ]);
    let from_json = read(&[
        Param::json("min_score", json!(0.5)),
        Param::json("max_detections", json!(7)),
        Param::json("classes", json!(["cat", "dog", 3])),
        Param::json("normalized", json!(true)),
        Param::json("version", json!(2)),
    ]);
    let wanted = from_text.expect("fine");
    assert_eq!(wanted, from_json.expect("fine"));
    assert_eq!(wanted.options.only, Some(vec![17, 18, 3]));
    assert_eq!(wanted.version, VersionChoice::Number(2));
}

#[test]
fn each_mistake_is_named_with_its_bound() {
    for value in ["1.5", "-0.1", "NaN", "inf", "0,5", "abc"] {
        assert!(refused(&[("min_score", value)]).contains("from 0 to 1"), "{value}");
    }
    for value in ["0", "1001", "-1", "2.5", "many"] {
        assert!(refused(&[("max_detections", value)]).contains("from 1 to 1000"), "{value}");
    }
    assert!(refused(&[("normalized", "yes")]).contains("true or false"));
    assert!(refused(&[("version", "new")]).contains("whole number"));
    assert!(refused(&[("version", "1"), ("version_label", "stable")]).contains("cannot both"));
    assert!(refused(&[("min_score", "0.1"), ("min_score", "0.2")]).contains("more than once"));
    assert!(refused(&[("classes", "cat"), ("exclude_classes", "17")]).contains("'cat' is both"));
    assert!(refused(&[("classes", "dgo")]).contains("Did you mean 'dog'?"));
    assert!(refused(&[("min_confidance", "0.5")]).contains("Options: min_score"));
    assert!(refused(&[("min_scor", "0.5")]).contains("Did you mean min_score?"));
    assert!(refused(&[("foo", "1")]).contains("Options: "), "nothing is near enough to be guessed");
}

#[test]
fn thresholds_regions_tiles_and_nms_read_the_same_from_text_and_json() {
    let from_text = text(&[
        ("min_scores", "person:0.6, dog:0.3"),
        ("iou", "0.5"),
        ("class_agnostic", "true"),
        ("region", "10, 20,30,40"),
        ("tiles", "4"),
        ("orientation", "ignore"),
    ]);
    let from_json = read(&[
        Param::json("min_scores", json!({"person": 0.6, "18": 0.3})),
        Param::json("iou", json!(0.5)),
        Param::json("class_agnostic", json!(true)),
        Param::json("region", json!({"x_min": 10, "y_min": 20, "x_max": 30, "y_max": 40})),
        Param::json("tiles", json!(4)),
        Param::json("orientation", json!("ignore")),
    ]);
    let mut wanted = from_text.expect("fine").options;
    let mut same = from_json.expect("fine").options;
    wanted.min_scores.sort_by_key(|&(id, _)| id);
    same.min_scores.sort_by_key(|&(id, _)| id);
    assert_eq!(wanted, same);
    assert_eq!(wanted.min_scores, [(1, 0.6), (18, 0.3)]);
    assert_eq!(wanted.region, Some(PixelBox { x_min: 10, y_min: 20, x_max: 30, y_max: 40 }));
    let expected = (wanted.min_score_of(1), wanted.min_score_of(18), wanted.min_score_of(17), wanted.lowest_score());
    assert_eq!(expected, (0.6, 0.3, 0.3, 0.3));
    let list = read(&[Param::json("region", json!([10, 20, 30, 40]))]).expect("fine").options.region;
    assert_eq!(list, wanted.region);

    assert!(refused(&[("min_scores", "person")]).contains("person:0.6"));
    assert!(refused(&[("min_scores", "person:2")]).contains("from 0 to 1"));
    assert!(refused(&[("min_scores", "prson:0.5")]).contains("Did you mean 'person'?"));
    assert!(refused(&[("min_scores", "person:0.5,1:0.6")]).contains("more than once"));
    assert!(refused(&[("class_agnostic", "true")]).contains("give iou"));
    for region in ["1,2,3", "1,2,3,4,5", "5,0,5,9", "a,b,c,d", "-1,0,5,5", "0.5,0,5,5"] {
        assert!(refused(&[("region", region)]).contains("whole pixels"), "{region}");
    }
    assert!(refused(&[("tiles", "17")]).contains("from 0 to 16"));
    assert!(refused(&[("orientation", "up")]).contains("apply or ignore"));
}

#[test]
fn json_values_of_the_wrong_type_are_refused() {
    for (name, value) in [
        ("min_score", json!("0.5")),
        ("max_detections", json!(2.5)),
        ("normalized", json!(1)),
        ("classes", json!([["cat"]])),
        ("classes", json!({"cat": true})),
        ("version_label", json!(3)),
    ] {
        let fault = read(&[Param::json(name, value.clone())]).expect_err("refused");
        assert_eq!(fault.errors()[0].field, name, "{value}");
    }
}

#[test]
fn an_empty_list_of_classes_counts_as_absent() {
    for params in [
        vec![Param::json("classes", json!([]))],
        vec![Param::json("classes", json!([""]))],
        vec![Param::text("classes", ",")],
        vec![Param::text("classes", ""), Param::text("classes", " , ")],
    ] {
        assert_eq!(read(&params).expect("absent").options.only, None, "{params:?}");
    }
}

#[test]
fn a_version_may_come_back_as_it_was_answered() {
    let wanted = read(&[Param::json("version", json!("9007199254740993"))]).expect("digits");
    assert_eq!(wanted.version, VersionChoice::Number(9_007_199_254_740_993));
}

#[test]
fn hundreds_of_thousands_of_classes_are_refused_by_their_number() {
    let many = json!(vec![1; 300_000]);
    let fault =
        read(&[Param::json("classes", many.clone()), Param::json("exclude_classes", many)]).expect_err("too many");
    assert!(fault.detail().contains("300000 classes") && fault.detail().contains("up to 256"), "{fault}");
    let typos = vec!["dgo"; 200];
    let fault = read(&[Param::json("classes", json!(typos))]).expect_err("typos");
    assert_eq!(fault.errors().len(), MAX_ERRORS);
}

#[test]
fn all_mistakes_are_answered_at_once() {
    let fault = text(&[("min_score", "2"), ("max_detections", "0"), ("colour", "red")]).expect_err("three");
    let mut fields: Vec<_> = fault.errors().iter().map(|error| error.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["colour", "max_detections", "min_score"]);
}
