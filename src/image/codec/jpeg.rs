//! JPEG.
//!
//! Pixels come from the `jpeg-decoder` crate and not from zune-jpeg, which the `image` crate uses: zune-jpeg as `image`
//! runs it fills what is missing of a truncated or damaged file with grey and reports success, and it shows wrong colors
//! for scans of one component each with subsampled chroma. jpeg-decoder refuses the one and gets the other right. It takes
//! about a third more processor time for a whole photo, and can decode at 1/2, 1/4 and 1/8, which zune-jpeg cannot.
//! A build with the feature `turbojpeg` has libjpeg-turbo decode what both decode alike.

#[cfg(feature = "turbojpeg")]
mod turbo;

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use image::metadata::Orientation;
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Broken, Codec, Header, Scale, exif};
use crate::geometry::Size;
use crate::image::format::Format;
use crate::image::pixels::{Layout, Pixels};

pub(super) const CODEC: Codec = Codec {
    format: Format::Jpeg,
    name: "jpeg",
    title: "JPEG",
    media_type: "image/jpeg",
    magic: &[&[(0, b"\xff\xd8\xff")]],
    header: |bytes| read_frame(bytes).map(|frame| frame.header),
    complete: |bytes| count_scans(bytes).is_ok_and(|scans| scans <= MAX_SCANS),
    decode,
};

/// More scans than encoders write: libjpeg makes 10 of a progressive photo and 18 of one in CMYK. Each scan may pass over
/// the whole picture and be a few bytes long; without a bound, 20 MB could ask for hundreds of thousands of passes.
const MAX_SCANS: usize = 32;

/// Segment codes that mean something here.
mod code {
    pub(super) const SOI: u8 = 0xd8;
    pub(super) const EOI: u8 = 0xd9;
    pub(super) const SOS: u8 = 0xda;
    pub(super) const APP0: u8 = 0xe0;
    pub(super) const APP1: u8 = 0xe1;
    pub(super) const APP14: u8 = 0xee;
}

/// What stands before the first scan.
struct Frame {
    header: Header,
    /// How the channels become RGB; the decoder's own choice where `None`.
    transform: Option<ColorTransform>,
}

