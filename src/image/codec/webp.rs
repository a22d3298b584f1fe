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
    let mut decoder = WebPDecoder::new(Cursor::new(bytes))?;
    let (width, height) = decoder.dimensions();
    // An EXIF block that cannot be read is no reason to refuse the picture.
    let block = decoder.exif_metadata().ok().flatten();
    let orientation = block.map_or(Orientation::NoTransforms, |block| exif::orientation(&block));
    Ok(Header { stored: Size::new(width, height), orientation, plain: false })
}
