//! The three calls, each with its deadline, on whichever host is free.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;

use async_trait::async_trait;
use prost::Message;
use tokio::time::{Instant, interval_at};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::host::Lease;
use super::pool::{Pool, Route, Settings};
use super::proto::tensorflow::serving::{
    GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, ModelVersionStatus, PredictRequest, SignatureDefMap,
    model_service_client::ModelServiceClient, model_spec, model_version_status::State as WireState,
    prediction_service_client::PredictionServiceClient,
};
use super::proto::tensorflow::{SignatureDef, TensorInfo};
use super::status::Blame;
use super::{status, tls, wire};
use crate::backend::{Backend, Call, Predict, Prediction, Target};
use crate::fault::{Code, Fault};
use crate::model::signature::Signature;
use crate::model::version::{State, VersionChoice, VersionStatus};
use crate::tensor::TensorSpec;

/// The one field of metadata that TensorFlow Serving knows.
const SIGNATURE_FIELD: &str = "signature_def";
/// What exporters call the signature to be served.
const DEFAULT_SIGNATURE: &str = "serving_default";
/// A signature that TensorFlow 2 adds for itself.
const INIT_SIGNATURE: &str = "__saved_model_init_op";

/// A set of TensorFlow Serving hosts that serve the same models.
#[derive(Debug)]
pub struct Serving {
    pool: Pool,
    settings: Settings,
}

impl Serving {
    /// Must be called inside a tokio runtime. Connects to nothing yet.
    ///
    /// # Errors
    /// When the files of TLS cannot be used.
    pub fn new(settings: Settings) -> Result<Self, tls::Error> {
        Ok(Self { pool: Pool::new(&settings)?, settings })
    }

    fn prediction(&self, channel: Channel) -> PredictionServiceClient<Channel> {
        PredictionServiceClient::new(channel)
            .max_encoding_message_size(self.settings.max_request_bytes)
            .max_decoding_message_size(self.settings.max_answer_bytes)
    }

    /// Asks one host after the other until one can answer, within the deadline. All calls here only read, so a call that
    /// may have been carried out is safe to repeat. Hosts may differ in the versions they have loaded, so one that lacks
    /// the version is passed over like one that cannot be reached.
    async fn ask<A, B, F>(
        &self,
        target: &Target,
        call: &Call,
        message: A,
        send: impl Fn(Channel, Request<A>) -> F,
    ) -> Result<B, Fault>
    where
        A: Clone,
        F: Future<Output = Result<Response<B>, Status>>,
    {
        let mut route = self.pool.route(call.deadline).await;
        let mut refused: Option<Fault> = None;
        let mut next = route.first();
        while let Some(lease) = next {
            if call.deadline.passed() {
                return Err(status::deadline_passed(target));
            }
            let mut request = Request::new(message.clone());
            request.set_timeout(call.deadline.left());
            let id = MetadataValue::try_from(call.request_id.as_str()).expect("a request id is visible ASCII");
            request.metadata_mut().insert("x-request-id", id);
            let answer = call.deadline.bound(self.wait(&route, &lease, send(lease.channel(), request))).await;
            let (fault, blame) = match answer.map_err(|_| status::deadline_passed(target))? {
                Some(Ok(answer)) => {
                    lease.host().worked();
                    return Ok(answer.into_inner());
                }
                Some(Err(refusal)) => {
                    let blame = status::blame(&refusal, target);
                    lease.host().refused(blame);
                    (status::fault(refusal, target), blame)
                }
                None => (status::silent(target), Blame::Unreachable),
            };
            tracing::debug!(host = %lease.host().place(), ?blame, cause = fault.cause_chain(), "no answer");
            // Of several reasons, one that says the model is there weighs more than a host that is not.
            if refused.as_ref().is_none_or(|known| known.code() == Code::ModelUnavailable) {
                refused = Some(fault);
            }
            next = route.next(blame);
        }
        Err(refused.unwrap_or_else(|| status::nowhere(target)))
    }

    /// The host's answer; none where the host was found to be dead and another could answer instead.
    async fn wait<T>(&self, route: &Route<'_>, lease: &Lease, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        let silence = self.settings.silence;
        let pulse = silence / 4;
        let mut pulse = interval_at(Instant::now() + pulse, pulse);
        let begin = Instant::now();
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Some(answer),
                _ = pulse.tick() => {
                    if begin.elapsed() >= silence {
                        lease.host().doubt(silence);
                    }
                    if route.has_better_than(lease) {
                        return None;
                    }
                }
            }
        }
    }

    /// An answer that no TensorFlow Serving gives.
    fn broken(&self, what: &str) -> Fault {
        Fault::new(
            Code::ModelContract,
            "The model server's answer does not have the form that TensorFlow Serving gives.",
        )
        .caused_by(format!("{what}, from {}", self.pool.addresses()))
    }
}

