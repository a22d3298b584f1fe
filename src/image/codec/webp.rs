//! WebP: lossy, lossless, with transparency, animated (the first frame).

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;

use super::{Broken, Codec, Header, exif};
use crate::geometry::Size;
use crate::image::format::Format;

pub(super) const CODEC: Codec = Codec {
    format: Format::WebP,
    name: "webp",
    title: "WebP",
    media_type: "image/webp",
    magic: &[&[(0, b"RIFF"), (8, b"WEBP")]],
    header,
    complete: |_| false,
    decode: |bytes, stored| super::decode(WebPDecoder::new(Cursor::new(bytes))?, stored),
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    // The orientation stands behind the pixels: with the end cut off, the picture would decode, but not upright.
    let declared = bytes.get(4..).and_then(length);
    if declared.is_none_or(|declared| declared > bytes.len() - 8) {
        return Err(Broken::Truncated("the file is shorter than it declares".into()));
    }
    let (width, height) = WebPDecoder::new(Cursor::new(bytes))?.dimensions();
    let orientation = exif_block(bytes).map_or(Orientation::NoTransforms, exif::orientation);
    Ok(Header { stored: Size::new(width, height), orientation, plain: false })
}

/// What the chunk EXIF holds. The decoder would first allocate what the chunk declares, up to 4 GB.
fn exif_block(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..)?;
    loop {
        let (name, payload) = (rest.get(..4)?, rest.get(8..)?.get(..length(&rest[4..])?)?);
        if name == b"EXIF" {
            return Some(payload);
        }
        // A chunk of odd length is followed by a byte of padding.
        rest = rest.get(8 + payload.len().next_multiple_of(2)..)?;
    }
}

/// The number at the start, 32 bits, the low byte first.
fn length(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|four| u32::from_le_bytes(*four) as usize)
}
