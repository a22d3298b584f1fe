//! The formats that are decoded, by name.

use super::codec::Codec;

/// A format that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Format {
    /// The name as it stands in answers, logs and metrics: `jpeg`.
    pub fn name(self) -> &'static str {
        Codec::of(self).name
    }

    /// The name as people write it: `JPEG`.
    pub fn title(self) -> &'static str {
        Codec::of(self).title
    }

    /// The media type: `image/jpeg`.
    pub fn media_type(self) -> &'static str {
        Codec::of(self).media_type
    }
}
