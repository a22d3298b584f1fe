//! Masks and keypoints through the service: a scripted Mask R-CNN and a scripted keypoint model.

use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};
use spotter::backend::serving::proto::tensorflow::serving::PredictResponse;
use spotter::backend::serving::proto::tensorflow::{DataType, TensorProto};
use spotter::grpc::proto::v1;
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use tonic::{Code, Status};

use crate::support::photos::{jpeg, photo, png};
use crate::support::scripted_serving::{Script, ScriptedServing, floats, response};
use crate::support::service::{Spotter, problem};

const BOXES: [&str; 4] = ["detection_boxes", "detection_scores", "detection_classes", "num_detections"];

/// A cat in the middle half of every picture.
fn cat() -> [(&'static str, TensorProto); 4] {
    [
        ("detection_boxes", floats(&[1, 1, 4], &[0.25, 0.25, 0.75, 0.75])),
        ("detection_scores", floats(&[1, 1], &[0.9])),
        ("detection_classes", floats(&[1, 1], &[17.0])),
        ("num_detections", floats(&[1], &[1.0])),
    ]
}

/// A model with a further output, which it answers only where it is asked for.
fn model(boxes: [(&'static str, TensorProto); 4], more: &[(&'static str, &[i64], TensorProto)]) -> Script {
    let script = more
        .iter()
        .fold(Script::image_tensor(), |script, (key, axes, _)| script.declaring(key, DataType::DtFloat, axes));
    let all: Vec<_> = boxes.into_iter().chain(more.iter().map(|(key, _, tensor)| (*key, tensor.clone()))).collect();
    let answer = move |asked: &[String]| -> Result<PredictResponse, Status> {
        if let Some(unknown) = asked.iter().find(|key| all.iter().all(|(known, _)| known != key)) {
            return Err(Status::invalid_argument(format!("output tensor alias not found in signature: {unknown}")));
        }
        let wanted: Vec<_> = all.iter().filter(|(key, _)| asked.iter().any(|asked| asked == key)).cloned().collect();
        Ok(response(&wanted))
    };
    Script { predict: Arc::new(move |request| answer(&request.output_filter)), ..script }
}

/// Its mask covers the box from the left edge to thirteen sixteenths: the value falls from 1 to 0.2 in the right half.
fn mask_rcnn() -> Script {
    let left = [1.0, 1.0, 0.2, 1.0, 1.0, 0.2, 1.0, 1.0, 0.2];
    model(cat(), &[("detection_masks", &[1, -1, 3, 3], floats(&[1, 1, 3, 3], &left))])
}

/// Two points; the second is beyond the right edge of the picture.
fn keypoint_model() -> Script {
    let places = floats(&[1, 1, 2, 2], &[0.5, 0.25, 0.1, 1.1]);
    let scores = floats(&[1, 1, 2], &[0.75, 0.123_456]);
    model(cat(), &[("detection_keypoints", &[1, -1, 2, 2], places), ("detection_keypoint_scores", &[1, -1, 2], scores)])
}

async fn in_front_of(script: Script) -> (ScriptedServing, Spotter) {
    let serving = ScriptedServing::start(script).await;
    let spotter = Spotter::start(&["--serving", &serving.url(), "--labels", "coco"]).await;
    (serving, spotter)
}

/// Which pixels a mask covers, by column and row, decoded as COCO's tools do.
fn decoded(rle: &Value) -> Vec<(u64, u64)> {
    let height = rle["size"][0].as_u64().unwrap();
    let mut pixels = Vec::new();
    let mut at = 0;
    for (turn, count) in rle["counts"].as_array().unwrap().iter().enumerate() {
        let count = count.as_u64().unwrap();
        if turn % 2 == 1 {
            pixels.extend((at..at + count).map(|pixel| (pixel / height, pixel % height)));
        }
        at += count;
    }
    assert_eq!(at, height * rle["size"][1].as_u64().unwrap(), "every pixel is either inside or outside");
    pixels
}

/// The least and the greatest column and row: `x_min, y_min, x_max, y_max`, the last two exclusive.
fn extent(pixels: &[(u64, u64)]) -> [u64; 4] {
    let (xs, ys) = (pixels.iter().map(|pixel| pixel.0), pixels.iter().map(|pixel| pixel.1));
    [xs.clone().min().unwrap(), ys.clone().min().unwrap(), xs.max().unwrap() + 1, ys.max().unwrap() + 1]
}

/// Whether exactly the pixels of this rectangle are covered.
fn assert_fills(found: &Value, edges: [u64; 4]) {
    let pixels = decoded(&found["mask"]["rle"]);
    assert_eq!(extent(&pixels), edges, "{found}");
    let area = (edges[2] - edges[0]) * (edges[3] - edges[1]);
    assert_eq!((pixels.len() as u64, &found["mask"]["area"]), (area, &area.into()));
}

#[tokio::test]
async fn masks_are_asked_for_only_where_they_are_wanted() {
    let (serving, spotter) = in_front_of(mask_rcnn()).await;
    let asked = || {
        let mut outputs = serving.last_predict().1.output_filter;
        outputs.sort();
        outputs
    };
    let mut boxes = BOXES.to_vec();
    boxes.sort_unstable();
    let plain = spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(asked(), boxes);
    assert!(plain["detections"][0].get("mask").is_none() && plain.get("masks_omitted").is_none(), "{plain}");
    spotter.detect("/v1/detect?masks=rle", photo("chelsea.png")).await;
    let mut all = [&boxes[..], &["detection_masks"]].concat();
    all.sort_unstable();
    assert_eq!(asked(), all);
}

#[tokio::test]
async fn run_lengths_are_the_pixels_of_the_object_in_the_photo() {
    let (_serving, spotter) = in_front_of(mask_rcnn()).await;
    let answer = spotter.detect("/v1/detect?masks=rle", photo("chelsea.png")).await;
    let found = &answer["detections"][0];
    assert_eq!(found["box"], json!({"x_min": 113, "y_min": 75, "x_max": 338, "y_max": 225}));
    assert_eq!(found["mask"]["rle"]["size"], json!([300, 451]), "height and width, as COCO has it");
    // Thirteen sixteenths of 112.75 to 338.25 end at 295.97.
    assert_fills(found, [113, 75, 296, 225]);
    assert!(found["mask"].get("polygons").is_none());
}

#[tokio::test]
async fn polygons_are_lines_around_the_same_pixels() {
    let (_serving, spotter) = in_front_of(mask_rcnn()).await;
    let answer = spotter.detect("/v1/detect?masks=polygon", photo("chelsea.png")).await;
    let mask = &answer["detections"][0]["mask"];
    assert_eq!(mask["area"], 183 * 150);
    assert!(mask.get("rle").is_none());
    let [polygon] = mask["polygons"].as_array().unwrap().as_slice() else { panic!("one line: {mask}") };
    let corners: Vec<f64> = polygon.as_array().unwrap().iter().map(|edge| edge.as_f64().unwrap()).collect();
    let (xs, ys) = (corners.iter().step_by(2), corners.iter().skip(1).step_by(2));
    let ends = |edges: Vec<&f64>| {
        (edges.iter().copied().copied().fold(f64::MAX, f64::min), edges.into_iter().copied().fold(0.0, f64::max))
    };
    assert_eq!((ends(xs.collect()), ends(ys.collect())), ((113.0, 296.0), (75.0, 225.0)), "{corners:?}");
}

#[tokio::test]
async fn boxes_masks_and_keypoints_share_the_frame_of_the_upright_photo_and_of_a_region() {
    let upright = image::load_from_memory(&photo("chelsea.png")).unwrap().to_rgb8();
    // As a camera held on its side stores it.
    let turned = jpeg(&image::imageops::rotate270(&upright), 6);
    let (_serving, spotter) = in_front_of(mask_rcnn()).await;
    let answer = spotter.detect("/v1/detect?masks=rle", turned.clone()).await;
    assert_eq!(answer["image"]["orientation"], 6);
    assert_eq!(answer["detections"][0]["mask"]["rle"]["size"], json!([300, 451]));
    assert_fills(&answer["detections"][0], [113, 75, 296, 225]);
    let stored = spotter.detect("/v1/detect?masks=rle&orientation=ignore", turned).await;
    assert_eq!(stored["detections"][0]["mask"]["rle"]["size"], json!([451, 300]));
    assert_fills(&stored["detections"][0], [75, 113, 197, 338]);

    // The middle half of 200 x 80 from 100, 20, and thirteen sixteenths of its width.
    let region = "/v1/detect?region=100,20,300,100&masks=rle&normalized=true&crops=png";
    let answer = spotter.detect(region, photo("chelsea.png")).await;
    let found = &answer["detections"][0];
    assert_eq!(found["box"], json!({"x_min": 150, "y_min": 40, "x_max": 250, "y_max": 80}));
    assert_fills(found, [150, 40, 231, 80]);
    assert!(found["box_normalized"]["x_max"].as_f64().unwrap() < 1.0 && found["crop"]["width"] == 100, "{found}");

    let (_serving, spotter) = in_front_of(keypoint_model()).await;
    let answer = spotter.detect("/v1/detect?region=100,20,300,100&keypoints=true", photo("chelsea.png")).await;
    let places =
        json!([{"id": 0, "x": 150.0, "y": 60.0, "score": 0.75}, {"id": 1, "x": 320.0, "y": 28.0, "score": 0.1235}]);
    assert_eq!(answer["detections"][0]["keypoints"], places);
}

#[tokio::test]
async fn keypoints_have_the_names_of_the_label_map() {
    let mut labels = tempfile::Builder::new().suffix(".pbtxt").tempfile().unwrap();
    let text = "item { id: 17 name: 'cat' keypoints { id: 0 label: 'nose' } keypoints { id: 5 label: 'tail' } }";
    labels.write_all(text.as_bytes()).unwrap();
    let serving = ScriptedServing::start(keypoint_model()).await;
    let spotter = Spotter::start(&["--serving", &serving.url(), "--labels", labels.path().to_str().unwrap()]).await;
    let answer = spotter.detect("/v1/detect?keypoints=true", photo("chelsea.png")).await;
    let keypoints = &answer["detections"][0]["keypoints"];
    assert_eq!(keypoints[0], json!({"id": 0, "name": "nose", "x": 112.8, "y": 150.0, "score": 0.75}));
    assert_eq!(keypoints[1], json!({"id": 1, "x": 496.1, "y": 30.0, "score": 0.1235}), "no name, and beside the photo");
    let without = spotter.detect("/v1/detect?keypoints=false", photo("chelsea.png")).await;
    assert!(without["detections"][0].get("keypoints").is_none());
}

async fn picture(spotter: &Spotter, path: &str) -> RgbImage {
    let request = spotter.post(path).header(ACCEPT, "image/png").body(photo("chelsea.png"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    image::load_from_memory(&answer.bytes().await.unwrap()).unwrap().to_rgb8()
}

#[tokio::test]
async fn in_a_picture_masks_are_tinted_and_keypoints_are_marked() {
    let (_serving, spotter) = in_front_of(mask_rcnn()).await;
    let (plain, tinted) = (picture(&spotter, "/v1/detect").await, picture(&spotter, "/v1/detect?masks=rle").await);
    // Inside of the box's line, and below its tag.
    let differs: Vec<bool> = (120..330).map(|x| plain.get_pixel(x, 150) != tinted.get_pixel(x, 150)).collect();
    let edge = 296 - 120;
    assert!(differs[..edge].iter().filter(|differs| **differs).count() > edge * 9 / 10);
    assert!(differs[edge..].iter().all(|differs| !differs));

    let (_serving, spotter) = in_front_of(keypoint_model()).await;
    let (plain, marked) = (picture(&spotter, "/v1/detect").await, picture(&spotter, "/v1/detect?keypoints=true").await);
    let differing = plain.enumerate_pixels().filter(|(x, y, pixel)| marked.get_pixel(*x, *y) != *pixel);
    let (xs, ys): (Vec<_>, Vec<_>) = differing.map(|(x, y, _)| (x, y)).unzip();
    assert!(!xs.is_empty() && xs.iter().all(|x| (105..121).contains(x)) && ys.iter().all(|y| (142..159).contains(y)));
}

#[tokio::test]
async fn each_photo_of_a_batch_has_its_own_masks() {
    let (_serving, spotter) = in_front_of(mask_rcnn()).await;
    let image = BASE64_STANDARD.encode(photo("chelsea.png"));
    let batch = json!({"images": [{"image": image, "masks": "rle"}, {"image": image}], "masks": "polygon"});
    let answer: Value = spotter.post("/v1/detect/batch").json(&batch).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["failed"], 0, "{answer}");
    let mask = |index: usize| &answer["photos"][index]["answer"]["detections"][0]["mask"];
    assert_fills(&answer["photos"][0]["answer"]["detections"][0], [113, 75, 296, 225]);
    assert!(mask(1)["polygons"].is_array() && mask(1).get("rle").is_none(), "{answer}");
}

#[tokio::test]
async fn grpc_says_the_same() {
    let (_serving, spotter) = in_front_of(mask_rcnn()).await;
    let mut client = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let ask = |options| v1::DetectRequest {
        photo: Some(Photo::Image(photo("chelsea.png"))),
        model: None,
        options: Some(options),
    };
    let masks = |form: v1::MaskFormat| v1::DetectOptions { masks: form.into(), ..Default::default() };
    let rest = spotter.detect("/v1/detect?masks=rle", photo("chelsea.png")).await;
    let grpc = client.detect(ask(masks(v1::MaskFormat::Rle))).await.unwrap().into_inner();
    let mask = grpc.detections[0].mask.clone().unwrap();
    let rle = mask.rle.unwrap();
    assert_eq!((rle.height, rle.width, mask.area), (300, 451, 183 * 150));
    assert_eq!(json!(rle.counts), rest["detections"][0]["mask"]["rle"]["counts"]);
    let grpc = client.detect(ask(masks(v1::MaskFormat::Polygon))).await.unwrap().into_inner();
    let mask = grpc.detections[0].mask.clone().unwrap();
    assert!(mask.rle.is_none() && mask.polygons.len() == 1 && mask.polygons[0].corners.len() >= 8, "{mask:?}");
    let keypoints = v1::DetectOptions { keypoints: Some(true), ..Default::default() };
    let status = client.detect(ask(keypoints.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    let (_serving, spotter) = in_front_of(keypoint_model()).await;
    let mut client = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let grpc = client.detect(ask(keypoints)).await.unwrap().into_inner();
    let [first, second] = grpc.detections[0].keypoints.as_slice() else { panic!("two: {grpc:?}") };
    assert_eq!((first.id, first.x, first.y, first.score), (0, 112.75, 150.0, Some(0.75)));
    assert_eq!((second.id, second.name.as_str()), (1, ""));
}

#[tokio::test]
async fn a_model_that_has_none_refuses_by_name_before_it_is_asked() {
    let (serving, spotter) = in_front_of(Script::image_tensor()).await;
    let request = spotter.post("/v1/detect?masks=rle&keypoints=true").body(photo("chelsea.png"));
    let body = problem(request, 422, "INVALID_OPTION").await;
    let fields: Vec<_> = body["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
    assert_eq!(fields, ["masks", "keypoints"]);
    let detail = body["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("masks cannot be given: version 3 of model 'model' (TF Object Detection)"), "{detail}");
    assert!(serving.received(|received| received.predicts.is_empty()));
    for (script, masks, keypoints) in [(mask_rcnn(), true, false), (keypoint_model(), false, true)] {
        let (_serving, spotter) = in_front_of(script).await;
        let model: Value = spotter.get("/v1/models/model").send().await.unwrap().json().await.unwrap();
        assert_eq!((&model["latest"]["masks"], &model["latest"]["keypoints"]), (&masks.into(), &keypoints.into()));
    }
}

#[tokio::test]
async fn a_new_version_without_masks_is_told_from_a_broken_one() {
    let (serving, spotter) = in_front_of(mask_rcnn()).await;
    spotter.detect("/v1/detect?masks=rle", photo("chelsea.png")).await;
    serving.change(|script| *script = Script { version: 4, ..model(cat(), &[]) });
    let request = spotter.post("/v1/detect?masks=rle").body(photo("chelsea.png"));
    let body = problem(request, 422, "INVALID_OPTION").await;
    assert!(body["detail"].as_str().unwrap().contains("version 4"), "{body}");
    assert_eq!(spotter.detect("/v1/detect", photo("chelsea.png")).await["model"]["version"], "4");
}

#[tokio::test]
async fn masks_that_are_none_are_the_models_fault() {
    let logits = floats(&[1, 1, 3, 3], &[-3.0, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let (_serving, spotter) = in_front_of(model(cat(), &[("detection_masks", &[1, -1, 3, 3], logits)])).await;
    problem(spotter.post("/v1/detect?masks=rle").body(photo("chelsea.png")), 502, "MODEL_CONTRACT").await;
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
}

#[tokio::test]
async fn masks_are_bounded_and_the_answer_says_how_many_went_without() {
    // Twelve objects, each all of a photo of twelve megapixels: 144 million pixels.
    let boxes = [
        ("detection_boxes", floats(&[1, 12, 4], &[0.0, 0.0, 1.0, 1.0].repeat(12))),
        ("detection_scores", floats(&[1, 12], &[0.9; 12])),
        ("detection_classes", floats(&[1, 12], &[17.0; 12])),
        ("num_detections", floats(&[1], &[12.0])),
    ];
    let full = floats(&[1, 12, 2, 2], &[1.0; 48]);
    let (_serving, spotter) = in_front_of(model(boxes, &[("detection_masks", &[1, -1, 2, 2], full)])).await;
    let large = png(&RgbImage::new(4000, 3000));
    let answer = spotter.detect("/v1/detect?masks=rle", large).await;
    assert_eq!(answer["masks_omitted"], 1);
    let masks: Vec<_> = answer["detections"].as_array().unwrap().iter().map(|found| found.get("mask")).collect();
    assert_eq!(masks[10].unwrap()["rle"], json!({"size": [3000, 4000], "counts": [0, 12_000_000]}));
    assert_eq!(masks[11], None);
}
