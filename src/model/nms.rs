//! Greedy non-maximum suppression.

use crate::model::adapter::Candidate;

/// Boxes that NMS looks at, best first; more would make the cost quadratic in what a client can ask for with
/// `min_score=0`. The detectors at hand list at most 100.
pub const MAX_CANDIDATES: usize = 1_000;

/// Between which boxes an overlap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Those of one class.
    EachClass,
    /// All of them.
    AllClasses,
}

/// Keeps the best of every group of boxes of one class that overlap by more than `iou`; the answer is sorted by score.
pub fn suppress(candidates: Vec<Candidate>, iou: f32) -> Vec<Candidate> {
    suppress_among(candidates, iou, Among::EachClass)
}

/// The same in any frame, within each class or across all.
///
/// Ties are broken by class and place, so that the order of the candidates does not matter.
pub fn suppress_among<F: Clone>(mut candidates: Vec<Candidate<F>>, iou: f32, among: Among) -> Vec<Candidate<F>> {
    candidates.sort_by(Candidate::best_first);
    candidates.truncate(MAX_CANDIDATES);
    let mut kept: Vec<Candidate<F>> = Vec::new();
    for candidate in candidates {
        let competes = |better: &Candidate<F>| among == Among::AllClasses || better.class == candidate.class;
        if !kept.iter().any(|better| competes(better) && better.rect.iou(&candidate.rect) > iou) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use crate::model::adapter::{Class, Origin};
    use proptest::prelude::*;

    fn candidate(class: usize, score: f32, x: f32) -> Candidate {
        Candidate {
            class: Class::Index(class),
            score,
            rect: Rect::new(x, 0.0, x + 10.0, 10.0),
            origin: Origin::default(),
        }
    }

    #[test]
    fn the_better_of_two_overlapping_boxes_of_one_class_stays() {
        let kept = suppress(vec![candidate(0, 0.5, 0.0), candidate(0, 0.9, 1.0), candidate(1, 0.4, 0.0)], 0.6);
        assert_eq!(kept, vec![candidate(0, 0.9, 1.0), candidate(1, 0.4, 0.0)], "another class is not suppressed");
        let apart = vec![candidate(0, 0.9, 0.0), candidate(0, 0.5, 5.0)];
        assert_eq!(suppress(apart.clone(), 0.6), apart, "an overlap of one third is none");
    }

    #[test]
    fn across_all_classes_the_better_class_wins() {
        let boxes = vec![candidate(0, 0.5, 0.0), candidate(1, 0.9, 1.0)];
        assert_eq!(suppress_among(boxes.clone(), 0.6, Among::AllClasses), vec![candidate(1, 0.9, 1.0)]);
        assert_eq!(suppress_among(boxes, 0.6, Among::EachClass).len(), 2);
    }

    /// Boxes that overlap, tie and repeat, some of them empty; twice, the second time in another order.
    fn boxes() -> impl Strategy<Value = (Vec<Candidate>, Vec<Candidate>)> {
        let one = (0usize..3, 0u8..5, 0u8..40, 0u8..40, 0u8..12, 0u8..12);
        let candidate = one.prop_map(|(class, score, x, y, width, height)| {
            let [x, y, width, height] = [x, y, width, height].map(f32::from);
            let rect = Rect::new(x, y, x + width, y + height);
            Candidate { class: Class::Index(class), score: f32::from(score) / 5.0, rect, origin: Origin::default() }
        });
        prop::collection::vec(candidate, 0..60).prop_flat_map(|boxes| (Just(boxes.clone()), Just(boxes).prop_shuffle()))
    }

    fn among() -> impl Strategy<Value = Among> {
        prop_oneof![Just(Among::EachClass), Just(Among::AllClasses)]
    }

    proptest! {
        #[test]
        fn it_is_idempotent_and_does_not_care_about_order(
            (boxes, shuffled) in boxes(), iou in 0.0f32..=1.0, among in among(),
        ) {
            let once = suppress_among(boxes, iou, among);
            prop_assert_eq!(&suppress_among(once.clone(), iou, among), &once);
            prop_assert_eq!(&suppress_among(shuffled, iou, among), &once);
        }

        #[test]
        fn what_stays_is_apart_and_what_goes_has_a_better_one_over_it(
            (boxes, _) in boxes(), iou in 0.0f32..=1.0, among in among(),
        ) {
            let kept = suppress_among(boxes.clone(), iou, among);
            let over = |better: &Candidate, other: &Candidate| {
                (among == Among::AllClasses || better.class == other.class) && better.rect.iou(&other.rect) > iou
            };
            for (at, one) in kept.iter().enumerate() {
                prop_assert!(!kept[..at].iter().any(|better| over(better, one)), "{one:?} stays under another");
            }
            for gone in boxes.iter().filter(|one| !kept.contains(one)) {
                let better = kept.iter().filter(|better| better.best_first(gone).is_le());
                prop_assert!(better.into_iter().any(|better| over(better, gone)), "{gone:?} is gone for nothing");
            }
        }
    }
}
