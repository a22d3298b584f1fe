//! Turning a picture the way a person sees it.

use image::metadata::Orientation;

use super::decoded::Extent;
use super::rgb::Rgb;
use crate::geometry::Size;

/// The size of the upright picture.
pub(super) fn size(stored: Size, orientation: Orientation) -> Size {
    if swaps_sides(orientation) { stored.transposed() } else { stored }
}

/// The upright picture. Mirrored or upside down costs no memory; a quarter turn needs the picture twice.
pub(super) fn turn(mut photo: Rgb, orientation: Orientation) -> Rgb {
    let (right, bottom) = (photo.size().width as usize - 1, photo.size().height as usize - 1);
    match orientation {
        Orientation::NoTransforms => photo,
        Orientation::FlipHorizontal => {
            mirror(&mut photo);
            photo
        }
        Orientation::Rotate180 => {
            photo.pixels_mut().reverse();
            photo
        }
        Orientation::FlipVertical => {
            photo.pixels_mut().reverse();
            mirror(&mut photo);
            photo
        }
        Orientation::Rotate90FlipH => quarter(&photo, |x| x, |y| y),
        Orientation::Rotate90 => quarter(&photo, |x| bottom - x, |y| y),
        Orientation::Rotate270FlipH => quarter(&photo, |x| bottom - x, |y| right - y),
        Orientation::Rotate270 => quarter(&photo, |x| x, |y| right - y),
    }
}

/// Where the photo lies on its upright pixels, `reduced` of which in a row and in a column are one.
///
/// The last pixel of a stored row may stand for fewer, and comes first where the row is mirrored.
pub(super) fn extent(stored: Size, reduced: u32, orientation: Orientation) -> Extent {
    let exact = |length: u32| f64::from(length) / f64::from(reduced);
    let missing = |length: u32| f64::from(length.div_ceil(reduced)) - exact(length);
    let (from_the_right, from_below) = mirrors(orientation);
    let left = if from_the_right { missing(stored.width) } else { 0.0 };
    let top = if from_below { missing(stored.height) } else { 0.0 };
    let (width, height) = (exact(stored.width), exact(stored.height));
    if swaps_sides(orientation) {
        Extent { left: top, top: left, width: height, height: width }
    } else {
        Extent { left, top, width, height }
    }
}

/// Whether stored rows are read from the right, and stored columns from below.
fn mirrors(orientation: Orientation) -> (bool, bool) {
    match orientation {
        Orientation::NoTransforms | Orientation::Rotate90FlipH => (false, false),
        Orientation::FlipHorizontal | Orientation::Rotate270 => (true, false),
        Orientation::FlipVertical | Orientation::Rotate90 => (false, true),
        Orientation::Rotate180 | Orientation::Rotate270FlipH => (true, true),
    }
}

fn swaps_sides(orientation: Orientation) -> bool {
    match orientation {
        Orientation::NoTransforms
        | Orientation::FlipHorizontal
        | Orientation::Rotate180
        | Orientation::FlipVertical => false,
        Orientation::Rotate90FlipH | Orientation::Rotate90 | Orientation::Rotate270FlipH | Orientation::Rotate270 => {
            true
        }
    }
}

fn mirror(photo: &mut Rgb) {
    let width = photo.size().width as usize;
    photo.pixels_mut().chunks_exact_mut(width).for_each(<[_]>::reverse);
}

