//! Where the chunks of a picture lie and what its samples mean.

use jpeg_decoder::ColorTransform;

use super::color::{self, Alpha, Color, Model};
use super::compression::{Compression, Picture};
use super::depth::Depth;
use super::directory::{Directory, tag};
use super::luv::Coding;
use super::packing::Packing;
use super::picture::{Reader, transform};
use crate::geometry::Size;
use crate::image::codec::Broken;

/// What the directory says about the picture, checked.
pub(super) struct Form {
    pub(super) grid: Grid,
    /// Samples of a pixel, whether they are shown or not.
    pub(super) samples: usize,
    /// What is shown of them: color first, then alpha.
    pub(super) channels: Vec<Channel>,
    /// Whether each sample has chunks of its own.
    pub(super) planar: bool,
    pub(super) depth: Depth,
    pub(super) color: Color,
    pub(super) source: Source,
    /// Columns and rows that share one chroma.
    pub(super) subsampling: (u32, u32),
}

/// One channel of the picture.
pub(super) struct Channel {
    /// Which sample of a pixel tells it.
    pub(super) sample: usize,
    /// The level of each value that the sample may have, where a palette says it.
    pub(super) palette: Option<Vec<u8>>,
}

/// What is in the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Rows of samples, which the `tiff` crate decompresses by this number of the specification.
    Rows(u32),
    /// Rows of samples, decompressed in `packing.rs`.
    Packed(Packing),
    /// Pictures, each decoded by itself.
    Pictures(Reader),
    /// Parts of the one JPEG that is the picture.
    OldJpeg(ColorTransform),
}

impl Form {
    /// Refuses what would take more memory or work than a picture of this size should.
    pub(super) fn read(directory: &Directory<'_>, stored: Size) -> Result<Self, Broken> {
        let compression = Compression::read(directory)?;
        let grid = Grid::read(directory, stored)?;
        let form = match compression {
            Compression::Picture(Picture::LogLuv) => Self::of_log_luv(directory, grid)?,
            Compression::Picture(Picture::LogLuv24) => return Err(Broken::Unsupported("LogLuv of 24 bits".into())),
            _ => Self::of_samples(directory, grid, compression)?,
        };
        form.check_bounds(stored)?;
        Ok(form)
    }

    fn of_samples(directory: &Directory<'_>, grid: Grid, compression: Compression) -> Result<Self, Broken> {
        const PLANAR: u32 = 2;
        let depth = Depth::read(directory)?;
        let samples = directory.number(tag::SAMPLES_PER_PIXEL)?.unwrap_or(1) as usize;
        let photometric = directory.number(tag::PHOTOMETRIC)?;
        let photometric = photometric.map_or_else(|| guess(samples, compression), Ok)?;
        let (mut model, palette) = match photometric {
            color::PALETTE => (Model::Rgb, Some(color::palette(directory, depth)?)),
            _ => (Model::read(directory, photometric, depth)?, None),
        };
        let mut channels: Vec<Channel> = match palette {
            Some(levels) => levels.map(|levels| Channel { sample: 0, palette: Some(levels) }).into(),
            None => (0..model.channels()).map(|sample| Channel { sample, palette: None }).collect(),
        };
        let colors = channels.last().map_or(0, |last| last.sample + 1);
        if samples < colors {
            return Err(Broken::Damaged(format!("{samples} samples a pixel for a color of {colors}").into()));
        }
        let alpha = alpha(directory, photometric, colors, samples)?;
        channels.extend(alpha.map(|(sample, _)| Channel { sample, palette: None }));
        let planar = samples > 1 && directory.number(tag::PLANAR_CONFIGURATION)? == Some(PLANAR);
        let subsampling = match (&model, compression) {
            // These say themselves how they are subsampled.
            (Model::YCbCr(_), Compression::Picture(Picture::Jpeg | Picture::WebP)) => (1, 1),
            (Model::YCbCr(_), _) => subsampling(directory)?,
            _ => (1, 1),
        };
        if subsampling != (1, 1) && (samples != 3 || planar || !matches!(depth, Depth::Uint(8 | 16))) {
            return Err(Broken::Unsupported(
                "subsampled chroma with planes, extra samples or other than 8 or 16 bits".into(),
            ));
        }
        let in_chunk = if planar { 1 } else { samples };
        let source = match compression {
            Compression::Rows(number) => Source::Rows(number),
            Compression::Packed(Packing::Fax(_)) if depth != Depth::Uint(1) || in_chunk != 1 => {
                return Err(Broken::Damaged(format!("a fax of {in_chunk} samples of {depth:?}").into()));
            }
            Compression::Packed(packing) => Source::Packed(packing),
            Compression::Picture(_) if depth != Depth::Uint(8) => {
                return Err(Broken::Unsupported(format!("{compression:?} of {depth:?}").into()));
            }
            Compression::Picture(Picture::Jpeg) => Source::Pictures(Reader::Jpeg(transform(in_chunk, &model)?)),
            Compression::Picture(Picture::OldJpeg) if !planar => Source::OldJpeg(transform(samples, &model)?),
            Compression::Picture(Picture::WebP) if !planar => Source::Pictures(Reader::WebP),
            Compression::Picture(picture) => {
                return Err(Broken::Unsupported(format!("{picture:?} in planes or of such a color").into()));
            }
        };
        if let (Model::YCbCr(_), Source::Pictures(_) | Source::OldJpeg(_), false) = (&model, source, planar) {
            model = Model::Rgb;
        }
        let grid = if let Source::OldJpeg(_) = source { grid.into_one() } else { grid };
        let color = Color { model, alpha: alpha.map(|(_, alpha)| alpha) };
        Ok(Self { grid, samples, channels, planar, depth, color, source, subsampling })
    }

