//! GIF: the first frame, laid onto the whole canvas.

use std::io::Cursor;

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
    decode: |bytes, scale| super::decode(GifDecoder::new(Cursor::new(bytes))?, scale),
};

/// Read here and not by the decoder, which goes on to the first frame, past comments of any length.
fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let [_, _, _, _, _, _, w0, w1, h0, h1, _, _, _, ..] = bytes else {
        return Err(Broken::Truncated("no canvas".into()));
    };
    let stored = Size::new(u16::from_le_bytes([*w0, *w1]).into(), u16::from_le_bytes([*h0, *h1]).into());
    Ok(Header { stored, orientation: Orientation::NoTransforms, plain: false })
}
