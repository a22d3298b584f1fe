//! Between messages and what the pipeline takes and gives.

use bytes::Bytes;
use serde_json::{Value, json};

use super::proto::v1;
use crate::detect::{Answer, Crop, Detection, Keypoint, MAX_SELECTORS, OrientationPolicy, Param, Segmentation};
use crate::fault::Fault;
use crate::fetch::Source;
use crate::geometry::{PixelBox, Size};
use crate::image::encode::Picture;
use crate::mask::Ring;
use crate::request_id::RequestId;
use crate::telemetry::photo_failed;

/// Where the photo of a message is; a message without one holds an empty file, and is refused as such.
pub(super) fn photo(photo: Option<v1::detect_request::Photo>) -> Source {
    match photo {
        Some(v1::detect_request::Photo::Image(file)) => Source::Sent(file),
        Some(v1::detect_request::Photo::ImageUrl(url)) => Source::At(url),
        None => Source::Sent(Bytes::new()),
    }
}

/// The options of a message by their names, to be read as those of every other front are.
pub(super) fn params(model: Option<&v1::ModelChoice>, options: Option<v1::DetectOptions>) -> Vec<Param> {
    let mut params = Vec::new();
    let mut add = |name: &str, value: Option<Value>| params.extend(value.map(|value| Param::json(name, value)));
    match model.and_then(|model| model.version_choice.clone()) {
        Some(v1::model_choice::VersionChoice::Version(version)) => add("version", Some(version.into())),
        Some(v1::model_choice::VersionChoice::VersionLabel(label)) => add("version_label", Some(label.into())),
        None => {}
    }
    let v1::DetectOptions {
        min_score,
        min_scores,
        max_detections,
        classes,
        exclude_classes,
        iou,
        class_agnostic,
        region,
        tiles,
        orientation,
        normalized,
        crops,
        masks,
        keypoints,
    } = options.unwrap_or_default();
    // One more than may be is enough to be refused.
    let list = |mut names: Vec<String>| {
        names.truncate(MAX_SELECTORS + 1);
        (!names.is_empty()).then(|| json!(names))
    };
    add("min_score", min_score.map(number));
    let min_scores = min_scores.into_iter().take(MAX_SELECTORS + 1).map(|(class, score)| (class, number(score)));
    add(
        "min_scores",
        Some(min_scores.collect()).filter(|scores: &serde_json::Map<_, _>| !scores.is_empty()).map(Value::Object),
    );
    add("max_detections", max_detections.map(Value::from));
    add("classes", list(classes));
    add("exclude_classes", list(exclude_classes));
    add("iou", iou.map(number));
    add("class_agnostic", class_agnostic.map(Value::from));
    add("region", region.map(|v1::Box { x_min, y_min, x_max, y_max }| json!([x_min, y_min, x_max, y_max])));
    add("tiles", tiles.map(Value::from));
    // A number that this version does not know is refused by the reader like a word that it does not know.
    add(
        "orientation",
        match v1::OrientationPolicy::try_from(orientation) {
            Ok(v1::OrientationPolicy::Unspecified) => None,
            Ok(v1::OrientationPolicy::Apply) => Some("apply".into()),
            Ok(v1::OrientationPolicy::Ignore) => Some("ignore".into()),
            Err(_) => Some(orientation.to_string().into()),
        },
    );
    add("normalized", normalized.map(Value::from));
    add(
        "crops",
        match v1::CropFormat::try_from(crops) {
            Ok(v1::CropFormat::Unspecified) => None,
            Ok(v1::CropFormat::Jpeg) => Some("jpeg".into()),
            Ok(v1::CropFormat::Png) => Some("png".into()),
            Err(_) => Some(crops.to_string().into()),
        },
    );
    add(
        "masks",
        match v1::MaskFormat::try_from(masks) {
            Ok(v1::MaskFormat::Unspecified) => None,
            Ok(v1::MaskFormat::Rle) => Some("rle".into()),
            Ok(v1::MaskFormat::Polygon) => Some("polygon".into()),
            Err(_) => Some(masks.to_string().into()),
        },
    );
    add("keypoints", keypoints.map(Value::from));
    params
}

/// A number as JSON has it; what JSON cannot say is said in words, and refused as such.
fn number(value: f32) -> Value {
    serde_json::Number::from_f64(value.into()).map_or_else(|| value.to_string().into(), Value::Number)
}

/// An answer as a message.
pub(super) fn response(model: &str, answer: &Answer, normalized: bool, request_id: &RequestId) -> v1::DetectResponse {
    let duration = |duration: std::time::Duration| duration.try_into().ok();
    let timings = &answer.timings;
    v1::DetectResponse {
        request_id: request_id.to_string(),
        model: Some(v1::ModelAnswered { name: model.to_owned(), version: answer.version }),
        image: Some(v1::ImageSeen {
            width: answer.photo.width,
            height: answer.photo.height,
            format: answer.format.name().to_owned(),
            orientation: answer.orientation.into(),
            orientation_applied: answer.policy == OrientationPolicy::Apply,
            tiles: answer.tiles as u32,
        }),
        detections: answer.detections.iter().map(|found| detection(found, answer.photo, normalized)).collect(),
        timings: Some(v1::Timings {
            queue: duration(timings.queue),
            decode: duration(timings.decode),
            prepare: duration(timings.prepare),
            infer: duration(timings.infer),
            interpret: duration(timings.interpret),
            total: duration(timings.total),
        }),
        crops_omitted: answer.crops_omitted as u32,
        masks_omitted: answer.masks_omitted as u32,
    }
}

