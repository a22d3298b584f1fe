//! LogLuv: the logarithm of luminance, and chroma, in planes of bytes with run lengths.
//!
//! Shown as libtiff shows it, and so everybody who reads TIFF by it: luminance 1 is white, the primaries are those of Rec. 709
//! with a white of equal energy, and the square root stands for the display's curve. The coding is that of G. Ward Larson,
//! "LogLuv Encoding for Full-Gamut, High-Dynamic Range Images", Journal of Graphics Tools 3(1), 1998.

use crate::image::codec::Broken;

/// What a pixel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// 16 bits: luminance alone.
    Luminance,
    /// 32 bits: luminance, u' and v'.
    Color,
}

impl Coding {
    /// Grey, or RGB: what is handed out of each pixel.
    pub(super) fn samples(self) -> usize {
        match self {
            Self::Luminance => 1,
            Self::Color => 3,
        }
    }

    fn planes(self) -> usize {
        match self {
            Self::Luminance => 2,
            Self::Color => 4,
        }
    }

    /// So many rows of so many pixels, 8 bits a sample.
    pub(super) fn decode(self, packed: &[u8], width: usize, rows: usize) -> Result<Vec<u8>, Broken> {
        let mut shown = Vec::with_capacity(width * rows * self.samples());
        let mut pixels = vec![0; width];
        let mut rest = packed;
        for _ in 0..rows {
            pixels.fill(0);
            for _ in 0..self.planes() {
                plane(&mut rest, &mut pixels)?;
            }
            match self {
                Self::Luminance => shown.extend(pixels.iter().map(|pixel| level(luminance(*pixel)))),
                Self::Color => shown.extend(pixels.iter().flat_map(|pixel| color(*pixel))),
            }
        }
        Ok(shown)
    }
}

/// The next byte of every pixel of a row, the highest first: runs of one value, and stretches as they are.
fn plane(rest: &mut &[u8], pixels: &mut [u32]) -> Result<(), Broken> {
    /// A run is at least this long less than the code that says how long it is.
    const RUN: usize = 126;
    let mut left = pixels;
    while !left.is_empty() {
        let ended = || Broken::Truncated("a row of LogLuv ends early".into());
        let (code, behind) = rest.split_first().ok_or_else(ended)?;
        let is_run = *code >= 128;
        let length = usize::from(*code) - if is_run { RUN } else { 0 };
        let (values, behind) = behind.split_at_checked(if is_run { 1 } else { length }).ok_or_else(ended)?;
        let (now, later) = left
            .split_at_mut_checked(length)
            .ok_or_else(|| Broken::Damaged("a run of LogLuv passes the end of its row".into()))?;
        for (pixel, value) in now.iter_mut().zip(values.iter().cycle()) {
            *pixel = *pixel << 8 | u32::from(*value);
        }
        left = later;
        *rest = behind;
    }
    Ok(())
}

/// The lower 15 bits are the logarithm to base 2 in steps of 1/256, from 2^-64 on; 0 is nothing, the upper bit a sign.
fn luminance(code: u32) -> f32 {
    match code & 0x7fff {
        0 => 0.0,
        _ if code & 0x8000 != 0 => 0.0,
        steps => ((steps as f32 + 0.5) / 256.0 - 64.0).exp2(),
    }
}

/// Luminance in the upper half, then u' and v' in steps of 1/410.
fn color(pixel: u32) -> [u8; 3] {
    let y = luminance(pixel >> 16);
    let prime = [pixel >> 8, pixel].map(|code| ((code & 0xff) as f32 + 0.5) / 410.0);
    // CIE 1976 u'v' to xy, and with Y to XYZ.
    let scale = 1.0 / (6.0 * prime[0] - 16.0 * prime[1] + 12.0);
    let share = [9.0 * prime[0] * scale, 4.0 * prime[1] * scale];
    let [x, z] = [share[0], 1.0 - share[0] - share[1]].map(|part| part / share[1] * y);
    [2.690 * x - 1.276 * y - 0.414 * z, -1.022 * x + 1.978 * y + 0.044 * z, 0.061 * x - 0.224 * y + 1.163 * z]
        .map(level)
}

fn level(linear: f32) -> u8 {
    // The cast clamps at the upper end.
    (256.0 * linear.max(0.0).sqrt()) as u8
}
