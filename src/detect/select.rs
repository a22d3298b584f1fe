//! From what the model saw to what the client asked for.

use crate::detect::options::Options;
use crate::geometry::{Letterbox, PixelBox};
use crate::model::adapter::{Candidate, Class};
use crate::model::labels::{ClassId, LabelMap};

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
}

/// The wanted ones among the candidates, in their order, in pixels of the photo.
///
/// `candidates` are best first and score at least the wanted minimum; a box that lies beside the photo is none.
pub(super) fn select(
    candidates: &[Candidate],
    letterbox: &Letterbox,
    labels: &LabelMap,
    options: &Options,
) -> Vec<Detection> {
    let detection = |candidate: &Candidate| {
        let class_id = class_id(candidate.class, labels);
        if !options.wants(class_id) {
            return None;
        }
        let pixels = letterbox.inverse(&candidate.rect).to_pixels(letterbox.photo)?;
        Some(Detection { label: labels.name(class_id).into_owned(), class_id, score: candidate.score, pixels })
    };
    candidates.iter().filter_map(detection).take(options.max_detections).collect()
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

    const LETTERBOX: Letterbox =
        Letterbox { photo: Size::new(200, 100), content: Size::new(100, 50), canvas: Size::new(100, 100) };

    fn candidate(class: Class, score: f32) -> Candidate {
        Candidate { class, score, rect: Rect::new(10.0, 10.0, 20.0, 20.0) }
    }

    #[test]
    fn boxes_come_back_in_pixels_of_the_photo() {
        let found = select(&[candidate(Class::Id(17), 0.5)], &LETTERBOX, &LabelMap::coco(), &Options::default());
        assert_eq!(found[0].pixels, PixelBox { x_min: 20, y_min: 20, x_max: 40, y_max: 40 });
        assert_eq!((found[0].label.as_str(), found[0].class_id), ("cat", 17));
    }

    #[test]
    fn a_place_becomes_the_id_at_that_place_and_an_unknown_id_keeps_its_number() {
        let candidates = [Class::Index(11), Class::Index(500), Class::Id(12), Class::Id(-3)].map(|c| candidate(c, 0.5));
        let found = select(&candidates, &LETTERBOX, &LabelMap::coco(), &Options::default());
        let named: Vec<_> = found.iter().map(|d| (d.class_id, d.label.as_str())).collect();
        assert_eq!(named, [(13, "stop sign"), (501, "class_501"), (12, "class_12"), (-3, "class_-3")]);
    }

    #[test]
    fn classes_are_filtered_before_they_are_counted() {
        let candidates = [17, 18, 17].map(|id| candidate(Class::Id(id), 0.5));
        let options = Options { only: Some(vec![17]), max_detections: 2, ..Options::default() };
        assert_eq!(select(&candidates, &LETTERBOX, &LabelMap::coco(), &options).len(), 2);
        let options = Options { except: vec![17], ..Options::default() };
        assert_eq!(select(&candidates, &LETTERBOX, &LabelMap::coco(), &options).len(), 1);
    }

    #[test]
    fn a_box_in_the_padding_is_none() {
        let below = Candidate { rect: Rect::new(10.0, 60.0, 20.0, 90.0), ..candidate(Class::Id(17), 0.9) };
        assert!(select(&[below], &LETTERBOX, &LabelMap::coco(), &Options::default()).is_empty());
    }
}