fn detection(found: &Detection, photo: Size, normalized: bool) -> v1::Detection {
    let PixelBox { x_min, y_min, x_max, y_max } = found.pixels;
    let of = |edge: u32, side: u32| f64::from(edge) / f64::from(side);
    v1::Detection {
        label: found.label.clone(),
        class_id: found.class_id,
        score: found.score,
        r#box: Some(v1::Box { x_min, y_min, x_max, y_max }),
        box_normalized: normalized.then(|| v1::NormalizedBox {
            x_min: of(x_min, photo.width),
            y_min: of(y_min, photo.height),
            x_max: of(x_max, photo.width),
            y_max: of(y_max, photo.height),
        }),
        crop: found.crop.as_ref().map(crop),
        mask: found.segmentation.as_ref().map(|found| mask(found, photo)),
        keypoints: found.keypoints.iter().flatten().map(keypoint).collect(),
    }
}

fn mask(found: &Segmentation, photo: Size) -> v1::Mask {
    let rle = || v1::RunLengths { height: photo.height, width: photo.width, counts: found.mask.run_lengths() };
    let polygon = |ring: &Ring| v1::Polygon { corners: ring.iter().flat_map(|corner| [corner.x, corner.y]).collect() };
    v1::Mask {
        area: found.mask.area(),
        rle: found.outlines.is_none().then(rle),
        polygons: found.outlines.iter().flatten().map(polygon).collect(),
    }
}

fn keypoint(point: &Keypoint) -> v1::Keypoint {
    v1::Keypoint {
        id: point.id as u32,
        name: point.name.clone().unwrap_or_default(),
        x: point.place.x,
        y: point.place.y,
        score: point.score,
    }
}

fn crop(crop: &Crop) -> v1::Crop {
    let format = match crop.picture {
        Picture::Jpeg => v1::CropFormat::Jpeg,
        Picture::Png => v1::CropFormat::Png,
    };
    v1::Crop { format: format.into(), width: crop.size.width, height: crop.size.height, image: crop.file.clone() }
}

/// The result of the photo of this number among several.
pub(super) fn result(photo: u64, outcome: Result<v1::DetectResponse, Fault>) -> v1::Result {
    let outcome = match outcome {
        Ok(response) => v1::result::Outcome::Response(response),
        Err(fault) => {
            photo_failed(photo, &fault);
            let (code, detail) = (fault.code().name().to_owned(), fault.detail().to_owned());
            v1::result::Outcome::Failure(v1::Failure { code, detail })
        }
    };
    v1::Result { outcome: Some(outcome) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::detect::{Defaults, MaskForm, NAMES, Wanted};
    use crate::model::labels::LabelMap;
    use crate::model::version::VersionChoice;

    const DEFAULTS: Defaults = Defaults { min_score: 0.3, max_detections: 100, max_tiles: 16 };

    fn full() -> v1::DetectOptions {
        v1::DetectOptions {
            min_score: Some(0.5),
            min_scores: HashMap::from([("person".to_owned(), 0.6)]),
            max_detections: Some(7),
            classes: vec!["cat".to_owned(), "18".to_owned()],
            exclude_classes: vec!["person".to_owned()],
            iou: Some(0.5),
            class_agnostic: Some(true),
            region: Some(v1::Box { x_min: 1, y_min: 2, x_max: 3, y_max: 4 }),
            tiles: Some(4),
            orientation: v1::OrientationPolicy::Ignore.into(),
            normalized: Some(true),
            crops: v1::CropFormat::Png.into(),
            masks: v1::MaskFormat::Polygon.into(),
            keypoints: Some(true),
        }
    }

    #[test]
    fn every_option_can_be_said_in_a_message() {
        let model = |choice| v1::ModelChoice { name: String::new(), version_choice: Some(choice) };
        let version = model(v1::model_choice::VersionChoice::Version(3));
        let label = model(v1::model_choice::VersionChoice::VersionLabel("stable".to_owned()));
        let mut said: Vec<_> = params(Some(&version), Some(full())).iter().map(|p| p.name().to_owned()).collect();
        said.extend(params(Some(&label), None).iter().map(|p| p.name().to_owned()));
        said.sort();
        let mut names = NAMES.map(str::to_owned);
        names.sort();
        assert_eq!(said, names);
    }

    #[test]
    fn options_mean_what_they_mean_elsewhere() {
        let read = |options| Wanted::read(&params(None, Some(options)), DEFAULTS, &LabelMap::coco());
        let options = read(v1::DetectOptions { exclude_classes: vec![], ..full() }).expect("valid").options;
        assert_eq!((options.max_detections, options.tiles, options.normalized), (7, 4, true));
        assert_eq!(options.only, Some(vec![17, 18]));
        assert_eq!(options.orientation, OrientationPolicy::Ignore);
        assert_eq!((options.masks, options.keypoints), (Some(MaskForm::Polygon), true));
        assert_eq!(options.region, Some(PixelBox { x_min: 1, y_min: 2, x_max: 3, y_max: 4 }));
        let fault =
            read(v1::DetectOptions { min_score: Some(f32::NAN), orientation: 9, masks: 9, ..Default::default() })
                .expect_err("none is valid");
        let fields: Vec<_> = fault.errors().iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["min_score", "orientation", "masks"]);
    }

    #[test]
    fn nothing_said_is_nothing_asked_for() {
        assert!(params(None, None).is_empty());
        let wanted = Wanted::read(&params(None, Some(v1::DetectOptions::default())), DEFAULTS, &LabelMap::coco());
        assert_eq!(wanted.expect("valid").version, VersionChoice::Latest);
    }
}
