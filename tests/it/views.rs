//! Regions, tiles, thresholds and orientation: what of a photo is looked at, and what of it is listed.

use bytes::Bytes;
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use serde_json::Value;

use crate::support::photos::{ASTRONAUT, CHELSEA, assert_found, photo};
use crate::support::service::{Spotter, problem};

fn decoded(name: &str) -> RgbImage {
    image::load_from_memory(&photo(name)).unwrap().to_rgb8()
}

fn png(picture: &RgbImage) -> Bytes {
    let mut file = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    file.into()
}

/// A JPEG with an EXIF orientation.
fn jpeg(picture: &RgbImage, orientation: u8) -> Bytes {
    let mut file = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 100);
    // A TIFF of one directory with one entry: tag 0x0112, type SHORT, one value.
    let exif =
        [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec(), vec![orientation, 0, 0, 0, 0, 0, 0]].concat();
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    file.into()
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

#[tokio::test]
async fn boxes_sit_on_the_upright_photo_for_every_orientation() {
    let spotter = Spotter::start(&[]).await;
    let upright = decoded("astronaut.png");
    // What a camera that was held so stores.
    let stored: [RgbImage; 8] = [
        upright.clone(),
        imageops::flip_horizontal(&upright),
        imageops::rotate180(&upright),
        imageops::flip_vertical(&upright),
        imageops::flip_horizontal(&imageops::rotate90(&upright)),
        imageops::rotate270(&upright),
        imageops::flip_horizontal(&imageops::rotate270(&upright)),
        imageops::rotate90(&upright),
    ];
    for (orientation, stored) in (1..=8).zip(&stored) {
        let answer = spotter.detect("/v1/detect", jpeg(stored, orientation)).await;
        assert_eq!(answer["image"]["orientation"], orientation, "{answer}");
        assert_eq!(answer["image"]["orientation_applied"], true);
        assert_found(&answer, ASTRONAUT);
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
    let spotter = Spotter::start(&["--max-tiles", "64"]).await;
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
