//! Compressions of rows that the `tiff` crate does not have, or has with a C library.

use std::io::Read;

use hayro_ccitt::{DecodeError, DecodeSettings, DecoderContext, EncodingMode};
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::image::codec::Broken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Fax(Fax),
    Xz,
    Zstandard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fax {
    pub(super) mode: EncodingMode,
    /// Whether each row starts with a byte of its own.
    pub(super) is_aligned: bool,
}

impl Packing {
    /// The bytes of so many rows; what a chunk holds beyond them is not read, and is no more than the rows that a full one
    /// would have.
    pub(super) fn unpack(self, packed: &[u8], columns: u32, rows: Wanted, row_bytes: usize) -> Result<Vec<u8>, Broken> {
        /// What `xz -9` asks for, in KiB. It becomes memory only as it is filled, with no more than the rows.
        const MAX_DICTIONARY: u32 = 65 << 10;
        let bytes = |rows: u32| rows as usize * row_bytes;
        match self {
            Self::Fax(fax) => fax.unpack(packed, columns, rows.here, row_bytes),
            Self::Xz => exactly(bytes(rows.here), XzReader::new_mem_limit(packed, false, MAX_DICTIONARY)),
            Self::Zstandard => zstandard(packed, bytes(rows.here), bytes(rows.full)),
        }
    }
}

/// How many rows a chunk has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Of those that belong to the picture.
    pub(super) here: u32,
    /// At most: many programs fill up the last strip.
    pub(super) full: u32,
}

/// Decodes no more than one block, 128 KiB, beyond what is wanted.
///
/// The crate hands out nothing before the window is full or the frame has ended, and a window may be far larger than a chunk: a
/// few bytes that many chunks share would fill it for each of them.
fn zstandard(packed: &[u8], wanted: usize, full: usize) -> Result<Vec<u8>, Broken> {
    /// Twice what `zstd -19` asks for. It becomes memory only as it is filled, with no more than the rows.
    const MAX_WINDOW: u64 = 16 << 20;
    /// The last block of a frame, empty, and a checksum, which is not compared (RFC 8878, 3.1.1.2).
    const END: &[u8] = &[1, 0, 0, 0, 0, 0, 0];
    let broken = |error: FrameDecoderError| Broken::reading(error);
    let mut source = packed;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    decoder.init(&mut source).map_err(broken)?;
    decoder.decode_blocks(&mut source, BlockDecodingStrategy::UptoBytes(wanted)).map_err(broken)?;
    if !decoder.is_finished() {
        decoder.decode_blocks(END, BlockDecodingStrategy::UptoBlocks(1)).map_err(broken)?;
    }
    let unpacked = decoder.can_collect();
    if unpacked > full {
        return Err(Broken::Damaged(format!("{unpacked} bytes or more in a strip or tile of {full}").into()));
    }
    exactly(wanted, decoder)
}

fn exactly(length: usize, mut from: impl Read) -> Result<Vec<u8>, Broken> {
    let mut rows = vec![0; length];
    from.read_exact(&mut rows).map_err(Broken::reading)?;
    Ok(rows)
}

impl Fax {
    /// One bit a pixel, white as 0.
    fn unpack(self, packed: &[u8], columns: u32, rows: u32, row_bytes: usize) -> Result<Vec<u8>, Broken> {
        let settings = DecodeSettings {
            columns,
            rows,
            end_of_block: true,
            end_of_line: false,
            rows_are_byte_aligned: self.is_aligned,
            encoding: self.mode,
            strict: true,
        };
        let mut bits = Bits { rows: Vec::with_capacity(rows as usize * row_bytes), row_bytes, columns };
        hayro_ccitt::decode(packed, &mut bits, &mut DecoderContext::new(settings)).map_err(|error| match error {
            DecodeError::UnexpectedEof => Broken::Truncated(error.into()),
            DecodeError::InvalidCode | DecodeError::Overflow => Broken::Damaged(error.into()),
        })?;
        if bits.rows.len() < rows as usize * row_bytes {
            return Err(Broken::Truncated("a fax with fewer rows than it should have".into()));
        }
        Ok(bits.rows)
    }
}

struct Bits {
    rows: Vec<u8>,
    row_bytes: usize,
    columns: u32,
}

impl hayro_ccitt::Decoder for Bits {
    /// Each row starts white; every change is to the other color.
    fn push_row(&mut self, changes: &[u32]) {
        let start = self.rows.len();
        self.rows.resize(start + self.row_bytes, 0);
        let row = &mut self.rows[start..];
        for black in changes.chunks(2) {
            let end = black.get(1).copied().unwrap_or(self.columns);
            for column in black[0]..end {
                row[column as usize / 8] |= 0x80 >> (column % 8);
            }
        }
    }
}
