//! Every option with values of the wrong kind, out of range and in conflict, in each form a request can have.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use serde_json::{Map, Value, json};
use spotter::detect::NAMES;

use crate::support::photos::photo;
use crate::support::service::{Spotter, problem};

/// An option, wrong texts for query and form, wrong values for JSON, and what the answer says of its bound.
struct Row {
    name: &'static str,
    texts: &'static [&'static str],
    values: Vec<Value>,
    bound: &'static str,
}

fn row(name: &'static str, texts: &'static [&'static str], values: &Value, bound: &'static str) -> Row {
    Row { name, texts, values: values.as_array().unwrap().clone(), bound }
}

/// 129 bytes, one more than a label may have.
const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn table() -> Vec<Row> {
    vec![
        row(
            "min_score",
            &["1.5", "-0.1", "NaN", "inf", "0,5", "abc"],
            &json!([1.5, -0.1, "0.5", true, [0.5], {}]),
            "from 0 to 1",
        ),
        row(
            "max_detections",
            &["0", "1001", "-1", "2.5", "many"],
            &json!([0, 1001, -1, 2.5, "7", true]),
            "from 1 to 1000",
        ),
        row("classes", &["dgo", "-1", "1.5"], &json!(["dgo", ["dgo"], [-1], [1.5]]), "label"),
        row("classes", &[], &json!([true, {"cat": 1}, [["cat"]]]), "labels and class ids"),
        row("exclude_classes", &["dgo", "-1"], &json!(["dgo", ["dgo"], [-1], true, {"cat": 1}]), "label"),
        row("min_scores", &["person", "person:"], &json!([5, [1], "person"]), "such as"),
        row("min_scores", &["person:2", "person:-1"], &json!([{"person": 2}, {"person": "high"}]), "from 0 to 1"),
        row("min_scores", &["prson:0.5"], &json!([{"prson": 0.5}]), "Did you mean 'person'?"),
        row("iou", &["1.5", "-1", "x"], &json!([1.5, -1, "0.5", true]), "from 0 to 1"),
        row("class_agnostic", &["maybe", "2"], &json!([1, "true", []]), "true or false"),
        row(
            "region",
            &["1,2,3", "1,2,3,4,5", "5,0,5,9", "-1,0,5,5", "0.5,0,5,5"],
            &json!([[1, 2, 3], {"x_min": 1}, 7, true]),
            "whole pixels",
        ),
        row("region", &["0,0,9999,9999"], &json!([[0, 0, 9999, 9999]]), "inside the photo, which is 451 x 300"),
        row("tiles", &["17", "-1", "1.5", "x"], &json!([17, -1, 1.5, "4", true]), "from 0 to 16"),
        row("orientation", &["up", "1"], &json!([1, "up", true]), "apply or ignore"),
        row("crops", &["gif", "1"], &json!([1, "webp", true]), "jpeg or png"),
        row("masks", &["png", "true", "1"], &json!([1, true, "RLE", ["rle"]]), "rle or polygon"),
        row("masks", &["rle", "polygon"], &json!(["rle", "polygon"]), "model 'nanodet-g' (NanoDet) answers none"),
        row("keypoints", &["yes", "2"], &json!([1, "true", {}]), "true or false"),
        row("keypoints", &["true"], &json!([true]), "model 'nanodet-g' (NanoDet) answers none"),
        row("normalized", &["yes", "2"], &json!([1, "true", {}]), "true or false"),
        row(
            "version",
            &["new", "-1", "1.5", "99999999999999999999"],
            &json!([-1, 1.5, true, "new", []]),
            "whole number from 0",
        ),
        row("version_label", &[LONG], &json!([3, true, [], LONG]), "at most 128 bytes"),
    ]
}

fn in_query(spotter: &Spotter, options: &[(&str, &str)]) -> RequestBuilder {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(options).finish();
    spotter.post(&format!("/v1/detect?{query}")).header(CONTENT_TYPE, "image/png").body(photo("chelsea.png"))
}

fn in_form(spotter: &Spotter, options: &[(&str, &str)]) -> RequestBuilder {
    let form = Form::new().part("image", Part::stream(photo("chelsea.png")));
    let form = options.iter().fold(form, |form, (name, value)| form.text((*name).to_owned(), (*value).to_owned()));
    spotter.post("/v1/detect").multipart(form)
}

fn in_json(spotter: &Spotter, options: &[(&str, Value)]) -> RequestBuilder {
    let mut body: Map<String, Value> =
        options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    body.insert("image".to_owned(), BASE64_STANDARD.encode(photo("chelsea.png")).into());
    spotter.post("/v1/detect").json(&body)
}

async fn assert_refused(request: RequestBuilder, name: &str, bound: &str, what: &str) {
    let body = problem(request, 422, "INVALID_OPTION").await;
    let errors = body["errors"].as_array().unwrap();
    let error = errors.iter().find(|error| error["field"] == name).unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(error["detail"].as_str().unwrap().contains(bound), "{what}: {error}, expected {bound}");
}

#[tokio::test]
async fn every_wrong_value_is_refused_by_name_and_bound_in_every_form() {
    let spotter = Spotter::start(&[]).await;
    let table = table();
    for name in NAMES {
        assert!(table.iter().any(|row| row.name == name), "no row for {name}");
    }
    for Row { name, texts, values, bound } in &table {
        for text in *texts {
            assert_refused(in_query(&spotter, &[(name, text)]), name, bound, &format!("query {name}={text}")).await;
            assert_refused(in_form(&spotter, &[(name, text)]), name, bound, &format!("form {name}={text}")).await;
        }
        for value in values {
            let options = [(*name, value.clone())];
            assert_refused(in_json(&spotter, &options), name, bound, &format!("JSON {name}: {value}")).await;
        }
    }
}

#[tokio::test]
async fn options_in_conflict_are_refused_in_every_form() {
    let spotter = Spotter::start(&[]).await;
    for (pair, field, why) in [
        ([("version", "1"), ("version_label", "stable")], "version_label", "cannot both"),
        ([("classes", "cat"), ("exclude_classes", "17")], "exclude_classes", "'cat' is both"),
        ([("class_agnostic", "true"), ("normalized", "true")], "class_agnostic", "give iou"),
    ] {
        assert_refused(in_query(&spotter, &pair), field, why, "query").await;
        assert_refused(in_form(&spotter, &pair), field, why, "form").await;
        let typed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let values =
            pair.map(|(name, text)| (name, if name.contains("classes") { json!([typed(text)]) } else { typed(text) }));
        assert_refused(in_json(&spotter, &values), field, why, "JSON").await;
    }
    let twice = [("min_score", "0.1"), ("min_score", "0.2")];
    assert_refused(in_query(&spotter, &twice), "min_score", "more than once", "query").await;
    assert_refused(in_form(&spotter, &twice), "min_score", "more than once", "form").await;
}

#[tokio::test]
async fn more_options_than_anybody_needs_are_refused_however_short_they_are() {
    let spotter = Spotter::start(&[]).await;
    let (image, many) = (BASE64_STANDARD.encode(photo("chelsea.png")), r#","":0"#.repeat(12_000));
    let json = |body: String| spotter.post("/v1/detect").header(CONTENT_TYPE, "application/json").body(body);
    let query = |count: usize| format!("/v1/detect?{}", vec!["classes=cat"; count].join("&"));
    let raw = |path: &str| spotter.post(path).body(photo("chelsea.png"));
    for request in [
        raw(&query(513)),
        raw(&format!("/v1/detect?{}", "a&".repeat(16_000))),
        json(format!(r#"{{"image":"{image}"{many}}}"#)),
    ] {
        let body = problem(request, 422, "INVALID_OPTION").await;
        assert_eq!(body["max_options"], 512, "{body}");
    }
    let batch = format!(r#"{{"images":[{{"image":"{image}"{many}}},{{"image":"{image}"}}]}}"#);
    let batch = spotter.post("/v1/detect/batch").header(CONTENT_TYPE, "application/json").body(batch);
    let body: Value = batch.send().await.unwrap().json().await.unwrap();
    assert_eq!((&body["failed"], &body["photos"][0]["problem"]["max_options"]), (&json!(1), &json!(512)), "{body}");
    assert_eq!(raw(&query(250)).send().await.unwrap().status(), 200, "as many as there are classes");
}
