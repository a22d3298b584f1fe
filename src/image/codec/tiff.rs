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
    // Little and big end first.
    magic: &[&[(0, b"II*\0")], &[(0, b"MM\0*")]],
    header,
    complete: |_| false,
    decode: |bytes, stored| super::decode(TiffDecoder::new(Cursor::new(bytes))?, stored),
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    if is_camera_raw(bytes) {
        return Err(Broken::CameraRaw);
    }
    if first_directory(bytes).any(|entry| entry.is_oversized()) {
        return Err(Broken::Damaged("a list in the header that is too long".into()));
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
    let is_cr2 = bytes.get(8..10) == Some(b"CR");
    is_cr2
        || first_directory(bytes)
            .any(|entry| entry.tag == DNG_VERSION || entry.tag == NEW_SUBFILE_TYPE && entry.value & REDUCED != 0)
}

/// What the first directory says about the first picture.
struct Entry {
    tag: u16,
    kind: u16,
    count: u32,
    /// As if it were a single number of 32 bits.
    value: u32,
}

impl Entry {
    /// Whether the decoder would make room for more numbers than a picture needs: it does so before it looks whether the
    /// file has them, up to 256 MB.
    fn is_oversized(&self) -> bool {
        /// The list of strips, the longest there is, has one entry a row at most.
        const MAX_COUNT: u32 = 1 << 18;
        /// Below it the layout of the picture, from it on what others have added, which is not read.
        const FIRST_PRIVATE_TAG: u16 = 700;
        const TEXT: u16 = 2;
        self.tag < FIRST_PRIVATE_TAG && self.kind != TEXT && self.count > MAX_COUNT
    }
}

/// The entries of the first directory, as far as the file goes.
fn first_directory(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    let is_little = bytes.starts_with(b"II");
    let u16_at = move |at: usize| {
        let two = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let u32_at = move |at: usize| {
        let four = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    };
    let start = u32_at(4).map_or(bytes.len(), |start| start as usize);
    let entries = u16_at(start).map_or(0, usize::from);
    (0..entries).map_while(move |entry| {
        let at = start + 2 + 12 * entry;
        Some(Entry { tag: u16_at(at)?, kind: u16_at(at + 2)?, count: u32_at(at + 4)?, value: u32_at(at + 8)? })
    })
}
