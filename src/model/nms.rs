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
    use crate::model::adapter::Class;
    use proptest::prelude::*;

    fn candidate(class: usize, score: f32, x: f32) -> Candidate {
        Candidate { class: Class::Index(class), score, rect: Rect::new(x, 0.0, x + 10.0, 10.0) }
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

    proptest! {
        #[test]
        fn it_is_idempotent_and_does_not_care_about_order(
            boxes in prop::collection::vec((0usize..3, 0u8..5, 0u8..40), 0..40),
        ) {
            let boxes: Vec<_> = boxes.into_iter()
                .map(|(class, score, x)| candidate(class, f32::from(score) / 5.0, f32::from(x))).collect();
            let once = suppress(boxes.clone(), 0.5);
            prop_assert_eq!(&suppress(once.clone(), 0.5), &once);
            let reversed = boxes.into_iter().rev().collect();
            prop_assert_eq!(&suppress(reversed, 0.5), &once);
        }
    }
}
