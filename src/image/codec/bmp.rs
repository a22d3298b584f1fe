//! BMP, as Windows writes it.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;

use super::{Broken, Codec, Header};
use crate::geometry::Size;
use crate::image::format::Format;

pub(super) const CODEC: Codec = Codec {
    format: Format::Bmp,
    name: "bmp",
    title: "BMP",
    media_type: "image/bmp",
    // "BM" alone also starts plain text; the length of the inner header is below 256 in every BMP there is.
    magic: &[&[(0, b"BM"), (15, b"\0\0\0")]],
    header,
    complete: |_| false,
    decode: |bytes, scale| super::decode(BmpDecoder::new(Cursor::new(bytes))?, scale),
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let (width, height) = BmpDecoder::new(Cursor::new(bytes))?.dimensions();
    Ok(Header { stored: Size::new(width, height), orientation: Orientation::NoTransforms, plain: false })
}