/// Rows become columns: the new pixel (x, y) comes from the row `row_of(x)` and the column `column_of(y)`.
///
/// In strips of new rows, so that what is read and what is written both stay in the cache; row by row it takes twice as
/// long.
fn quarter(photo: &Rgb, row_of: impl Fn(usize) -> usize, column_of: impl Fn(usize) -> usize) -> Rgb {
    const STRIP: usize = 128;
    let (width, height) = (photo.size().width as usize, photo.size().height as usize);
    let mut turned =
        Rgb::new(photo.size().transposed(), vec![0; photo.data().len()]).expect("as many pixels as before");
    for (index, strip) in turned.pixels_mut().chunks_mut(STRIP * height).enumerate() {
        for x in 0..height {
            let row = &photo.pixels()[row_of(x) * width..][..width];
            for (below, pixel) in strip[x..].iter_mut().step_by(height).enumerate() {
                *pixel = row[column_of(index * STRIP + below)];
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the upright pixel (x, y) lies in the stored picture; the EXIF table, written out.
    fn stored_at(exif: u8, stored: Size, x: u32, y: u32) -> (u32, u32) {
        let (right, bottom) = (stored.width - 1, stored.height - 1);
        match exif {
            1 => (x, y),
            2 => (right - x, y),
            3 => (right - x, bottom - y),
            4 => (x, bottom - y),
            5 => (y, x),
            6 => (y, bottom - x),
            7 => (right - y, bottom - x),
            8 => (right - y, x),
            other => panic!("EXIF has no orientation {other}"),
        }
    }

    /// Where the stored pixel (column, row) lies in the upright picture: the same table from the other side.
    fn upright_at(exif: u8, stored: Size, column: u32, row: u32) -> (u32, u32) {
        let (right, bottom) = (stored.width - 1, stored.height - 1);
        match exif {
            1 => (column, row),
            2 => (right - column, row),
            3 => (right - column, bottom - row),
            4 => (column, bottom - row),
            5 => (row, column),
            6 => (bottom - row, column),
            7 => (bottom - row, right - column),
            8 => (row, right - column),
            other => panic!("EXIF has no orientation {other}"),
        }
    }

    proptest! {
        #[test]
        fn all_eight_agree_with_the_exif_table(
            exif in 1u8..=8, width in 1u32..300, height in 1u32..40, seed in any::<u64>(),
        ) {
            let stored = Size::new(width, height);
            let mut state = seed | 1;
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .take(stored.pixels() as usize * 3)
            .collect();
            let photo = Rgb::new(stored, noise).unwrap();
            let orientation = Orientation::from_exif(exif).unwrap();
            let upright = turn(photo.clone(), orientation);
            prop_assert_eq!(upright.size(), size(stored, orientation));
            for y in 0..upright.size().height {
                for x in 0..upright.size().width {
                    let (from_x, from_y) = stored_at(exif, stored, x, y);
                    prop_assert_eq!(
                        upright.pixels()[(y * upright.size().width + x) as usize],
                        photo.pixels()[(from_y * width + from_x) as usize]
                    );
                }
            }
        }

        /// The pixels of a reduced decode lie where those of the whole one would: the upright pixel of each stored pixel,
        /// in pixels of the photo.
        #[test]
        fn reduced_pixels_lie_where_they_were_in_the_photo(
            exif in 1u8..=8, width in 1u32..300, height in 1u32..300, eighths in 0u32..4,
            (x, y) in (0.0f64..1.0, 0.0f64..1.0),
        ) {
            let (stored, reduced) = (Size::new(width, height), 1 << eighths);
            let orientation = Orientation::from_exif(exif).unwrap();
            let small = Size::new(width.div_ceil(reduced), height.div_ceil(reduced));
            let (photo, upright) = (size(stored, orientation), size(small, orientation));
            let extent = extent(stored, reduced, orientation);
            // An upright reduced pixel, the stored pixels of which it is made, and where their upper left lies in the photo.
            let (at_x, at_y) = ((x * f64::from(upright.width)) as u32, (y * f64::from(upright.height)) as u32);
            let (column, row) = stored_at(exif, small, at_x, at_y);
            let columns = (column * reduced)..((column + 1) * reduced).min(width);
            let rows = (row * reduced)..((row + 1) * reduced).min(height);
            for (column, row) in columns.flat_map(|column| rows.clone().map(move |row| (column, row))) {
                let (photo_x, photo_y) = upright_at(exif, stored, column, row);
                let on = |place: u32, length: u32, first: f64, span: f64| {
                    first + (f64::from(place) + 0.5) / f64::from(length) * span
                };
                let found_x = on(photo_x, photo.width, extent.left, extent.width);
                let found_y = on(photo_y, photo.height, extent.top, extent.height);
                prop_assert_eq!((found_x.floor(), found_y.floor()), (f64::from(at_x), f64::from(at_y)));
            }
        }
    }
}
