//! PNG.
//!
//! The header is read here and not by the decoder: that one stops before the pixels, while some writers put eXIf behind
//! them, and it inflates color profiles on the way.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;

use super::{Broken, Codec, Header, exif};
use crate::geometry::Size;
use crate::image::format::Format;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

pub(super) const CODEC: Codec = Codec {
    format: Format::Png,
    name: "png",
    title: "PNG",
    media_type: "image/png",
    magic: &[&[(0, SIGNATURE)]],
    header,
    complete: |bytes| chunks(bytes).any(|chunk| chunk.name == b"IEND"),
    decode: |bytes, scale| {
        super::decode(PngDecoder::with_limits(Cursor::new(bytes), super::memory(scale.stored))?, scale)
    },
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let mut chunks = chunks(bytes);
    let Some(Chunk { name: b"IHDR", payload: [w3, w2, w1, w0, h3, h2, h1, h0, _depth, color, ..] }) = chunks.next()
    else {
        let cause = "no header where it must stand".into();
        return Err(if bytes.len() < 33 { Broken::Truncated(cause) } else { Broken::Damaged(cause) });
    };
    let stored = Size::new(u32::from_be_bytes([*w3, *w2, *w1, *w0]), u32::from_be_bytes([*h3, *h2, *h1, *h0]));
    let mut orientation = Orientation::NoTransforms;
    let mut is_transparent = matches!(color, 4 | 6);
    for chunk in chunks {
        match chunk.name {
            b"eXIf" => orientation = exif::orientation(chunk.payload),
            b"tRNS" => is_transparent = true,
            _ => {}
        }
    }
    Ok(Header { stored, orientation, plain: !is_transparent })
}

struct Chunk<'a> {
    name: &'a [u8; 4],
    payload: &'a [u8],
}

/// The chunks that are there in full.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let name = rest.get(4..)?.first_chunk()?;
        let payload = rest.get(8..)?.get(..length)?;
        // A checksum of 4 bytes ends the chunk.
        rest = rest.get(12 + length..)?;
        Some(Chunk { name, payload })
    })
}
