//! From what the model saw to what the client asked for.

use crate::detect::crops::Crop;
use crate::detect::keypoints::Keypoint;
use crate::detect::masks::Segmentation;
use crate::detect::merge::merge;
use crate::detect::options::{Nms, Options};
use crate::geometry::{Letterbox, Photo, PixelBox, View};
use crate::model::adapter::{Candidate, Class, Origin};
use crate::model::labels::{ClassId, LabelMap};
use crate::model::nms;

/// One object in the photo.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// What its class is called.
    pub label: String,
    /// The id of its class in the model's label map.
    pub class_id: ClassId,
    /// How sure the model is, 0..1.
    pub score: f32,
    /// Where it is, in pixels of the photo as a person sees it.
    pub pixels: PixelBox,
    /// Its part of the photo, where crops are wanted and it is among those that get one.
    pub crop: Option<Crop>,
    /// The pixels that it covers, where masks are wanted and it is among those that get one.
    pub segmentation: Option<Segmentation>,
    /// Its keypoints, where they are wanted.
    pub keypoints: Option<Vec<Keypoint>>,
}

/// A detection and what it was made of: the box before it was rounded and cut to the photo, and where the model says more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selected {
    pub detection: Detection,
    pub candidate: Candidate<Photo>,
}

/// The wanted ones of what each view saw, best first, in pixels of the photo.
///
/// `seen` holds the letterbox of each view with its candidates, the view that holds all others first. A box that lies
/// beside its view is none.
pub(super) fn select(seen: Vec<(Letterbox, Vec<Candidate>)>, labels: &LabelMap, options: &Options) -> Vec<Selected> {
    let Some(within) = seen.first().map(|(letterbox, _)| letterbox.view.window) else { return Vec::new() };
    let wanted = |candidate: &Candidate| {
        let class = class_id(candidate.class, labels);
        options.wants(class) && candidate.score >= options.min_score_of(class)
    };
    let in_photo = |(index, (letterbox, candidates)): (usize, (Letterbox, Vec<Candidate>))| {
        let map = |candidate: Candidate| {
            let rect = letterbox.inverse(&candidate.rect);
            rect.to_pixels(letterbox.view.window)?;
            let origin = Origin { view: index, ..candidate.origin };
            Some(Candidate { class: candidate.class, score: candidate.score, rect, origin })
        };
        (letterbox.view, candidates.into_iter().filter(wanted).filter_map(map).collect())
    };
    let mut views: Vec<(View, Vec<Candidate<Photo>>)> = seen.into_iter().enumerate().map(in_photo).collect();
    let mut candidates = if views.len() == 1 { views.remove(0).1 } else { merge(views) };
    if let Some(Nms { iou, among }) = options.nms {
        candidates = nms::suppress_among(candidates, iou, among);
    }
    let selected = |candidate: Candidate<Photo>| {
        let class_id = class_id(candidate.class, labels);
        let pixels = candidate.rect.to_pixels(within)?;
        let label = labels.name(class_id).into_owned();
        let detection = Detection {
            label,
            class_id,
            score: candidate.score,
            pixels,
            crop: None,
            segmentation: None,
            keypoints: None,
        };
        Some(Selected { detection, candidate })
    };
    candidates.into_iter().filter_map(selected).take(options.max_detections).collect()
}

/// The id of a class. A place past the end of the label map, or any place without one, counts from 1 as ids do.
fn class_id(class: Class, labels: &LabelMap) -> ClassId {
    match class {
        Class::Id(id) => id,
        Class::Index(index) => labels.nth(index).unwrap_or(index as ClassId + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Rect, Size};
    use crate::model::adapter::Origin;

    const LETTERBOX: Letterbox = Letterbox {
        view: View::whole(Size::new(200, 100)),
        content: Size::new(100, 50),
        place: (0, 0),
        canvas: Size::new(100, 100),
    };

    fn candidate(class: Class, score: f32) -> Candidate {
        Candidate { class, score, rect: Rect::new(10.0, 10.0, 20.0, 20.0), origin: Origin::default() }
    }

    fn detections(seen: Vec<(Letterbox, Vec<Candidate>)>, labels: &LabelMap, options: &Options) -> Vec<Detection> {
        select(seen, labels, options).into_iter().map(|selected| selected.detection).collect()
    }

    #[test]
    fn boxes_come_back_in_pixels_of_the_photo() {
        let found =
            detections(vec![(LETTERBOX, vec![candidate(Class::Id(17), 0.5)])], &LabelMap::coco(), &Options::default());
        assert_eq!(found[0].pixels, PixelBox { x_min: 20, y_min: 20, x_max: 40, y_max: 40 });
        assert_eq!((found[0].label.as_str(), found[0].class_id), ("cat", 17));
    }

    #[test]
    fn a_place_becomes_the_id_at_that_place_and_an_unknown_id_keeps_its_number() {
        let candidates = [Class::Index(11), Class::Index(500), Class::Id(12), Class::Id(-3)].map(|c| candidate(c, 0.5));
        let found = detections(vec![(LETTERBOX, candidates.to_vec())], &LabelMap::coco(), &Options::default());
        let named: Vec<_> = found.iter().map(|d| (d.class_id, d.label.as_str())).collect();
        assert_eq!(named, [(13, "stop sign"), (501, "class_501"), (12, "class_12"), (-3, "class_-3")]);
    }

    #[test]
    fn classes_are_filtered_before_they_are_counted() {
        let candidates = [17, 18, 17].map(|id| candidate(Class::Id(id), 0.5));
        let options = Options { only: Some(vec![17]), max_detections: 2, ..Options::default() };
        assert_eq!(detections(vec![(LETTERBOX, candidates.to_vec())], &LabelMap::coco(), &options).len(), 2);
        let options = Options { except: vec![17], ..Options::default() };
        assert_eq!(detections(vec![(LETTERBOX, candidates.to_vec())], &LabelMap::coco(), &options).len(), 1);
    }

    #[test]
    fn a_class_has_its_own_least_score() {
        let candidates = [candidate(Class::Id(17), 0.5), candidate(Class::Id(18), 0.5), candidate(Class::Id(1), 0.2)];
        let options = Options { min_scores: vec![(17, 0.6), (1, 0.1)], ..Options::default() };
        let found = detections(vec![(LETTERBOX, candidates.to_vec())], &LabelMap::coco(), &options);
        assert_eq!(found.iter().map(|found| found.class_id).collect::<Vec<_>>(), [18, 1]);
    }

    #[test]
    fn boxes_of_a_region_are_in_pixels_of_the_photo_and_inside_the_region() {
        let window = PixelBox { x_min: 100, y_min: 50, x_max: 200, y_max: 100 };
        let view = View::part(Size::new(200, 100), window).expect("inside");
        let letterbox = Letterbox { view, ..LETTERBOX };
        let wide = Candidate { rect: Rect::new(-10.0, 10.0, 20.0, 20.0), ..candidate(Class::Id(17), 0.5) };
        let found = detections(vec![(letterbox, vec![wide])], &LabelMap::coco(), &Options::default());
        assert_eq!(found[0].pixels, PixelBox { x_min: 100, y_min: 60, x_max: 120, y_max: 70 });
    }

    #[test]
    fn a_box_in_the_padding_is_none() {
        let below = Candidate { rect: Rect::new(10.0, 60.0, 20.0, 90.0), ..candidate(Class::Id(17), 0.9) };
        assert!(detections(vec![(LETTERBOX, vec![below])], &LabelMap::coco(), &Options::default()).is_empty());
    }
}
