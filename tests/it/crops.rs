//! Detections with their part of the photo.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage, imageops};
use serde_json::Value;

use crate::support::photos::photo;
use crate::support::service::{Spotter, problem};

/// The edges of a box: left, upper, right, lower.
fn edges(found: &Value) -> [u32; 4] {
    ["x_min", "y_min", "x_max", "y_max"].map(|edge| u32::try_from(found["box"][edge].as_u64().unwrap()).unwrap())
}

fn file(found: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(found["crop"]["image"].as_str().unwrap()).unwrap()
}

fn cut(picture: &RgbImage, [x_min, y_min, x_max, y_max]: [u32; 4]) -> RgbImage {
    imageops::crop_imm(picture, x_min, y_min, x_max - x_min, y_max - y_min).to_image()
}

#[tokio::test]
async fn each_detection_comes_with_the_pixels_of_its_box() {
    let spotter = Spotter::start(&[]).await;
    for name in ["astronaut.png", "coffee.png"] {
        let upright = image::load_from_memory(&photo(name)).unwrap().to_rgb8();
        let answer = spotter.detect("/v1/detect?crops=png", photo(name)).await;
        assert!(answer.get("crops_omitted").is_none(), "{answer}");
        for found in answer["detections"].as_array().unwrap() {
            assert_eq!(found["crop"]["format"], "png");
            let crop = image::load_from_memory_with_format(&file(found), ImageFormat::Png).unwrap().to_rgb8();
            assert_eq!(crop, cut(&upright, edges(found)), "{name} {}", found["label"]);
            assert_eq!(
                (&found["crop"]["width"], &found["crop"]["height"]),
                (&crop.width().into(), &crop.height().into())
            );
        }
    }
    let answer = spotter.detect("/v1/detect?crops=jpeg", photo("chelsea.png")).await;
    let crop = &answer["detections"][0];
    assert_eq!(image::guess_format(&file(crop)).unwrap(), ImageFormat::Jpeg);
    let without = spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert!(without["detections"][0].get("crop").is_none());
}

#[tokio::test]
async fn crops_are_cut_from_a_large_photo_at_full_resolution() {
    let spotter = Spotter::start(&[]).await;
    let cat = image::load_from_memory(&photo("chelsea.png")).unwrap().to_rgb8();
    let large = imageops::resize(&cat, cat.width() * 7, cat.height() * 7, imageops::FilterType::Triangle);
    let mut jpeg = std::io::Cursor::new(Vec::new());
    large.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let stored = image::load_from_memory(jpeg.get_ref()).unwrap().to_rgb8();
    let region = "/v1/detect?crops=png&region=1400,700,2200,1400&min_score=0.05&max_detections=5";
    let answer = spotter.detect(region, jpeg.into_inner().into()).await;
    let detections = answer["detections"].as_array().unwrap();
    assert!(!detections.is_empty(), "{answer}");
    for found in detections {
        let crop = image::load_from_memory(&file(found)).unwrap().to_rgb8();
        let expected = cut(&stored, edges(found));
        assert_eq!(crop.dimensions(), expected.dimensions());
        // Two JPEG decoders; a crop of a reduced decode would be far more blurred than this.
        let off =
            crop.iter().zip(expected.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / crop.len() as f64;
        assert!(off < 1.0, "off by {off} in the mean");
    }
}

#[tokio::test]
async fn an_unknown_kind_of_crop_is_refused_by_name() {
    let spotter = Spotter::start(&[]).await;
    let body = problem(spotter.post("/v1/detect?crops=gif").body(photo("chelsea.png")), 422, "INVALID_OPTION").await;
    assert_eq!(body["errors"][0]["detail"], "crops is 'gif'; it must be jpeg or png.");
}
