//! Which parts of a photo are looked at: the whole, or a region of it, and tiles of a large one.

use crate::fault::{Fault, FieldError};
use crate::geometry::{PixelBox, Size, View};

/// How much of a tile its neighbour shows as well, so that an object on the border is whole in one of them.
const OVERLAP: f64 = 0.2;

/// The views of a photo, the one that holds all others first.
///
/// A region is a part of the photo. It, or the photo, is then cut into at most `tiles` tiles of the side that the model
/// takes, or larger ones where that would be too many. What the model sees at full scale anyway is not cut.
///
/// # Errors
/// `INVALID_OPTION` where the region reaches beyond the photo.
pub(super) fn plan(photo: Size, region: Option<PixelBox>, tiles: usize, side: u32) -> Result<Vec<View>, Fault> {
    let first = match region {
        None => View::whole(photo),
        Some(window) => View::part(photo, window).ok_or_else(|| {
            let PixelBox { x_min, y_min, x_max, y_max } = window;
            let detail =
                format!("region is {x_min},{y_min},{x_max},{y_max}; it must lie inside the photo, which is {photo}.");
            Fault::invalid_options(vec![FieldError { field: "region".to_owned(), detail }])
        })?,
    };
    let mut views = vec![first];
    let Size { width, height } = first.window.size();
    let Some(side) = tile_side(width, height, side, tiles) else { return Ok(views) };
    for (y_min, y_max) in spans(height, side) {
        for (x_min, x_max) in spans(width, side) {
            let (left, top) = (first.window.x_min, first.window.y_min);
            let window = PixelBox { x_min: left + x_min, y_min: top + y_min, x_max: left + x_max, y_max: top + y_max };
            views.push(View { photo, window });
        }
    }
    Ok(views)
}

/// The side of the tiles: the model's own, or the least larger one with which they are few enough. `None` where there is
/// nothing to cut.
fn tile_side(width: u32, height: u32, side: u32, tiles: usize) -> Option<u32> {
    let count = |side| steps(width, side) * steps(height, side);
    let mut side = side;
    while count(side) > tiles.max(1) {
        side += side / 16 + 1;
    }
    (count(side) > 1).then_some(side)
}

/// How many tiles of a side cover a length.
fn steps(length: u32, side: u32) -> usize {
    if length <= side {
        return 1;
    }
    let shared = f64::from(side) * OVERLAP;
    ((f64::from(length) - shared) / (f64::from(side) - shared)).ceil() as usize
}

/// Where the tiles of one axis lie: the first at the start, the last at the end, the others evenly between.
fn spans(length: u32, side: u32) -> impl Iterator<Item = (u32, u32)> {
    let (steps, tile) = (steps(length, side) as u64, side.min(length));
    (0..steps).map(move |step| {
        let start = if steps == 1 { 0 } else { step * u64::from(length - tile) / (steps - 1) };
        (start as u32, start as u32 + tile)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(width: u32, height: u32, tiles: usize, side: u32) -> Vec<PixelBox> {
        let views = plan(Size::new(width, height), None, tiles, side).expect("no region");
        views.into_iter().map(|view| view.window).collect()
    }

    #[test]
    fn without_tiles_there_is_one_view() {
        let photo = Size::new(4000, 3000);
        assert_eq!(plan(photo, None, 0, 416).expect("whole"), [View::whole(photo)]);
        let region = PixelBox { x_min: 10, y_min: 20, x_max: 30, y_max: 40 };
        assert_eq!(plan(photo, Some(region), 0, 416).expect("inside"), [View { photo, window: region }]);
        assert_eq!(windows(400, 300, 16, 416).len(), 1, "the model sees it at full scale anyway");
    }

    #[test]
    fn a_region_beyond_the_photo_is_refused_with_the_photos_size() {
        let region = PixelBox { x_min: 10, y_min: 20, x_max: 500, y_max: 40 };
        let fault = plan(Size::new(451, 300), Some(region), 0, 416).expect_err("too wide");
        assert!(fault.detail().contains("451 x 300"), "{fault}");
        assert_eq!(fault.errors()[0].field, "region");
    }

    #[test]
    fn tiles_are_of_the_models_side_where_they_are_few_enough() {
        let tiles = &windows(800, 416, 16, 416)[1..];
        assert_eq!(
            tiles.iter().map(|tile| (tile.x_min, tile.x_max)).collect::<Vec<_>>(),
            [(0, 416), (192, 608), (384, 800)]
        );
        let tiles = &windows(4000, 3000, 16, 416)[1..];
        assert!((9..=16).contains(&tiles.len()), "{}", tiles.len());
        assert!(tiles[0].size().width > 416, "larger ones where 416 would be too many");
    }

    proptest! {
        #[test]
        fn every_pixel_is_in_a_tile_and_no_tile_reaches_beyond(
            width in 1u32..6_000, height in 1u32..6_000, tiles in 0usize..20, side in 32u32..1_100,
        ) {
            let all = windows(width, height, tiles, side);
            prop_assert!(all.len() <= tiles.max(1) + 1);
            prop_assert_eq!(all[0], PixelBox::whole(Size::new(width, height)));
            for tile in &all {
                prop_assert!(tile.x_min < tile.x_max && tile.x_max <= width);
                prop_assert!(tile.y_min < tile.y_max && tile.y_max <= height);
            }
            if all.len() > 1 {
                for (x, y) in [(0, 0), (width - 1, height - 1), (width / 2, height / 3), (width / 3, height / 2)] {
                    let inside = |tile: &PixelBox| (tile.x_min..tile.x_max).contains(&x) && (tile.y_min..tile.y_max).contains(&y);
                    prop_assert!(all[1..].iter().any(inside), "({x}, {y})");
                }
            }
        }
    }
}
