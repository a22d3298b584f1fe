//! The detector in this process: an ONNX file, run by rten.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rten::{DataType, Dimension, NodeId, RunOptions, ThreadPool, Value, ValueType};
use rten_tensor::Layout;

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

/// A model held in memory, its weights shared by all requests.
pub struct Embedded {
    name: String,
    engine: Arc<Engine>,
    signature: Signature,
    workers: Workers,
}

/// The loaded graph and the threads it may use.
struct Engine {
    model: rten::Model,
    inputs: BTreeMap<String, NodeId>,
    outputs: BTreeMap<String, NodeId>,
    /// One single-threaded pool per worker: these nets gain nothing from a second thread, and rten's shared pool would
    /// let one request's wait run another request's work.
    threads: Mutex<Vec<Arc<ThreadPool>>>,
}

impl Embedded {
    /// The detector inside the binary.
    ///
    /// # Errors
    /// None that a released binary can meet; the first run checks it.
    pub fn nanodet_g(workers: Workers) -> Result<Self, LoadError> {
        let model = rten::Model::load_static_slice(NANODET_G).map_err(|error| LoadError::Load(error.into()))?;
        Self::new(NANODET_G_NAME.to_owned(), model, workers)
    }

    /// A detector from an ONNX file, named after the file.
    ///
    /// # Errors
    /// When the file cannot be read, loaded, or run once on zeros.
    pub fn from_file(path: &Path, workers: Workers) -> Result<Self, LoadError> {
        let model = rten::Model::load(std::fs::read(path)?).map_err(|error| LoadError::Load(error.into()))?;
        let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Self::new(name, model, workers)
    }

    fn new(name: String, model: rten::Model, workers: Workers) -> Result<Self, LoadError> {
        let named = |ids: &[NodeId]| {
            let name = |&id: &NodeId| Some((model.node_info(id)?.name()?.to_owned(), id));
            ids.iter().map(name).collect::<Option<BTreeMap<_, _>>>()
        };
        let unnamed = || LoadError::Run("an input or output has no name".to_owned());
        let inputs = named(model.input_ids()).ok_or_else(unnamed)?;
        let outputs = named(model.output_ids()).ok_or_else(unnamed)?;
        let threads = (0..workers.count()).map(|_| Arc::new(ThreadPool::with_num_threads(1))).collect();
        let engine = Engine { model, inputs, outputs, threads: Mutex::new(threads) };
        let signature = engine.signature()?;
        Ok(Self { name, engine: Arc::new(engine), signature, workers })
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

impl Engine {
    /// What the model takes and answers. Output shapes that the file does not declare are taken from a run on zeros,
    /// which warms the engine up as well.
    fn signature(&self) -> Result<Signature, LoadError> {
        let mut inputs = BTreeMap::new();
        for (name, &id) in &self.inputs {
            let info = self.model.node_info(id).expect("the id is the model's own");
            let dtype =
                dtype(info.dtype()).ok_or_else(|| LoadError::Run(format!("input '{name}' is of a strange type")))?;
            let axis = |axis: &Dimension| match axis {
                Dimension::Fixed(side) => Some(*side),
                Dimension::Symbolic(_) => None,
            };
            let axes = info.shape().map(|axes| axes.iter().map(axis).collect());
            inputs.insert(name.clone(), TensorSpec { dtype, axes });
        }
        let zeros = inputs.iter().map(|(name, spec)| {
            let shape = spec.axes.iter().flatten().map(|axis| axis.unwrap_or(1)).collect::<Vec<_>>();
            let room = crate::tensor::room(&shape).filter(|_| spec.dtype == DType::F32 && !shape.is_empty());
            let room = room.ok_or_else(|| {
                LoadError::Run(format!("input '{name}' is {spec}; float32 with a known rank is needed"))
            })?;
            Ok((name.clone(), Tensor::new(shape, Values::F32(vec![0.0; room])).expect("as much as there is room")))
        });
        let zeros = zeros.collect::<Result<Vec<_>, LoadError>>()?;
        let wanted: Vec<_> = self.outputs.keys().cloned().collect();
        let answer = self
            .run(zeros, &wanted)
            .map_err(|fault| LoadError::Run(fault.cause_chain().unwrap_or_else(|| fault.detail().to_owned())))?;
        let spec = |tensor: &Tensor| TensorSpec {
            dtype: DType::F32,
            axes: Some(tensor.shape().iter().copied().map(Some).collect()),
        };
        let outputs = answer.iter().map(|(key, tensor)| (key.to_owned(), spec(tensor))).collect();
        Ok(Signature { name: SIGNATURE.to_owned(), inputs, outputs })
    }

    fn run(&self, inputs: Vec<(String, Tensor)>, wanted: &[String]) -> Result<Outputs, Fault> {
        let mut values = Vec::with_capacity(inputs.len());
        for (key, tensor) in inputs {
            let id = *self.inputs.get(&key).ok_or_else(|| Fault::internal(format!("no input '{key}'")))?;
            let shape = tensor.shape().to_vec();
            let Values::F32(numbers) = tensor.into_values() else {
                return Err(Fault::internal("the embedded engine takes float32"));
            };
            values.push((id, Value::from_shape(&shape, numbers).map_err(Fault::internal)?.into()));
        }
        let id =
            |key: &String| self.outputs.get(key).copied().ok_or_else(|| Fault::internal(format!("no output '{key}'")));
        let ids = wanted.iter().map(id).collect::<Result<Vec<_>, _>>()?;

        let thread = self.threads().pop().unwrap_or_else(|| Arc::new(ThreadPool::with_num_threads(1)));
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&thread)));
        let answer = self.model.run(values, &ids, Some(options));
        self.threads().push(thread);

        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Fault::new(Code::ModelContract, "The embedded model could not be run on this input.").caused_by(cause)
        };
        let answer = answer.map_err(|error| failed(error.into()))?;
        let tensors = wanted.iter().zip(answer).map(|(key, value)| {
            let tensor: rten_tensor::Tensor<f32> =
                value.try_into().map_err(|error: rten::TryFromValueError| failed(error.into()))?;
            let shape = tensor.shape().to_vec();
            let tensor = Tensor::new(shape, Values::F32(tensor.into_data())).map_err(|error| failed(error.into()))?;
            Ok((key.clone(), tensor))
        });
        tensors.collect()
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ThreadPool>>> {
        // A poisoned lock guards a list of idle threads; the list is whole whatever panicked.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dtype(value: Option<ValueType>) -> Option<DType> {
    match value {
        None | Some(ValueType::Tensor(DataType::Float)) => Some(DType::F32),
        Some(ValueType::Tensor(DataType::Int32)) => Some(DType::I32),
        Some(ValueType::Tensor(DataType::UInt8)) => Some(DType::U8),
        Some(ValueType::Tensor(DataType::Int8)) => Some(DType::I8),
        Some(_) => None,
    }
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

    async fn predict(&self, predict: Predict, call: &Call) -> Result<Prediction, Fault> {
        self.check(&predict.target)?;
        let engine = Arc::clone(&self.engine);
        let job = move || engine.run(vec![predict.input], &predict.outputs);
        Ok(Prediction { version: VERSION, outputs: self.workers.run(call.deadline, job).await? })
    }
}
