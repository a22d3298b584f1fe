//! Regions, tiles, thresholds and orientation: what of a photo is looked at, and what of it is listed.

use std::io::Cursor;

use bytes::Bytes;
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use serde_json::Value;
use tiff::encoder::TiffEncoder;
use tiff::encoder::colortype::RGB8;
use tiff::tags::Tag;

use crate::support::photos::{ASTRONAUT, CHELSEA, assert_found, exif, jpeg, photo, png};
use crate::support::service::{Spotter, problem};

fn decoded(name: &str) -> RgbImage {
    image::load_from_memory(&photo(name)).unwrap().to_rgb8()
}

fn with_exif(mut encoder: impl ImageEncoder, picture: &RgbImage, orientation: u8) {
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
}

fn png_turned(picture: &RgbImage, orientation: u8) -> Bytes {
    let mut file = Vec::new();
    with_exif(image::codecs::png::PngEncoder::new(&mut file), picture, orientation);
    file.into()
}

fn webp(picture: &RgbImage, orientation: u8) -> Bytes {
    let mut file = Vec::new();
    with_exif(image::codecs::webp::WebPEncoder::new_lossless(&mut file), picture, orientation);
    file.into()
}

/// The one format with a tag of its own for it.
fn tiff(picture: &RgbImage, orientation: u8) -> Bytes {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).unwrap();
    let mut page = encoder.new_image::<RGB8>(picture.width(), picture.height()).unwrap();
    page.encoder().write_tag(Tag::Orientation, u16::from(orientation)).unwrap();
    page.write_data(picture).unwrap();
    file.into_inner().into()
}

/// The picture pasted onto a grey canvas of 12 megapixels, at this place.
fn on_a_large_canvas(picture: &RgbImage, at: (i64, i64)) -> Bytes {
    let mut canvas = RgbImage::from_pixel(4000, 3000, image::Rgb([128; 3]));
    imageops::replace(&mut canvas, picture, at.0, at.1);
    png(&canvas)
}

fn labels(answer: &Value) -> Vec<&str> {
    answer["detections"].as_array().unwrap().iter().map(|found| found["label"].as_str().unwrap()).collect()
}

/// Intersection over union of a found box and the expected one.
fn iou(found: &Value, expected: [f64; 4]) -> f64 {
    let edges = ["x_min", "y_min", "x_max", "y_max"].map(|edge| found["box"][edge].as_f64().unwrap());
    let side = |low: usize| (edges[low + 2].min(expected[low + 2]) - edges[low].max(expected[low])).max(0.0);
    let area = |e: [f64; 4]| (e[2] - e[0]) * (e[3] - e[1]);
    let common = side(0) * side(1);
    common / (area(edges) + area(expected) - common)
}

/// What a camera that was held so stores.
fn stored_for(upright: &RgbImage) -> [RgbImage; 8] {
    [
        upright.clone(),
        imageops::flip_horizontal(upright),
        imageops::rotate180(upright),
        imageops::flip_vertical(upright),
        imageops::flip_horizontal(&imageops::rotate90(upright)),
        imageops::rotate270(upright),
        imageops::flip_horizontal(&imageops::rotate270(upright)),
        imageops::rotate90(upright),
    ]
}

