//! What a request wants, read out of the options that it brought.

use serde_json::Value;

use super::param::{Param, Raw};
use super::{Defaults, MAX_DETECTIONS, MaskForm, NAMES, Nms, Options, OrientationPolicy};
use crate::fault::{Fault, FieldError};
use crate::geometry::PixelBox;
use crate::image::encode::Picture;
use crate::model::labels::LabelMap;
use crate::model::nms::Among;
use crate::model::version::VersionChoice;

mod classes;

#[cfg(test)]
mod tests;

/// What a request wants of which version.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wanted {
    /// Which version.
    pub version: VersionChoice,
    /// Which detections.
    pub options: Options,
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

impl<'a> Reader<'a> {
    fn wrong(&mut self, field: &str, detail: String) {
        if !self.is_full() {
            self.errors.push(FieldError { field: field.to_owned(), detail });
        }
    }

    /// Whether further mistakes are listed no more.
    fn is_full(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    fn refuse_unknown(&mut self) {
        for param in self.params.iter().filter(|param| !NAMES.contains(&param.name())).take(MAX_ERRORS) {
            let name: String = param.name().chars().take(60).collect();
            let near = NAMES.iter().find(|known| strsim::osa_distance(known, &name) <= 1 + known.len() / 4);
            let hint =
                near.map_or_else(|| format!("Options: {}.", NAMES.join(", ")), |near| format!("Did you mean {near}?"));
            self.wrong(&name, format!("Unknown option '{name}'. {hint}"));
        }
    }

    /// The values given for an option.
    fn given(&self, name: &str) -> impl Iterator<Item = &'a Param> + use<'a> {
        let name = name.to_owned();
        self.params.iter().filter(move |param| param.name() == name && !param.is_absent())
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
        let edges: Option<Vec<u32>> = match param.value() {
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
