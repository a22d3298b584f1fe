//! TIFF: the first picture of the file, in whatever color form.
//!
//! ```text
//! Directory   the list of tags, read here: no number is believed before it is checked
//!  └ Form     where the chunks lie and what their samples mean; the bound on memory and work
//!     └ Chunks   strips or tiles, decompressed: by the `tiff` crate, JPEG by `jpeg-decoder`
//!        └ Color    samples to RGB8
//! ```
//!
//! The `image` crate reads TIFF as well, but refuses palettes, 2, 4 and 32 bits, grey with alpha, floats, Lab and YCbCr.

mod chunks;
mod color;
mod depth;
mod directory;
mod form;

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
    // Little and big end first.
    magic: &[&[(0, b"II*\0")], &[(0, b"MM\0*")]],
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
    let is_cr2 = bytes.get(8..10) == Some(b"CR");
    let kind = directory.number(tag::NEW_SUBFILE_TYPE).ok().flatten().unwrap_or(0);
    is_cr2 || directory.has(tag::DNG_VERSION) || kind & REDUCED != 0
}

/// Chunk by chunk into the finished picture, so that at most one chunk is in memory besides it.
fn decode(bytes: &[u8], Scale { stored, .. }: Scale) -> Result<Pixels, Broken> {
    let directory = Directory::first(bytes);
    let form = Form::read(&directory, stored)?;
    let mut chunks = Chunks::open(&directory, &form)?;
    let mut rgb = vec![[0; 3]; stored.width as usize * stored.height as usize];
    let channels = form.channels.len();
    let mut levels = vec![0; form.grid.chunk.width as usize * channels];
    for (index, place) in form.grid.places() {
        let planes = chunks.read(index, place.rows)?;
        for (row, y) in (place.top..place.top + place.rows).enumerate() {
            for (channel, sample) in form.channels.iter().enumerate() {
                // Each plane holds one sample of a pixel, else the only one holds all.
                let (plane, first, step) =
                    if form.planar { (&planes[channel], 0, 1) } else { (&planes[0], *sample, chunks.samples()) };
                let stored = &plane[row * chunks.row_bytes()..][..chunks.row_bytes()];
                chunks.depth().levels(stored, first, step, levels[channel..].iter_mut().step_by(channels));
            }
            let start = y as usize * stored.width as usize + place.left as usize;
            chunks.color().paint(&levels, channels, &mut rgb[start..][..place.columns as usize]);
        }
    }
    Ok(Pixels { layout: Layout::Rgb8, data: rgb.into_flattened(), reduced: 1 })
}
