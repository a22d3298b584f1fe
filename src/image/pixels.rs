//! From whatever a file stores to RGB8.

use image::ColorType;

use super::codec::Broken;

/// What one pixel holds, channel by channel; 16 bits are in the machine's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Grey8,
    GreyAlpha8,
    Rgb8,
    Rgba8,
    Grey16,
    GreyAlpha16,
    Rgb16,
    Rgba16,
    /// Amounts of ink: 0 is bare paper.
    Cmyk8,
}

impl TryFrom<ColorType> for Layout {
    type Error = Broken;

    fn try_from(color: ColorType) -> Result<Self, Broken> {
        Ok(match color {
            ColorType::L8 => Self::Grey8,
            ColorType::La8 => Self::GreyAlpha8,
            ColorType::Rgb8 => Self::Rgb8,
            ColorType::Rgba8 => Self::Rgba8,
            ColorType::L16 => Self::Grey16,
            ColorType::La16 => Self::GreyAlpha16,
            ColorType::Rgb16 => Self::Rgb16,
            ColorType::Rgba16 => Self::Rgba16,
            // Floats, of which only TIFF has some, and that does not come this way.
            other => return Err(Broken::Unsupported(format!("pixels as {other:?}").into())),
        })
    }
}

/// Decoded pixels, as the file lays them out.
#[derive(Debug)]
pub(super) struct Pixels {
    pub(super) layout: Layout,
    pub(super) data: Vec<u8>,
    /// How many pixels of the photo in a row, and in a column, became one; the last ones may stand for fewer. 1 is all.
    pub(super) reduced: u32,
}

impl Pixels {
    /// The same pixels as RGB8, over white where they are transparent: it is what a viewer shows a person.
    ///
    /// Where a pixel takes three bytes or more, it is converted in place: no second picture in memory.
    pub(super) fn into_rgb(self) -> Vec<u8> {
        match self.layout {
            Layout::Rgb8 => self.data,
            Layout::Grey8 => widen(&self.data, |[grey]| [grey; 3]),
            Layout::GreyAlpha8 => widen(&self.data, |[grey, alpha]| over_white([grey; 3], alpha)),
            Layout::Grey16 => widen(&self.data, |[a, b]| [to_8([a, b]); 3]),
            Layout::Rgba8 => narrow(self.data, |[r, g, b, alpha]| over_white([r, g, b], alpha)),
            Layout::GreyAlpha16 => narrow(self.data, |[a, b, c, d]| over_white([to_8([a, b]); 3], to_8([c, d]))),
            Layout::Rgb16 => narrow(self.data, |[a, b, c, d, e, f]| [to_8([a, b]), to_8([c, d]), to_8([e, f])]),
            Layout::Rgba16 => narrow(self.data, |[a, b, c, d, e, f, g, h]| {
                over_white([to_8([a, b]), to_8([c, d]), to_8([e, f])], to_8([g, h]))
            }),
            Layout::Cmyk8 => narrow(self.data, |[c, m, y, k]| [c, m, y].map(|ink| times(255 - ink, 255 - k))),
        }
    }
}

/// Pixels of fewer than three bytes.
fn widen<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> [u8; 3]) -> Vec<u8> {
    let stored = data.as_chunks::<N>().0;
    let mut rgb = vec![0; stored.len() * 3];
    for (to, from) in rgb.as_chunks_mut().0.iter_mut().zip(stored) {
        *to = convert(*from);
    }
    rgb
}

/// Pixels of more than three bytes, each written at or before the place where it was read.
fn narrow<const N: usize>(mut data: Vec<u8>, convert: impl Fn([u8; N]) -> [u8; 3]) -> Vec<u8> {
    let pixels = data.len() / N;
    for pixel in 0..pixels {
        let stored = data[pixel * N..][..N].first_chunk().copied().expect("the slice has N bytes");
        data[pixel * 3..][..3].copy_from_slice(&convert(stored));
    }
    data.truncate(pixels * 3);
    data.shrink_to_fit();
    data
}

pub(super) fn over_white(color: [u8; 3], alpha: u8) -> [u8; 3] {
    color.map(|channel| times(channel, alpha) + (255 - alpha))
}

/// `a * b` where 255 stands for 1, rounded.
pub(super) fn times(a: u8, b: u8) -> u8 {
    ((u16::from(a) * u16::from(b) + 127) / 255) as u8
}

/// 16 bits as 8, rounded: 257 steps are one. Dropping the lower byte instead would darken by half a step.
fn to_8(native: [u8; 2]) -> u8 {
    ((u32::from(u16::from_ne_bytes(native)) + 128) / 257) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(layout: Layout, data: &[u8]) -> Vec<u8> {
        Pixels { layout, data: data.to_vec(), reduced: 1 }.into_rgb()
    }

    #[test]
    fn transparent_shows_white_and_opaque_shows_itself() {
        assert_eq!(rgb(Layout::Rgba8, &[9, 8, 7, 0, 9, 8, 7, 255]), [255, 255, 255, 9, 8, 7]);
        assert_eq!(rgb(Layout::GreyAlpha8, &[0, 128, 200, 255]), [127, 127, 127, 200, 200, 200]);
    }

    #[test]
    fn sixteen_bits_are_scaled_and_rounded() {
        let stored: Vec<u8> = [0u16, 128, 129, 257 * 77, 65535].iter().flat_map(|value| value.to_ne_bytes()).collect();
        let grey: Vec<u8> = rgb(Layout::Grey16, &stored).iter().step_by(3).copied().collect();
        assert_eq!(grey, [0, 0, 1, 77, 255]);
    }

    #[test]
    fn ink_darkens() {
        assert_eq!(
            rgb(Layout::Cmyk8, &[0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]),
            [255, 255, 255, 0, 255, 255, 0, 0, 0]
        );
    }
}
