//! Chunks that are pictures by themselves.

use std::borrow::Cow;

use jpeg_decoder::ColorTransform;

use super::color::Model;
use super::form::Form;
use super::luv::Coding;
use crate::geometry::Size;
use crate::image::codec::{Broken, Scale, jpeg, webp};
use crate::image::pixels::Layout;

/// How a chunk is read that is a picture by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Jpeg(ColorTransform),
    WebP,
    LogLuv(Coding),
}

impl Reader {
    /// So many rows or more, 8 bits a sample. `tables` stands in front of every JPEG.
    pub(super) fn read(self, form: &Form, tables: &[u8], chunk: &[u8], rows: u32) -> Result<Vec<u8>, Broken> {
        let width = form.grid.chunk.width;
        match self {
            Self::Jpeg(transform) => read_jpeg(form, transform, tables, chunk, rows),
            Self::WebP => read_webp(form, chunk, rows),
            Self::LogLuv(coding) => coding.decode(chunk, width as usize, rows as usize),
        }
    }
}

/// How so many samples become color. `None` of the decoder's transforms would give planes.
pub(super) fn transform(samples: usize, model: &Model) -> Result<ColorTransform, Broken> {
    match (samples, model) {
        (1, _) => Ok(ColorTransform::Grayscale),
        (3, Model::YCbCr(_)) => Ok(ColorTransform::YCbCr),
        (3, _) => Ok(ColorTransform::RGB),
        (4, Model::Cmyk | Model::Rgb) => Ok(ColorTransform::CMYK),
        _ => Err(Broken::Unsupported(format!("JPEG of {samples} samples as {model:?}").into())),
    }
}

/// A chunk that is a JPEG file, its tables perhaps shared by all chunks.
fn read_jpeg(
    form: &Form,
    transform: ColorTransform,
    tables: &[u8],
    chunk: &[u8],
    rows: u32,
) -> Result<Vec<u8>, Broken> {
    const END: &[u8] = b"\xff\xd9";
    // The file of the tables goes on with the chunk, less the end of the one and the start of the other.
    let tables = tables.strip_suffix(END).unwrap_or(tables);
    let whole =
        if tables.is_empty() { Cow::Borrowed(chunk) } else { [tables, chunk.get(2..).unwrap_or(&[])].concat().into() };
    let samples = if form.planar { 1 } else { form.samples };
    let grid = form.grid.chunk;
    let mut data = jpeg::decode_part(&whole, grid.width, rows..=grid.height, samples, transform)?;
    if samples == 4 {
        // The decoder turns inks over, as Adobe stores them in a JPEG file. In TIFF the samples are as they are.
        for sample in &mut data {
            *sample = 255 - *sample;
        }
    }
    Ok(data)
}

/// A chunk that is a WebP file. One of four samples may leave out its alpha where all of it is opaque.
fn read_webp(form: &Form, chunk: &[u8], rows: u32) -> Result<Vec<u8>, Broken> {
    let Size { width, height } = form.grid.chunk;
    // Compared before the decoder makes room for the pixels.
    let stored = (webp::CODEC.header)(chunk)?.stored;
    if stored.width != width || !(rows..=height).contains(&stored.height) {
        return Err(Broken::Damaged(format!("WebP of {stored} for {rows} rows of {width}").into()));
    }
    let pixels = (webp::CODEC.decode)(chunk, Scale { stored, least: stored })?;
    match (form.samples, pixels.layout) {
        (3, Layout::Rgb8) | (4, Layout::Rgba8) => Ok(pixels.data),
        (4, Layout::Rgb8) => {
            Ok(pixels.data.as_chunks().0.iter().flat_map(|[red, green, blue]| [*red, *green, *blue, 255]).collect())
        }
        (samples, layout) => Err(Broken::Damaged(format!("WebP of {layout:?} for {samples} samples").into())),
    }
}
