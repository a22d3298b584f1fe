//! What a file is that cannot be decoded here, so that the answer can say it.

use super::codec::CODECS;
use super::magic::{self, Magic};
use crate::fault::{Code, Fault};

/// A format that is recognised and refused.
struct Foreign {
    /// What it is, as it stands behind "This looks like".
    title: &'static str,
    /// `None` where there is no usual one.
    media_type: Option<&'static str>,
    magic: &'static [Magic],
}

const fn foreign(title: &'static str, media_type: &'static str, magic: &'static [Magic]) -> Foreign {
    Foreign { title, media_type: Some(media_type), magic }
}

const HEIC: &str = "a HEIC photo";
const RAW: &str = "the raw file of a camera";

/// First match wins: the brands of HEIC and AVIF stand before the box that they share with video.
static FOREIGN: &[Foreign] = &[
    foreign(
        HEIC,
        "image/heic",
        &[
            &[(4, b"ftypheic")],
            &[(4, b"ftypheix")],
            &[(4, b"ftypheim")],
            &[(4, b"ftypheis")],
            &[(4, b"ftyphevc")],
            &[(4, b"ftyphevx")],
            &[(4, b"ftyphevm")],
            &[(4, b"ftyphevs")],
        ],
    ),
    // Also with a neutral major brand; the brand behind it tells.
    foreign(
        "an AVIF picture",
        "image/avif",
        &[
            &[(4, b"ftypavif")],
            &[(4, b"ftypavis")],
            &[(4, b"ftypmif1"), (16, b"avif")],
            &[(4, b"ftypmif1"), (20, b"avif")],
            &[(4, b"ftypmsf1"), (16, b"avis")],
            &[(4, b"ftypmsf1"), (20, b"avis")],
        ],
    ),
    foreign(HEIC, "image/heif", &[&[(4, b"ftypmif1")], &[(4, b"ftypmsf1")]]),
    foreign(RAW, "image/x-canon-cr3", &[&[(4, b"ftypcrx ")]]),
    foreign("a QuickTime video", "video/quicktime", &[&[(4, b"ftypqt  ")], &[(4, b"moov")], &[(4, b"mdat")]]),
    foreign("an MP4 video", "video/mp4", &[&[(4, b"ftyp")]]),
    foreign("a JPEG XL picture", "image/jxl", &[&[(0, b"\xff\x0a")], &[(0, b"\0\0\0\x0cJXL \r\n\x87\n")]]),
    foreign("a JPEG 2000 picture", "image/jp2", &[&[(0, b"\0\0\0\x0cjP  \r\n\x87\n")], &[(0, b"\xff\x4f\xff\x51")]]),
    foreign("an icon (ICO)", "image/vnd.microsoft.icon", &[&[(0, b"\0\0\x01\0")]]),
    foreign("a Photoshop document", "image/vnd.adobe.photoshop", &[&[(0, b"8BPS")]]),
    foreign(RAW, "image/x-fuji-raf", &[&[(0, b"FUJIFILMCCD-RAW")]]),
    foreign(RAW, "image/x-panasonic-rw2", &[&[(0, b"IIU\0")]]),
    foreign(RAW, "image/x-olympus-orf", &[&[(0, b"IIRO")], &[(0, b"IIRS")], &[(0, b"MMOR")]]),
    foreign("an OpenEXR picture", "image/x-exr", &[&[(0, b"\x76\x2f\x31\x01")]]),
    foreign("a PDF document", "application/pdf", &[&[(0, b"%PDF-")]]),
    foreign("a ZIP archive", "application/zip", &[&[(0, b"PK\x03\x04")], &[(0, b"PK\x05\x06")]]),
    foreign("gzip data", "application/gzip", &[&[(0, b"\x1f\x8b\x08")]]),
    foreign("a WebM or Matroska video", "video/webm", &[&[(0, b"\x1a\x45\xdf\xa3")]]),
    foreign("an AVI video", "video/x-msvideo", &[&[(0, b"RIFF"), (8, b"AVI ")]]),
    // What the other forms of a request carry inside; sent as the photo itself, it was not unwrapped.
    Foreign {
        title: "base64 text instead of the bytes that it stands for",
        media_type: None,
        magic: &[&[(0, b"data:image/")], &[(0, b"/9j/")], &[(0, b"iVBORw0KGgo")], &[(0, b"UklGR")], &[(0, b"R0lGOD")]],
    },
];

/// Formats that are text, by what a start tag or a first sign says; compared without white space before it, in lower case.
static TEXT: &[(&str, &str, &[&str])] = &[
    ("an SVG drawing", "image/svg+xml", &["<svg"]),
    ("an HTML page", "text/html", &["<!doctype html", "<html", "<head", "<body"]),
    ("an XML document", "application/xml", &["<?xml"]),
    ("JSON", "application/json", &["{", "["]),
];

/// The refusal of bytes that no codec recognises: says what they look like.
pub(super) fn refusal(bytes: &[u8]) -> Fault {
    if let Some(found) = FOREIGN.iter().find(|each| each.magic.iter().any(|magic| magic::matches(bytes, magic))) {
        return refuse(found.title, found.media_type);
    }
    if let Some((title, media_type)) = text(bytes) {
        return refuse(title, Some(media_type));
    }
    let hex: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    fault(&format!("The format of the image is not known: it starts with the bytes {}.", hex.join(" ")))
}

/// The refusal of a TIFF that only wraps the raw data of a camera.
pub(super) fn camera_raw() -> Fault {
    refuse(RAW, Some("image/x-dcraw"))
}

fn refuse(title: &str, media_type: Option<&str>) -> Fault {
    let fault = fault(&format!("This looks like {title}, which is not supported."));
    match media_type {
        Some(media_type) => fault.with("detected", media_type),
        None => fault,
    }
}

fn fault(found: &str) -> Fault {
    let titles: Vec<&str> = CODECS.iter().map(|codec| codec.title).collect();
    let (last, others) = titles.split_last().expect("there are formats");
    let supported: Vec<&str> = CODECS.iter().map(|codec| codec.media_type).collect();
    Fault::new(Code::UnsupportedImageFormat, format!("{found} Send {} or {last}.", others.join(", ")))
        .with("supported", supported)
}

fn text(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    // Far enough for an <svg> behind an XML declaration and a comment.
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).to_ascii_lowercase();
    let start = start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let is = |signs: &[&str]| signs.iter().any(|sign| start.starts_with(sign));
    let (title, media_type, _) = TEXT
        .iter()
        .find(|(_, media_type, signs)| {
            is(signs) || *media_type == "image/svg+xml" && start.starts_with('<') && start.contains("<svg")
        })
        .copied()?;
    Some((title, media_type))
}
