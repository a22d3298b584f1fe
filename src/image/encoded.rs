//! A photo as it was uploaded, checked as far as its header goes.

use std::fmt;

use bytes::Bytes;
use image::metadata::Orientation;

use super::codec::{Broken, Codec, Header, Scale};
use super::decoded::Decoded;
use super::foreign;
use super::format::Format;
use super::rgb::Rgb;
use super::upright;
use crate::fault::{Code, Fault};
use crate::geometry::Size;

/// How large a photo may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Pixels, width times height.
    pub max_pixels: u64,
}

/// A photo as it was uploaded: its format known, its header read, its size within the limits.
///
/// [`Encoded::inspect`] is the only way to make one, so whoever holds one need not check again. A clone shares the bytes.
#[derive(Clone)]
pub struct Encoded {
    bytes: Bytes,
    codec: &'static Codec,
    stored: Size,
    /// As the file has it.
    orientation: Orientation,
    /// As it is applied.
    applied: Orientation,
    plain: bool,
}

impl Encoded {
    /// Recognises the format by the bytes, reads the header and checks the limits. No pixel is decoded.
    ///
    /// It takes microseconds, whatever the size of the photo. A file made to be slow takes one to two milliseconds a megabyte,
    /// so that only a short one may be looked at on the async thread.
    pub fn inspect(bytes: Bytes, limits: &Limits) -> Result<Self, Fault> {
        let codec = Self::recognise(&bytes, limits)?;
        let header = (codec.header)(&bytes).map_err(|broken| refuse(codec, broken))?;
        let photo = upright::size(header.stored, header.orientation);
        if photo.pixels() == 0 {
            let detail = format!("The {} header declares a picture of {photo} pixels.", codec.title);
            return Err(Fault::new(Code::UnreadableImage, detail));
        }
        if photo.pixels() > limits.max_pixels {
            return Err(too_many_pixels(photo, limits.max_pixels));
        }
        let Header { stored, orientation, plain } = header;
        Ok(Self { bytes, codec, stored, orientation, applied: orientation, plain })
    }

    /// That a file is one that [`Self::inspect`] would look into: not too long, and of a format that is read. It takes
    /// microseconds, whatever the file.
    pub fn check(bytes: &Bytes, limits: &Limits) -> Result<(), Fault> {
        Self::recognise(bytes, limits).map(|_| ())
    }

    fn recognise(bytes: &Bytes, limits: &Limits) -> Result<&'static Codec, Fault> {
        if bytes.is_empty() {
            return Err(Fault::new(Code::MissingImage, "The image is empty: it has no bytes."));
        }
        if bytes.len() > limits.max_bytes {
            let detail =
                format!("The image has {} bytes; this server accepts up to {}.", bytes.len(), limits.max_bytes);
            return Err(Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", limits.max_bytes));
        }
        Codec::recognise(bytes).ok_or_else(|| foreign::refusal(bytes))
    }

    /// The same photo, its pixels as they are stored.
    #[must_use]
    pub fn as_stored(self) -> Self {
        Self { applied: Orientation::NoTransforms, ..self }
    }

    /// The format, by the bytes.
    pub fn format(&self) -> Format {
        self.codec.format
    }

    /// The size of the photo as a person sees it, after the orientation is applied; as stored, where it is not to be.
    pub fn photo(&self) -> Size {
        upright::size(self.stored, self.applied)
    }

    /// The EXIF orientation, 1 to 8; 1 is upright.
    pub fn orientation(&self) -> u8 {
        self.orientation.to_exif()
    }

    /// The client's own bytes, where a model that decodes by itself sees the picture that [`Encoded::decode`] gives: an
    /// upright JPEG of one or three components, or an upright PNG without transparency.
    ///
    /// `None` as well for a file that is cut off, so that decoding it here says so. Looking for the end of a JPEG takes
    /// about half a millisecond a megabyte: call it where decoding may run.
    pub fn untouched(&self) -> Option<&Bytes> {
        let is_plain = self.plain && self.applied == Orientation::NoTransforms;
        (is_plain && (self.codec.complete)(&self.bytes)).then_some(&self.bytes)
    }

    /// Decodes the photo: RGB8, upright, over white where it is transparent; of an animation, the first frame.
    ///
    /// Keeps a processor busy (about 10 ms a megapixel) and takes up to 16 bytes a pixel while it runs, so it belongs on a
    /// worker thread. A file that ends early is refused, never filled up.
    pub fn decode(&self) -> Result<Decoded, Fault> {
        self.decode_at_least(self.photo())
    }

    /// Decodes as [`Encoded::decode`] does, but where fewer pixels will do, a JPEG at a half, a quarter or an eighth of its
    /// scale: no side becomes shorter than that of `least`, or than the photo's own.
    ///
    /// A 12 MP JPEG costs half the time of all of its pixels at a half, and a third at a quarter. What is refused is the
    /// same at every scale.
    pub fn decode_at_least(&self, least: Size) -> Result<Decoded, Fault> {
        let refuse = |broken| refuse(self.codec, broken);
        let Self { stored, applied, .. } = *self;
        let Size { width, height } = upright::size(least, applied);
        let least = Size::new(width.min(stored.width), height.min(stored.height));
        let pixels = (self.codec.decode)(&self.bytes, Scale { stored, least }).map_err(refuse)?;
        let reduced = pixels.reduced;
        let size = Size::new(stored.width.div_ceil(reduced), stored.height.div_ceil(reduced));
        let pixels = Rgb::new(size, pixels.into_rgb())
            .ok_or_else(|| refuse(Broken::Damaged("not as many pixels as the header declares".into())))?;
        let extent = upright::extent(stored, reduced, applied);
        Ok(Decoded::reduced(upright::turn(pixels, applied), self.photo(), extent))
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("format", &self.format())
            .field("bytes", &self.bytes.len())
            .field("photo", &self.photo())
            .field("orientation", &self.orientation())
            .finish_non_exhaustive()
    }
}

fn refuse(codec: &Codec, broken: Broken) -> Fault {
    let title = codec.title;
    let (detail, cause) = match broken {
        Broken::Truncated(cause) => {
            (format!("The {title} file ends before its picture does. Upload it again, in full."), cause)
        }
        Broken::Damaged(cause) => {
            (format!("The {title} file is damaged or incomplete. Export the picture again."), cause)
        }
        Broken::Unsupported(cause) => {
            let detail = format!(
                "The {title} file uses a variant of its format that is not supported. Export it as JPEG or PNG."
            );
            (detail, cause)
        }
        Broken::CameraRaw => return foreign::camera_raw(),
    };
    Fault::new(Code::UnreadableImage, detail).caused_by(cause)
}

fn too_many_pixels(photo: Size, max_pixels: u64) -> Fault {
    let (found, bound) = (megapixels(photo.pixels()), megapixels(max_pixels));
    // Where rounding hides the difference, the numbers in full.
    let (found, bound) = if found == bound {
        (format!("{} pixels", photo.pixels()), format!("{max_pixels} pixels"))
    } else {
        (found, bound)
    };
    let detail = format!("The image is {photo} ({found}); this server accepts up to {bound}.");
    Fault::new(Code::ImageTooLarge, detail)
        .with("width", photo.width)
        .with("height", photo.height)
        .with("max_pixels", max_pixels)
}

fn megapixels(pixels: u64) -> String {
    format!("{:.1} MP", pixels as f64 / 1e6)
}
