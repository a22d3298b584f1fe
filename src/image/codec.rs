//! The table of formats: how each is recognised, its header read and its pixels decoded.

mod bmp;
mod exif;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use std::error::Error;
use std::io;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageError};

use super::format::Format;
use super::magic::{self, Magic};
use super::pixels::{Layout, Pixels};
use crate::geometry::Size;

/// One format: a row of the table.
pub(super) struct Codec {
    pub(super) format: Format,
    /// The name in answers, logs and metrics.
    pub(super) name: &'static str,
    /// The name as people write it.
    pub(super) title: &'static str,
    pub(super) media_type: &'static str,
    /// The first bytes, in each of their variants.
    magic: &'static [Magic],
    /// Reads what stands before the pixels. Called on the async thread: it allocates nothing in proportion to what
    /// the file declares, and inflates nothing.
    pub(super) header: fn(&[u8]) -> Result<Header, Broken>,
    /// Whether the file holds its own end; asked only of a plain file, before others decode it.
    pub(super) complete: fn(&[u8]) -> bool,
    /// Decodes the pixels.
    pub(super) decode: fn(&[u8], Scale) -> Result<Pixels, Broken>,
}

/// Every format that is decoded. No two share first bytes, so the order only shows in lists.
pub(super) static CODECS: [Codec; 6] = [jpeg::CODEC, png::CODEC, webp::CODEC, gif::CODEC, bmp::CODEC, tiff::CODEC];

impl Codec {
    /// The row of a format.
    pub(super) fn of(format: Format) -> &'static Self {
        CODECS.iter().find(|codec| codec.format == format).expect("every format has its row")
    }

    /// The row whose first bytes these are.
    pub(super) fn recognise(bytes: &[u8]) -> Option<&'static Self> {
        CODECS.iter().find(|codec| codec.magic.iter().any(|magic| magic::matches(bytes, magic)))
    }
}

/// What stands before the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The size before the orientation is applied; may be zero, as the file says it.
    pub(super) stored: Size,
    pub(super) orientation: Orientation,
    /// Whether every decoder shows the picture that spotter shows: no transparency, no inks, no rare coding.
    pub(super) plain: bool,
}

/// How many pixels to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    /// The size that `header` found.
    pub(super) stored: Size,
    /// What will do: a format that can leave out detail may decode fewer pixels, but no side shorter than here. No side is
    /// longer than `stored`.
    pub(super) least: Size,
}

/// Why a file of a known format cannot be decoded; each holds the library's own words, which are for the log.
#[derive(Debug)]
pub(super) enum Broken {
    /// The file ends before its picture does.
    Truncated(Cause),
    /// The file contradicts itself or its format.
    Damaged(Cause),
    /// The file may be intact, but uses something that is not implemented.
    Unsupported(Cause),
    /// The file is the raw data of a camera; its first picture is only a preview.
    CameraRaw,
}

/// An error of whatever type.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

impl Broken {
    /// An error while reading: [`Self::Truncated`] where the end of the file is behind it.
    fn reading(cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        if ends_early(cause.as_ref()) { Self::Truncated(cause) } else { Self::Damaged(cause) }
    }
}

impl From<ImageError> for Broken {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unsupported(_) => Self::Unsupported(error.into()),
            // Unwrapped: `image` hides the inner error from those who ask for the source.
            ImageError::IoError(error) => Self::reading(error),
            ImageError::Decoding(_) | ImageError::Encoding(_) | ImageError::Parameter(_) | ImageError::Limits(_) => {
                Self::reading(error)
            }
        }
    }
}

/// Whether the end of the file is anywhere behind the error.
fn ends_early(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Decodes through a decoder of the `image` crate.
fn decode(mut decoder: impl ImageDecoder, Scale { stored, .. }: Scale) -> Result<Pixels, Broken> {
    if decoder.dimensions() != (stored.width, stored.height) {
        return Err(Broken::Damaged("the size in the header is not that of the pixels".into()));
    }
    decoder.set_limits(memory(stored))?;
    let layout = Layout::try_from(decoder.color_type())?;
    let bytes = usize::try_from(decoder.total_bytes()).map_err(|error| Broken::Damaged(error.into()))?;
    let mut data = vec![0; bytes];
    decoder.read_image(&mut data)?;
    Ok(Pixels { layout, data, reduced: 1 })
}

/// How much a decoder may allocate for a picture of this size.
///
/// The most that an honest file takes is 16 bytes a pixel: 16-bit RGBA once as the file has it and once as it is handed
/// on. The rest is for tables, profiles and texts, which do not grow with the picture.
fn memory(stored: Size) -> image::Limits {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(16 * stored.pixels() + (16 << 20));
    limits
}
