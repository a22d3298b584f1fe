//! Strips and tiles, decompressed.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use jpeg_decoder::ColorTransform;
use tiff::TiffError;
use tiff::decoder::{Decoder, Limits};

use super::color::{Color, Model};
use super::depth::Depth;
use super::directory::{Directory, tag};
use super::form::{Compression, Form};
use crate::image::codec::{Broken, jpeg};

const UNCOMPRESSED: u32 = 1;

pub(super) struct Chunks<'a> {
    form: &'a Form,
    color: Color,
    source: Source<'a>,
}

enum Source<'a> {
    Jpeg {
        tables: &'a [u8],
        chunks: Vec<&'a [u8]>,
    },
    Other {
        decoder: Box<Decoder<Window<'a>>>,
        /// Where each chunk ends in the file.
        ends: Vec<u64>,
    },
}

impl<'a> Chunks<'a> {
    pub(super) fn open(directory: &Directory<'a>, form: &'a Form) -> Result<Self, Broken> {
        let (offsets, mut counts) = if form.grid.tiled {
            (directory.numbers(tag::TILE_OFFSETS)?, directory.numbers(tag::TILE_BYTE_COUNTS)?)
        } else {
            (directory.numbers(tag::STRIP_OFFSETS)?, directory.numbers(tag::STRIP_BYTE_COUNTS)?)
        };
        let planes = if form.planar { form.samples } else { 1 };
        if counts.is_empty() {
            // Some old programs leave the lengths out; the last pixel is the end as well.
            counts = vec![directory.bytes.len() as u32; offsets.len()];
        }
        if offsets.len() != form.grid.chunks() * planes || counts.len() != offsets.len() {
            let found = format!("{} places and {} lengths of strips or tiles", offsets.len(), counts.len());
            return Err(Broken::Damaged(found.into()));
        }
        if form.compression != Compression::Other(UNCOMPRESSED) {
            check_work(directory, &counts)?;
        }
        let mut color = form.color.clone();
        let source = match form.compression {
            Compression::Jpeg => {
                if form.depth != Depth::Uint(8) {
                    return Err(Broken::Unsupported(format!("JPEG of {:?}", form.depth).into()));
                }
                if let (Model::YCbCr(_), false) = (&color.model, form.planar) {
                    color.model = Model::Rgb;
                }
                let chunks = offsets.iter().zip(&counts).map(|(offset, count)| {
                    let chunk = directory.bytes.get(*offset as usize..*offset as usize + *count as usize);
                    chunk.ok_or_else(|| Broken::Truncated("a strip or tile does not lie in the file".into()))
                });
                Source::Jpeg { tables: directory.data(tag::JPEG_TABLES)?, chunks: chunks.collect::<Result<_, _>>()? }
            }
            Compression::Other(compression) => {
                // Uncompressed, the pixels say where the end is; many files have it wrong.
                let end = |(offset, count): (&u32, &u32)| match compression {
                    UNCOMPRESSED => u64::MAX,
                    _ => u64::from(*offset) + u64::from(*count),
                };
                let ends = offsets.iter().zip(&counts).map(end).collect();
                Source::Other { decoder: Box::new(open(directory, form, compression, &offsets, &counts)?), ends }
            }
        };
        Ok(Self { form, color, source })
    }

    /// The rows of a chunk, those of each plane that is shown by themselves.
    pub(super) fn read(&mut self, index: usize, rows: u32) -> Result<Vec<Vec<u8>>, Broken> {
        if !self.form.planar {
            return Ok(vec![self.read_plane(index, rows)?]);
        }
        let chunks = self.form.grid.chunks();
        self.form.channels.iter().map(|plane| self.read_plane(plane * chunks + index, rows)).collect()
    }

    fn read_plane(&mut self, index: usize, rows: u32) -> Result<Vec<u8>, Broken> {
        let form = self.form;
        match &mut self.source {
            Source::Jpeg { tables, chunks } => read_jpeg(form, tables, chunks[index], rows),
            Source::Other { decoder, ends } => {
                decoder.inner().end = ends[index];
                let index = index as u32;
                let (_, units) = decoder.chunk_data_dimensions(index);
                let (unit_bytes, _) = unit(form);
                let mut stored = vec![0; unit_bytes * units as usize];
                decoder.read_chunk_bytes(index, &mut stored)?;
                Ok(if form.subsampling == (1, 1) { stored } else { spread(form, &stored, unit_bytes) })
            }
        }
    }

    pub(super) fn row_bytes(&self) -> usize {
        self.form.row_bytes()
    }

    pub(super) fn samples(&self) -> usize {
        self.form.samples
    }

    pub(super) fn depth(&self) -> Depth {
        self.form.depth
    }

    pub(super) fn color(&self) -> &Color {
        &self.color
    }
}

/// Refuses chunks that are far longer together than the file: each may be empty phrases of its compression, and be read
/// for every one of the chunks that share it. Programs share a chunk where the picture is blank, which makes it short.
fn check_work(directory: &Directory<'_>, counts: &[u32]) -> Result<(), Broken> {
    const FREE: u64 = 256 << 20;
    let tables = directory.data(tag::JPEG_TABLES)?.len() as u64;
    let file = directory.bytes.len() as u64;
    // What ends beyond the file is not there to be read.
    let all: u64 = counts.iter().map(|count| u64::from(*count).min(file) + tables).sum();
    if all > 8 * file + FREE {
        return Err(Broken::Unsupported(format!("{all} bytes of strips or tiles in a file of {file}").into()));
    }
    Ok(())
}

