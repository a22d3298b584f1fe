//! TIFF: the first picture of the file, in whatever color form.
//!
//! ```text
//! Directory   the list of tags, read here: no number is believed before it is checked
//!  └ Form     where the chunks lie and what their samples mean; the bound on memory and work
//!     └ Chunks   strips or tiles, decompressed
//!        │ Rows      samples by the `tiff` crate; what it cannot decompress, packing.rs does before
//!        │ Reader    JPEG, WebP and LogLuv, which are pictures by themselves
//!        └ Color     samples to RGB8
//! ```
//!
//! docs/FORMATS.md says which forms there are, and which are refused and why.
//!
//! The `image` crate reads TIFF as well, but refuses palettes, 2, 4 and 32 bits, grey with alpha, floats, Lab and YCbCr.

mod chroma;
mod chunks;
mod color;
mod compression;
mod depth;
mod directory;
mod form;
mod luv;
mod old_jpeg;
mod packing;
mod picture;
mod rows;
#[cfg(test)]
mod tests;

use image::metadata::Orientation;

use super::{Broken, Codec, Header, Scale};
use crate::geometry::Size;
use crate::image::format::Format;
use crate::image::pixels::{Layout, Pixels};
use chunks::Chunks;
use directory::{Directory, tag};
use form::Form;

pub(super) const CODEC: Codec = Codec {
    format: Format::Tiff,
    name: "tiff",
    title: "TIFF",
    media_type: "image/tiff",
    // Little and big end first, then both of BigTIFF.
    magic: &[&[(0, b"II*\0")], &[(0, b"MM\0*")], &[(0, b"II+\0\x08\0\0\0")], &[(0, b"MM\0+\0\x08\0\0")]],
    header,
    complete: |_| false,
    decode,
};

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let directory = Directory::first(bytes);
    if is_camera_raw(bytes, &directory) {
        return Err(Broken::CameraRaw);
    }
    if !directory.is_whole() {
        return Err(Broken::Truncated("the list of tags does not lie in the file".into()));
    }
    let stored = Size::new(directory.required(tag::WIDTH)?, directory.required(tag::HEIGHT)?);
    let orientation = directory.number(tag::ORIENTATION).ok().flatten();
    let orientation = orientation.and_then(|number| Orientation::from_exif(number.try_into().ok()?));
    Ok(Header { stored, orientation: orientation.unwrap_or(Orientation::NoTransforms), plain: false })
}

/// Whether the first picture is only the preview of a camera's raw data, which many makers wrap into TIFF (DNG, NEF, ARW,
/// PEF, CR2). Boxes found in a preview of 160 pixels would not fit the photo that the client sees.
fn is_camera_raw(bytes: &[u8], directory: &Directory<'_>) -> bool {
    const REDUCED: u32 = 1;
    let is_cr2 = !directory.is_big && bytes.get(8..10) == Some(b"CR");
    let kind = directory.number(tag::NEW_SUBFILE_TYPE).ok().flatten().unwrap_or(0);
    is_cr2 || directory.has(tag::DNG_VERSION) || kind & REDUCED != 0
}

/// Chunk by chunk into the finished picture, so that at most one chunk is in memory besides it.
fn decode(bytes: &[u8], Scale { stored, .. }: Scale) -> Result<Pixels, Broken> {
    let directory = Directory::first(bytes);
    let form = Form::read(&directory, stored)?;
    let mut chunks = Chunks::open(&directory, &form)?;
    let mut rgb = vec![[0; 3]; stored.width as usize * stored.height as usize];
    let (channels, row_bytes) = (form.channels.len(), form.row_bytes());
    let mut levels = vec![0; form.grid.chunk.width as usize * channels];
    for (index, place) in form.grid.places() {
        let planes = chunks.read(index, place.rows)?;
        for (row, y) in (place.top..place.top + place.rows).enumerate() {
            for (index, channel) in form.channels.iter().enumerate() {
                // Each plane holds one sample of a pixel, else the only one holds all.
                let (plane, first, step) =
                    if form.planar { (&planes[index], 0, 1) } else { (&planes[0], channel.sample, form.samples) };
                let stored = &plane[row * row_bytes..][..row_bytes];
                let into = levels[index..].iter_mut().step_by(channels);
                match &channel.palette {
                    Some(palette) => form.depth.look_up(stored, first, step, palette, into),
                    None => form.depth.levels(stored, first, step, into),
                }
            }
            let start = y as usize * stored.width as usize + place.left as usize;
            form.color.paint(&levels, channels, &mut rgb[start..][..place.columns as usize]);
        }
    }
    Ok(Pixels { layout: Layout::Rgb8, data: rgb.into_flattened(), reduced: 1 })
}
