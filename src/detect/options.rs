//! What a client may ask for: one list of options, the same in query, form, JSON and on the command line.

use crate::fault::{Code, Fault};
use crate::geometry::PixelBox;
use crate::image::encode::Picture;
use crate::model::adapter::Extras;
use crate::model::labels::ClassId;
use crate::model::nms::Among;

mod param;
mod wanted;

pub use param::Param;
pub use wanted::Wanted;

/// The least score that is listed unless the request or the service says otherwise.
pub const DEFAULT_MIN_SCORE: f32 = 0.3;
/// The most detections that are listed unless the request says otherwise.
pub const DEFAULT_MAX_DETECTIONS: usize = 100;
/// The most that a request may ask for: more than any detector at hand answers.
pub const MAX_DETECTIONS: usize = 1_000;

/// The most tiles that a request may ask for unless the service says otherwise.
const DEFAULT_MAX_TILES: usize = 16;

/// The names of all options.
pub const NAMES: [&str; 16] = [
    "min_score",
    "min_scores",
    "max_detections",
    "classes",
    "exclude_classes",
    "iou",
    "class_agnostic",
    "region",
    "tiles",
    "orientation",
    "crops",
    "normalized",
    "masks",
    "keypoints",
    "version",
    "version_label",
];

/// Which detections are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The least score that is listed, 0..1.
    pub min_score: f32,
    /// How many are listed at most.
    pub max_detections: usize,
    /// Only these classes, where given.
    pub only: Option<Vec<ClassId>>,
    /// None of these.
    pub except: Vec<ClassId>,
    /// Least scores of single classes, instead of `min_score`.
    pub min_scores: Vec<(ClassId, f32)>,
    /// Whether boxes that overlap are thinned out once more, after the model's own NMS.
    pub nms: Option<Nms>,
    /// The only part of the photo that is looked at, in its pixels.
    pub region: Option<PixelBox>,
    /// Into how many tiles a large photo may be cut, so that small objects are found as well; 0 for none.
    pub tiles: usize,
    /// Whether the photo is set upright first.
    pub orientation: OrientationPolicy,
    /// As what kind of file each detection's part of the photo is given as well, where it is.
    pub crops: Option<Picture>,
    /// Whether boxes are given in fractions of the photo as well.
    pub normalized: bool,
    /// In which form the pixels that each object covers are given as well, where they are.
    pub masks: Option<MaskForm>,
    /// Whether the keypoints of each object are given as well.
    pub keypoints: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            min_score: DEFAULT_MIN_SCORE,
            max_detections: DEFAULT_MAX_DETECTIONS,
            only: None,
            except: Vec::new(),
            min_scores: Vec::new(),
            nms: None,
            region: None,
            tiles: 0,
            orientation: OrientationPolicy::Apply,
            crops: None,
            normalized: false,
            masks: None,
            keypoints: false,
        }
    }
}

/// A non-maximum suppression that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nms {
    /// Boxes that overlap by more are one object; intersection over union, 0..1.
    pub iou: f32,
    /// Between which boxes.
    pub among: Among,
}

/// How the pixels that an object covers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskForm {
    /// As COCO's run lengths.
    Rle,
    /// As lines around them.
    Polygon,
}

/// What to do about a photo that was taken sideways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrientationPolicy {
    /// Set it upright; boxes are in the upright photo.
    Apply,
    /// Take the pixels as they are stored; boxes are in them.
    Ignore,
}

impl Options {
    /// What the model is asked for beside boxes.
    pub fn extras(&self) -> Extras {
        Extras { masks: self.masks.is_some(), keypoints: self.keypoints }
    }

    /// The least score that any class may be listed with.
    pub fn lowest_score(&self) -> f32 {
        self.min_scores.iter().map(|&(_, score)| score).fold(self.min_score, f32::min)
    }

    /// The least score that this class is listed with.
    pub fn min_score_of(&self, class: ClassId) -> f32 {
        self.min_scores.iter().find(|(id, _)| *id == class).map_or(self.min_score, |&(_, score)| score)
    }

    /// Whether detections of this class are wanted.
    pub fn wants(&self, class: ClassId) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&class)) && !self.except.contains(&class)
    }
}

/// What holds where a request says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// The least score that is listed.
    pub min_score: f32,
    /// How many detections are listed at most.
    pub max_detections: usize,
    /// The most tiles that a request may ask for.
    pub max_tiles: usize,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { min_score: DEFAULT_MIN_SCORE, max_detections: DEFAULT_MAX_DETECTIONS, max_tiles: DEFAULT_MAX_TILES }
    }
}

/// More classes than anyone writes down; it bounds what comparing them costs.
pub const MAX_SELECTORS: usize = 256;

/// Options in one place of a request, its query or its body: room for as many classes as may be named, each by itself, and
/// for all else. Their bytes bound nothing: in 64 KiB there are more than ten thousand that have next to none.
pub const MAX_PARAMS: usize = 2 * MAX_SELECTORS;

/// That there are no more options than anybody needs in `place`: `The query`.
///
/// # Errors
/// `INVALID_OPTION`.
pub fn check_count(options: usize, place: &str) -> Result<(), Fault> {
    if options <= MAX_PARAMS {
        return Ok(());
    }
    let detail =
        format!("{place} has more than {MAX_PARAMS} options. A list, such as `classes`, may be written as one.");
    Err(Fault::new(Code::InvalidOption, detail).with("max_options", MAX_PARAMS))
}