/// The file up to the end of a chunk, which some decompressors do not keep.
struct Window<'a> {
    file: Cursor<Cow<'a, [u8]>>,
    end: u64,
}

impl<'a> Window<'a> {
    fn new(file: Cow<'a, [u8]>) -> Self {
        Self { file: Cursor::new(file), end: u64::MAX }
    }
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

/// What the decompressor takes for a row of a chunk: its bytes, and the rows of pixels in it.
fn unit(form: &Form) -> (usize, u32) {
    let (across, down) = form.subsampling;
    let row = if down * across == 1 {
        form.row_bytes()
    } else {
        form.grid.chunk.width.div_ceil(across) as usize * (across * down + 2) as usize
    };
    (row, down)
}

/// Opens the file with a directory made for the `tiff` crate, which refuses by color what it can decompress as well.
///
/// It describes the same chunks as grey, or as bytes where the crate does not know how the samples lie in a row, and
/// whole tiles at the edges. The crate reads it when it opens; from then on it has the file itself before it.
fn open<'a>(
    directory: &Directory<'a>,
    form: &Form,
    compression: u32,
    offsets: &[u32],
    counts: &[u32],
) -> Result<Decoder<Window<'a>>, Broken> {
    const BLACK_IS_ZERO: u32 = 1;
    let grid = &form.grid;
    let (row_bytes, rows) = unit(form);
    let as_bytes = form.subsampling != (1, 1) || matches!(form.depth.bits(), 9..=15);
    let predictor = directory.number(tag::PREDICTOR)?.unwrap_or(1);
    if as_bytes && predictor != 1 {
        return Err(Broken::Unsupported("a predictor for packed or subsampled samples".into()));
    }
    if !grid.chunk.height.is_multiple_of(rows) && grid.down > 1 {
        return Err(Broken::Damaged("strips or tiles that part subsampled chroma".into()));
    }
    let width = if as_bytes { u32::try_from(row_bytes).unwrap_or(u32::MAX) } else { grid.chunk.width };
    let height = grid.chunk.height.div_ceil(rows);
    let bits = if as_bytes { 8 } else { form.depth.bits() };
    let samples = if as_bytes && !form.planar { 1 } else { form.samples as u32 };
    let mut tags = vec![
        (tag::BITS_PER_SAMPLE, vec![bits]),
        (tag::COMPRESSION, vec![compression]),
        (tag::PHOTOMETRIC, vec![BLACK_IS_ZERO]),
        (tag::SAMPLES_PER_PIXEL, vec![samples]),
        (tag::PLANAR_CONFIGURATION, vec![1 + u32::from(form.planar)]),
        (tag::PREDICTOR, vec![predictor]),
        (tag::SAMPLE_FORMAT, vec![if matches!(form.depth, Depth::Float(_)) { 3 } else { 1 }]),
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
    let mut decoder = Decoder::new(Window::new(Cow::Owned(described)))?.with_limits(Limits::unlimited());
    *decoder.inner() = Window::new(match directory.number(tag::FILL_ORDER)? {
        Some(2) => directory.bytes.iter().map(|byte| byte.reverse_bits()).collect(),
        _ => Cow::Borrowed(directory.bytes),
    });
    Ok(decoder)
}

/// A TIFF file of a directory and nothing else, in the byte order of the samples.
fn describe(tags: &[(u16, Vec<u32>)], is_little: bool) -> Vec<u8> {
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

/// Chroma that several pixels share, given to each of them. A block stores their lumas, then the one Cb and the one Cr.
fn spread(form: &Form, stored: &[u8], unit_bytes: usize) -> Vec<u8> {
    let (across, down) = (form.subsampling.0 as usize, form.subsampling.1 as usize);
    let lumas = across * down;
    let width = form.grid.chunk.width as usize;
    let rows = stored.len() / unit_bytes * down;
    let mut full = Vec::with_capacity(rows * width * 3);
    for y in 0..rows {
        let unit = &stored[y / down * unit_bytes..][..unit_bytes];
        for x in 0..width {
            let block = &unit[x / across * (lumas + 2)..][..lumas + 2];
            full.extend([block[y % down * across + x % across], block[lumas], block[lumas + 1]]);
        }
    }
    full
}

/// A chunk that is a JPEG file, its tables perhaps shared by all chunks.
fn read_jpeg(form: &Form, tables: &[u8], chunk: &[u8], rows: u32) -> Result<Vec<u8>, Broken> {
    const END: &[u8] = b"\xff\xd9";
    // The file of the tables goes on with the chunk, less the end of the one and the start of the other.
    let tables = tables.strip_suffix(END).unwrap_or(tables);
    let whole =
        if tables.is_empty() { Cow::Borrowed(chunk) } else { [tables, chunk.get(2..).unwrap_or(&[])].concat().into() };
    let samples = if form.planar { 1 } else { form.samples };
    // `None` of the decoder's transforms would give planes.
    let transform = match (samples, &form.color.model) {
        (1, _) => ColorTransform::Grayscale,
        (3, Model::YCbCr(_)) => ColorTransform::YCbCr,
        (3, _) => ColorTransform::RGB,
        (4, Model::Cmyk) => ColorTransform::CMYK,
        _ => return Err(Broken::Unsupported(format!("JPEG of {samples} samples as {:?}", form.color.model).into())),
    };
    let width = form.grid.chunk.width;
    let mut data = jpeg::decode_part(&whole, width, rows..=form.grid.chunk.height, samples, transform)?;
    if samples == 4 {
        // The decoder turns inks over, as Adobe stores them in a JPEG file. In TIFF they are as they are.
        for ink in &mut data {
            *ink = 255 - *ink;
        }
    }
    Ok(data)
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
