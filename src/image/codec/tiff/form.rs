//! Where the chunks of a picture lie and what its samples mean.

use super::color::{Alpha, Color, Model};
use super::depth::Depth;
use super::directory::{Directory, tag};
use crate::geometry::Size;
use crate::image::codec::Broken;

/// What the directory says about the picture, checked.
pub(super) struct Form {
    pub(super) grid: Grid,
    /// Samples of a pixel, whether they are shown or not.
    pub(super) samples: usize,
    /// Which of them are shown: color first, then alpha.
    pub(super) channels: Vec<usize>,
    /// Whether each sample has chunks of its own.
    pub(super) planar: bool,
    pub(super) depth: Depth,
    pub(super) color: Color,
    pub(super) compression: Compression,
    /// Columns and rows that share one chroma.
    pub(super) subsampling: (u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Jpeg,
    /// Whatever the `tiff` crate knows, by the number of the specification.
    Other(u32),
}

impl Form {
    /// Refuses what would take more memory or work than a picture of this size should.
    pub(super) fn read(directory: &Directory<'_>, stored: Size) -> Result<Self, Broken> {
        const JPEG: u32 = 7;
        const PLANAR: u32 = 2;
        let depth = Depth::read(directory)?;
        let model = Model::read(directory, depth)?;
        let samples = directory.number(tag::SAMPLES_PER_PIXEL)?.unwrap_or(1) as usize;
        let colors = model.channels();
        if samples < colors {
            return Err(Broken::Damaged(format!("{samples} samples a pixel for a color of {colors}").into()));
        }
        let mut channels: Vec<usize> = (0..colors).collect();
        let alpha = alpha(directory, &model, samples)?;
        channels.extend(alpha.map(|(sample, _)| sample));
        let planar = samples > 1 && directory.number(tag::PLANAR_CONFIGURATION)? == Some(PLANAR);
        let compression = match directory.number(tag::COMPRESSION)?.unwrap_or(1) {
            JPEG => Compression::Jpeg,
            other => Compression::Other(other),
        };
        let subsampling = match (&model, compression) {
            // JPEG says itself how it is subsampled.
            (Model::YCbCr(_), Compression::Other(_)) => subsampling(directory)?,
            _ => (1, 1),
        };
        if subsampling != (1, 1) && (samples != 3 || planar || depth != Depth::Uint(8)) {
            return Err(Broken::Unsupported(
                "subsampled chroma with planes, extra samples or other than 8 bits".into(),
            ));
        }
        let color = Color { model, alpha: alpha.map(|(_, alpha)| alpha) };
        let grid = Grid::read(directory, stored)?;
        let form = Self { grid, samples, channels, planar, depth, color, compression, subsampling };
        form.check_memory(stored)?;
        Ok(form)
    }

    fn check_memory(&self, stored: Size) -> Result<(), Broken> {
        /// Beyond what grows with the picture: chunks may be larger than a small picture.
        const FREE: u128 = 16 << 20;
        let pixel = self.samples as u128 * u128::from(self.depth.bits());
        let chunk = u128::from(self.grid.chunk.pixels()) * pixel / 8;
        let all = chunk * u128::from(self.grid.across) * u128::from(self.grid.down);
        let pixels = u128::from(stored.pixels());
        // Three of the sixteen bytes a pixel that decoding may take are the finished picture.
        if chunk > 13 * pixels + FREE || all > 64 * pixels + 4 * FREE {
            return Err(Broken::Unsupported(format!("chunks of {chunk} bytes, {all} in all").into()));
        }
        Ok(())
    }

    /// Bytes of one row of a chunk.
    pub(super) fn row_bytes(&self) -> usize {
        let samples = if self.planar { 1 } else { self.samples };
        (self.grid.chunk.width as usize * samples * self.depth.bits() as usize).div_ceil(8)
    }
}

/// The extra sample that is alpha. One that is declared as nothing is ignored.
fn alpha(directory: &Directory<'_>, model: &Model, samples: usize) -> Result<Option<(usize, Alpha)>, Broken> {
    let extra = directory.numbers(tag::EXTRA_SAMPLES)?;
    let colors = model.channels();
    if let (Model::Rgb, [], 4) = (model, &extra[..], samples) {
        // What everybody takes for RGBA.
        return Ok(Some((3, Alpha::Unassociated)));
    }
    let first = samples.saturating_sub(extra.len()).max(colors);
    Ok((first..samples).zip(extra).find_map(|(sample, kind)| match kind {
        1 => Some((sample, Alpha::Associated)),
        2 => Some((sample, Alpha::Unassociated)),
        _ => None,
    }))
}

fn subsampling(directory: &Directory<'_>) -> Result<(u32, u32), Broken> {
    match directory.numbers(tag::YCBCR_SUBSAMPLING)?[..] {
        [] => Ok((2, 2)),
        [across @ (1 | 2 | 4), down @ (1 | 2 | 4)] => Ok((across, down)),
        ref other => Err(Broken::Damaged(format!("chroma subsampled by {other:?}").into())),
    }
}

/// The strips or tiles that make up the picture.
pub(super) struct Grid {
    pub(super) picture: Size,
    pub(super) chunk: Size,
    pub(super) across: u32,
    pub(super) down: u32,
    pub(super) tiled: bool,
}

/// The part of the picture that a chunk covers.
pub(super) struct Place {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) columns: u32,
    pub(super) rows: u32,
}

impl Grid {
    fn read(directory: &Directory<'_>, picture: Size) -> Result<Self, Broken> {
        let tiled = directory.has(tag::TILE_OFFSETS);
        let chunk = if tiled {
            Size::new(directory.required(tag::TILE_WIDTH)?, directory.required(tag::TILE_LENGTH)?)
        } else {
            let rows = directory.number(tag::ROWS_PER_STRIP)?.unwrap_or(picture.height);
            Size::new(picture.width, rows.min(picture.height))
        };
        if chunk.pixels() == 0 {
            return Err(Broken::Damaged("strips or tiles without a pixel".into()));
        }
        let (across, down) = (picture.width.div_ceil(chunk.width), picture.height.div_ceil(chunk.height));
        Ok(Self { picture, chunk, across, down, tiled })
    }

    /// Every chunk of a plane with its place, in the order of the file.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, Place)> {
        let of = |row, column| {
            let (left, top) = (column * self.chunk.width, row * self.chunk.height);
            let columns = self.chunk.width.min(self.picture.width - left);
            Place { left, top, columns, rows: self.chunk.height.min(self.picture.height - top) }
        };
        (0..self.down).flat_map(move |row| (0..self.across).map(move |column| of(row, column))).enumerate()
    }

    pub(super) fn chunks(&self) -> usize {
        self.across as usize * self.down as usize
    }
}
