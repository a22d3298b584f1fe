//! `GET /v1/models`: what is served, in which versions, with which labels.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::Call;
use crate::detect::{Model, Resolved};
use crate::fault::Fault;
use crate::model::input::{CanvasSize, Form};
use crate::model::version::VersionChoice;
use crate::service::Service;

/// List the models
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "listModels",
    tag = "models",
    responses((status = 200, description = "The models, the default first.", body = ModelList)),
)]
pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<ModelList> {
    let default = service.catalog.default_model().name().to_owned();
    let entry = |model: &Arc<Model>| ModelEntry {
        name: model.name().to_owned(),
        default: model.name() == default,
        backend: model.backend().kind(),
        labels: model.labels().len(),
    };
    Json(ModelList { models: service.catalog.iter().map(entry).collect() })
}

/// Describe a model
///
/// Its versions and their states as the backend reports them now, and what the one takes and answers that is asked by default.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    operation_id = "getModel",
    tag = "models",
    params(("model" = String, Path, description = "A name that GET /v1/models lists.", example = "nanodet-g")),
    responses((status = 200, description = "The model.", body = ModelDescription)),
)]
pub(super) async fn describe(
    State(service): State<Arc<Service>>,
    Extension(call): Extension<Call>,
    Path(name): Path<String>,
) -> Result<Json<ModelDescription>, Fault> {
    let model = service.catalog.find(&name)?;
    let versions = model.versions(&call).await?;
    // A model whose versions are all loading or broken is described all the same: that is when one looks.
    let default = model.look_up(model.version(&VersionChoice::Latest), &call).await;
    if let Err(fault) = &default {
        tracing::warn!(
            model = name,
            detail = fault.detail(),
            cause = fault.cause_chain(),
            "cannot describe the version that is asked by default"
        );
    }
    Ok(Json(ModelDescription {
        name: model.name().to_owned(),
        backend: model.backend().kind(),
        versions: versions
            .into_iter()
            .map(|status| ModelVersion { version: status.version.to_string(), state: status.state.name() })
            .collect(),
        latest: default.ok().map(|resolved| LatestVersion::new(&resolved, model.profile().max_side)),
        labels: model.labels().len(),
    }))
}

/// List a model's labels
#[utoipa::path(
    get,
    path = "/v1/models/{model}/labels",
    operation_id = "listLabels",
    tag = "models",
    params(("model" = String, Path, description = "A name that GET /v1/models lists.", example = "nanodet-g")),
    responses((status = 200, description = "The labels, by class id.", body = LabelList)),
)]
pub(super) async fn labels(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
) -> Result<Json<LabelList>, Fault> {
    let model = service.catalog.find(&name)?;
    let entry = |(class_id, label): (i64, &str)| LabelEntry { class_id, label: label.to_owned() };
    Ok(Json(LabelList { model: name, labels: model.labels().iter().map(entry).collect() }))
}

/// The models.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// The default first.
    models: Vec<ModelEntry>,
}

