//! The list of tags that describes the first picture.

use crate::image::codec::Broken;

/// The tags that are read, by the names of the specification.
pub(super) mod tag {
    pub(in super::super) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const BITS_PER_SAMPLE: u16 = 258;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const PHOTOMETRIC: u16 = 262;
    pub(in super::super) const FILL_ORDER: u16 = 266;
    pub(in super::super) const STRIP_OFFSETS: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(in super::super) const ROWS_PER_STRIP: u16 = 278;
    pub(in super::super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(in super::super) const PLANAR_CONFIGURATION: u16 = 284;
    pub(in super::super) const PREDICTOR: u16 = 317;
    pub(in super::super) const COLOR_MAP: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_LENGTH: u16 = 323;
    pub(in super::super) const TILE_OFFSETS: u16 = 324;
    pub(in super::super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(in super::super) const INK_SET: u16 = 332;
    pub(in super::super) const EXTRA_SAMPLES: u16 = 338;
    pub(in super::super) const SAMPLE_FORMAT: u16 = 339;
    pub(in super::super) const JPEG_TABLES: u16 = 347;
    pub(in super::super) const YCBCR_COEFFICIENTS: u16 = 529;
    pub(in super::super) const YCBCR_SUBSAMPLING: u16 = 530;
    pub(in super::super) const REFERENCE_BLACK_WHITE: u16 = 532;
    pub(in super::super) const DNG_VERSION: u16 = 50706;
}

/// How the values of an entry are stored.
mod kind {
    pub(super) const BYTE: u16 = 1;
    pub(super) const SHORT: u16 = 3;
    pub(super) const LONG: u16 = 4;
    pub(super) const RATIONAL: u16 = 5;
    pub(super) const UNDEFINED: u16 = 7;
}

pub(super) struct Directory<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) is_little: bool,
    /// As many entries as the file says there are.
    declared: usize,
    entries: Vec<Entry>,
}

struct Entry {
    tag: u16,
    kind: u16,
    count: u32,
    /// Where the value lies, or its place where it takes more than four bytes.
    at: usize,
}

impl<'a> Directory<'a> {
    /// The first list of tags, as far as the file goes.
    pub(super) fn first(bytes: &'a [u8]) -> Self {
        let mut directory = Self { bytes, is_little: bytes.starts_with(b"II"), declared: 0, entries: Vec::new() };
        let start = directory.u32_at(4).map_or(bytes.len(), |start| start as usize);
        directory.declared = directory.u16_at(start).map_or(usize::MAX, usize::from);
        let entry = |index: usize| {
            let at = start + 2 + 12 * index;
            bytes.get(at..at + 12)?;
            let (tag, kind, count) = (directory.u16_at(at)?, directory.u16_at(at + 2)?, directory.u32_at(at + 4)?);
            Some(Entry { tag, kind, count, at: at + 8 })
        };
        directory.entries = (0..directory.declared).map_while(entry).collect();
        directory
    }

    pub(super) fn is_whole(&self) -> bool {
        self.entries.len() == self.declared
    }

    pub(super) fn has(&self, tag: u16) -> bool {
        self.entries.iter().any(|entry| entry.tag == tag)
    }

    /// The only or the first number of a tag.
    pub(super) fn number(&self, tag: u16) -> Result<Option<u32>, Broken> {
        Ok(self.values(tag)?.and_then(|(kind, data)| self.decoded(kind, data).next()))
    }

    pub(super) fn required(&self, tag: u16) -> Result<u32, Broken> {
        self.number(tag)?.ok_or_else(|| Broken::Damaged(format!("no tag {tag}").into()))
    }

    /// All numbers of a tag; none where it is missing.
    pub(super) fn numbers(&self, tag: u16) -> Result<Vec<u32>, Broken> {
        Ok(self.values(tag)?.map_or(Vec::new(), |(kind, data)| self.decoded(kind, data).collect()))
    }

    /// The fractions of a tag; none where it is missing.
    pub(super) fn fractions(&self, tag: u16) -> Result<Vec<f32>, Broken> {
        match self.values(tag)? {
            Some((kind::RATIONAL, data)) => {
                let parts: Vec<u32> = self.decoded(kind::LONG, data).collect();
                Ok(parts.as_chunks().0.iter().map(|[above, below]| *above as f32 / *below as f32).collect())
            }
            Some(_) => self.numbers(tag).map(|numbers| numbers.iter().map(|number| *number as f32).collect()),
            None => Ok(Vec::new()),
        }
    }

    /// The bytes of a tag; none where it is missing.
    pub(super) fn data(&self, tag: u16) -> Result<&'a [u8], Broken> {
        Ok(self.values(tag)?.map_or(&[], |(_, data)| data))
    }

    fn values(&self, tag: u16) -> Result<Option<(u16, &'a [u8])>, Broken> {
        /// The list of strips, the longest there is, has one entry a row at most.
        const MAX_COUNT: u32 = 1 << 18;
        let Some(entry) = self.entries.iter().find(|entry| entry.tag == tag) else { return Ok(None) };
        let width = match entry.kind {
            kind::BYTE | kind::UNDEFINED => 1,
            kind::SHORT => 2,
            kind::LONG => 4,
            kind::RATIONAL => 8,
            kind => return Err(Broken::Damaged(format!("tag {tag} is of type {kind}").into())),
        };
        if entry.count > MAX_COUNT {
            return Err(Broken::Damaged(format!("tag {tag} has {} values", entry.count).into()));
        }
        let length = entry.count as usize * width;
        let place = if length <= 4 { Some(entry.at) } else { self.u32_at(entry.at).map(|place| place as usize) };
        let data = place.and_then(|place| self.bytes.get(place..place + length));
        let data = data.ok_or_else(|| Broken::Truncated(format!("tag {tag} does not lie in the file").into()))?;
        Ok(Some((entry.kind, data)))
    }

    fn decoded(&self, kind: u16, data: &'a [u8]) -> impl Iterator<Item = u32> {
        let width = match kind {
            kind::SHORT => 2,
            kind::LONG => 4,
            _ => 1,
        };
        let is_little = self.is_little;
        data.chunks_exact(width).map(move |bytes| {
            let append = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
            if is_little { bytes.iter().rev().fold(0, append) } else { bytes.iter().fold(0, append) }
        })
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        let two = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let four = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    }
}
