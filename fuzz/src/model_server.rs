//! Models of every kind, small, and a server that answers for one of them at once.

use std::sync::LazyLock;

use async_trait::async_trait;
use spotter::backend::{Backend, Call, Predict, Prediction, Target};
use spotter::fault::Fault;
use spotter::model::mapping::{self, BoxFormat, BoxFrame, BoxOutputs, Mapping};
use spotter::model::signature::Signature;
use spotter::model::version::{State, VersionChoice, VersionStatus};
use spotter::tensor::{DType, Tensor, TensorSpec, Values};

/// What a model declares, and what the configuration says of it.
pub(super) struct Kind {
    pub(super) signature: Signature,
    pub(super) mapping: Mapping,
}

/// One model of each kind. Their canvases are of 32 x 32 pixels: 16, 4 and 1 cells at the strides 8, 16 and 32.
pub(super) fn kinds() -> &'static [Kind] {
    static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
        let floats = |axes: &[usize]| spec(DType::F32, axes);
        let planes = || [("images", floats(&[1, 3, 32, 32]))];
        let rows = || {
            [
                ("detection_boxes", floats(&[1, 8, 4])),
                ("detection_scores", floats(&[1, 8])),
                ("detection_classes", floats(&[1, 8])),
                ("num_detections", floats(&[1])),
                ("image_info", floats(&[1, 4, 2])),
                ("detection_masks", floats(&[1, 8, 4, 4])),
            ]
        };
        let grid = [
            ("cls_8", floats(&[1, 16, 3])),
            ("box_8", floats(&[1, 16, 32])),
            ("cls_16", floats(&[1, 4, 3])),
            ("box_16", floats(&[1, 4, 32])),
            ("cls_32", floats(&[1, 1, 3])),
            ("box_32", floats(&[1, 1, 32])),
        ];
        let tflite = [
            ("output_0", floats(&[1])),
            ("output_1", floats(&[1, 8])),
            ("output_2", floats(&[1, 8])),
            ("output_3", floats(&[1, 8, 4])),
        ];
        let boxes = |format, frame, classes: Option<&str>| {
            mapping::Kind::Boxes(BoxOutputs {
                boxes: "detection_boxes".to_owned(),
                scores: "detection_scores".to_owned(),
                classes: classes.map(str::to_owned),
                count: Some("num_detections".to_owned()),
                format,
                frame,
            })
        };
        let kind = |kind, signature| Kind { signature, mapping: Mapping { kind: Some(kind), ..Mapping::default() } };
        vec![
            kind(mapping::Kind::TfDetection, detector()),
            kind(mapping::Kind::ModelGarden, signature(&[("inputs", pixels())], &rows())),
            kind(mapping::Kind::Ssd, signature(&[("input", spec(DType::U8, &[1, 32, 32, 3]))], &tflite)),
            kind(mapping::Kind::NanoDet, signature(&planes(), &grid)),
            kind(mapping::Kind::YoloX, signature(&planes(), &[("output", floats(&[1, 21, 8]))])),
            kind(mapping::Kind::YoloV8, signature(&planes(), &[("output0", floats(&[1, 7, 21]))])),
            kind(mapping::Kind::YoloV5, signature(&planes(), &[("output0", floats(&[1, 63, 8]))])),
            kind(mapping::Kind::YoloSuppressed, signature(&planes(), &[("output0", floats(&[1, 10, 6]))])),
            kind(
                boxes(BoxFormat::Xyxy, BoxFrame::Pixels, Some("detection_classes")),
                signature(&[("inputs", pixels())], &rows()),
            ),
            kind(boxes(BoxFormat::Cxcywh, BoxFrame::Normalized, None), signature(&[("inputs", pixels())], &rows())),
        ]
    });
    &KINDS
}

/// A model of the TF Object Detection API that takes photos of any size and answers masks and keypoints as well.
fn detector() -> Signature {
    let floats = |axes: &[usize]| spec(DType::F32, axes);
    signature(
        &[("input_tensor", pixels())],
        &[
            ("detection_boxes", floats(&[1, 2, 4])),
            ("detection_scores", floats(&[1, 2])),
            ("detection_classes", floats(&[1, 2])),
            ("num_detections", floats(&[1])),
            ("detection_masks", floats(&[1, 2, 2, 3])),
            ("detection_keypoints", floats(&[1, 2, 2, 2])),
            ("detection_keypoint_scores", floats(&[1, 2, 2])),
        ],
    )
}

fn spec(dtype: DType, axes: &[usize]) -> TensorSpec {
    TensorSpec { dtype, axes: Some(axes.iter().copied().map(Some).collect()) }
}

fn pixels() -> TensorSpec {
    TensorSpec { dtype: DType::U8, axes: Some(vec![Some(1), None, None, Some(3)]) }
}

fn signature(inputs: &[(&str, TensorSpec)], outputs: &[(&str, TensorSpec)]) -> Signature {
    let own =
        |tensors: &[(&str, TensorSpec)]| tensors.iter().map(|(key, spec)| ((*key).to_owned(), spec.clone())).collect();
    Signature { name: "serving_default".to_owned(), inputs: own(inputs), outputs: own(outputs) }
}

/// Sees a cat and a dog in every photo.
pub(super) struct AtOnce;

#[async_trait]
impl Backend for AtOnce {
    fn kind(&self) -> &'static str {
        "at-once"
    }

    fn describe(&self) -> String {
        "a model that answers at once".to_owned()
    }

    async fn versions(&self, _: &str, _: &Call) -> Result<Vec<VersionStatus>, Fault> {
        Ok(vec![VersionStatus { version: 1, state: State::Available, error: None }])
    }

    async fn signature(&self, target: &Target, _: Option<&str>, _: &Call) -> Result<(i64, Signature), Fault> {
        Ok((version(target), detector()))
    }

    async fn predict(&self, predict: Predict, _: &Call) -> Result<Prediction, Fault> {
        let floats = |key: &str, shape: &[usize], values: &[f32]| {
            (key.to_owned(), Tensor::new(shape.to_vec(), Values::F32(values.to_vec())).expect("fits"))
        };
        let outputs = [
            floats("detection_boxes", &[1, 2, 4], &[0.1, 0.2, 0.6, 0.9, 0.3, 0.0, 1.0, 0.5]),
            floats("detection_scores", &[1, 2], &[0.9, 0.6]),
            floats("detection_classes", &[1, 2], &[17.0, 18.0]),
            floats("num_detections", &[1], &[2.0]),
            floats("detection_masks", &[1, 2, 2, 3], &[0.0, 0.7, 1.0, 0.0, 0.2, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]),
            floats("detection_keypoints", &[1, 2, 2, 2], &[0.2, 0.3, 0.5, 0.6, f32::NAN, 0.0, 0.9, 1.1]),
            floats("detection_keypoint_scores", &[1, 2, 2], &[0.9, 0.5, 0.0, 0.3]),
        ];
        Ok(Prediction { version: version(&predict.target), outputs: outputs.into_iter().collect(), room: None })
    }
}

/// Whatever number is asked for there is.
fn version(target: &Target) -> i64 {
    match target.version {
        VersionChoice::Number(number) => number,
        VersionChoice::Latest | VersionChoice::Label(_) => 1,
    }
}