/// A model in the list.
#[derive(Debug, Serialize, ToSchema)]
struct ModelEntry {
    /// Its name, for `/v1/models/{model}/detect`.
    #[schema(example = "nanodet-g")]
    name: String,
    /// Whether `POST /v1/detect` uses it.
    #[schema(example = true)]
    default: bool,
    /// Where it runs: `embedded` or `tensorflow-serving`.
    #[schema(example = "embedded")]
    backend: &'static str,
    /// How many classes have a label.
    #[schema(example = 80)]
    labels: usize,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelDescription {
    /// Its name.
    #[schema(example = "nanodet-g")]
    name: String,
    /// Where it runs: `embedded` or `tensorflow-serving`.
    #[schema(example = "embedded")]
    backend: &'static str,
    /// Its versions, newest first.
    versions: Vec<ModelVersion>,
    /// What the version takes and answers that is asked where a request names none: the latest, or the one that this service is
    /// configured to ask for, by number or label. Absent while it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    latest: Option<LatestVersion>,
    /// How many classes have a label.
    #[schema(example = 80)]
    labels: usize,
}

/// A version and its state.
#[derive(Debug, Serialize, ToSchema)]
struct ModelVersion {
    /// Its number.
    #[schema(example = "1")]
    version: String,
    /// UNKNOWN, START, LOADING, AVAILABLE, UNLOADING or END, as TensorFlow Serving has them.
    #[schema(example = "AVAILABLE")]
    state: &'static str,
}

/// What a version takes and answers.
#[derive(Debug, Serialize, ToSchema)]
struct LatestVersion {
    /// Its number.
    #[schema(example = "1")]
    version: String,
    /// The kind of detector that its signature was recognised as.
    #[schema(example = "NanoDet")]
    kind: &'static str,
    /// How a photo is sent to it.
    input: ModelInput,
    /// Whether it answers masks, for the option `masks`.
    #[schema(example = false)]
    masks: bool,
    /// Whether it answers keypoints, for the option `keypoints`.
    #[schema(example = false)]
    keypoints: bool,
    /// Its signature.
    signature: ModelSignature,
}

/// How a photo is sent to a model.
#[derive(Debug, Serialize, ToSchema)]
struct ModelInput {
    /// `pixels`, or `encoded` where the model decodes files itself.
    #[schema(example = "pixels")]
    form: &'static str,
    /// The width of the model's canvas, where it is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 416, nullable = false)]
    width: Option<u32>,
    /// The height of the model's canvas, where it is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 416, nullable = false)]
    height: Option<u32>,
    /// The longest side that is sent, where the model's size is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1024, nullable = false)]
    max_side: Option<u32>,
}

/// A signature.
#[derive(Debug, Serialize, ToSchema)]
struct ModelSignature {
    /// Its name.
    #[schema(example = "serving_default")]
    name: String,
    /// What it takes.
    inputs: Vec<ModelTensor>,
    /// What it answers.
    outputs: Vec<ModelTensor>,
}

/// A tensor of a signature.
#[derive(Debug, Serialize, ToSchema)]
struct ModelTensor {
    /// Its key.
    #[schema(example = "input_tensor")]
    key: String,
    /// Its element type.
    #[schema(example = "uint8")]
    dtype: &'static str,
    /// Its axes, -1 where the size is open; absent where the rank is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!([1, -1, -1, 3]), nullable = false)]
    shape: Option<Vec<i64>>,
}

impl LatestVersion {
    fn new(resolved: &Resolved, max_side: u32) -> Self {
        let tensors = |specs: &std::collections::BTreeMap<String, crate::tensor::TensorSpec>| {
            let side = |side: &Option<usize>| side.map_or(-1, |side| side as i64);
            let tensor = |(key, spec): (&String, &crate::tensor::TensorSpec)| ModelTensor {
                key: key.clone(),
                dtype: spec.dtype.name(),
                shape: spec.axes.as_ref().map(|axes| axes.iter().map(side).collect()),
            };
            specs.iter().map(tensor).collect()
        };
        let input = match &resolved.adapter.input.form {
            Form::Encoded => ModelInput { form: "encoded", width: None, height: None, max_side: None },
            Form::Pixels(pixels) => match pixels.canvas {
                CanvasSize::Fixed(size) => {
                    ModelInput { form: "pixels", width: Some(size.width), height: Some(size.height), max_side: None }
                }
                CanvasSize::OfThePhoto => {
                    ModelInput { form: "pixels", width: None, height: None, max_side: Some(max_side) }
                }
            },
        };
        Self {
            version: resolved.version.to_string(),
            kind: resolved.adapter.kind,
            input,
            masks: resolved.adapter.masks.is_some(),
            keypoints: resolved.adapter.keypoints.is_some(),
            signature: ModelSignature {
                name: resolved.signature.name.clone(),
                inputs: tensors(&resolved.signature.inputs),
                outputs: tensors(&resolved.signature.outputs),
            },
        }
    }
}

/// A model's labels.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LabelList {
    /// The model.
    #[schema(example = "nanodet-g")]
    model: String,
    /// By class id, ascending; ids may have gaps.
    labels: Vec<LabelEntry>,
}

/// A class.
#[derive(Debug, Serialize, ToSchema)]
struct LabelEntry {
    /// Its id.
    #[schema(example = 17)]
    class_id: i64,
    /// What it is called.
    #[schema(example = "cat")]
    label: String,
}
