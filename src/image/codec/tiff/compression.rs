//! How the chunks of a picture are compressed, and by what they are decompressed.

use hayro_ccitt::EncodingMode;

use super::directory::{Directory, tag};
use super::packing::{Fax, Packing};
use crate::image::codec::Broken;

/// The numbers of the specification and of those who registered more with Adobe.
pub(super) mod code {
    pub(in super::super) const NONE: u32 = 1;
    pub(in super::super) const FAX_ROWS: u32 = 2;
    pub(in super::super) const FAX_GROUP_3: u32 = 3;
    pub(in super::super) const FAX_GROUP_4: u32 = 4;
    pub(in super::super) const LZW: u32 = 5;
    pub(in super::super) const OLD_JPEG: u32 = 6;
    pub(in super::super) const JPEG: u32 = 7;
    pub(in super::super) const DEFLATE: u32 = 8;
    pub(in super::super) const OLD_DEFLATE: u32 = 32_946;
    pub(in super::super) const PACK_BITS: u32 = 32_773;
    pub(in super::super) const LOG_LUV: u32 = 34_676;
    pub(in super::super) const LOG_LUV_24: u32 = 34_677;
    pub(in super::super) const XZ: u32 = 34_925;
    pub(in super::super) const ZSTANDARD: u32 = 50_000;
    pub(in super::super) const WEBP: u32 = 50_001;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Rows of samples, decompressed by the `tiff` crate, which knows it by this number.
    Rows(u32),
    /// Rows of samples, decompressed in `packing.rs`.
    Packed(Packing),
    /// Each chunk is a picture of its own kind.
    Picture(Picture),
}

/// What a chunk is that is a picture by itself: it says how its colors are coded, and hands out eight bits a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Picture {
    Jpeg,
    /// The JPEG of TIFF 6.0: the whole picture is one, and its headers may lie in tags.
    OldJpeg,
    WebP,
    LogLuv,
    LogLuv24,
}

impl Compression {
    pub(super) fn read(directory: &Directory<'_>) -> Result<Self, Broken> {
        let number = directory.number(tag::COMPRESSION)?.unwrap_or(code::NONE);
        Ok(match number {
            code::NONE | code::LZW | code::DEFLATE | code::OLD_DEFLATE | code::PACK_BITS => Self::Rows(number),
            code::FAX_ROWS => Self::Packed(Packing::Fax(Fax { mode: EncodingMode::Group3_1D, is_aligned: true })),
            code::FAX_GROUP_3 => {
                const TWO_DIMENSIONS: u32 = 1;
                const UNCOMPRESSED: u32 = 2;
                let options = directory.number(tag::T4_OPTIONS)?.unwrap_or(0);
                if options & UNCOMPRESSED != 0 {
                    return Err(Broken::Unsupported("a fax with uncompressed parts".into()));
                }
                let is_2d = options & TWO_DIMENSIONS != 0;
                let mode = if is_2d { EncodingMode::Group3_2D } else { EncodingMode::Group3_1D };
                Self::Packed(Packing::Fax(Fax { mode, is_aligned: false }))
            }
            code::FAX_GROUP_4 => Self::Packed(Packing::Fax(Fax { mode: EncodingMode::Group4, is_aligned: false })),
            code::XZ => Self::Packed(Packing::Xz),
            code::ZSTANDARD => Self::Packed(Packing::Zstandard),
            code::OLD_JPEG => Self::Picture(Picture::OldJpeg),
            code::JPEG => Self::Picture(Picture::Jpeg),
            code::WEBP => Self::Picture(Picture::WebP),
            code::LOG_LUV => Self::Picture(Picture::LogLuv),
            code::LOG_LUV_24 => Self::Picture(Picture::LogLuv24),
            other => return Err(Broken::Unsupported(format!("compression {other}").into())),
        })
    }

    /// Whether it is made for black and white, where a file may leave out which of them is zero.
    pub(super) fn is_fax(self) -> bool {
        matches!(self, Self::Packed(Packing::Fax(_)))
    }
}
