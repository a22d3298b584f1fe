//! WebP: lossy, lossless, with transparency, animated (the first frame).
//!
//! The header is read here and not by the decoder, which trusts the sizes that a file declares more than a server may.

use std::io::Cursor;

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
    decode: |bytes, scale| super::decode(WebPDecoder::new(Cursor::new(container(bytes)?))?, scale),
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let mut chunks = chunks(&container(bytes)?[12..]);
    let stored = chunks.next().transpose()?.and_then(|first| size(&first));
    let stored = stored.ok_or_else(|| Broken::Damaged("no size where it must stand".into()))?;
    let mut orientation = Orientation::NoTransforms;
    for chunk in chunks {
        let chunk = chunk?;
        if chunk.name == b"EXIF" {
            orientation = exif::orientation(chunk.payload);
        }
        // The decoder makes room for a frame before it compares it with the canvas.
        for frame in frames(&chunk) {
            let frame = frame?;
            if frame.width > stored.width || frame.height > stored.height {
                return Err(Broken::Damaged("a frame larger than its canvas".into()));
            }
        }
    }
    Ok(Header { stored, orientation, plain: false })
}

/// The file without what may be appended to it.
///
/// It must be there in full: the orientation stands behind the pixels, and with the end cut off the picture would still
/// decode, but not upright.
fn container(bytes: &[u8]) -> Result<&[u8], Broken> {
    let declared = bytes.get(4..).and_then(u32_at_start);
    declared
        .and_then(|length| bytes.get(..8 + length))
        .filter(|container| container.len() >= 12)
        .ok_or_else(|| Broken::Truncated("the file is shorter than it declares".into()))
}

struct Chunk<'a> {
    name: &'a [u8; 4],
    payload: &'a [u8],
}

/// Chunk after chunk; one that is longer than what holds it is an error, and the last item.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = Result<Chunk<'_>, Broken>> {
    std::iter::from_fn(move || {
        let name = rest.first_chunk()?;
        let length = rest.get(4..).and_then(u32_at_start)?;
        let Some(payload) = rest[8..].get(..length) else {
            rest = &[];
            return Some(Err(Broken::Damaged("a chunk is longer than what holds it".into())));
        };
        // A chunk of odd length is followed by a byte of padding, which may be missing at the end.
        rest = rest[8..].get(length.next_multiple_of(2)..).unwrap_or_default();
        Some(Ok(Chunk { name, payload }))
    })
}

/// The sizes of the pictures in a chunk: its own, and those of an animation's frame, which has chunks inside.
fn frames<'a>(chunk: &Chunk<'a>) -> impl Iterator<Item = Result<Size, Broken>> + use<'a> {
    let inside = chunk.payload.get(16..).filter(|_| chunk.name == b"ANMF").unwrap_or_default();
    let inner = chunks(inside).filter_map(|inner| inner.map(|inner| size(&inner)).transpose());
    size(chunk).map(Ok).into_iter().chain(inner)
}

/// The size of a canvas or of a frame; `None` for chunks that are neither.
fn size(chunk: &Chunk<'_>) -> Option<Size> {
    match (chunk.name, chunk.payload) {
        // Each side less one, in 24 bits.
        (b"VP8X", [_, _, _, _, w0, w1, w2, h0, h1, h2, ..]) => {
            Some(Size::new(u32::from_le_bytes([*w0, *w1, *w2, 0]) + 1, u32::from_le_bytes([*h0, *h1, *h2, 0]) + 1))
        }
        // Behind the frame's tag and start code, 14 bits a side; the other two are a hint for showing it larger.
        (b"VP8 ", [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Some(Size::new(side(*w0, *w1), side(*h0, *h1)))
        }
        // Each side less one, in 14 bits that follow each other.
        (b"VP8L", [0x2f, bits @ ..]) => {
            let bits = u32::from_le_bytes(*bits.first_chunk()?);
            Some(Size::new((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        _ => None,
    }
}

fn u32_at_start(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|four| u32::from_le_bytes(*four) as usize)
}