#[tokio::test]
async fn boxes_sit_on_the_upright_photo_for_every_orientation_of_every_format_that_has_one() {
    type Write = fn(&RgbImage, u8) -> Bytes;
    let formats: [(&str, Write); 4] = [("jpeg", jpeg), ("png", png_turned), ("webp", webp), ("tiff", tiff)];
    let spotter = Spotter::start(&[]).await;
    // Not square, so that a quarter turn too few or too many has other sides as well.
    let upright = imageops::crop_imm(&decoded("astronaut.png"), 0, 0, 480, 512).to_image();
    let expected = spotter.detect("/v1/detect", png(&upright)).await;
    let boxes = |answer: &Value| -> Vec<[i64; 4]> {
        let found = answer["detections"].as_array().unwrap().iter();
        found
            .map(|found| ["x_min", "y_min", "x_max", "y_max"].map(|edge| found["box"][edge].as_i64().unwrap()))
            .collect()
    };
    // Nothing that a turn or a mirror leaves where it is.
    assert_eq!(labels(&expected)[0], "person");
    let [x_min, y_min, x_max, y_max] = boxes(&expected)[0];
    assert!((480 - x_max - x_min).abs() > 20 && (512 - y_max - y_min).abs() > 5, "{expected}");

    let stored = stored_for(&upright);
    let mut wrong = Vec::new();
    for (format, write) in formats {
        for (orientation, stored) in (1..=8).zip(&stored) {
            let answer = spotter.detect("/v1/detect", write(stored, orientation)).await;
            let image = &answer["image"];
            let told = image["format"] == format
                && image["orientation"] == orientation
                && image["orientation_applied"] == true
                && (&image["width"], &image["height"]) == (&480.into(), &512.into());
            let (found, expected_boxes) = (boxes(&answer), boxes(&expected));
            let is_near = found.len() == expected_boxes.len()
                && found.as_flattened().iter().zip(expected_boxes.as_flattened()).all(|(a, b)| (a - b).abs() <= 3);
            if !told || !is_near || labels(&answer) != labels(&expected) {
                wrong.push(format!("{format}, orientation {orientation}: {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "expected {expected}\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_wrong_turn_moves_the_boxes() {
    // What the test above relies on: the same pixels with any other orientation have other boxes.
    let spotter = Spotter::start(&[]).await;
    let upright = imageops::crop_imm(&decoded("astronaut.png"), 0, 0, 480, 512).to_image();
    let right = spotter.detect("/v1/detect", tiff(&upright, 1)).await;
    for orientation in 2..=8 {
        let wrong = spotter.detect("/v1/detect", tiff(&upright, orientation)).await;
        let person = |answer: &Value| {
            answer["detections"].as_array().unwrap().iter().find(|one| one["label"] == "person").cloned()
        };
        let (right, wrong) = (person(&right).expect("the person"), person(&wrong));
        let moved = |wrong: Value| {
            let edges = ["x_min", "y_min", "x_max", "y_max"];
            edges
                .iter()
                .any(|edge| (right["box"][edge].as_i64().unwrap() - wrong["box"][edge].as_i64().unwrap()).abs() > 3)
        };
        assert!(wrong.is_none_or(moved), "orientation {orientation} shows the same");
    }
}

#[tokio::test]
async fn orientation_can_be_ignored_and_the_answer_says_so() {
    let spotter = Spotter::start(&[]).await;
    let upright = decoded("chelsea.png");
    let answer = spotter.detect("/v1/detect?orientation=ignore", jpeg(&upright, 6)).await;
    assert_eq!(answer["image"]["orientation"], 6);
    assert_eq!(answer["image"]["orientation_applied"], false);
    assert_eq!((&answer["image"]["width"], &answer["image"]["height"]), (&451.into(), &300.into()));
    assert_found(&answer, CHELSEA);
}

#[tokio::test]
async fn inside_a_region_a_small_object_is_found_in_pixels_of_the_photo() {
    let spotter = Spotter::start(&[]).await;
    let large = on_a_large_canvas(&decoded("chelsea.png"), (3000, 2000));
    assert!(labels(&spotter.detect("/v1/detect?classes=cat", large.clone()).await).is_empty(), "too small to be seen");
    let answer = spotter.detect("/v1/detect?region=3000,2000,3451,2300", large.clone()).await;
    let moved: Vec<_> = CHELSEA
        .iter()
        .map(|&(id, label, score, e)| (id, label, score, [e[0] + 3000, e[1] + 2000, e[2] + 3000, e[3] + 2000]))
        .collect();
    assert_found(&answer, &moved);

    let request = spotter.post("/v1/detect?region=3000,2000,4001,2300").body(large);
    let body = problem(request, 422, "INVALID_OPTION").await;
    assert!(body["detail"].as_str().unwrap().contains("4000 x 3000"), "{body}");
}

#[tokio::test]
async fn with_tiles_small_objects_on_a_large_canvas_are_found() {
    // Seventeen pictures and more for a model that is not built to be fast here, on a machine that may be busy.
    let spotter = Spotter::start(&["--max-tiles", "64", "--request-timeout-ms", "300000"]).await;
    let large = on_a_large_canvas(&imageops::thumbnail(&decoded("astronaut.png"), 160, 160), (1300, 900));
    let person = ASTRONAUT[0].3.map(|edge| edge as f64 * 160.0 / 512.0);
    let expected = [person[0] + 1300.0, person[1] + 900.0, person[2] + 1300.0, person[3] + 900.0];
    let recall = |answer: &Value| {
        let found = answer["detections"].as_array().unwrap();
        found.iter().filter(|found| found["label"] == "person" && iou(found, expected) > 0.5).count()
    };
    let whole = spotter.detect("/v1/detect", large.clone()).await;
    assert_eq!(recall(&whole), 0, "too small to be seen: {whole}");
    let tiled = spotter.detect("/v1/detect?tiles=48", large.clone()).await;
    assert_eq!(recall(&tiled), 1, "once, and in one piece: {tiled}");
    assert!(tiled["image"]["tiles"].as_u64().unwrap() > 8, "{tiled}");
    let body = problem(spotter.post("/v1/detect?tiles=65").body(large), 422, "INVALID_OPTION").await;
    assert!(body["detail"].as_str().unwrap().contains("from 0 to 64"), "{body}");
}

#[tokio::test]
async fn a_photo_that_the_model_sees_at_full_scale_is_not_cut() {
    let spotter = Spotter::start(&[]).await;
    let small = png(&imageops::thumbnail(&decoded("chelsea.png"), 400, 266));
    let answer = spotter.detect("/v1/detect?tiles=16", small).await;
    assert!(answer["image"].get("tiles").is_none(), "{answer}");
}

#[tokio::test]
async fn classes_have_their_own_thresholds_and_overlaps_can_be_thinned_out() {
    let spotter = Spotter::start(&[]).await;
    let coffee = photo("coffee.png");
    let strict = spotter.detect("/v1/detect?min_scores=dining%20table:0.5", coffee.clone()).await;
    assert_eq!(labels(&strict), ["cup", "cup"]);
    let lenient = spotter.detect("/v1/detect?min_score=0.36&min_scores=cup:0.345", coffee.clone()).await;
    assert_eq!(labels(&lenient), ["dining table", "cup"]);
    let thinned = spotter.detect("/v1/detect?iou=0.5&class_agnostic=true", coffee.clone()).await;
    assert_eq!(labels(&thinned), ["dining table", "cup"], "the cup that is as large as the table is gone");
    assert_eq!(
        labels(&spotter.detect("/v1/detect?iou=0.5", coffee).await).len(),
        3,
        "within a class nothing overlaps so"
    );
}
