//! Compressions of rows that the `tiff` crate does not have, or has with a C library.

use std::io::Read;

use hayro_ccitt::{DecodeError, DecodeSettings, DecoderContext, EncodingMode};
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

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
    /// The bytes of so many rows; what a chunk holds beyond them is not read.
    pub(super) fn unpack(self, packed: &[u8], columns: u32, rows: u32, row_bytes: usize) -> Result<Vec<u8>, Broken> {
        /// What `xz -9` asks for, in KiB. It becomes memory only as it is filled, with no more than the rows.
        const MAX_DICTIONARY: u32 = 65 << 10;
        /// Twice what `zstd -19` asks for. Nothing is handed out before it is full, however few rows there are.
        const MAX_WINDOW: u64 = 16 << 20;
        let length = rows as usize * row_bytes;
        match self {
            Self::Fax(fax) => fax.unpack(packed, columns, rows, row_bytes),
            Self::Xz => exactly(length, XzReader::new_mem_limit(packed, false, MAX_DICTIONARY)),
            Self::Zstandard => {
                let decoder = StreamingDecoder::new_with_max_window_size(packed, MAX_WINDOW);
                exactly(length, decoder.map_err(|error| Broken::reading(error.to_string()))?)
            }
        }
    }
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
