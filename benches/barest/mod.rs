//! A photo as anybody would make it ready with the same decoders: decoded at a reduced scale, and resized. No check.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// RGB, 8 bits a channel.
pub(crate) struct Photo {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) rgb: Vec<u8>,
}

/// A file as pixels, no longer than `max_side`.
pub(crate) fn photo(file: &[u8], max_side: usize) -> Outcome<Photo> {
    let photo = decode(file, max_side)?;
    let longest = photo.width.max(photo.height);
    if longest <= max_side {
        return Ok(photo);
    }
    let (width, height) = (photo.width * max_side / longest, photo.height * max_side / longest);
    let source = ImageRef::new(photo.width as u32, photo.height as u32, &photo.rgb, PixelType::U8x3)?;
    let mut resized = Image::new(width as u32, height as u32, PixelType::U8x3);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut resized, &bilinear)?;
    Ok(Photo { width, height, rgb: resized.into_vec() })
}

/// At the smallest scale that is at least as large as needed.
#[cfg(feature = "turbojpeg")]
fn decode(file: &[u8], max_side: usize) -> Outcome<Photo> {
    use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

    let mut decompressor = Decompressor::new()?;
    let header = decompressor.read_header(file)?;
    let longest = header.width.max(header.height);
    let scale = [8, 4, 2].into_iter().find(|scale| longest >= max_side * scale).unwrap_or(1);
    let factor = ScalingFactor::new(1, scale);
    decompressor.set_scaling_factor(factor)?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut rgb = vec![0; width * height * 3];
    let image = Image { pixels: &mut rgb[..], width, height, pitch: width * 3, format: PixelFormat::RGB };
    decompressor.decompress(file, image)?;
    Ok(Photo { width, height, rgb })
}

/// At the smallest scale that is at least as large as needed.
#[cfg(not(feature = "turbojpeg"))]
fn decode(file: &[u8], max_side: usize) -> Outcome<Photo> {
    let mut decoder = jpeg_decoder::Decoder::new(file);
    decoder.read_info()?;
    let info = decoder.info().ok_or("no header")?;
    let side = |length: u16, other: u16| if length >= other { length.min(max_side as u16) } else { u16::MAX };
    let (width, height) = decoder.scale(side(info.width, info.height), side(info.height, info.width))?;
    Ok(Photo { width: width.into(), height: height.into(), rgb: decoder.decode()? })
}
