//! From the channels of a pixel, 8 bits each, to RGB8 over white.

use super::depth::Depth;
use super::directory::{Directory, tag};
use crate::image::codec::Broken;
use crate::image::pixels::{over_white, times};

/// The color and what the sample after it says about transparency.
#[derive(Debug, Clone)]
pub(super) struct Color {
    pub(super) model: Model,
    pub(super) alpha: Option<Alpha>,
}

#[derive(Debug, Clone)]
pub(super) enum Model {
    Grey,
    /// Grey where 0 is white, as scanners and fax machines have it.
    Inverted,
    Rgb,
    /// Amounts of ink: 0 is bare paper.
    Cmyk,
    YCbCr(YCbCr),
    Lab(Lab),
}

/// Photometric interpretations, by their numbers.
pub(super) const WHITE_IS_ZERO: u32 = 0;
pub(super) const BLACK_IS_ZERO: u32 = 1;
pub(super) const RGB: u32 = 2;
pub(super) const PALETTE: u32 = 3;
const INKS: u32 = 5;
const YCBCR: u32 = 6;
const CIE_LAB: u32 = 8;
const ICC_LAB: u32 = 9;
pub(super) const LOG_L: u32 = 32_844;
pub(super) const LOG_LUV: u32 = 32_845;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    /// The color is multiplied with it already.
    Associated,
    Unassociated,
}

impl Model {
    /// All but palettes, whose channels are looked up before they are a color.
    pub(super) fn read(directory: &Directory<'_>, photometric: u32, depth: Depth) -> Result<Self, Broken> {
        const CMYK_INKS: u32 = 1;
        let unsupported = |what: &str| Err(Broken::Unsupported(format!("{what} as {depth:?}").into()));
        match (photometric, depth) {
            (WHITE_IS_ZERO, _) => Ok(Self::Inverted),
            (BLACK_IS_ZERO, _) => Ok(Self::Grey),
            (RGB, _) => Ok(Self::Rgb),
            (INKS, _) if directory.number(tag::INK_SET)?.unwrap_or(CMYK_INKS) == CMYK_INKS => Ok(Self::Cmyk),
            (INKS, _) => unsupported("inks other than CMYK"),
            (YCBCR, Depth::Uint(bits)) => YCbCr::read(directory, bits).map(Self::YCbCr),
            (YCBCR, _) => unsupported("YCbCr"),
            (CIE_LAB, Depth::Uint(bits)) => Ok(Self::Lab(Lab::new(Encoding::Cie, bits))),
            (ICC_LAB, Depth::Uint(bits)) => Ok(Self::Lab(Lab::new(Encoding::Icc, bits))),
            (CIE_LAB | ICC_LAB, _) => unsupported("Lab"),
            (other, _) => unsupported(&format!("photometric interpretation {other}")),
        }
    }

    /// How many samples of a pixel are color.
    pub(super) fn channels(&self) -> usize {
        match self {
            Self::Grey | Self::Inverted => 1,
            Self::Rgb | Self::YCbCr(_) | Self::Lab(_) => 3,
            Self::Cmyk => 4,
        }
    }

    fn rgb(&self, level: &[u8]) -> [u8; 3] {
        match self {
            Self::Grey => [level[0]; 3],
            Self::Inverted => [255 - level[0]; 3],
            Self::Rgb => [level[0], level[1], level[2]],
            Self::Cmyk => [0, 1, 2].map(|ink: usize| times(255 - level[ink], 255 - level[3])),
            Self::YCbCr(ycbcr) => ycbcr.rgb([level[0], level[1], level[2]]),
            Self::Lab(lab) => lab.rgb([level[0], level[1], level[2]]),
        }
    }
}

impl Color {
    /// Whole pixels of so many levels to colors.
    pub(super) fn paint(&self, levels: &[u8], channels: usize, into: &mut [[u8; 3]]) {
        for (color, level) in into.iter_mut().zip(levels.chunks_exact(channels)) {
            let opaque = self.model.rgb(level);
            *color = match self.alpha {
                None => opaque,
                Some(Alpha::Unassociated) => over_white(opaque, level[channels - 1]),
                Some(Alpha::Associated) => opaque.map(|part| part.saturating_add(255 - level[channels - 1])),
            };
        }
    }
}

/// The levels of red, of green and of blue that each value of a sample stands for.
pub(super) fn palette(directory: &Directory<'_>, depth: Depth) -> Result<[Vec<u8>; 3], Broken> {
    let Depth::Uint(bits @ 1..=16) = depth else {
        return Err(Broken::Unsupported(format!("a palette as {depth:?}").into()));
    };
    let map = directory.numbers(tag::COLOR_MAP)?;
    let size = 1 << bits;
    if map.len() != 3 * size {
        return Err(Broken::Damaged(format!("a palette of {} numbers for {bits} bits", map.len()).into()));
    }
    // Some old programs wrote 8 bits where 16 belong. A real map of 16 bits below 256 would be all black.
    let is_old = map.iter().all(|value| *value < 256);
    // The upper byte: some programs write 256 times the level and some 257 times.
    let level = |value: &u32| if is_old { *value as u8 } else { ((*value).min(0xffff) >> 8) as u8 };
    Ok([0, 1, 2].map(|channel: usize| map[channel * size..][..size].iter().map(level).collect()))
}

