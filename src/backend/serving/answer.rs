//! What a model server answers, read without trusting it: messages of TensorFlow Serving to words of this crate.
//!
//! Nothing here asks anybody anything, so that a test can put any message in: public for the fuzz targets and for the
//! tests, as `proto` is.

use std::collections::{BTreeMap, HashMap};

use prost::Message;

use super::proto::tensorflow::serving::{
    GetModelMetadataResponse, GetModelStatusResponse, ModelSpec, ModelVersionStatus, PredictResponse, SignatureDefMap,
    model_spec, model_version_status::State as WireState,
};
use super::proto::tensorflow::{SignatureDef, TensorInfo, TensorProto};
use super::wire;
use crate::backend::Prediction;
use crate::model::signature::Signature;
use crate::model::version::{State, VersionStatus};
use crate::tensor::TensorSpec;

/// The one field of metadata that TensorFlow Serving knows.
pub const SIGNATURE_FIELD: &str = "signature_def";
/// What exporters call the signature to be served.
const DEFAULT_SIGNATURE: &str = "serving_default";
/// A signature that TensorFlow 2 adds for itself.
const INIT_SIGNATURE: &str = "__saved_model_init_op";

/// An answer that no TensorFlow Serving gives; for the log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Broken(String);

/// Every version of a model, with its state.
pub fn versions(answer: &GetModelStatusResponse) -> Vec<VersionStatus> {
    answer.model_version_status.iter().map(version_status).collect()
}

/// The signature of a version, with its number: the one of this name; without a name `serving_default`, else the only one
/// there is.
///
/// # Errors
/// Where the answer lacks one of the two, or its signature cannot be decoded.
pub fn signature(mut answer: GetModelMetadataResponse, name: Option<&str>) -> Result<(i64, Signature), Broken> {
    let version = version(answer.model_spec.as_ref(), "GetModelMetadata")?;
    let any = answer.metadata.remove(SIGNATURE_FIELD);
    let any = any.ok_or_else(|| Broken("GetModelMetadata carries no signature_def".to_owned()))?;
    let map = SignatureDefMap::decode(any.value.as_slice())
        .map_err(|error| Broken(format!("signature_def cannot be decoded: {error}")))?;
    Ok((version, choose(map.signature_def, name).map_err(Broken)?))
}

/// How many numbers the answer declares, whether it has them or not.
pub(super) fn elements(answer: &PredictResponse) -> usize {
    let elements = |message: &TensorProto| {
        let sides = message.tensor_shape.iter().flat_map(|shape| &shape.dim);
        let sides = sides.map(|dim| usize::try_from(dim.size).unwrap_or(0));
        sides.fold(1, usize::saturating_mul)
    };
    answer.outputs.values().map(elements).fold(0, usize::saturating_add)
}

/// The outputs that were asked for, as far as the answer has them; what was not asked for is not read.
///
/// A message of a few bytes may declare tensors of any size, so all of them together have at most as many elements as
/// `max_bytes` hold of float32.
///
/// # Errors
/// Where the answer names no version, or a tensor cannot be read.
pub fn prediction(mut answer: PredictResponse, wanted: &[String], max_bytes: usize) -> Result<Prediction, Broken> {
    let version = version(answer.model_spec.as_ref(), "Predict")?;
    let mut room = max_bytes / size_of::<f32>();
    let mut outputs = Vec::with_capacity(wanted.len());
    for key in wanted {
        let Some(message) = answer.outputs.remove(key) else { continue };
        let tensor = wire::decode(&message, room).map_err(|error| Broken(format!("output '{key}': {error}")))?;
        room -= tensor.len();
        outputs.push((key.clone(), tensor));
    }
    Ok(Prediction { version, outputs: outputs.into_iter().collect(), room: None })
}

/// The concrete version behind "latest" or a label.
fn version(spec: Option<&ModelSpec>, call: &str) -> Result<i64, Broken> {
    match spec.and_then(|spec| spec.version_choice.as_ref()) {
        Some(model_spec::VersionChoice::Version(number)) => Ok(*number),
        Some(model_spec::VersionChoice::VersionLabel(_)) | None => Err(Broken(format!("{call} names no version"))),
    }
}

fn version_status(message: &ModelVersionStatus) -> VersionStatus {
    let state = match message.state() {
        WireState::Unknown => State::Unknown,
        WireState::Start => State::Start,
        WireState::Loading => State::Loading,
        WireState::Available => State::Available,
        WireState::Unloading => State::Unloading,
        WireState::End => State::End,
    };
    // A version without an error carries an empty status, not none.
    let failure = message.status.as_ref().filter(|status| status.error_code != 0);
    VersionStatus { version: message.version, state, error: failure.map(|status| status.error_message.clone()) }
}

fn choose(mut signatures: HashMap<String, SignatureDef>, wanted: Option<&str>) -> Result<Signature, String> {
    signatures.remove(INIT_SIGNATURE);
    let usual = wanted.unwrap_or(DEFAULT_SIGNATURE);
    let name = if signatures.contains_key(usual) {
        usual.to_owned()
    } else {
        let mut names: Vec<_> = signatures.keys().cloned().collect();
        names.sort();
        match names.pop() {
            Some(only) if names.is_empty() && wanted.is_none() => only,
            last => {
                names.extend(last);
                return Err(format!("no signature '{usual}' among [{}]", names.join(", ")));
            }
        }
    };
    let definition = signatures.remove(&name).expect("the name was found among the keys");
    let specs = |tensors: HashMap<String, TensorInfo>| {
        let read = |(key, info): (String, TensorInfo)| {
            let spec =
                wire::spec(info.dtype, info.tensor_shape.as_ref()).map_err(|error| format!("'{key}': {error}"))?;
            Ok((key, spec))
        };
        tensors.into_iter().map(read).collect::<Result<BTreeMap<String, TensorSpec>, String>>()
    };
    Ok(Signature { name, inputs: specs(definition.inputs)?, outputs: specs(definition.outputs)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> HashMap<String, SignatureDef> {
        names.iter().map(|&name| (name.to_owned(), SignatureDef::default())).collect()
    }

    #[test]
    fn serving_default_wins_and_a_single_other_signature_will_do() {
        let name = |names: &[&str]| choose(named(names), None).map(|signature| signature.name);
        assert_eq!(name(&["serving_default", "other", INIT_SIGNATURE]).as_deref(), Ok("serving_default"));
        assert_eq!(name(&["detect", INIT_SIGNATURE]).as_deref(), Ok("detect"));
        assert_eq!(name(&["a", "b"]), Err("no signature 'serving_default' among [a, b]".to_owned()));
        assert!(name(&[INIT_SIGNATURE]).is_err());
        let wanted = |name| choose(named(&["serving_default", "other"]), Some(name)).map(|found| found.name);
        assert_eq!(wanted("other").as_deref(), Ok("other"));
        assert_eq!(wanted("third"), Err("no signature 'third' among [other, serving_default]".to_owned()));
    }
}
