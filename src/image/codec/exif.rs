//! The orientation, which all formats keep in the same kind of table.

use image::metadata::Orientation;

/// The orientation in a block of EXIF; upright where there is none, or none that makes sense.
///
/// In a JPEG the block starts with `Exif\0\0`. In PNG and WebP it should not, but some writers copy it along.
pub(super) fn orientation(block: &[u8]) -> Orientation {
    let table = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    Orientation::from_exif_chunk(table).unwrap_or(Orientation::NoTransforms)
}
