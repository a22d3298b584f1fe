//! Turning a picture the way a person sees it.

use image::metadata::Orientation;

use super::rgb::Rgb;
use crate::geometry::Size;

/// The size of the upright picture.
pub(super) fn size(stored: Size, orientation: Orientation) -> Size {
    if swaps_sides(orientation) { stored.transposed() } else { stored }
}

/// The upright picture. Mirrored or upside down costs no memory; a quarter turn needs the picture twice.
pub(super) fn turn(mut photo: Rgb, orientation: Orientation) -> Rgb {
    if swaps_sides(orientation) {
        photo = transposed(&photo);
    }
    // What is left after the transposition. Reversing every row mirrors; reversing all pixels turns by 180 degrees;
    // both together turn upside down.
    let (mirror, half_turn) = match orientation {
        Orientation::NoTransforms | Orientation::Rotate90FlipH => (false, false),
        Orientation::FlipHorizontal | Orientation::Rotate90 => (true, false),
        Orientation::Rotate180 | Orientation::Rotate270FlipH => (false, true),
        Orientation::FlipVertical | Orientation::Rotate270 => (true, true),
    };
    let width = photo.size().width as usize;
    if half_turn {
        photo.pixels_mut().reverse();
    }
    if mirror {
        photo.pixels_mut().chunks_exact_mut(width).for_each(<[_]>::reverse);
    }
    photo
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

/// Rows become columns.
///
/// In square tiles: walking whole columns of a large photo misses the cache at every pixel and takes three times as
/// long.
fn transposed(photo: &Rgb) -> Rgb {
    const TILE: usize = 32;
    let (width, height) = (photo.size().width as usize, photo.size().height as usize);
    let mut turned = Rgb::filled(photo.size().transposed(), [0; 3]);
    let (from, to) = (photo.pixels(), turned.pixels_mut());
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for x in left..width.min(left + TILE) {
                for y in top..height.min(top + TILE) {
                    to[x * height + y] = from[y * width + x];
                }
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

    proptest! {
        #[test]
        fn all_eight_agree_with_the_exif_table(
            exif in 1u8..=8, width in 1u32..70, height in 1u32..70, seed in any::<u64>(),
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
    }
}
