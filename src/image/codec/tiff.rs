//! TIFF: the first picture of the file.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::tiff::TiffDecoder;
use image::metadata::Orientation;

use super::{Broken, Codec, Header};
use crate::geometry::Size;
use crate::image::format::Format;

pub(super) const CODEC: Codec = Codec {
    format: Format::Tiff,
    name: "tiff",
    title: "TIFF",
    media_type: "image/tiff",
    // Little and big end first, each with 32-bit offsets and, as `BigTIFF`, with 64-bit ones. The bytes of Canon's CR2
    // behind the first of them are looked for in the header.
    magic: &[&[(0, b"II*\0")], &[(0, b"MM\0*")], &[(0, b"II+\0")], &[(0, b"MM\0+")]],
    header,
    complete: |_| false,
    decode: |bytes, stored| super::decode(TiffDecoder::new(Cursor::new(bytes))?, stored),
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    if is_camera_raw(bytes) {
        return Err(Broken::CameraRaw);
    }
    let mut decoder = TiffDecoder::new(Cursor::new(bytes))?;
    let (width, height) = decoder.dimensions();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok(Header { stored: Size::new(width, height), orientation, plain: false })
}

/// Whether the first picture is only the preview of a camera's raw data, which many makers wrap into TIFF (DNG, NEF, ARW,
/// PEF, CR2). Boxes found in a preview of 160 pixels would not fit the photo that the client sees.
fn is_camera_raw(bytes: &[u8]) -> bool {
    const NEW_SUBFILE_TYPE: u16 = 254;
    const REDUCED: u32 = 1;
    const DNG_VERSION: u16 = 50706;
    bytes.get(8..10) == Some(b"CR")
        || first_directory(bytes)
            .any(|(tag, value)| tag == DNG_VERSION || tag == NEW_SUBFILE_TYPE && value & REDUCED != 0)
}

/// Tag and value (as if 32 bits long) of each entry of the first directory; nothing for `BigTIFF`.
fn first_directory(bytes: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    let is_little = bytes.starts_with(b"II");
    let u16_at = move |at: usize| {
        let two = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let u32_at = move |at: usize| {
        let four = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    };
    let is_classic = u16_at(2) == Some(42);
    let start = u32_at(4).filter(|_| is_classic).map_or(bytes.len(), |start| start as usize);
    let entries = u16_at(start).map_or(0, usize::from);
    (0..entries).map_while(move |entry| {
        let at = start + 2 + 12 * entry;
        Some((u16_at(at)?, u32_at(at + 8)?))
    })
}