#[async_trait]
impl Backend for Serving {
    fn kind(&self) -> &'static str {
        "tensorflow-serving"
    }

    fn describe(&self) -> String {
        format!("TensorFlow Serving at {}", self.pool.addresses())
    }

    async fn versions(&self, model: &str, call: &Call) -> Result<Vec<VersionStatus>, Fault> {
        let target = Target { model: model.to_owned(), version: VersionChoice::Latest };
        let request = GetModelStatusRequest { model_spec: Some(spec(&target, "")) };
        let send = |channel, request| async move { ModelServiceClient::new(channel).get_model_status(request).await };
        let answer = self.ask(&target, call, request, send).await?;
        Ok(answer.model_version_status.iter().map(version_status).collect())
    }

    async fn signature(&self, target: &Target, name: Option<&str>, call: &Call) -> Result<(i64, Signature), Fault> {
        let request = GetModelMetadataRequest {
            model_spec: Some(spec(target, "")),
            metadata_field: vec![SIGNATURE_FIELD.to_owned()],
        };
        let send = |channel, request| {
            let mut client = self.prediction(channel);
            async move { client.get_model_metadata(request).await }
        };
        let mut answer = self.ask(target, call, request, send).await?;
        let version = answered_version(answer.model_spec.as_ref())
            .ok_or_else(|| self.broken("GetModelMetadata names no version"))?;
        let any = answer
            .metadata
            .remove(SIGNATURE_FIELD)
            .ok_or_else(|| self.broken("GetModelMetadata carries no signature_def"))?;
        let map = SignatureDefMap::decode(any.value.as_slice())
            .map_err(|error| self.broken(&format!("signature_def cannot be decoded: {error}")))?;
        let signature = signature(map.signature_def, name).map_err(|what| self.broken(&what))?;
        Ok((version, signature))
    }

    async fn predict(&self, predict: Predict, call: &Call) -> Result<Prediction, Fault> {
        let Predict { target, signature, input: (key, tensor), outputs } = predict;
        let request = PredictRequest {
            model_spec: Some(spec(&target, &signature)),
            inputs: HashMap::from([(key, wire::encode(tensor))]),
            output_filter: outputs,
        };
        let (found, limit) = (request.encoded_len(), self.settings.max_request_bytes);
        if found > limit {
            let detail = format!(
                "The request for model '{}' has {found} bytes; this service sends up to {limit} (--serving-max-request-bytes). A smaller --max-side makes it smaller.",
                target.model
            );
            return Err(Fault::new(Code::ModelContract, detail));
        }
        let wanted = request.output_filter.clone();
        let send = |channel, request| {
            let mut client = self.prediction(channel);
            async move { client.predict(request).await }
        };
        let mut answer = self.ask(&target, call, request, send).await?;
        let version =
            answered_version(answer.model_spec.as_ref()).ok_or_else(|| self.broken("Predict names no version"))?;
        // What was not asked for is not read. A message of a few bytes may declare tensors of any size, so all of them
        // together are bounded by what the answer may have as bytes.
        let mut room = self.settings.max_answer_bytes / size_of::<f32>();
        let mut outputs = Vec::with_capacity(wanted.len());
        for key in wanted {
            let Some(message) = answer.outputs.remove(&key) else { continue };
            let tensor =
                wire::decode(&message, room).map_err(|error| self.broken(&format!("output '{key}': {error}")))?;
            room -= tensor.len();
            outputs.push((key, tensor));
        }
        Ok(Prediction { version, outputs: outputs.into_iter().collect() })
    }
}

fn spec(target: &Target, signature: &str) -> ModelSpec {
    let version_choice = match &target.version {
        VersionChoice::Latest => None,
        VersionChoice::Number(number) => Some(model_spec::VersionChoice::Version(*number)),
        VersionChoice::Label(label) => Some(model_spec::VersionChoice::VersionLabel(label.clone())),
    };
    ModelSpec { name: target.model.clone(), version_choice, signature_name: signature.to_owned() }
}

/// The concrete version behind "latest" or a label.
fn answered_version(spec: Option<&ModelSpec>) -> Option<i64> {
    match spec?.version_choice {
        Some(model_spec::VersionChoice::Version(number)) => Some(number),
        Some(model_spec::VersionChoice::VersionLabel(_)) | None => None,
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

/// The signature to use: the one that is wanted; without a wish `serving_default`, else the only one there is.
fn signature(mut signatures: HashMap<String, SignatureDef>, wanted: Option<&str>) -> Result<Signature, String> {
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
        tensors.into_iter().map(read).collect::<Result<std::collections::BTreeMap<String, TensorSpec>, String>>()
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
        let name = |names: &[&str]| signature(named(names), None).map(|signature| signature.name);
        assert_eq!(name(&["serving_default", "other", INIT_SIGNATURE]).as_deref(), Ok("serving_default"));
        assert_eq!(name(&["detect", INIT_SIGNATURE]).as_deref(), Ok("detect"));
        assert_eq!(name(&["a", "b"]), Err("no signature 'serving_default' among [a, b]".to_owned()));
        assert!(name(&[INIT_SIGNATURE]).is_err());
        let wanted = |name| signature(named(&["serving_default", "other"]), Some(name)).map(|found| found.name);
        assert_eq!(wanted("other").as_deref(), Ok("other"));
        assert_eq!(wanted("third"), Err("no signature 'third' among [other, serving_default]".to_owned()));
    }
}
