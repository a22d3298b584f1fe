//! Rows of samples, by the `tiff` crate.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use tiff::TiffError;
use tiff::decoder::{Decoder, Limits};

use super::chroma::{spread, unit};
use super::compression::code;
use super::depth::Depth;
use super::directory::{Directory, tag};
use super::form::{Form, Source};
use super::packing::Packing;
use crate::image::codec::Broken;

/// The `tiff` crate with a directory made for it, because it refuses by color what it can decompress as well.
///
/// It describes the same chunks as grey, or as bytes where the crate does not know how the samples lie in a row, and
/// whole tiles at the edges. The crate reads it when it opens; from then on it has the chunks before it.
pub(super) struct Rows<'a> {
    decoder: Decoder<Window<'a>>,
    /// Samples of three bytes are stored the lowest first, which the crate does not know.
    turn_triples: bool,
}

impl<'a> Rows<'a> {
    /// Chunks of this compression at these places.
    pub(super) fn open(
        directory: &Directory<'a>,
        form: &Form,
        compression: u32,
        offsets: &[u32],
        counts: &[u32],
    ) -> Result<Self, Broken> {
        const BLACK_IS_ZERO: u32 = 1;
        let grid = &form.grid;
        let (row_bytes, rows) = unit(form);
        let is_subsampled = form.subsampling != (1, 1);
        let is_opaque = is_subsampled || form.depth.is_packed();
        let predictor = match form.source {
            // As libtiff has it, and so what everybody shows: the tag belongs to the other compressions.
            Source::Rows(code::NONE | code::PACK_BITS) | Source::Packed(Packing::Fax(_)) => 1,
            _ => directory.number(tag::PREDICTOR)?.unwrap_or(1),
        };
        if is_opaque && predictor != 1 {
            return Err(Broken::Unsupported("a predictor for packed or subsampled samples".into()));
        }
        if !grid.chunk.height.is_multiple_of(rows) && grid.down > 1 {
            return Err(Broken::Damaged("strips or tiles that part subsampled chroma".into()));
        }
        let bits = if form.depth.is_packed() { 8 } else { form.depth.bits() };
        let width = if is_opaque {
            let samples = row_bytes / (bits as usize / 8);
            u32::try_from(samples)
                .map_err(|_| Broken::Unsupported(format!("rows of {samples} samples in a strip or tile").into()))?
        } else {
            grid.chunk.width
        };
        let height = grid.chunk.height.div_ceil(rows);
        let samples = if is_opaque && !form.planar { 1 } else { form.samples as u32 };
        let mut tags = vec![
            (tag::BITS_PER_SAMPLE, vec![bits]),
            (tag::COMPRESSION, vec![compression]),
            (tag::PHOTOMETRIC, vec![BLACK_IS_ZERO]),
            (tag::SAMPLES_PER_PIXEL, vec![samples]),
            (tag::PLANAR_CONFIGURATION, vec![1 + u32::from(form.planar)]),
            (tag::PREDICTOR, vec![predictor]),
            (tag::SAMPLE_FORMAT, vec![if matches!(form.depth, Depth::Float(16 | 32 | 64)) { 3 } else { 1 }]),
        ];
        if grid.tiled {
            tags.extend([
                (tag::WIDTH, vec![width.saturating_mul(grid.across)]),
                (tag::HEIGHT, vec![height.saturating_mul(grid.down)]),
                (tag::TILE_WIDTH, vec![width]),
                (tag::TILE_LENGTH, vec![height]),
                (tag::TILE_OFFSETS, offsets.to_vec()),
                (tag::TILE_BYTE_COUNTS, counts.to_vec()),
            ]);
        } else {
            tags.extend([
                (tag::WIDTH, vec![width]),
                (tag::HEIGHT, vec![grid.picture.height.div_ceil(rows)]),
                (tag::ROWS_PER_STRIP, vec![height]),
                (tag::STRIP_OFFSETS, offsets.to_vec()),
                (tag::STRIP_BYTE_COUNTS, counts.to_vec()),
            ]);
        }
        let described = describe(&tags, directory.is_little);
        // The crate does not allocate by what a chunk says of its length.
        let decoder = Decoder::new(Window { file: Cursor::new(Cow::Owned(described)), end: u64::MAX })?;
        let decoder = decoder.with_limits(Limits::unlimited());
        Ok(Self { decoder, turn_triples: directory.is_little && form.depth.bits() == 24 })
    }

    /// How many rows of blocks a chunk has.
    pub(super) fn units(&self, index: usize) -> u32 {
        self.decoder.chunk_data_dimensions(index as u32).1
    }

    /// The bytes in which the chunks lie.
    pub(super) fn show(&mut self, file: Cow<'a, [u8]>) {
        *self.decoder.inner() = Window { file: Cursor::new(file), end: u64::MAX };
    }

    /// The samples of a chunk that ends there.
    pub(super) fn read(&mut self, form: &Form, index: usize, end: u64) -> Result<Vec<u8>, Broken> {
        self.decoder.inner().end = end;
        let (unit_bytes, _) = unit(form);
        let mut stored = vec![0; unit_bytes * self.units(index) as usize];
        self.decoder.read_chunk_bytes(index as u32, &mut stored)?;
        if self.turn_triples {
            stored.as_chunks_mut::<3>().0.iter_mut().for_each(|triple| triple.reverse());
        }
        Ok(if form.subsampling == (1, 1) { stored } else { spread(form, &stored) })
    }
}

/// The file up to the end of a chunk, which some decompressors do not keep.
struct Window<'a> {
    file: Cursor<Cow<'a, [u8]>>,
    end: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.file.position());
        self.file.by_ref().take(left).read(into)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A TIFF file of a directory and nothing else, in the byte order of the samples.
pub(super) fn describe(tags: &[(u16, Vec<u32>)], is_little: bool) -> Vec<u8> {
    const LONG: u16 = 4;
    let short = |number: u16| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
    let long = |number: u32| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
    let mut file = Vec::from(if is_little { *b"II" } else { *b"MM" });
    file.extend(short(42));
    file.extend(long(8));
    file.extend(short(tags.len() as u16));
    let mut behind = Vec::new();
    let start = file.len() + 12 * tags.len() + 4;
    for (tag, numbers) in tags {
        file.extend(short(*tag));
        file.extend(short(LONG));
        file.extend(long(numbers.len() as u32));
        if let [number] = numbers[..] {
            file.extend(long(number));
        } else {
            file.extend(long((start + behind.len()) as u32));
            behind.extend(numbers.iter().flat_map(|number| long(*number)));
        }
    }
    file.extend(long(0));
    file.extend(behind);
    file
}

impl From<TiffError> for Broken {
    fn from(error: TiffError) -> Self {
        match error {
            // A size beyond what a decompressor can count: more than 65,535 columns of a fax.
            TiffError::UnsupportedError(_) | TiffError::IntSizeError => Self::Unsupported(error.into()),
            // Unwrapped, so that the end of the file is seen behind it.
            TiffError::IoError(error) => Self::reading(error),
            TiffError::FormatError(_) | TiffError::LimitsExceeded | TiffError::UsageError(_) => Self::reading(error),
        }
    }
}
