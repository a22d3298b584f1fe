//! The detector in this process: an ONNX file, run by one of two engines.

mod onnx_runtime;
mod rten;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::onnx_runtime::{LibraryError, OnnxRuntime};
use self::rten::Rten;
use crate::backend::{Backend, Call, Predict, Prediction, Target};
use crate::fault::{Code, Fault};
use crate::model::adapter::Outputs;
use crate::model::signature::Signature;
use crate::model::version::{State, VersionChoice, VersionStatus};
use crate::tensor::{DType, Tensor, TensorSpec, Values};
use crate::workers::Workers;

/// NanoDet-g 416; models/README.md has its card.
static NANODET_G: &[u8] = include_bytes!("../../models/nanodet_g_416.onnx");

/// The name under which the detector inside the binary is served.
pub const NANODET_G_NAME: &str = "nanodet-g";

/// An ONNX file has no versions; there is one, and it is called this.
const VERSION: i64 = 1;

/// The name TensorFlow gives the same thing.
const SIGNATURE: &str = "serving_default";

/// Why a model file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the file")]
    Read(#[from] std::io::Error),
    /// The file is not ONNX, or uses an operator that the engine lacks.
    #[error("not an ONNX model that the embedded engine can load")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The model loads but cannot be described or run.
    #[error("the model cannot be run: {0}")]
    Run(String),
}

impl LoadError {
    fn strange_type(input: &str) -> Self {
        Self::Run(format!("input '{input}' is of a strange type"))
    }
}

/// What runs the models of this process.
#[derive(Clone, Default)]
pub enum Engine {
    /// The one in the binary.
    #[default]
    Rten,
    /// The operator's library.
    OnnxRuntime(OnnxRuntime),
}

impl Engine {
    /// Loads an ONNX file.
    fn load(&self, file: Cow<'static, [u8]>) -> Result<Arc<dyn Graph>, LoadError> {
        Ok(match self {
            Self::Rten => Arc::new(Rten::load(file)?),
            Self::OnnxRuntime(runtime) => Arc::new(runtime.load(file)?),
        })
    }
}

/// An ONNX file that an engine has loaded. A run keeps one core busy, so it belongs on a worker.
trait Graph: Send + Sync {
    /// What it takes.
    fn inputs(&self) -> Result<BTreeMap<String, TensorSpec>, LoadError>;

    /// The names of what it answers.
    fn outputs(&self) -> Vec<String>;

    /// Answers the outputs that are wanted.
    fn run(&self, inputs: Vec<(String, Tensor)>, wanted: &[String]) -> Result<Outputs, Fault>;
}

/// A run that an engine gave up.
fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::new(Code::ModelContract, "The embedded model could not be run on this input.").caused_by(cause)
}

/// A model held in memory, its weights shared by all requests.
pub struct Embedded {
    name: String,
    graph: Arc<dyn Graph>,
    signature: Signature,
    workers: Workers,
}

impl Embedded {
    /// The detector inside the binary.
    ///
    /// # Errors
    /// None that a released binary can meet; the first run checks it.
    pub fn nanodet_g(engine: &Engine, workers: Workers) -> Result<Self, LoadError> {
        Self::new(NANODET_G_NAME.to_owned(), engine, NANODET_G.into(), workers)
    }

    /// A detector from an ONNX file, named after the file.
    ///
    /// # Errors
    /// When the file cannot be read, loaded, or run once on zeros.
    pub fn from_file(path: &Path, engine: &Engine, workers: Workers) -> Result<Self, LoadError> {
        let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Self::new(name, engine, std::fs::read(path)?.into(), workers)
    }

    fn new(name: String, engine: &Engine, file: Cow<'static, [u8]>, workers: Workers) -> Result<Self, LoadError> {
        let graph = engine.load(file)?;
        let signature = signature(&*graph)?;
        Ok(Self { name, graph, signature, workers })
    }

    /// The name it is served under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// That the target is the only version there is.
    fn check(&self, target: &Target) -> Result<(), Fault> {
        match &target.version {
            VersionChoice::Latest | VersionChoice::Number(VERSION) => Ok(()),
            other @ (VersionChoice::Number(_) | VersionChoice::Label(_)) => {
                let detail =
                    format!("The embedded model '{}' has no {other}; its only version is {VERSION}.", self.name);
                Err(Fault::new(Code::UnknownVersion, detail))
            }
        }
    }
}

/// What the model takes and answers. Output shapes that the file does not declare are taken from a run on zeros, which warms
/// the engine up as well.
fn signature(graph: &dyn Graph) -> Result<Signature, LoadError> {
    let inputs = graph.inputs()?;
    let zeros = inputs.iter().map(|(name, spec)| {
        let shape = spec.axes.iter().flatten().map(|axis| axis.unwrap_or(1)).collect::<Vec<_>>();
        let room = crate::tensor::room(&shape).filter(|_| spec.dtype == DType::F32 && !shape.is_empty());
        let room = room
            .ok_or_else(|| LoadError::Run(format!("input '{name}' is {spec}; float32 with a known rank is needed")))?;
        Ok((name.clone(), Tensor::new(shape, Values::F32(vec![0.0; room])).expect("as much as there is room")))
    });
    let zeros = zeros.collect::<Result<Vec<_>, LoadError>>()?;
    let answer = graph
        .run(zeros, &graph.outputs())
        .map_err(|fault| LoadError::Run(fault.cause_chain().unwrap_or_else(|| fault.detail().to_owned())))?;
    let spec = |tensor: &Tensor| TensorSpec {
        dtype: DType::F32,
        axes: Some(tensor.shape().iter().copied().map(Some).collect()),
    };
    let outputs = answer.iter().map(|(key, tensor)| (key.to_owned(), spec(tensor))).collect();
    Ok(Signature { name: SIGNATURE.to_owned(), inputs, outputs })
}

#[async_trait]
impl Backend for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn describe(&self) -> String {
        "the embedded engine".to_owned()
    }

    async fn versions(&self, _: &str, _: &Call) -> Result<Vec<VersionStatus>, Fault> {
        Ok(vec![VersionStatus { version: VERSION, state: State::Available, error: None }])
    }

    async fn signature(&self, target: &Target, _: Option<&str>, _: &Call) -> Result<(i64, Signature), Fault> {
        self.check(target)?;
        Ok((VERSION, self.signature.clone()))
    }

    fn fixed_signature(&self) -> Option<&Signature> {
        Some(&self.signature)
    }

    async fn predict(&self, predict: Predict, call: &Call) -> Result<Prediction, Fault> {
        self.check(&predict.target)?;
        let graph = Arc::clone(&self.graph);
        let job = move || graph.run(vec![predict.input], &predict.outputs);
        Ok(Prediction { version: VERSION, outputs: self.workers.run(call.deadline, job).await?, room: None })
    }
}