fn read_frame(bytes: &[u8]) -> Result<Frame, Broken> {
    let mut frame = None;
    let mut orientation = None;
    let mut is_jfif = false;
    let mut adobe = None;
    let mut segments = Segments::new(bytes);
    for segment in segments.by_ref() {
        match (segment.code, segment.payload) {
            (code::SOS | code::EOI, _) => break,
            // Every start of frame; 0xc4, 0xc8 and 0xcc lie between them and are something else.
            (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, payload) => {
                if let [precision, h1, h0, w1, w0, components, rest @ ..] = payload {
                    let size = Size::new(u16::from_be_bytes([*w1, *w0]).into(), u16::from_be_bytes([*h1, *h0]).into());
                    let ids: Vec<u8> = rest.chunks_exact(3).take((*components).into()).map(|each| each[0]).collect();
                    // Baseline, extended and progressive, 8 bits: what every decoder reads.
                    let common = matches!(segment.code, 0xc0..=0xc2) && *precision == 8;
                    frame = Some((size, ids, common));
                }
            }
            (code::APP0, payload) => is_jfif |= payload.starts_with(b"JFIF\0"),
            (code::APP1, payload) if payload.starts_with(b"Exif\0\0") => {
                orientation = orientation.or(Some(exif::orientation(payload)));
            }
            (code::APP14, payload) if payload.starts_with(b"Adobe") => adobe = payload.get(11).copied(),
            _ => {}
        }
    }
    let Some((stored, ids, common)) = frame else {
        let cause = "no frame before the first scan".into();
        return Err(if segments.rest.is_empty() { Broken::Truncated(cause) } else { Broken::Damaged(cause) });
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let plain = common && matches!(ids.len(), 1 | 3);
    Ok(Frame { header: Header { stored, orientation, plain }, transform: transform(&ids, is_jfif, adobe) })
}

/// How the channels become RGB, by the rules of libjpeg, which everybody else follows.
fn transform(ids: &[u8], is_jfif: bool, adobe: Option<u8>) -> Option<ColorTransform> {
    match (ids.len(), adobe) {
        (3, Some(0)) if !is_jfif => Some(ColorTransform::RGB),
        (3, None) if !is_jfif && ids == b"RGB" => Some(ColorTransform::RGB),
        (3, _) => Some(ColorTransform::YCbCr),
        (4, None | Some(0)) => Some(ColorTransform::CMYK),
        (4, Some(_)) => Some(ColorTransform::YCCK),
        _ => None,
    }
}

/// How many scans stand before the end marker; an error where the file has no end.
fn count_scans(bytes: &[u8]) -> Result<usize, Broken> {
    let mut scans = 0;
    for segment in Segments::new(bytes) {
        match segment.code {
            code::SOS => scans += 1,
            code::EOI => return Ok(scans),
            _ => {}
        }
    }
    Err(Broken::Truncated("no end marker".into()))
}

fn check_scans(bytes: &[u8]) -> Result<(), Broken> {
    if count_scans(bytes)? > MAX_SCANS {
        return Err(Broken::Unsupported("more scans than any encoder writes".into()));
    }
    Ok(())
}

fn decode(bytes: &[u8], scale: Scale) -> Result<Pixels, Broken> {
    let stored = scale.stored;
    let frame = read_frame(bytes)?;
    check_scans(bytes)?;
    let reduced = reduction(scale);
    #[cfg(feature = "turbojpeg")]
    if frame.header.plain
        && let Some(pixels) = turbo::decode(bytes, stored, reduced)
    {
        return Ok(pixels);
    }
    let mut decoder = Decoder::new(bytes);
    if let Some(transform) = frame.transform {
        decoder.set_color_transform(transform);
    }
    // Compared before the decoder makes room for the pixels.
    decoder.read_info()?;
    let info = decoder.info().expect("the header has just been read");
    if (u32::from(info.width), u32::from(info.height)) != (stored.width, stored.height) {
        return Err(Broken::Damaged("two frames of different sizes".into()));
    }
    if reduced > 1 {
        request(&mut decoder, stored, reduced)?;
    }
    let data = on_one_thread(|| decoder.decode())?;
    let layout = match info.pixel_format {
        PixelFormat::L8 => Layout::Grey8,
        PixelFormat::L16 => Layout::Grey16,
        PixelFormat::RGB24 => Layout::Rgb8,
        PixelFormat::CMYK32 => Layout::Cmyk8,
    };
    Ok(Pixels { layout, data, reduced })
}

/// How many times longer than needed a side must be after reduction, in halves.
///
/// A reduced photo has its chroma at half of its own size, as most cameras store it, and a block's highest frequencies cut
/// off. Barely longer than the canvas, that moves boxes: docs/ACCURACY.md has the figures from which this one is taken.
const MARGIN_HALVES: u32 = 3;

/// How many pixels in a row and in a column may become one: what the inverse cosine transform leaves out for free.
fn reduction(Scale { stored, least }: Scale) -> u32 {
    let will_do = |length: u32, least: u32, reduced: u32| 2 * length >= MARGIN_HALVES * least * reduced;
    let is_enough =
        |reduced: &u32| will_do(stored.width, least.width, *reduced) && will_do(stored.height, least.height, *reduced);
    [8, 4, 2].into_iter().find(is_enough).unwrap_or(1)
}

/// Has the decoder decode at a reduced scale.
///
/// It takes the smallest scale at which *either* side is as long as requested. So only the longer side is requested: on a
/// short one several scales round to the same length.
fn request(decoder: &mut Decoder<&[u8]>, stored: Size, reduced: u32) -> Result<(), Broken> {
    let side = |length: u32, other: u32| {
        if length >= other { length.div_ceil(reduced) as u16 } else { u16::MAX }
    };
    let (width, height) = decoder.scale(side(stored.width, stored.height), side(stored.height, stored.width))?;
    let wanted = (stored.width.div_ceil(reduced), stored.height.div_ceil(reduced));
    if (u32::from(width), u32::from(height)) != wanted {
        return Err(Broken::Unsupported(format!("{width} x {height} is not 1/{reduced} of {stored}").into()));
    }
    Ok(())
}

/// Whether there is a picture and its end.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    count_scans(bytes).is_ok_and(|scans| scans > 0)
}

