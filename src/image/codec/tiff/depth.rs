//! One sample, of whatever depth, as 8 bits.

use half::f16;

use super::directory::{Directory, tag};
use crate::image::codec::Broken;

/// How a sample is stored: those of 8, 16, 32 and 64 bits in the machine's byte order, all others packed, and so those of 24
/// the highest byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Uint(u32),
    /// 0 is black and 1 is white, as viewers have it. A file that means another range cannot be told from one that has a
    /// few values beyond, so what is outside is clamped. Not a number is black.
    Float(u32),
}

impl Depth {
    pub(super) fn read(directory: &Directory<'_>) -> Result<Self, Broken> {
        const UINT: u32 = 1;
        const FLOAT: u32 = 3;
        /// No type is declared, which is how older programs say unsigned.
        const VOID: u32 = 4;
        let same = |tag, default| {
            let numbers = directory.numbers(tag)?;
            let first = numbers.first().copied().unwrap_or(default);
            let all = numbers.iter().all(|number| *number == first);
            if all { Ok(first) } else { Err(Broken::Unsupported(format!("tag {tag} differs by sample").into())) }
        };
        let bits = same(tag::BITS_PER_SAMPLE, 1)?;
        match (same(tag::SAMPLE_FORMAT, UINT)?, bits) {
            (UINT | VOID, 1..=32 | 64) => Ok(Self::Uint(bits)),
            (FLOAT, 16 | 24 | 32 | 64) => Ok(Self::Float(bits)),
            (format, bits) => {
                Err(Broken::Unsupported(format!("samples of {bits} bits in sample format {format}").into()))
            }
        }
    }

    pub(super) fn bits(self) -> u32 {
        match self {
            Self::Uint(bits) | Self::Float(bits) => bits,
        }
    }

    /// Whether the samples of a row follow each other without regard to bytes.
    pub(super) fn is_packed(self) -> bool {
        matches!(self.bits(), 9..=15 | 17..=31)
    }

    /// Every `step`th sample of a row from the `first` on, as the level of its value.
    pub(super) fn look_up<'a>(
        self,
        row: &[u8],
        first: usize,
        step: usize,
        levels: &[u8],
        into: impl Iterator<Item = &'a mut u8>,
    ) {
        let bits = self.bits();
        for (index, level) in into.enumerate() {
            let sample = first + index * step;
            let value = match bits {
                16 => row.as_chunks().0.get(sample).map(|bytes| u16::from_ne_bytes(*bytes).into()),
                _ => packed(row, sample * bits as usize, bits),
            };
            *level = value.and_then(|value| levels.get(value as usize).copied()).unwrap_or(0);
        }
    }

    /// Every `step`th sample of a row from the `first` on, black as 0 and white as 255.
    pub(super) fn levels<'a>(self, row: &[u8], first: usize, step: usize, into: impl Iterator<Item = &'a mut u8>) {
        match self {
            Self::Uint(8) => each(row, first, step, into, |[level]| level),
            Self::Uint(16) => each(row, first, step, into, |bytes| scale(u16::from_ne_bytes(bytes).into(), 16)),
            Self::Uint(32) => each(row, first, step, into, |bytes| scale(u32::from_ne_bytes(bytes), 32)),
            // The lower half is far below one level.
            Self::Uint(64) => each(row, first, step, into, |bytes| scale((u64::from_ne_bytes(bytes) >> 32) as u32, 32)),
            Self::Uint(bits) => {
                for (index, level) in into.enumerate() {
                    *level = packed(row, (first + index * step) * bits as usize, bits).map_or(0, |v| scale(v, bits));
                }
            }
            Self::Float(24) => each(row, first, step, into, |bytes| unit(float_24(bytes))),
            Self::Float(16) => each(row, first, step, into, |bytes| unit(f16::from_ne_bytes(bytes).to_f32())),
            Self::Float(64) => each(row, first, step, into, |bytes| unit(f64::from_ne_bytes(bytes) as f32)),
            Self::Float(_) => each(row, first, step, into, |bytes| unit(f32::from_ne_bytes(bytes))),
        }
    }
}

fn each<'a, const N: usize>(
    row: &[u8],
    first: usize,
    step: usize,
    into: impl Iterator<Item = &'a mut u8>,
    convert: impl Fn([u8; N]) -> u8,
) {
    for (level, sample) in into.zip(row.as_chunks().0.iter().skip(first).step_by(step)) {
        *level = convert(*sample);
    }
}

/// A sample of up to 32 bits that starts at any bit, the highest first.
fn packed(row: &[u8], start: usize, bits: u32) -> Option<u32> {
    let byte = |offset: usize| row.get(start / 8 + offset).copied().map_or(0, u64::from);
    row.get(start / 8)?;
    let five = (0..5).fold(0, |before, offset| before << 8 | byte(offset));
    Some((five >> (40 - start as u32 % 8 - bits) & ((1 << bits) - 1)) as u32)
}

/// 24 bits: a sign, 7 bits of exponent, 16 of mantissa (Adobe Photoshop TIFF Technical Note 3, 2005).
fn float_24([high, middle, low]: [u8; 3]) -> f32 {
    const BIAS: u32 = 127 - 63;
    let exponent = match u32::from(high & 0x7f) {
        0 => 0,
        0x7f => 0xff,
        exponent => exponent + BIAS,
    };
    let sign = u32::from(high >> 7);
    f32::from_bits(sign << 31 | exponent << 23 | u32::from(middle) << 15 | u32::from(low) << 7)
}

/// A number of so many bits as 8, rounded.
fn scale(value: u32, bits: u32) -> u8 {
    let top = (1u64 << bits) - 1;
    ((u64::from(value) * 255 + top / 2) / top) as u8
}

fn unit(value: f32) -> u8 {
    // The cast makes 0 of what is not a number.
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}
