//! What several views of one photo saw, as one list.

use crate::geometry::{Photo, PixelBox, Rect, View};
use crate::model::adapter::Candidate;
use crate::model::nms::MAX_CANDIDATES;

/// Boxes of one class that overlap by more are one object, seen twice. Between the thresholds that detectors use for
/// their own NMS (0.45 to 0.6).
const SAME_OBJECT_IOU: f32 = 0.5;
/// A box that ends at the border of its tile is a part of an object where at least this much of it lies in another box.
const PART_SHARE: f32 = 0.5;
/// A box ends at the border of its tile where it comes this near, as a fraction of the tile's side.
const BORDER: f32 = 0.01;
/// Joins what the views saw; the first view holds all others. The answer is sorted by score.
///
/// An object on the border of two tiles is seen whole by the first view or by an overlapping tile, and in parts by others.
/// Whole boxes come first, whatever their score, and swallow the parts.
pub(super) fn merge(seen: Vec<(View, Vec<Candidate<Photo>>)>) -> Vec<Candidate<Photo>> {
    let Some(outer) = seen.first().map(|(view, _)| view.window) else { return Vec::new() };
    let tagged = |(view, candidates): (View, Vec<Candidate<Photo>>)| {
        candidates.into_iter().map(move |candidate| (is_cut(&candidate.rect, view.window, outer), candidate))
    };
    let mut candidates: Vec<_> = seen.into_iter().flat_map(tagged).collect();
    candidates.sort_by(|(_, a), (_, b)| a.best_first(b));
    candidates.truncate(MAX_CANDIDATES);
    candidates.sort_by_key(|(is_cut, _)| *is_cut);

    let mut kept: Vec<Candidate<Photo>> = Vec::new();
    for (is_cut, candidate) in candidates {
        let is_known = kept.iter().filter(|known| known.class == candidate.class).any(|known| {
            known.rect.iou(&candidate.rect) > SAME_OBJECT_IOU
                || is_cut && known.rect.intersection(&candidate.rect) >= PART_SHARE * candidate.rect.area()
        });
        if !is_known {
            kept.push(candidate);
        }
    }
    kept.sort_by(Candidate::best_first);
    kept
}

/// Whether the box ends where its tile does and the photo goes on.
fn is_cut(rect: &Rect<Photo>, tile: PixelBox, outer: PixelBox) -> bool {
    let x = BORDER * tile.size().width as f32;
    let y = BORDER * tile.size().height as f32;
    (tile.x_min > outer.x_min && rect.x_min <= tile.x_min as f32 + x)
        || (tile.y_min > outer.y_min && rect.y_min <= tile.y_min as f32 + y)
        || (tile.x_max < outer.x_max && rect.x_max >= tile.x_max as f32 - x)
        || (tile.y_max < outer.y_max && rect.y_max >= tile.y_max as f32 - y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::model::adapter::{Class, Origin};

    const PHOTO: Size = Size::new(1000, 400);

    fn view(x_min: u32, x_max: u32) -> View {
        View::part(PHOTO, PixelBox { x_min, y_min: 0, x_max, y_max: 400 }).expect("inside")
    }

    fn candidate(score: f32, x_min: f32, x_max: f32) -> Candidate<Photo> {
        Candidate { class: Class::Id(1), score, rect: Rect::new(x_min, 100.0, x_max, 200.0), origin: Origin::default() }
    }

    #[test]
    fn an_object_seen_twice_is_listed_once_with_its_better_score() {
        let seen = vec![
            (View::whole(PHOTO), vec![candidate(0.4, 100.0, 200.0)]),
            (view(0, 500), vec![candidate(0.8, 102.0, 199.0)]),
        ];
        assert_eq!(merge(seen), [candidate(0.8, 102.0, 199.0)]);
    }

    #[test]
    fn a_part_at_the_border_is_swallowed_by_the_whole_whatever_its_score() {
        let seen = vec![
            (View::whole(PHOTO), vec![candidate(0.4, 400.0, 700.0)]),
            (view(0, 500), vec![candidate(0.9, 400.0, 499.0)]),
            (view(450, 1000), vec![candidate(0.8, 452.0, 700.0)]),
        ];
        assert_eq!(merge(seen), [candidate(0.4, 400.0, 700.0)]);
    }

    #[test]
    fn a_small_object_inside_a_large_one_stays() {
        let seen = vec![
            (View::whole(PHOTO), vec![candidate(0.9, 100.0, 480.0)]),
            (view(0, 500), vec![candidate(0.5, 200.0, 250.0)]),
        ];
        assert_eq!(merge(seen).len(), 2);
    }

    #[test]
    fn what_only_a_tile_saw_is_added_even_at_its_border() {
        let seen = vec![(View::whole(PHOTO), vec![]), (view(0, 500), vec![candidate(0.5, 450.0, 500.0)])];
        assert_eq!(merge(seen).len(), 1);
    }
}
