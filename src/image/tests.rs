//! Every golden file of `tests/photos/formats`: the folder it lies in says what must become of it (see `make.py` there).

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::encode::{Picture, encode};
use super::fit::fit;
use super::{Decoded, Encoded, Format, Limits, Rgb};
use crate::fault::{Code, Fault};
use crate::geometry::{Letterbox, PixelBox, Size, View};

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_pixels: 1 << 20 };

/// The largest difference of one channel and the mean one that a lossy file may have. Found were 3 and 0.6 to what Pillow
/// decodes of the same file, 7 and 0.5 to the pattern that a file was made from. A wrong matrix, swapped or inverted
/// channels, a missing row are far beyond.
const LOSSY: (u8, f64) = (8, 0.7);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/photos/formats").join(name)
}

/// Every file below a folder, with its name, in order.
fn files(name: &str) -> Vec<(String, Bytes)> {
    let mut paths = Vec::new();
    let mut folders = vec![folder(name)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    assert!(!paths.is_empty(), "no files in {name}");
    let title = |path: &Path| path.strip_prefix(folder("")).unwrap().display().to_string();
    paths.iter().map(|path| (title(path), fs::read(path).unwrap().into())).collect()
}

fn file(name: &str) -> Bytes {
    fs::read(folder(name)).unwrap_or_else(|error| panic!("{name}: {error}")).into()
}

fn decode(bytes: Bytes) -> Result<Rgb, Fault> {
    Ok(Encoded::inspect(bytes, &LIMITS)?.decode()?.into_photo().expect("all of its pixels"))
}

/// Decodes at a reduced scale, where the format can.
fn decode_at_least(bytes: Bytes, least: Size) -> Result<Decoded, Fault> {
    Encoded::inspect(bytes, &LIMITS)?.decode_at_least(least)
}

/// What a file must decode to: the picture that its name starts with.
fn expected(name: &str) -> Rgb {
    let picture = Path::new(name).file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
    decode(file(&format!("expected/{picture}.png"))).unwrap_or_else(|fault| panic!("the picture of {name}: {fault}"))
}

/// Largest and mean difference of a channel.
fn difference(one: &Rgb, other: &Rgb) -> (u8, f64) {
    assert_eq!(one.size(), other.size());
    let each = || one.data().iter().zip(other.data()).map(|(a, b)| a.abs_diff(*b));
    (each().max().unwrap(), each().map(f64::from).sum::<f64>() / one.data().len() as f64)
}

#[test]
fn lossless_files_decode_to_the_exact_picture() {
    compare("exact", (0, 0.0));
}

#[test]
fn lossy_files_look_as_everybody_shows_them() {
    compare("close", LOSSY);
}

/// Decodes every file of a folder; says all that are further off than the largest and the mean difference allowed.
fn compare(folder: &str, allowed: (u8, f64)) {
    let wrong = files(folder).into_iter().filter_map(|(name, bytes)| match decode(bytes) {
        Ok(photo) => {
            let (worst, mean) = difference(&photo, &expected(&name));
            (worst > allowed.0 || mean > allowed.1).then(|| format!("{name}: off by {worst}, {mean:.2} in the mean"))
        }
        Err(fault) => Some(format!("{name}: {fault} ({:?})", fault.cause_chain())),
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_header_tells_size_and_orientation_before_a_pixel_is_decoded() {
    for (name, bytes) in files("exact").into_iter().chain(files("close")) {
        let encoded = Encoded::inspect(bytes, &LIMITS).unwrap();
        assert_eq!(encoded.photo(), expected(&name).size(), "{name}");
        let orientation = name.split('.').find_map(|part| part.strip_prefix("orientation-")).map_or("1", |n| n);
        assert_eq!(encoded.orientation().to_string(), orientation, "{name}");
    }
}

#[test]
fn fewer_pixels_are_decoded_where_they_will_do_and_never_too_few() {
    for (name, bytes) in files("close").into_iter().chain(files("exact")) {
        let photo = Encoded::inspect(bytes.clone(), &LIMITS).unwrap();
        for (width, height) in [(1, 1), (6, 4), (7, 4), (12, 8), (24, 16), (25, 16), (40, 4), (500, 500)] {
            let least = Size::new(width.min(photo.photo().width), height.min(photo.photo().height));
            let decoded = photo.decode_at_least(Size::new(width, height)).unwrap();
            let Size { width, height } = decoded.pixels().size();
            assert_eq!(decoded.photo(), photo.photo(), "{name}");
            assert!(width >= least.width && height >= least.height, "{name}: {width} x {height} for {least}");
            if photo.format() == Format::Jpeg && photo.photo() == Size::new(48, 32) {
                // With half of that to spare: see `reduction` in codec/jpeg.rs.
                let half_would_do = width >= 3 * least.width && height >= 3 * least.height;
                assert!(width == 6 || !half_would_do, "{name}: {width} x {height} for {least}");
            }
        }
    }
}

#[test]
fn a_reduced_photo_shows_the_same_at_the_same_places_however_it_is_turned() {
    // Sides that no scale divides: the last pixel of a row stands for fewer pixels than the others.
    let size = Size::new(203, 149);
    let gradient =
        (0..size.height).flat_map(|y| (0..size.width).map(move |x| [x as u8, y as u8, u32::midpoint(x, y) as u8]));
    let file = encode(&Rgb::new(size, gradient.flatten().collect()).unwrap(), Picture::Jpeg).unwrap();
    for orientation in 1..=8 {
        let photo = Encoded::inspect(turned(&file, orientation), &LIMITS).unwrap();
        assert_eq!(photo.orientation(), orientation);
        let whole = photo.decode().unwrap();
        let corner = PixelBox { x_min: 10, y_min: 30, x_max: photo.photo().width, y_max: photo.photo().height };
        for view in [View::whole(photo.photo()), View::part(photo.photo(), corner).unwrap()] {
            for side in [14, 25, 30, 50] {
                let letterbox = Letterbox::inside(view, Size::new(side, side));
                let reduced = photo.decode_at_least(letterbox.least()).unwrap();
                let fitted = |photo: &Decoded| fit(Cow::Owned(photo.clone()), &letterbox, [0; 3]).into_owned();
                assert!(reduced.pixels().size() != photo.photo(), "{side} is a reduced scale");
                let (off, _) = difference(&fitted(&reduced), &fitted(&whole));
                // A pixel further to the side is 203 / 50 = 4 levels off, and more at each smaller scale.
                assert!(off <= 3, "orientation {orientation}, {view:?} onto {side}: {off} levels off");
            }
        }
    }
}

/// The JPEG with an EXIF segment that says how it is to be turned.
fn turned(file: &[u8], orientation: u8) -> Bytes {
    let exif = [
        b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0",
        &[orientation][..],
        b"\0\0\0\0\0\0",
    ];
    [&file[..2], &exif.concat(), &file[2..]].concat().into()
}

#[test]
fn refused_files_are_answered_with_the_code_of_their_folder() {
    refuses_all(decode);
}

#[test]
fn refused_files_are_refused_at_every_scale() {
    refuses_all(|bytes| decode_at_least(bytes, Size::new(1, 1)));
}

fn refuses_all<T>(decode: impl Fn(Bytes) -> Result<T, Fault>) {
    let wrong = files("refused").into_iter().filter_map(|(name, bytes)| match decode(bytes) {
        Ok(_) => Some(format!("{name}: is decoded")),
        Err(fault) => {
            let code = Path::new(&name).parent().unwrap().file_name().unwrap().to_str().unwrap();
            let is_wrong = fault.code().name().to_ascii_lowercase() != code || !fault.detail().ends_with('.');
            is_wrong.then(|| format!("{name}: {} {fault}", fault.code().name()))
        }
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_whole() {
    for (name, bytes) in files("exact").into_iter().chain(files("close")) {
        let whole = decode(bytes.clone()).unwrap();
        let steps = (1..24).map(|step| bytes.len() * step / 24);
        let last = (1..=12).map(|missing| bytes.len().saturating_sub(missing));
        for length in steps.chain(last).filter(|length| *length > 0) {
            let reduced = decode_at_least(bytes.slice(..length), Size::new(1, 1));
            assert_eq!(reduced.is_ok(), decode(bytes.slice(..length)).is_ok(), "{name} cut to {length}, reduced");
            match decode(bytes.slice(..length)) {
                // Some formats end with bytes that no pixel needs.
                Ok(photo) => assert!(photo == whole, "{name} cut to {length} bytes is another picture"),
                Err(fault) => {
                    let known = [Code::UnreadableImage, Code::UnsupportedImageFormat];
                    assert!(known.contains(&fault.code()), "{name} cut to {length}: {}", fault.code().name());
                }
            }
        }
    }
}

#[test]
fn a_damaged_file_never_panics() {
    // Numbers by Knuth's generator: the same in every run, so that a failure can be repeated.
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for (name, bytes) in files("exact").into_iter().chain(files("close")).chain(files("refused")) {
        for round in 0..40 {
            let mut damaged = bytes.to_vec();
            // Every other time near the start, where the headers are.
            let reach = if round % 2 == 0 { damaged.len() } else { damaged.len().min(200) };
            for _ in 0..=next(4) {
                damaged[next(reach)] = next(256) as u8;
            }
            if let Err(fault) = decode(damaged.into()) {
                assert_ne!(fault.code(), Code::Internal, "{name}: {fault}");
            }
        }
    }
}

#[test]
fn a_truncated_photo_is_told_so() {
    for name in
        ["cut-in-the-pixels.jpg", "zeros-instead-of-the-end.jpg", "cut-in-the-pixels.png", "cut-in-the-pixels.tif"]
    {
        let fault = decode(file(&format!("refused/unreadable_image/{name}"))).unwrap_err();
        assert!(fault.detail().contains("ends before its picture does"), "{name}: {fault}");
        assert!(fault.cause_chain().is_some(), "{name} keeps what the decoder said");
    }
}

#[test]
fn what_is_not_implemented_is_told_apart_from_damage() {
    for name in ["arithmetic.jpg", "12-bit.jpg", "lerc.tif", "log-luv-uncompressed.tif", "signed.tif", "six-inks.tif"] {
        let fault = decode(file(&format!("refused/unreadable_image/{name}"))).unwrap_err();
        assert!(fault.detail().contains("not supported. Export it as JPEG or PNG."), "{name}: {fault}");
    }
}

#[test]
fn a_format_that_is_not_supported_is_named() {
    let refused = |name: &str| decode(file(&format!("refused/unsupported_image_format/{name}"))).unwrap_err();
    for (name, title, media_type) in [
        ("iphone.heic", "a HEIC photo", "image/heic"),
        ("neutral-brand.heif", "a HEIC photo", "image/heif"),
        ("neutral-brand.avif", "an AVIF picture", "image/avif"),
        ("photo.avif", "an AVIF picture", "image/avif"),
        ("video.mp4", "an MP4 video", "video/mp4"),
        ("nikon.nef", "the raw file of a camera", "image/x-dcraw"),
        ("drawing.svg", "an SVG drawing", "image/svg+xml"),
        ("login.html", "an HTML page", "text/html"),
    ] {
        let fault = refused(name);
        let detail =
            format!("This looks like {title}, which is not supported. Send JPEG, PNG, WebP, GIF, BMP or TIFF.");
        assert_eq!(fault.detail(), detail, "{name}");
        assert_eq!(fault.facts()["detected"], media_type, "{name}");
    }
    let fault = refused("noise.bin");
    assert!(fault.detail().starts_with("The format of the image is not known: it starts with the bytes 64 65 66"));
    assert!(!fault.facts().contains_key("detected"));
    let supported = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"];
    assert_eq!(fault.facts()["supported"], serde_json::json!(supported));
    assert!(refused("photo.base64").detail().contains("base64 text"));
}

#[test]
fn an_empty_file_is_a_missing_image() {
    assert_eq!(decode(Bytes::new()).unwrap_err().code(), Code::MissingImage);
}

#[test]
fn a_file_over_the_byte_limit_names_both_numbers() {
    let limits = Limits { max_bytes: 1000, ..LIMITS };
    let fault = Encoded::inspect(vec![0xff; 1001].into(), &limits).unwrap_err();
    assert_eq!(fault.code(), Code::PayloadTooLarge);
    assert_eq!(fault.detail(), "The image has 1001 bytes; this server accepts up to 1000.");
    assert_eq!(fault.facts()["max_bytes"], 1000);
}

#[test]
fn a_photo_over_the_pixel_limit_names_both_numbers() {
    let bomb = file("refused/image_too_large/declares-50000-x-50000.png.png");
    let fault = Encoded::inspect(bomb, &Limits { max_pixels: 50_000_000, ..LIMITS }).unwrap_err();
    assert_eq!(fault.code(), Code::ImageTooLarge);
    assert_eq!(fault.detail(), "The image is 50000 x 50000 (2500.0 MP); this server accepts up to 50.0 MP.");
    assert_eq!(fault.facts()["width"], 50_000);
    assert_eq!(fault.facts()["max_pixels"], 50_000_000);
}

#[test]
fn one_pixel_too_many_is_not_rounded_away() {
    let limits = |max_pixels| Limits { max_pixels, ..LIMITS };
    let bytes = file("expected/pattern.png");
    assert!(Encoded::inspect(bytes.clone(), &limits(48 * 32)).is_ok());
    let fault = Encoded::inspect(bytes, &limits(48 * 32 - 1)).unwrap_err();
    assert_eq!(fault.detail(), "The image is 48 x 32 (1536 pixels); this server accepts up to 1535 pixels.");
}

#[test]
fn the_limit_is_about_the_upright_photo() {
    let bytes = file("close/pattern.orientation-6.jpg");
    let fault = Encoded::inspect(bytes, &Limits { max_pixels: 10, ..LIMITS }).unwrap_err();
    assert_eq!((&fault.facts()["width"], &fault.facts()["height"]), (&48.into(), &32.into()));
}

#[test]
fn the_clients_bytes_are_passed_on_only_where_every_decoder_sees_the_same_picture() {
    let untouched = |name: &str| Encoded::inspect(file(name), &LIMITS).unwrap().untouched().is_some();
    for name in [
        "close/jpeg-baseline-420.jpg",
        "close/jpeg-progressive-420.jpg",
        "close/jpeg-grey.jpg",
        "close/jpeg-junk-at-the-end.jpg",
        "close/pattern.orientation-1.jpg",
        "exact/pattern.rgb-8.png",
        "exact/pattern.orientation-1.png",
        "exact/png-grey-1.plain.png",
        "exact/png-palette-4.plain.png",
        "exact/pattern-16.rgb.png",
    ] {
        assert!(untouched(name), "{name}");
    }
    for name in [
        "close/jpeg-cmyk-adobe.jpg",
        "close/jpeg-ycck-adobe.jpg",
        "close/pattern.orientation-3.jpg",
        "close/pattern.orientation-6.jpg",
        "exact/pattern.orientation-3.png",
        "exact/pattern-alpha.rgba-8.png",
        "exact/grey-alpha.8.png",
        "exact/pattern-gap.trns-8.png",
        "exact/png-palette-4-alpha.trns.png",
        "exact/pattern.lossless.webp",
        "exact/gif.plain.gif",
        "exact/pattern.24-bit.bmp",
        "exact/pattern.raw.tif",
        "refused/unreadable_image/cut-in-the-pixels.jpg",
        "refused/unreadable_image/cut-in-the-pixels.png",
        "refused/unreadable_image/arithmetic.jpg",
        "refused/unreadable_image/12-bit.jpg",
    ] {
        assert!(!untouched(name), "{name}");
    }
}

#[test]
fn untouched_bytes_are_the_clients_own() {
    let bytes = file("close/jpeg-baseline-420.jpg");
    let encoded = Encoded::inspect(bytes.clone(), &LIMITS).unwrap();
    assert_eq!(encoded.untouched().map(|same| same.as_ptr()), Some(bytes.as_ptr()));
}

#[test]
fn formats_are_named() {
    let format = |name: &str| Encoded::inspect(file(name), &LIMITS).unwrap().format();
    assert_eq!(format("exact/pattern.lossless.webp"), Format::WebP);
    assert_eq!(Format::WebP.name(), "webp");
    assert_eq!(Format::WebP.title(), "WebP");
    assert_eq!(format("exact/pattern.raw.tif").media_type(), "image/tiff");
}

#[test]
fn a_picture_needs_all_of_its_bytes() {
    assert!(Rgb::new(Size::new(2, 2), vec![0; 12]).is_some());
    assert!(Rgb::new(Size::new(2, 2), vec![0; 11]).is_none());
    assert!(Rgb::new(Size::new(0, 2), Vec::new()).is_none());
}