/// Decodes a part of a picture that is a JPEG file inside of another: as wide as said, of so many rows and samples.
pub(super) fn decode_part(
    bytes: &[u8],
    width: u32,
    rows: RangeInclusive<u32>,
    samples: usize,
    transform: ColorTransform,
) -> Result<Vec<u8>, Broken> {
    check_scans(bytes)?;
    let mut decoder = Decoder::new(bytes);
    decoder.set_color_transform(transform);
    decoder.read_info()?;
    let info = decoder.info().expect("the header has just been read");
    let is_fitting = u32::from(info.width) == width && rows.contains(&info.height.into());
    if !is_fitting || info.pixel_format.pixel_bytes() != samples {
        return Err(Broken::Damaged(format!("a part that is {info:?}").into()));
    }
    Ok(on_one_thread(|| decoder.decode())?)
}

/// Decodes on a thread of its own. Left to itself, jpeg-decoder spreads a photo over rayon's pool of all cores, which other photos
/// keep busy: the cores are shared out once, by [`crate::workers`].
fn on_one_thread<T: Send>(decode: impl FnOnce() -> T + Send) -> T {
    /// As many as have ever decoded at once.
    static IDLE: Mutex<Vec<ThreadPool>> = Mutex::new(Vec::new());
    // A poisoned lock guards a list of idle threads; the list is whole whatever panicked.
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = idle().pop();
    let new = || ThreadPoolBuilder::new().num_threads(1).build().expect("the system has a thread to give");
    let thread = kept.unwrap_or_else(new);
    let decoded = thread.install(decode);
    idle().push(thread);
    decoded
}

impl From<jpeg_decoder::Error> for Broken {
    fn from(error: jpeg_decoder::Error) -> Self {
        match error {
            jpeg_decoder::Error::Unsupported(_) => Self::Unsupported(error.into()),
            jpeg_decoder::Error::Format(_) | jpeg_decoder::Error::Io(_) | jpeg_decoder::Error::Internal(_) => {
                Self::reading(error)
            }
        }
    }
}

/// A marker with what belongs to it.
struct Segment<'a> {
    code: u8,
    payload: &'a [u8],
}

/// The segments of a file up to its end, scan data and garbage between them skipped.
///
/// Ends early where the file does. Inside of scan data, 0xff is followed by 0x00 or by a restart marker, so that whatever
/// else follows it starts the next segment.
struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Segments<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn advance(&mut self) -> Option<Segment<'a>> {
        loop {
            // Through scan data at the speed of memory.
            let marker = memchr::memchr(0xff, self.rest)?;
            self.rest = &self.rest[marker..];
            let fill = self.rest.iter().position(|byte| *byte != 0xff)?;
            let code = self.rest[fill];
            self.rest = &self.rest[fill + 1..];
            match code {
                // A stuffed byte, a marker without content, the start of the file.
                0x00 | 0x01 | 0xd0..=0xd7 | code::SOI => {}
                code::EOI => return Some(Segment { code, payload: &[] }),
                _ => {
                    // The length counts its own two bytes.
                    let length = usize::from(u16::from_be_bytes(*self.rest.first_chunk()?)).max(2);
                    let payload = self.rest.get(2..length)?;
                    self.rest = &self.rest[length..];
                    return Some(Segment { code, payload });
                }
            }
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let segment = self.advance();
        if segment.is_none() {
            self.rest = &[];
        }
        segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_decoded_on_one_thread_also_after_a_panic() {
        assert_eq!(on_one_thread(rayon::current_num_threads), 1);
        let panicked = std::panic::catch_unwind(|| on_one_thread(|| panic!("a decoder's")));
        assert!(panicked.is_err());
        assert_eq!(on_one_thread(rayon::current_num_threads), 1);
    }
}