/// Luma and chroma, as the file scales and mixes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct YCbCr {
    /// Shares of red, green and blue in luma.
    luma: [f32; 3],
    /// Black and white of luma, zero and most of each chroma.
    range: [f32; 6],
}

impl YCbCr {
    fn read(directory: &Directory<'_>, bits: u32) -> Result<Self, Broken> {
        let luma = directory.fractions(tag::YCBCR_COEFFICIENTS)?;
        let range = directory.fractions(tag::REFERENCE_BLACK_WHITE)?;
        // Absent, and nonsense as libtiff treats it: Rec. 601 with the full range.
        let luma = <[f32; 3]>::try_from(luma).ok().filter(|luma| luma.iter().all(|share| *share > 0.0 && *share < 1.0));
        let range = <[f32; 6]>::try_from(range).ok().filter(|range| {
            range.iter().all(|value| value.is_finite()) && range.as_chunks().0.iter().all(|[low, high]| low < high)
        });
        // It is in the file's own levels; what is given here has 8 bits, spread in the same way.
        let top = ((1u64 << bits) - 1) as f32;
        let range = range.map(|range| range.map(|level| if bits == 8 { level } else { (level * 255.0 / top).round() }));
        Ok(Self {
            luma: luma.unwrap_or([0.299, 0.587, 0.114]),
            range: range.unwrap_or([0.0, 255.0, 128.0, 255.0, 128.0, 255.0]),
        })
    }

    fn rgb(&self, level: [u8; 3]) -> [u8; 3] {
        let [red, green, blue] = self.luma;
        let part = |channel: usize, most: f32| {
            let [low, high] = [self.range[2 * channel], self.range[2 * channel + 1]];
            (f32::from(level[channel]) - low) * most / (high - low)
        };
        let (y, cb, cr) = (part(0, 255.0), part(1, 127.0), part(2, 127.0));
        let (r, b) = (y + cr * (2.0 - 2.0 * red), y + cb * (2.0 - 2.0 * blue));
        let g = (y - blue * b - red * r) / green;
        // The cast clamps.
        [r, g, b].map(|value| value.round() as u8)
    }
}

/// How L*, a* and b* are written as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// L* fills the range; a* and b* have a sign (TIFF 6.0, section 23).
    Cie,
    /// a* and b* lie above zero by half of the range; of 16 bits, 0xff00 is the most that L* has (ICC.1:2001-04, 6.3.4.2).
    Icc,
}

/// L*a*b* as the file encodes it.
#[derive(Debug, Clone)]
pub(super) struct Lab {
    encoding: Encoding,
    /// How much L* a level of 8 bits stands for.
    lightness: f32,
    /// How much of a* or b*: 1, or a little more where more bits were spread over 8.
    chroma: f32,
    gamma: Vec<u8>,
}

impl Lab {
    /// The specifications know 8 and 16 bits; other numbers of bits are read as the upper bits of those.
    fn new(encoding: Encoding, bits: u32) -> Self {
        let top = ((1u64 << bits) - 1) as f32;
        let unit = 2f32.powi(bits as i32 - 8);
        let chroma = top / (255.0 * unit);
        let lightness = match encoding {
            // 0xff00 of 16 bits.
            Encoding::Icc if bits > 8 => 100.0 * chroma / 255.0,
            _ => 100.0 / 255.0,
        };
        Self { encoding, lightness, chroma, gamma: srgb_gamma() }
    }

    fn rgb(&self, level: [u8; 3]) -> [u8; 3] {
        let signed = |level: u8| {
            let below = match self.encoding {
                Encoding::Icc => 128.0,
                Encoding::Cie if level >= 128 => 256.0,
                Encoding::Cie => 0.0,
            };
            f32::from(level) * self.chroma - below
        };
        let lightness = (f32::from(level[0]) * self.lightness).min(100.0);
        lab_to_srgb(lightness, signed(level[1]), signed(level[2]), &self.gamma)
    }
}

/// CIE L*a*b* with the white of D50, as TIFF has it, to sRGB.
fn lab_to_srgb(lightness: f32, green_red: f32, blue_yellow: f32, gamma: &[u8]) -> [u8; 3] {
    let fy = (lightness + 16.0) / 116.0;
    let inverse = |f: f32| if f > 6.0 / 29.0 { f * f * f } else { (f - 4.0 / 29.0) * (108.0 / 841.0) };
    let [x, y, z] = [0.9642 * inverse(fy + green_red / 500.0), inverse(fy), 0.8249 * inverse(fy - blue_yellow / 200.0)];
    // XYZ of D50 to linear sRGB, by Bradford (http://www.brucelindbloom.com/index.html?Eqn_RGB_XYZ_Matrix.html).
    let linear = [
        3.133_856 * x - 1.616_866_7 * y - 0.490_614_6 * z,
        -0.978_768_4 * x + 1.916_141_5 * y + 0.033_454 * z,
        0.071_945_3 * x - 0.228_991_4 * y + 1.405_242_7 * z,
    ];
    linear.map(|part| gamma[(part.clamp(0.0, 1.0) * (gamma.len() - 1) as f32).round() as usize])
}

/// The sRGB curve, linear to 8 bits, in steps of which the steepest part takes more than one to a level.
fn srgb_gamma() -> Vec<u8> {
    const STEPS: u16 = 8192;
    let curve = |linear: f32| {
        if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
    };
    (0..=STEPS).map(|step| (255.0 * curve(f32::from(step) / f32::from(STEPS))).round() as u8).collect()
}
