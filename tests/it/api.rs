//! A photo in each of the three forms, and every option.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::photos::{ASTRONAUT, CHELSEA, COFFEE, assert_found, photo};
use crate::support::service::{Spotter, problem};

#[tokio::test]
async fn a_photo_in_every_form_gives_the_same_boxes() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");

    for content_type in ["image/png", "application/octet-stream", "image/jpeg", "application/x-www-form-urlencoded"] {
        let raw = spotter.post("/v1/detect").header(CONTENT_TYPE, content_type).body(chelsea.clone());
        assert_found(&json_of(raw).await, CHELSEA);
    }
    assert_found(&json_of(spotter.post("/v1/detect").body(chelsea.clone())).await, CHELSEA);

    let part = Part::bytes(chelsea.to_vec()).file_name("猫.heic").mime_str("image/heic").unwrap();
    let form = Form::new().text("min_score", "0.3").part("image", part).text("classes", "");
    assert_found(&json_of(spotter.post("/v1/detect").multipart(form)).await, CHELSEA);

    let standard = BASE64_STANDARD.encode(&chelsea);
    let wrapped =
        standard.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\r\n");
    for text in [format!("data:image/jpeg;base64,{standard}"), BASE64_URL_SAFE_NO_PAD.encode(&chelsea), wrapped] {
        assert_found(&json_of(spotter.post("/v1/detect").json(&json!({ "image": text }))).await, CHELSEA);
    }
}

#[tokio::test]
async fn the_golden_photos_hold_what_they_hold() {
    let spotter = Spotter::start(&[]).await;
    for (name, objects) in [("chelsea.png", CHELSEA), ("astronaut.png", ASTRONAUT), ("coffee.png", COFFEE)] {
        assert_found(&spotter.detect("/v1/detect", photo(name)).await, objects);
    }
}

#[tokio::test]
async fn the_answer_has_the_documented_form() {
    let spotter = Spotter::start(&[]).await;
    let response = spotter.upload("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(response.headers()["x-model-version"], "1");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["request_id"], id);
    assert_eq!(body["model"], json!({"name": "nanodet-g", "version": "1"}));
    assert_eq!(
        body["image"],
        json!({"width": 451, "height": 300, "format": "png", "orientation": 1, "orientation_applied": true})
    );
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&body["detections"][0]), ["box", "class_id", "label", "score"]);
    assert_eq!(members(&body["timings_ms"]), ["decode", "infer", "interpret", "prepare", "queue", "total"]);
    assert!(body["timings_ms"]["infer"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn options_filter_what_is_listed() {
    let spotter = Spotter::start(&[]).await;
    let coffee = photo("coffee.png");
    let labels = |body: &Value| -> Vec<String> {
        let detections = body["detections"].as_array().unwrap();
        detections.iter().map(|found| found["label"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("max_detections=1", &["dining table"][..]),
        ("min_score=0.36", &["dining table"]),
        ("classes=cup", &["cup", "cup"]),
        ("classes=CUP,cat", &["cup", "cup"]),
        ("classes=67", &["dining table"]),
        ("exclude_classes=cup", &["dining table"]),
        ("exclude_classes=cup&exclude_classes=67", &[]),
        ("min_score=&max_detections=&classes=&version=", &["dining table", "cup", "cup"]),
        ("version=1&min_score=0.36", &["dining table"]),
    ] {
        let body = spotter.detect(&format!("/v1/detect?{query}"), coffee.clone()).await;
        assert_eq!(labels(&body), expected, "{query}");
    }
    let both =
        Form::new().part("image", Part::bytes(coffee.to_vec())).text("max_detections", "100").text("classes", "cat");
    let typed = spotter.post("/v1/detect?max_detections=1&classes=cup").multipart(both);
    assert_eq!(labels(&json_of(typed).await), ["cup"], "what stands in the query wins");
    let image = BASE64_STANDARD.encode(&coffee);
    let options = json!({"image": image, "classes": ["cup", 67], "exclude_classes": [17], "max_detections": 1});
    assert_eq!(labels(&json_of(spotter.post("/v1/detect").json(&options)).await), ["dining table"]);
    let form = Form::new().part("image", Part::bytes(coffee.to_vec())).text("max_detections", "1");
    assert_eq!(labels(&json_of(spotter.post("/v1/detect").multipart(form)).await), ["dining table"]);
}

#[tokio::test]
async fn normalized_boxes_are_fractions_of_the_photo() {
    let spotter = Spotter::start(&[]).await;
    let body = spotter.detect("/v1/detect?normalized=true", photo("chelsea.png")).await;
    let found = &body["detections"][0];
    for (name, side) in [("x_min", 451.0), ("y_min", 300.0), ("x_max", 451.0), ("y_max", 300.0)] {
        let fraction = found["box_normalized"][name].as_f64().unwrap();
        assert!((fraction * side - found["box"][name].as_f64().unwrap()).abs() < 0.001, "{found}");
    }
}

#[tokio::test]
async fn the_service_has_its_own_least_score() {
    let spotter = Spotter::start(&["--min-score", "0.36"]).await;
    let body = spotter.detect("/v1/detect", photo("coffee.png")).await;
    assert_eq!(body["detections"].as_array().unwrap().len(), 1);
    let body = spotter.detect("/v1/detect?min_score=0.3", photo("coffee.png")).await;
    assert_eq!(body["detections"].as_array().unwrap().len(), 3, "the request's own wish wins");
}

#[tokio::test]
async fn a_picture_is_answered_where_a_picture_is_accepted() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");
    let plain = image::load_from_memory(&chelsea).unwrap().to_rgb8();
    for (accept, format) in [("image/jpeg", image::ImageFormat::Jpeg), ("image/png", image::ImageFormat::Png)] {
        let request = spotter.post("/v1/detect").header(ACCEPT, accept).body(chelsea.clone());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], accept);
        let bytes = response.bytes().await.unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap(), format);
        let drawn = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(drawn.dimensions(), plain.dimensions());
        let difference = |x: u32, y: u32| {
            let (a, b) = (drawn.get_pixel(x, y), plain.get_pixel(x, y));
            a.0.iter().zip(b.0).map(|(a, b)| a.abs_diff(b)).max().unwrap()
        };
        // The right edge of the cat's box is drawn; the middle of the cat is not.
        assert!((430..445).any(|x| difference(x, 150) > 60), "{accept}: no edge");
        assert!(difference(220, 200) < 30, "{accept}: the middle was drawn on");
    }
}

#[tokio::test]
async fn the_callers_request_id_comes_back_and_an_unfit_one_is_replaced() {
    let spotter = Spotter::start(&[]).await;
    let id = |sent: &'static str| {
        let request = spotter.get("/livez").header("x-request-id", sent);
        async move { request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned() }
    };
    assert_eq!(id("my-id-7").await, "my-id-7");
    let replaced = id("has space").await;
    assert_eq!(replaced.len(), 36, "{replaced}");
    let failing = spotter.post("/v1/detect").header("x-request-id", "my-id-8");
    let body = problem(failing.header(CONTENT_TYPE, "image/png"), 400, "MISSING_IMAGE").await;
    assert_eq!(body["request_id"], "my-id-8");
}

async fn json_of(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body: Bytes = response.bytes().await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}
