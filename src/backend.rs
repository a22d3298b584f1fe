//! Where models run. A backend knows tensors and versions, and nothing of photos, labels or HTTP.
//!
//! [`embedded`] runs an ONNX file in this process; [`serving`] asks TensorFlow Serving over gRPC. Both pass the same
//! contract tests (`tests/it/backend_contract.rs`); a third one would be one more folder here.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::deadline::Deadline;
use crate::fault::Fault;
use crate::model::adapter::Outputs;
use crate::model::signature::Signature;
use crate::model::version::{VersionChoice, VersionStatus};
use crate::request_id::RequestId;
use crate::telemetry::Record;
use crate::telemetry::traces;
use crate::tensor::Tensor;

pub mod embedded;
pub mod room;
pub mod serving;

use room::AnswerRoom;

/// What every call to a backend carries.
#[derive(Debug, Clone)]
pub struct Call {
    /// When the answer is due.
    pub deadline: Deadline,
    /// On whose behalf.
    pub request_id: RequestId,
    /// What the request meets on its way.
    pub record: Arc<Record>,
    /// The span of whoever asks, where it named one.
    pub caller: Option<Arc<traces::Caller>>,
}

impl Call {
    /// One of which nothing is told yet, on behalf of nobody who traces it.
    pub fn new(deadline: Deadline, request_id: RequestId) -> Self {
        Self { deadline, request_id, record: Arc::default(), caller: None }
    }
}

/// A model, in one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name at the backend.
    pub model: String,
    /// Which version.
    pub version: VersionChoice,
}

/// One inference.
#[derive(Debug)]
pub struct Predict {
    /// Of which model.
    pub target: Target,
    /// Through which signature.
    pub signature: String,
    /// The input's key and value.
    pub input: (String, Tensor),
    /// The outputs to compute and send; no others are.
    pub outputs: Vec<String>,
}

/// The answer to a [`Predict`].
#[derive(Debug)]
pub struct Prediction {
    /// The version that answered.
    pub version: i64,
    /// The outputs that were asked for.
    pub outputs: Outputs,
    /// What they take among the answers of model servers; nothing where the model ran here.
    pub room: Option<AnswerRoom>,
}

/// A place where models run.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What it is, in a word: `embedded`.
    fn kind(&self) -> &'static str;

    /// What it is and where, for people: `TensorFlow Serving at http://host:8500`.
    fn describe(&self) -> String;

    /// Every version of the model that the backend knows, with its state.
    ///
    /// # Errors
    /// `MODEL_UNAVAILABLE` where the backend cannot be reached or does not know the model.
    async fn versions(&self, model: &str, call: &Call) -> Result<Vec<VersionStatus>, Fault>;

    /// The signature of the version meant, with that version's number: the one of this name, or else the usual one.
    ///
    /// # Errors
    /// `UNKNOWN_VERSION`, `MODEL_UNAVAILABLE`, or `MODEL_CONTRACT` where the answer makes no sense.
    async fn signature(&self, target: &Target, name: Option<&str>, call: &Call) -> Result<(i64, Signature), Fault>;

    /// Runs the model.
    ///
    /// # Errors
    /// As for [`Backend::signature`], and `MODEL_DEADLINE` where it took too long.
    async fn predict(&self, predict: Predict, call: &Call) -> Result<Prediction, Fault>;

    /// The only signature there is or will be, where that is known from the start: of a model in this process.
    fn fixed_signature(&self) -> Option<&Signature> {
        None
    }

    /// Those that run the models, each by itself, where there are several or they come and go: what is warm at one need not
    /// be at another. None where there is only this process.
    fn replicas(&self) -> Vec<Arc<dyn Replica>> {
        Vec::new()
    }

    /// Changes whenever the replicas should be looked at: one has appeared or is back, or a version that stood for
    /// something at one is gone. None where there are no replicas.
    fn disturbances(&self) -> Option<watch::Receiver<()>> {
        None
    }
}

/// One of several that run the same models.
pub trait Replica: Send + Sync {
    /// Which, for the log.
    fn place(&self) -> String;

    /// Asks this one alone, and for the very version that the target names.
    fn backend(&self) -> &dyn Backend;

    /// What a target stands for here.
    fn standing(&self, target: &Target) -> Standing;

    /// From now on a target stands for that here, for every call to the backend that comes this way.
    fn stand(&self, target: &Target, standing: Standing);

    /// How often it has come back: what was warm here before may be cold.
    fn era(&self) -> u64;

    /// The choices of this model that stand for a version that is gone here.
    fn vacancies(&self, model: &str) -> Vec<VersionChoice>;
}

/// What the latest version, or one with a label, is at one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Whatever the replica takes it for: nobody has looked.
    #[default]
    AsNamed,
    /// This version.
    Version {
        /// As the replica numbers it.
        number: i64,
        /// The [era](Replica::era) of the replica in which it was warmed up there.
        era: u64,
    },
    /// A version that is gone. Calls wait for what takes its place.
    Vacant,
}
