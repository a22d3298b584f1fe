//! libjpeg-turbo, where the build has it (the feature `turbojpeg`): two thirds of jpeg-decoder's time.
//!
//! It is a faster way and not another one. It is shown plain pictures only, after the same checks, and whatever it does not
//! decode without so much as a warning goes to jpeg-decoder, whose word is the answer. So both builds refuse the same files
//! with the same words.

use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor};

use crate::geometry::Size;
use crate::image::pixels::{Layout, Pixels};
use crate::image::spare;

/// The pixels at one `reduced`-th of the scale; `None` where libjpeg-turbo finds anything to complain of.
pub(super) fn decode(bytes: &[u8], stored: Size, reduced: u32) -> Option<Pixels> {
    let mut decompressor = Decompressor::new().ok()?;
    let header = decompressor.read_header(bytes).ok()?;
    if (header.width, header.height) != (stored.width as usize, stored.height as usize) {
        return None;
    }
    let scale = ScalingFactor::new(1, reduced as usize);
    decompressor.set_scaling_factor(scale).ok()?;
    let (width, height) = (scale.scale(header.width), scale.scale(header.height));
    let (layout, format) = match header.colorspace {
        Colorspace::Gray => (Layout::Grey8, PixelFormat::GRAY),
        _ => (Layout::Rgb8, PixelFormat::RGB),
    };
    let pitch = width * format.size();
    // Written in full where the decoder does not complain, and dropped where it does.
    let mut data = spare::take(pitch * height);
    // A warning is an error here: of a file that ends early, libjpeg only warns, and fills up with grey.
    decompressor.decompress(bytes, Image { pixels: &mut data[..], width, pitch, height, format }).ok()?;
    Some(Pixels { layout, data, reduced })
}
