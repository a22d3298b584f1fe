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
    pub(in super::super) const T4_OPTIONS: u16 = 292;
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
    pub(in super::super) const OLD_JPEG_PROCESS: u16 = 512;
    pub(in super::super) const OLD_JPEG_FILE: u16 = 513;
    pub(in super::super) const OLD_JPEG_FILE_LENGTH: u16 = 514;
    pub(in super::super) const OLD_JPEG_RESTART_INTERVAL: u16 = 515;
    pub(in super::super) const OLD_JPEG_QUANTISERS: u16 = 519;
    pub(in super::super) const OLD_JPEG_DC_CODES: u16 = 520;
    pub(in super::super) const OLD_JPEG_AC_CODES: u16 = 521;
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
    /// Eight bytes, which only BigTIFF has.
    pub(super) const LONG8: u16 = 16;
}

pub(super) struct Directory<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) is_little: bool,
    /// BigTIFF: every place and every count takes eight bytes.
    pub(super) is_big: bool,
    /// As many entries as the file says there are.
    declared: u64,
    entries: Vec<Entry>,
}

struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Where the value lies, or its place where it takes more bytes than a place does.
    at: usize,
}

impl<'a> Directory<'a> {
    /// The first list of tags, as far as the file goes.
    pub(super) fn first(bytes: &'a [u8]) -> Self {
        /// As many as a file that is not BigTIFF can have.
        const MAX_ENTRIES: u64 = 0xffff;
        let is_little = bytes.starts_with(b"II");
        let is_big = bytes.get(2..4).is_some_and(|version| version.contains(&43));
        let mut directory = Self { bytes, is_little, is_big, declared: u64::MAX, entries: Vec::new() };
        let place = directory.place_width();
        let start = directory.place_at(if is_big { 8 } else { 4 }).unwrap_or(bytes.len());
        let Some(declared) = directory.number_at(start, if is_big { 8 } else { 2 }) else { return directory };
        directory.declared = declared;
        let first = start + if is_big { 8 } else { 2 };
        let entry = |index: u64| {
            let at = first + index as usize * (4 + 2 * place);
            let (tag, kind) = (directory.number_at(at, 2)? as u16, directory.number_at(at + 2, 2)? as u16);
            let count = directory.number_at(at + 4, place)?;
            bytes.get(at + 4 + place..at + 4 + 2 * place)?;
            Some(Entry { tag, kind, count, at: at + 4 + place })
        };
        directory.entries = (0..declared.min(MAX_ENTRIES)).map_while(entry).collect();
        directory
    }

    /// Bytes of a place in the file.
    fn place_width(&self) -> usize {
        if self.is_big { 8 } else { 4 }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.entries.len() as u64 == self.declared
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
        const MAX_COUNT: u64 = 1 << 18;
        let Some(entry) = self.entries.iter().find(|entry| entry.tag == tag) else { return Ok(None) };
        let width = match entry.kind {
            kind::BYTE | kind::UNDEFINED => 1,
            kind::SHORT => 2,
            kind::LONG => 4,
            kind::RATIONAL | kind::LONG8 => 8,
            kind => return Err(Broken::Damaged(format!("tag {tag} is of type {kind}").into())),
        };
        if entry.count > MAX_COUNT {
            return Err(Broken::Damaged(format!("tag {tag} has {} values", entry.count).into()));
        }
        let length = entry.count as usize * width;
        let place = if length <= self.place_width() { Some(entry.at) } else { self.place_at(entry.at) };
        let data = place.and_then(|place| self.bytes.get(place..place.checked_add(length)?));
        let data = data.ok_or_else(|| Broken::Truncated(format!("tag {tag} does not lie in the file").into()))?;
        Ok(Some((entry.kind, data)))
    }

    /// What does not fit into 32 bits is the most that does: as a place or a length, it lies in no file that is read here.
    fn decoded(&self, kind: u16, data: &'a [u8]) -> impl Iterator<Item = u32> {
        let width = match kind {
            kind::SHORT => 2,
            kind::LONG => 4,
            kind::LONG8 => 8,
            _ => 1,
        };
        let is_little = self.is_little;
        data.chunks_exact(width).map(move |bytes| number(bytes, is_little).try_into().unwrap_or(u32::MAX))
    }

    fn place_at(&self, at: usize) -> Option<usize> {
        self.number_at(at, self.place_width()).and_then(|place| place.try_into().ok())
    }

    fn number_at(&self, at: usize, width: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        Some(number(bytes, self.is_little))
    }
}

fn number(bytes: &[u8], is_little: bool) -> u64 {
    let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if is_little { bytes.iter().rev().fold(0, append) } else { bytes.iter().fold(0, append) }
}
