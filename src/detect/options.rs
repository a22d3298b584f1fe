//! What a client may ask for: one list of options, the same in query, form, JSON and on the command line.

use serde_json::Value;

use crate::fault::{Code, Fault, FieldError};
use crate::geometry::PixelBox;
use crate::image::encode::Picture;
use crate::model::adapter::Extras;
use crate::model::labels::{ClassId, LabelMap};
use crate::model::nms::Among;
use crate::model::version::VersionChoice;

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

/// What a request wants of which version.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wanted {
    /// Which version.
    pub version: VersionChoice,
    /// Which detections.
    pub options: Options,
}

/// One option as it arrived: its name, and text from a query or a form, or a value from JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    name: String,
    value: Raw,
}

#[derive(Debug, Clone, PartialEq)]
enum Raw {
    Text(String),
    Json(Value),
}

impl Param {
    /// From a query, a form field or a flag.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Raw::Text(value.into()) }
    }

    /// From a JSON object.
    pub fn json(name: impl Into<String>, value: Value) -> Self {
        Self { name: name.into(), value: Raw::Json(value) }
    }

    /// Which option it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An empty value counts as absent: forms send one for every field left blank.
    pub fn is_absent(&self) -> bool {
        match &self.value {
            Raw::Text(text) => text.trim().is_empty(),
            Raw::Json(Value::Null) => true,
            Raw::Json(Value::String(text)) => text.trim().is_empty(),
            Raw::Json(_) => false,
        }
    }

    /// The value as people would write it, short enough to repeat in an answer.
    fn shown(&self) -> String {
        const MAX: usize = 60;
        let text = match &self.value {
            Raw::Text(text) | Raw::Json(Value::String(text)) => format!("'{text}'"),
            Raw::Json(Value::Array(_)) => "a list".to_owned(),
            Raw::Json(Value::Object(_)) => "an object".to_owned(),
            Raw::Json(value) => value.to_string(),
        };
        if text.chars().count() > MAX { text.chars().take(MAX).chain(['…']).collect() } else { text }
    }

    fn number(&self) -> Option<f64> {
        match &self.value {
            Raw::Text(text) => text.trim().parse().ok(),
            Raw::Json(value) => value.as_f64(),
        }
    }

    fn integer(&self) -> Option<i64> {
        match &self.value {
            Raw::Text(text) => text.trim().parse().ok(),
            Raw::Json(value) => value.as_i64(),
        }
    }

    fn flag(&self) -> Option<bool> {
        match &self.value {
            Raw::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Raw::Json(value) => value.as_bool(),
        }
    }

    fn string(&self) -> Option<&str> {
        match &self.value {
            Raw::Text(text) | Raw::Json(Value::String(text)) => Some(text.trim()),
            Raw::Json(_) => None,
        }
    }
}

impl Wanted {
    /// Reads every option, so that all mistakes are answered at once.
    ///
    /// # Errors
    /// `INVALID_OPTION` naming each option that is unknown, out of range, of the wrong type, given twice or in conflict.
    pub fn read(params: &[Param], defaults: Defaults, labels: &LabelMap) -> Result<Self, Fault> {
        let mut reader = Reader { params, errors: Vec::new() };
        reader.refuse_unknown();
        let options = Options {
            min_score: reader.score("min_score").unwrap_or(defaults.min_score),
            max_detections: reader.count("max_detections").unwrap_or(defaults.max_detections),
            only: reader.classes("classes", labels),
            except: reader.classes("exclude_classes", labels).unwrap_or_default(),
            min_scores: reader.scores("min_scores", labels),
            nms: reader.nms(),
            region: reader.region("region"),
            tiles: reader.tiles("tiles", defaults.max_tiles),
            orientation: reader.orientation("orientation"),
            crops: reader.crops("crops"),
            normalized: reader.flag("normalized").unwrap_or(false),
            masks: reader.masks("masks"),
            keypoints: reader.flag("keypoints").unwrap_or(false),
        };
        reader.refuse_overlap(&options, labels);
        let version = reader.version();
        if reader.errors.is_empty() {
            Ok(Self { version, options })
        } else {
            Err(Fault::invalid_options(reader.errors))
        }
    }
}