    /// What the tags say about samples is about those before they were coded; what is handed out has 8 bits.
    fn of_log_luv(directory: &Directory<'_>, grid: Grid) -> Result<Self, Broken> {
        let (coding, model) = match directory.required(tag::PHOTOMETRIC)? {
            color::LOG_L => (Coding::Luminance, Model::Grey),
            color::LOG_LUV => (Coding::Color, Model::Rgb),
            other => return Err(Broken::Damaged(format!("LogLuv as photometric interpretation {other}").into())),
        };
        let samples = coding.samples();
        Ok(Self {
            grid,
            samples,
            channels: (0..samples).map(|sample| Channel { sample, palette: None }).collect(),
            planar: false,
            depth: Depth::Uint(8),
            color: Color { model, alpha: None },
            source: Source::Pictures(Reader::LogLuv(coding)),
            subsampling: (1, 1),
        })
    }

    fn check_bounds(&self, stored: Size) -> Result<(), Broken> {
        /// Beyond what grows with the picture: chunks may be larger than a small picture.
        const FREE: u128 = 16 << 20;
        /// Beyond tiles of 16 x 16 pixels, the smallest that there may be (TIFF 6.0, section 15): each chunk costs something
        /// however small it is.
        const FREE_CHUNKS: u64 = 1 << 16;
        let pixel = self.samples as u128 * u128::from(self.depth.bits());
        let chunk = u128::from(self.grid.chunk.pixels()) * pixel / 8;
        let all = chunk * u128::from(self.grid.across) * u128::from(self.grid.down);
        let pixels = u128::from(stored.pixels());
        // Three of the sixteen bytes a pixel that decoding may take are the finished picture.
        if chunk > 13 * pixels + FREE || all > 64 * pixels + 4 * FREE {
            return Err(Broken::Unsupported(format!("chunks of {chunk} bytes, {all} in all").into()));
        }
        let chunks = u64::from(self.grid.across) * u64::from(self.grid.down);
        if chunks > stored.pixels() / 256 + FREE_CHUNKS {
            return Err(Broken::Unsupported(format!("{chunks} strips or tiles for {pixels} pixels").into()));
        }
        Ok(())
    }

    /// Bytes of one row of a chunk.
    pub(super) fn row_bytes(&self) -> usize {
        let samples = if self.planar { 1 } else { self.samples };
        (self.grid.chunk.width as usize * samples * self.depth.bits() as usize).div_ceil(8)
    }
}

/// What a file means that does not say it, by the rule of libtiff.
fn guess(samples: usize, compression: Compression) -> Result<u32, Broken> {
    match samples {
        1 if compression.is_fax() => Ok(color::WHITE_IS_ZERO),
        1 => Ok(color::BLACK_IS_ZERO),
        3 => Ok(color::RGB),
        _ => Err(Broken::Damaged(format!("{samples} samples a pixel, and nothing says what they mean").into())),
    }
}

/// The extra sample that is alpha. One that is declared as nothing is ignored.
fn alpha(
    directory: &Directory<'_>,
    photometric: u32,
    colors: usize,
    samples: usize,
) -> Result<Option<(usize, Alpha)>, Broken> {
    let extra = directory.numbers(tag::EXTRA_SAMPLES)?;
    if let (color::RGB, [], 4) = (photometric, &extra[..], samples) {
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

    /// The same picture as a single chunk.
    fn into_one(self) -> Self {
        Self { chunk: self.picture, across: 1, down: 1, tiled: false, ..self }
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
