//! Writing a picture as a file.

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::format::Format;
use super::rgb::Rgb;
use crate::fault::{Code, Fault};
use crate::geometry::Size;

/// What a picture is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Picture {
    Jpeg,
    Png,
}

impl Picture {
    /// The name in options and answers: `jpeg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => Format::Jpeg.name(),
            Self::Png => Format::Png.name(),
        }
    }

    /// The media type: `image/jpeg`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => Format::Jpeg.media_type(),
            Self::Png => Format::Png.media_type(),
        }
    }
}

/// Thin lines and small letters stay clean, and the file is about a third of what 95 gives.
const JPEG_QUALITY: u8 = 90;

/// What a detector sees must not differ from the photo: at 90 the edges of boxes move by up to 8 pixels of a small photo,
/// at 100 by 1.
const JPEG_QUALITY_FOR_MODELS: u8 = 100;

/// JPEG has 16 bits for a side.
const JPEG_MAX_SIDE: u32 = 65_535;

/// The picture as a file for people. Keeps a processor busy, so it belongs on a worker thread.
pub fn encode(photo: &Rgb, as_: Picture) -> Result<Bytes, Fault> {
    match as_ {
        Picture::Jpeg => jpeg(photo, JPEG_QUALITY),
        Picture::Png => {
            let mut file = Vec::new();
            let Size { width, height } = photo.size();
            let written = PngEncoder::new(&mut file).write_image(photo.data(), width, height, ExtendedColorType::Rgb8);
            written.map_err(Fault::internal)?;
            Ok(file.into())
        }
    }
}

/// The picture as a JPEG file for a model that decodes by itself. Keeps a processor busy.
pub fn for_model(photo: &Rgb) -> Result<Bytes, Fault> {
    jpeg(photo, JPEG_QUALITY_FOR_MODELS)
}

fn jpeg(photo: &Rgb, quality: u8) -> Result<Bytes, Fault> {
    let size = photo.size();
    if size.width.max(size.height) > JPEG_MAX_SIDE {
        let detail = format!("The photo is {size}; a JPEG holds {JPEG_MAX_SIDE} pixels a side. Accept image/png.");
        return Err(Fault::new(Code::NotAcceptable, detail));
    }
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, quality);
    let written = encoder.write_image(photo.data(), size.width, size.height, ExtendedColorType::Rgb8);
    written.map_err(Fault::internal)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Encoded, Limits};

    const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_pixels: 1 << 20 };

    fn gradient() -> Rgb {
        let size = Size::new(61, 37);
        let data = (0..37).flat_map(|y: u8| (0..61).flat_map(move |x: u8| [4 * x, 6 * y, 200 - 3 * x])).collect();
        Rgb::new(size, data).unwrap()
    }

    #[test]
    fn a_png_holds_every_pixel() {
        let file = encode(&gradient(), Picture::Png).unwrap();
        assert_eq!(Encoded::inspect(file, &LIMITS).unwrap().decode().unwrap().into_photo().unwrap(), gradient());
    }

    #[test]
    fn a_jpeg_looks_the_same() {
        let file = encode(&gradient(), Picture::Jpeg).unwrap();
        let back = Encoded::inspect(file, &LIMITS).unwrap().decode().unwrap().into_photo().unwrap();
        assert_eq!(back.size(), gradient().size());
        let worst = back.data().iter().zip(gradient().data()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst < Some(24), "{worst:?}");
    }

    #[test]
    fn a_photo_too_long_for_jpeg_is_refused_with_the_way_out() {
        let long = Rgb::filled(Size::new(70_000, 1), [0; 3]);
        let fault = encode(&long, Picture::Jpeg).unwrap_err();
        assert_eq!(fault.code(), Code::NotAcceptable);
        assert!(fault.detail().contains("Accept image/png"), "{fault}");
        assert!(encode(&long, Picture::Png).is_ok());
    }
}