/// Reads options by name and gathers what is wrong with them.
struct Reader<'a> {
    params: &'a [Param],
    errors: Vec<FieldError>,
}

/// A request with a thousand wrong options gets a short answer all the same, and costs no more than it.
const MAX_ERRORS: usize = 20;

/// More classes than anyone writes down; it bounds what comparing them costs.
pub const MAX_SELECTORS: usize = 256;

impl<'a> Reader<'a> {
    fn wrong(&mut self, field: &str, detail: String) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError { field: field.to_owned(), detail });
        }
    }

    fn refuse_unknown(&mut self) {
        for param in self.params.iter().filter(|param| !NAMES.contains(&param.name.as_str())).take(MAX_ERRORS) {
            let name: String = param.name.chars().take(60).collect();
            let near = NAMES.iter().find(|known| strsim::osa_distance(known, &name) <= 3);
            let hint =
                near.map_or_else(|| format!("Options: {}.", NAMES.join(", ")), |near| format!("Did you mean {near}?"));
            self.wrong(&name, format!("Unknown option '{name}'. {hint}"));
        }
    }

    /// The values given for an option.
    fn given(&self, name: &str) -> impl Iterator<Item = &'a Param> + use<'a> {
        let name = name.to_owned();
        self.params.iter().filter(move |param| param.name == name && !param.is_absent())
    }

    /// The value of an option that takes one.
    fn single(&mut self, name: &str) -> Option<&'a Param> {
        let mut given = self.given(name);
        let first = given.next();
        if given.next().is_some() {
            self.wrong(name, format!("{name} is given more than once."));
            return None;
        }
        first
    }

    fn score(&mut self, name: &str) -> Option<f32> {
        let param = self.single(name)?;
        self.score_of(name, param)
    }

    fn score_of(&mut self, name: &str, param: &Param) -> Option<f32> {
        match param.number() {
            Some(score) if (0.0..=1.0).contains(&score) => Some(score as f32),
            _ => {
                let shown = param.shown();
                self.wrong(name, format!("{name} is {shown}; it must be a number from 0 to 1, such as 0.5."));
                None
            }
        }
    }

    /// `person:0.6,dog:0.3`, or an object in JSON.
    fn scores(&mut self, name: &str, labels: &LabelMap) -> Vec<(ClassId, f32)> {
        let mut pairs: Vec<(String, Param)> = Vec::new();
        for param in self.given(name) {
            match &param.value {
                Raw::Text(text) | Raw::Json(Value::String(text)) => {
                    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                        // The last colon: a label may contain one.
                        if let Some((class, score)) = part.rsplit_once(':') {
                            pairs.push((class.to_owned(), Param::text(name, score)));
                        } else {
                            let shown = Param::text(name, part.trim()).shown();
                            self.wrong(
                                name,
                                format!("{name} holds {shown}; it takes pairs such as person:0.6,dog:0.3."),
                            );
                        }
                    }
                }
                Raw::Json(Value::Object(map)) => {
                    pairs.extend(map.iter().map(|(class, score)| (class.clone(), Param::json(name, score.clone()))));
                }
                Raw::Json(_) => {
                    let shown = param.shown();
                    self.wrong(name, format!("{name} is {shown}; it takes an object such as {{\"person\": 0.6}}."));
                }
            }
        }
        if pairs.len() > MAX_SELECTORS {
            self.wrong(name, format!("{name} names {} classes; it takes up to {MAX_SELECTORS}.", pairs.len()));
            return Vec::new();
        }
        let mut scores: Vec<(ClassId, f32)> = Vec::new();
        for (class, score) in pairs {
            let mut ids = Vec::new();
            self.class(name, &class, labels, &mut ids);
            let Some(score) = self.score_of(name, &score) else { continue };
            for id in ids {
                if scores.iter().any(|&(known, _)| known == id) {
                    self.wrong(name, format!("{name} names '{}' more than once.", labels.name(id)));
                }
                scores.push((id, score));
            }
        }
        scores
    }

    fn nms(&mut self) -> Option<Nms> {
        let iou = self.score("iou");
        let agnostic = self.flag("class_agnostic");
        match (iou, agnostic) {
            (Some(iou), agnostic) => {
                let among = if agnostic == Some(true) { Among::AllClasses } else { Among::EachClass };
                Some(Nms { iou, among })
            }
            (None, Some(true)) => {
                if self.given("iou").next().is_none() {
                    self.wrong("class_agnostic", "class_agnostic says how iou is meant; give iou as well.".to_owned());
                }
                None
            }
            (None, _) => None,
        }
    }

    /// `x_min,y_min,x_max,y_max`, in JSON also as a list or an object like a box. Whether it lies inside the photo is
    /// known once the photo is.
    fn region(&mut self, name: &str) -> Option<PixelBox> {
        const EDGES: [&str; 4] = ["x_min", "y_min", "x_max", "y_max"];
        let param = self.single(name)?;
        let edges: Option<Vec<u32>> = match &param.value {
            Raw::Text(text) | Raw::Json(Value::String(text)) => {
                text.split(',').map(|edge| edge.trim().parse().ok()).collect()
            }
            Raw::Json(Value::Array(edges)) => edges.iter().map(|edge| u32::try_from(edge.as_u64()?).ok()).collect(),
            Raw::Json(Value::Object(map)) if map.len() == EDGES.len() => {
                EDGES.iter().map(|edge| u32::try_from(map.get(*edge)?.as_u64()?).ok()).collect()
            }
            Raw::Json(_) => None,
        };
        match edges.as_deref() {
            Some(&[x_min, y_min, x_max, y_max]) if x_min < x_max && y_min < y_max => {
                Some(PixelBox { x_min, y_min, x_max, y_max })
            }
            _ => {
                let shown = param.shown();
                let detail = format!(
                    "{name} is {shown}; it must be x_min,y_min,x_max,y_max in whole pixels of the photo, the maxima larger than the minima."
                );
                self.wrong(name, detail);
                None
            }
        }
    }

    fn tiles(&mut self, name: &str, max: usize) -> usize {
        let Some(param) = self.single(name) else { return 0 };
        match param.integer().and_then(|tiles| usize::try_from(tiles).ok()) {
            Some(tiles) if tiles <= max => tiles,
            _ => {
                let shown = param.shown();
                self.wrong(
                    name,
                    format!("{name} is {shown}; it must be a whole number from 0 to {max} (--max-tiles)."),
                );
                0
            }
        }
    }

    fn orientation(&mut self, name: &str) -> OrientationPolicy {
        let Some(param) = self.single(name) else { return OrientationPolicy::Apply };
        match param.string() {
            Some("apply") => OrientationPolicy::Apply,
            Some("ignore") => OrientationPolicy::Ignore,
            _ => {
                self.wrong(name, format!("{name} is {}; it must be apply or ignore.", param.shown()));
                OrientationPolicy::Apply
            }
        }
    }

    fn crops(&mut self, name: &str) -> Option<Picture> {
        let param = self.single(name)?;
        match param.string() {
            Some("jpeg") => Some(Picture::Jpeg),
            Some("png") => Some(Picture::Png),
            _ => {
                self.wrong(name, format!("{name} is {}; it must be jpeg or png.", param.shown()));
                None
            }
        }
    }

    fn masks(&mut self, name: &str) -> Option<MaskForm> {
        let param = self.single(name)?;
        match param.string() {
            Some("rle") => Some(MaskForm::Rle),
            Some("polygon") => Some(MaskForm::Polygon),
            _ => {
                self.wrong(name, format!("{name} is {}; it must be rle or polygon.", param.shown()));
                None
            }
        }
    }

    fn count(&mut self, name: &str) -> Option<usize> {
        let param = self.single(name)?;
        let count = param.integer().and_then(|count| usize::try_from(count).ok());
        match count {
            Some(count) if (1..=MAX_DETECTIONS).contains(&count) => Some(count),
            _ => {
                let shown = param.shown();
                self.wrong(name, format!("{name} is {shown}; it must be a whole number from 1 to {MAX_DETECTIONS}."));
                None
            }
        }
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        let param = self.single(name)?;
        let flag = param.flag();
        if flag.is_none() {
            self.wrong(name, format!("{name} is {}; it must be true or false.", param.shown()));
        }
        flag
    }

    /// Labels and ids, repeated or separated by commas.
    fn classes(&mut self, name: &str, labels: &LabelMap) -> Option<Vec<ClassId>> {
        let mut selectors: Vec<Param> = Vec::new();
        for param in self.given(name) {
            match &param.value {
                // A label may itself contain a comma.
                Raw::Text(text) | Raw::Json(Value::String(text)) if labels.ids(text.trim()).next().is_none() => {
                    selectors.extend(text.split(',').map(|part| Param::text(name, part)));
                }
                Raw::Json(Value::Array(items)) => {
                    selectors.extend(items.iter().map(|item| Param::json(name, item.clone())));
                }
                Raw::Text(_) | Raw::Json(_) => selectors.push(param.clone()),
            }
        }
        selectors.retain(|selector| !selector.is_absent());
        if selectors.len() > MAX_SELECTORS {
            self.wrong(name, format!("{name} names {} classes; it takes up to {MAX_SELECTORS}.", selectors.len()));
            return None;
        }
        let mut ids = Vec::new();
        for selector in &selectors {
            match selector.string() {
                Some(text) => self.class(name, text, labels, &mut ids),
                None => self.class_id(name, selector, &mut ids),
            }
        }
        (!selectors.is_empty()).then_some(ids)
    }

    fn class(&mut self, name: &str, text: &str, labels: &LabelMap, ids: &mut Vec<ClassId>) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let text = text.trim();
        let before = ids.len();
        ids.extend(labels.ids(text));
        if ids.len() > before {
            return;
        }
        match text.parse::<ClassId>() {
            Ok(id) if id >= 0 => ids.push(id),
            _ => {
                let shown: String = text.chars().take(60).collect();
                let hint = match labels.closest(&shown) {
                    Some(near) => format!("Did you mean '{near}'?"),
                    None if labels.is_empty() => "The model has no label map; use class ids.".to_owned(),
                    None => "GET /v1/models/{model}/labels lists the labels.".to_owned(),
                };
                self.wrong(name, format!("{name} names '{shown}', which is no label of the model. {hint}"));
            }
        }
    }

    fn class_id(&mut self, name: &str, param: &Param, ids: &mut Vec<ClassId>) {
        match param.integer() {
            Some(id) if id >= 0 => ids.push(id),
            _ => self.wrong(name, format!("{name} holds {}; it takes labels and class ids.", param.shown())),
        }
    }

    fn refuse_overlap(&mut self, options: &Options, labels: &LabelMap) {
        let both = options.only.iter().flatten().find(|&id| options.except.contains(id));
        if let Some(&id) = both {
            let label = labels.name(id);
            self.wrong("exclude_classes", format!("'{label}' is both in classes and in exclude_classes."));
        }
    }

    fn version(&mut self) -> VersionChoice {
        let number = self.single("version");
        let label = self.single("version_label");
        match (number, label) {
            (None, None) => VersionChoice::Latest,
            // Answers give versions as strings, because JavaScript's numbers are too short; so they may come back as such.
            (Some(number), None) => match number.integer().or_else(|| number.string()?.parse().ok()) {
                Some(version) if version >= 0 => VersionChoice::Number(version),
                _ => {
                    self.wrong("version", format!("version is {}; it must be a whole number from 0.", number.shown()));
                    VersionChoice::Latest
                }
            },
            (None, Some(label)) => match label.string() {
                Some(text) if text.len() <= 128 => VersionChoice::Label(text.to_owned()),
                _ => {
                    let detail = format!("version_label is {}; it must be a text of at most 128 bytes.", label.shown());
                    self.wrong("version_label", detail);
                    VersionChoice::Latest
                }
            },
            (Some(_), Some(_)) => {
                self.wrong("version_label", "version and version_label cannot both be given.".to_owned());
                VersionChoice::Latest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;
    use serde_json::json;

    fn read(params: &[Param]) -> Result<Wanted, Fault> {
        Wanted::read(params, Defaults::default(), &LabelMap::coco())
    }

    fn text(pairs: &[(&str, &str)]) -> Result<Wanted, Fault> {
        read(&pairs.iter().map(|&(name, value)| Param::text(name, value)).collect::<Vec<_>>())
    }

    fn refused(pairs: &[(&str, &str)]) -> String {
        let fault = text(pairs).expect_err("refused");
        assert_eq!(fault.code(), Code::InvalidOption);
        assert_eq!(fault.errors()[0].field, pairs[pairs.len() - 1].0, "{fault}");
        fault.detail().to_owned()
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        assert_eq!(text(&[]).expect("fine"), Wanted::default());
        let empty = NAMES.map(|name| (name, " "));
        assert_eq!(text(&empty).expect("empty values count as absent"), Wanted::default());
        let nulls = NAMES.map(|name| Param::json(name, Value::Null));
        assert_eq!(read(&nulls).expect("null counts as absent"), Wanted::default());
    }

    #[test]
    fn text_and_json_mean_the_same() {
        let from_text = text(&[
            ("min_score", "0.5"),
            ("max_detections", "7"),
            ("classes", "cat, dog"),
            ("classes", "3"),
            ("normalized", "true"),
            ("version", "2"),
        ]);
        let from_json = read(&[
            Param::json("min_score", json!(0.5)),
            Param::json("max_detections", json!(7)),
            Param::json("classes", json!(["cat", "dog", 3])),
            Param::json("normalized", json!(true)),
            Param::json("version", json!(2)),
        ]);
        let wanted = from_text.expect("fine");
        assert_eq!(wanted, from_json.expect("fine"));
        assert_eq!(wanted.options.only, Some(vec![17, 18, 3]));
        assert_eq!(wanted.version, VersionChoice::Number(2));
    }

    #[test]
    fn each_mistake_is_named_with_its_bound() {
        for value in ["1.5", "-0.1", "NaN", "inf", "0,5", "abc"] {
            assert!(refused(&[("min_score", value)]).contains("from 0 to 1"), "{value}");
        }
        for value in ["0", "1001", "-1", "2.5", "many"] {
            assert!(refused(&[("max_detections", value)]).contains("from 1 to 1000"), "{value}");
        }
        assert!(refused(&[("normalized", "yes")]).contains("true or false"));
        assert!(refused(&[("version", "new")]).contains("whole number"));
        assert!(refused(&[("version", "1"), ("version_label", "stable")]).contains("cannot both"));
        assert!(refused(&[("min_score", "0.1"), ("min_score", "0.2")]).contains("more than once"));
        assert!(refused(&[("classes", "cat"), ("exclude_classes", "17")]).contains("'cat' is both"));
        assert!(refused(&[("classes", "dgo")]).contains("Did you mean 'dog'?"));
        assert!(refused(&[("min_confidance", "0.5")]).contains("Options: min_score"));
        assert!(refused(&[("min_scor", "0.5")]).contains("Did you mean min_score?"));
    }

    #[test]
    fn thresholds_regions_tiles_and_nms_read_the_same_from_text_and_json() {
        let from_text = text(&[
            ("min_scores", "person:0.6, dog:0.3"),
            ("iou", "0.5"),
            ("class_agnostic", "true"),
            ("region", "10, 20,30,40"),
            ("tiles", "4"),
            ("orientation", "ignore"),
        ]);
        let from_json = read(&[
            Param::json("min_scores", json!({"person": 0.6, "18": 0.3})),
            Param::json("iou", json!(0.5)),
            Param::json("class_agnostic", json!(true)),
            Param::json("region", json!({"x_min": 10, "y_min": 20, "x_max": 30, "y_max": 40})),
            Param::json("tiles", json!(4)),
            Param::json("orientation", json!("ignore")),
        ]);
        let mut wanted = from_text.expect("fine").options;
        let mut same = from_json.expect("fine").options;
        wanted.min_scores.sort_by_key(|&(id, _)| id);
        same.min_scores.sort_by_key(|&(id, _)| id);
        assert_eq!(wanted, same);
        assert_eq!(wanted.min_scores, [(1, 0.6), (18, 0.3)]);
        assert_eq!(wanted.region, Some(PixelBox { x_min: 10, y_min: 20, x_max: 30, y_max: 40 }));
        let expected =
            (wanted.min_score_of(1), wanted.min_score_of(18), wanted.min_score_of(17), wanted.lowest_score());
        assert_eq!(expected, (0.6, 0.3, 0.3, 0.3));
        let list = read(&[Param::json("region", json!([10, 20, 30, 40]))]).expect("fine").options.region;
        assert_eq!(list, wanted.region);

        assert!(refused(&[("min_scores", "person")]).contains("person:0.6"));
        assert!(refused(&[("min_scores", "person:2")]).contains("from 0 to 1"));
        assert!(refused(&[("min_scores", "prson:0.5")]).contains("Did you mean 'person'?"));
        assert!(refused(&[("min_scores", "person:0.5,1:0.6")]).contains("more than once"));
        assert!(refused(&[("class_agnostic", "true")]).contains("give iou"));
        for region in ["1,2,3", "1,2,3,4,5", "5,0,5,9", "a,b,c,d", "-1,0,5,5", "0.5,0,5,5"] {
            assert!(refused(&[("region", region)]).contains("whole pixels"), "{region}");
        }
        assert!(refused(&[("tiles", "17")]).contains("from 0 to 16"));
        assert!(refused(&[("orientation", "up")]).contains("apply or ignore"));
    }

    #[test]
    fn json_values_of_the_wrong_type_are_refused() {
        for (name, value) in [
            ("min_score", json!("0.5")),
            ("max_detections", json!(2.5)),
            ("normalized", json!(1)),
            ("classes", json!([["cat"]])),
            ("classes", json!({"cat": true})),
            ("version_label", json!(3)),
        ] {
            let fault = read(&[Param::json(name, value.clone())]).expect_err("refused");
            assert_eq!(fault.errors()[0].field, name, "{value}");
        }
    }

    #[test]
    fn an_empty_list_of_classes_counts_as_absent() {
        for params in [
            vec![Param::json("classes", json!([]))],
            vec![Param::json("classes", json!([""]))],
            vec![Param::text("classes", ",")],
            vec![Param::text("classes", ""), Param::text("classes", " , ")],
        ] {
            assert_eq!(read(&params).expect("absent").options.only, None, "{params:?}");
        }
    }

    #[test]
    fn a_version_may_come_back_as_it_was_answered() {
        let wanted = read(&[Param::json("version", json!("9007199254740993"))]).expect("digits");
        assert_eq!(wanted.version, VersionChoice::Number(9_007_199_254_740_993));
    }

    #[test]
    fn hundreds_of_thousands_of_classes_are_refused_by_their_number() {
        let many = json!(vec![1; 300_000]);
        let fault =
            read(&[Param::json("classes", many.clone()), Param::json("exclude_classes", many)]).expect_err("too many");
        assert!(fault.detail().contains("300000 classes") && fault.detail().contains("up to 256"), "{fault}");
        let typos = vec!["dgo"; 200];
        let fault = read(&[Param::json("classes", json!(typos))]).expect_err("typos");
        assert_eq!(fault.errors().len(), MAX_ERRORS);
    }

    #[test]
    fn all_mistakes_are_answered_at_once() {
        let fault = text(&[("min_score", "2"), ("max_detections", "0"), ("colour", "red")]).expect_err("three");
        let mut fields: Vec<_> = fault.errors().iter().map(|error| error.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["colour", "max_detections", "min_score"]);
    }
}
