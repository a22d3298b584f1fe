//! Strips and tiles, decompressed.

use std::borrow::Cow;

use super::chroma::unit;
use super::compression::code;
use super::directory::{Directory, tag};
use super::form::{Form, Source};
use super::old_jpeg;
use super::packing::{Packing, Wanted};
use super::picture::Reader;
use super::rows::Rows;
use crate::image::codec::Broken;

pub(super) struct Chunks<'a> {
    form: &'a Form,
    unpacker: Unpacker<'a>,
}

enum Unpacker<'a> {
    Rows {
        rows: Box<Rows<'a>>,
        /// Where each chunk ends in the file.
        ends: Vec<u64>,
    },
    Packed {
        packing: Packing,
        file: Cow<'a, [u8]>,
        spans: Vec<Span>,
        rows: Box<Rows<'a>>,
    },
    Pictures {
        reader: Reader,
        /// What all of them share, in front of each.
        tables: &'a [u8],
        file: Cow<'a, [u8]>,
        spans: Vec<Span>,
    },
    /// The one picture in full.
    Whole(Reader, Vec<u8>),
}

/// Where a chunk lies.
struct Span {
    offset: u32,
    count: u32,
}

impl<'a> Chunks<'a> {
    pub(super) fn open(directory: &Directory<'a>, form: &'a Form) -> Result<Self, Broken> {
        let (offsets, mut counts) = if directory.has(tag::TILE_OFFSETS) {
            (directory.numbers(tag::TILE_OFFSETS)?, directory.numbers(tag::TILE_BYTE_COUNTS)?)
        } else {
            (directory.numbers(tag::STRIP_OFFSETS)?, directory.numbers(tag::STRIP_BYTE_COUNTS)?)
        };
        if counts.is_empty() {
            // Some old programs leave the lengths out; the last pixel is the end as well.
            counts = vec![directory.bytes.len() as u32; offsets.len()];
        }
        let planes = if form.planar { form.samples } else { 1 };
        // The chunks of the old JPEG are no parts of the picture.
        let is_complete = matches!(form.source, Source::OldJpeg(_)) || offsets.len() == form.grid.chunks() * planes;
        if !is_complete || counts.len() != offsets.len() {
            let found = format!("{} places and {} lengths of strips or tiles", offsets.len(), counts.len());
            return Err(Broken::Damaged(found.into()));
        }
        if form.source != Source::Rows(code::NONE) {
            check_work(directory, &counts)?;
        }
        let spans: Vec<Span> = offsets.iter().zip(&counts).map(|(&offset, &count)| Span { offset, count }).collect();
        let unpacker = match form.source {
            Source::Rows(compression) => {
                // Uncompressed, the pixels say where the end is; many files have it wrong.
                let end = |span: &Span| match compression {
                    code::NONE => u64::MAX,
                    _ => u64::from(span.offset) + u64::from(span.count),
                };
                let ends = spans.iter().map(end).collect();
                let mut rows = Rows::open(directory, form, compression, &offsets, &counts)?;
                rows.show(file(directory)?);
                Unpacker::Rows { rows: Box::new(rows), ends }
            }
            Source::Packed(packing) => {
                // Each alone, from the first byte on, as it will be once it is unpacked.
                let (starts, ends) = (vec![0; offsets.len()], vec![u32::MAX; offsets.len()]);
                let rows = Box::new(Rows::open(directory, form, code::NONE, &starts, &ends)?);
                Unpacker::Packed { packing, file: file(directory)?, spans, rows }
            }
            Source::Pictures(reader) => {
                // JPEG has an order of its own.
                let file = if let Reader::Jpeg(_) = reader { directory.bytes.into() } else { file(directory)? };
                Unpacker::Pictures { reader, tables: directory.data(tag::JPEG_TABLES)?, file, spans }
            }
            Source::OldJpeg(transform) => {
                let strips = spans.iter().map(|span| span.of(directory.bytes)).collect();
                Unpacker::Whole(Reader::Jpeg(transform), old_jpeg::assemble(directory, form, strips)?)
            }
        };
        Ok(Self { form, unpacker })
    }

    /// The rows of a chunk, those of each plane that is shown by themselves.
    pub(super) fn read(&mut self, index: usize, rows: u32) -> Result<Vec<Vec<u8>>, Broken> {
        if !self.form.planar {
            return Ok(vec![self.read_plane(index, rows)?]);
        }
        let chunks = self.form.grid.chunks();
        let planes = self.form.channels.iter().map(|channel| channel.sample);
        planes.map(|plane| self.read_plane(plane * chunks + index, rows)).collect()
    }

    fn read_plane(&mut self, index: usize, rows: u32) -> Result<Vec<u8>, Broken> {
        let form = self.form;
        match &mut self.unpacker {
            Unpacker::Rows { rows, ends } => rows.read(form, index, ends[index]),
            Unpacker::Packed { packing, file, spans, rows } => {
                let (unit_bytes, down) = unit(form);
                let wanted = Wanted { here: rows.units(index), full: form.grid.chunk.height.div_ceil(down) };
                let unpacked = packing.unpack(spans[index].of(file)?, form.grid.chunk.width, wanted, unit_bytes)?;
                rows.show(unpacked.into());
                rows.read(form, index, u64::MAX)
            }
            Unpacker::Pictures { reader, tables, file, spans } => {
                reader.read(form, tables, spans[index].of(file)?, rows)
            }
            Unpacker::Whole(reader, picture) => reader.read(form, &[], picture, rows),
        }
    }
}

/// The file, its bits in the order in which they are read.
fn file<'a>(directory: &Directory<'a>) -> Result<Cow<'a, [u8]>, Broken> {
    Ok(match directory.number(tag::FILL_ORDER)? {
        Some(2) => directory.bytes.iter().map(|byte| byte.reverse_bits()).collect(),
        _ => Cow::Borrowed(directory.bytes),
    })
}

impl Span {
    fn of<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], Broken> {
        let start = self.offset as usize;
        let chunk = file.get(start..start.saturating_add(self.count as usize));
        chunk.ok_or_else(|| Broken::Truncated("a strip or tile does not lie in the file".into()))
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
