//! Photos and what is in them.

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use serde_json::Value;

use super::repo;

/// The bytes of a committed photo.
pub fn photo(name: &str) -> Bytes {
    std::fs::read(repo("tests/photos").join(name)).unwrap().into()
}

/// What NanoDet-g finds at score 0.3, as models/README.md has it: class, score, box.
pub type Object = (i64, &'static str, f64, [i64; 4]);

pub const CHELSEA: &[Object] = &[(17, "cat", 0.56, [1, 1, 439, 297])];
pub const ASTRONAUT: &[Object] = &[(1, "person", 0.73, [14, 14, 364, 507]), (62, "chair", 0.33, [275, 346, 500, 512])];
pub const COFFEE: &[Object] = &[
    (67, "dining table", 0.37, [15, 2, 595, 400]),
    (47, "cup", 0.35, [8, 6, 546, 394]),
    (47, "cup", 0.34, [170, 19, 416, 250]),
];

/// The detections of an answer are these objects, in this order: boxes within 3 px, scores within 0.02.
#[track_caller]
pub fn assert_found(answer: &Value, expected: &[Object]) {
    let detections = answer["detections"].as_array().unwrap_or_else(|| panic!("no detections in {answer}"));
    assert_eq!(detections.len(), expected.len(), "{answer}");
    for (found, &(class_id, label, score, edges)) in detections.iter().zip(expected) {
        assert_eq!((&found["class_id"], &found["label"]), (&class_id.into(), &label.into()), "{found}");
        assert!((found["score"].as_f64().unwrap() - score).abs() <= 0.02, "{found}, expected {score}");
        for (name, edge) in ["x_min", "y_min", "x_max", "y_max"].into_iter().zip(edges) {
            assert!((found["box"][name].as_i64().unwrap() - edge).abs() <= 3, "{found}, expected {edges:?}");
        }
    }
}

/// The astronaut in some ten kilobytes.
pub fn small_astronaut() -> Bytes {
    let mut file = Vec::new();
    let astronaut = image::load_from_memory(&photo("astronaut.png")).unwrap().to_rgb8();
    astronaut.write_with_encoder(JpegEncoder::new_with_quality(&mut file, 70)).unwrap();
    file.into()
}

/// A PNG.
pub fn png(picture: &RgbImage) -> Bytes {
    let mut file = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    file.into()
}

/// EXIF that says how the picture is to be turned: a TIFF of one directory with one entry, tag 0x0112, type SHORT, one value.
pub fn exif(orientation: u8) -> Vec<u8> {
    [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec(), vec![orientation, 0, 0, 0, 0, 0, 0]].concat()
}

/// A JPEG with an EXIF orientation.
pub fn jpeg(picture: &RgbImage, orientation: u8) -> Bytes {
    let mut file = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 100);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    file.into()
}
