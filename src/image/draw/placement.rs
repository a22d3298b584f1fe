//! Where a tag goes.

use super::canvas::{Area, whole};
use crate::geometry::Size;

/// The place for a tag of this size: above its box if it can be, and always inside the photo.
///
/// The tags in `taken` are avoided; where every place covers one, the place that covers the least.
pub(super) fn find(of: Area, tag: Size, photo: Size, taken: &[Area]) -> Area {
    let (width, height) = (i64::from(tag.width), i64::from(tag.height));
    let photo = whole(photo);
    let left = of.left.min(photo.right - width).max(0);
    let right = (of.right - width).min(photo.right - width).max(0);
    let (above, below) = (of.top - height, of.bottom);
    let (inside_top, inside_bottom) = (of.top, of.bottom - height);
    [
        (left, above),
        (left, inside_top),
        (right, above),
        (right, inside_top),
        (left, below),
        (left, inside_bottom),
        (right, below),
        (right, inside_bottom),
    ]
    .into_iter()
    .map(|(left, top)| Area { left, top, right: left + width, bottom: top + height })
    .filter(|place| place.top >= 0 && place.bottom <= photo.bottom)
    // Of equal ones the first wins.
    .min_by_key(|place| taken.iter().map(|other| place.overlap(*other)).sum::<i64>())
    // A box flatter than its tag, in a photo not much higher.
    .unwrap_or(Area { left, top: 0, right: left + width, bottom: height })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PHOTO: Size = Size::new(400, 300);
    const TAG: Size = Size::new(60, 20);

    fn area(left: i64, top: i64, right: i64, bottom: i64) -> Area {
        Area { left, top, right, bottom }
    }

    #[test]
    fn above_the_box_where_there_is_room() {
        assert_eq!(find(area(100, 100, 200, 200), TAG, PHOTO, &[]), area(100, 80, 160, 100));
    }

    #[test]
    fn inside_the_box_at_the_upper_edge_of_the_photo() {
        assert_eq!(find(area(100, 5, 200, 200), TAG, PHOTO, &[]), area(100, 5, 160, 25));
    }

    #[test]
    fn shifted_at_the_right_edge_of_the_photo() {
        assert_eq!(find(area(390, 100, 400, 200), TAG, PHOTO, &[]), area(340, 80, 400, 100));
    }

    #[test]
    fn beside_a_tag_that_is_already_there() {
        let taken = [area(100, 80, 160, 100)];
        let place = find(area(100, 100, 300, 200), TAG, PHOTO, &taken);
        assert_eq!(place.overlap(taken[0]), 0);
    }

    proptest! {
        #[test]
        fn always_inside_the_photo(
            left in 0i64..400, top in 0i64..300, width in 1i64..400, height in 1i64..300,
            tag_width in 1u32..=400, tag_height in 1u32..=300,
        ) {
            let of = area(left, top, (left + width).min(400), (top + height).min(300));
            let place = find(of, Size::new(tag_width, tag_height), PHOTO, &[of]);
            prop_assert!(place.left >= 0 && place.top >= 0 && place.right <= 400 && place.bottom <= 300, "{place:?}");
            prop_assert_eq!((place.right - place.left, place.bottom - place.top), (tag_width.into(), tag_height.into()));
        }
    }
}
