//! GIF: the first frame, laid onto the whole canvas.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::gif::GifDecoder;
use image::metadata::Orientation;

use super::{Broken, Codec, Header};
use crate::geometry::Size;
use crate::image::format::Format;

pub(super) const CODEC: Codec = Codec {
    format: Format::Gif,
    name: "gif",
    title: "GIF",
    media_type: "image/gif",
    magic: &[&[(0, b"GIF87a")], &[(0, b"GIF89a")]],
    header,
    complete: |_| false,
    decode: |bytes, stored| super::decode(GifDecoder::new(Cursor::new(bytes))?, stored),
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let (width, height) = GifDecoder::new(Cursor::new(bytes))?.dimensions();
    Ok(Header { stored: Size::new(width, height), orientation: Orientation::NoTransforms, plain: false })
}
