//! ONNX Runtime, where the operator has its library: less than half of rten's processor time.
//!
//! The library is C++ and is opened at run time, so the binary neither carries nor needs it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::session::builder::PrepackedWeights;
use ort::session::{Session, SessionInputValue};
use ort::value::{TensorElementType, ValueType};

use super::{Graph, LoadError, failed};
use crate::fault::Fault;
use crate::model::adapter::Outputs;
use crate::tensor::{DType, Tensor, TensorSpec, Values};

/// Why ONNX Runtime cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no such file.
    #[error("cannot read the file")]
    Read(#[from] std::io::Error),
    /// The file is not a library of ONNX Runtime, or of an old one.
    #[error("not a library of ONNX Runtime 1.17 or newer for this machine: {0}")]
    Open(String),
    /// A process opens one library, once.
    #[error("this process has opened {} already, and can open no other", .0.display())]
    Other(PathBuf),
}

/// ONNX Runtime, opened; clones share it.
#[derive(Clone)]
pub struct OnnxRuntime {
    environment: Environment,
}

/// What the first attempt to open a library came to. The library's state belongs to the process: it can be opened once, and
/// must not be tried again where that failed.
static OPENED: OnceLock<(PathBuf, Result<OnnxRuntime, String>)> = OnceLock::new();

impl OnnxRuntime {
    /// Opens the library at this path. Asked again for the same path, the answer is the same.
    ///
    /// # Errors
    /// When the file is not there or not ONNX Runtime, or when the process has opened another.
    pub fn open(library: &Path) -> Result<Self, LibraryError> {
        // In full: a relative path would be looked up beside the program first.
        let library = std::fs::canonicalize(library)?;
        let open = || {
            let builder = ort::init_from(&library).map_err(|error| error.to_string())?;
            // Some of its builds report to their maker.
            let environment = builder.with_telemetry(false).build().map_err(|error| error.to_string())?;
            Ok(Self { environment })
        };
        let (opened, outcome) = OPENED.get_or_init(|| (library.clone(), open()));
        match outcome {
            _ if *opened != library => Err(LibraryError::Other(opened.clone())),
            Ok(runtime) => Ok(runtime.clone()),
            Err(why) => Err(LibraryError::Open(why.clone())),
        }
    }

    pub(super) fn load(&self, file: Cow<'static, [u8]>) -> Result<Sessions, LoadError> {
        let mut sessions = Sessions {
            runtime: self.clone(),
            file,
            weights: PrepackedWeights::new(),
            idle: Mutex::default(),
            inputs: BTreeMap::new(),
            outputs: Vec::new(),
        };
        let session = sessions.open().map_err(|error| LoadError::Load(error.into()))?;
        for input in session.inputs() {
            let spec = spec(input.dtype()).ok_or_else(|| LoadError::strange_type(input.name()))?;
            sessions.inputs.insert(input.name().to_owned(), spec);
        }
        sessions.outputs = session.outputs().iter().map(|output| output.name().to_owned()).collect();
        sessions.idle().push(session);
        Ok(sessions)
    }
}

/// A graph. A session runs one photo at a time, so there come to be as many as run at once.
pub(super) struct Sessions {
    runtime: OnnxRuntime,
    file: Cow<'static, [u8]>,
    /// Laid out for the processor's instructions; one copy for all sessions.
    weights: PrepackedWeights,
    idle: Mutex<Vec<Session>>,
    inputs: BTreeMap<String, TensorSpec>,
    outputs: Vec<String>,
}

impl Sessions {
    fn open(&self) -> ort::Result<Session> {
        // As for rten: the cores are kept busy by other photos.
        let builder = Session::builder(&self.runtime.environment)?.with_intra_threads(1)?;
        builder.with_prepacked_weights(&self.weights)?.commit_from_memory(&self.file)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        // A poisoned lock guards a list of idle sessions; the list is whole whatever panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Graph for Sessions {
    fn inputs(&self) -> Result<BTreeMap<String, TensorSpec>, LoadError> {
        Ok(self.inputs.clone())
    }

    fn outputs(&self) -> Vec<String> {
        self.outputs.clone()
    }

    fn run(&self, inputs: Vec<(String, Tensor)>, wanted: &[String]) -> Result<Outputs, Fault> {
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for (key, tensor) in inputs {
            let shape = tensor.shape().to_vec();
            let Values::F32(numbers) = tensor.into_values() else {
                return Err(Fault::internal("the embedded engine takes float32"));
            };
            let value = ort::value::Tensor::from_array((shape, numbers)).map_err(Fault::internal)?;
            values.push((key.into(), value.into()));
        }
        let idle = self.idle().pop();
        let mut session = idle.map_or_else(|| self.open(), Ok).map_err(Fault::internal)?;
        let answer = session.run(values).map_err(failed)?;
        let tensors = wanted.iter().map(|key| {
            let value = answer.get(key).ok_or_else(|| Fault::internal(format!("no output '{key}'")))?;
            let (shape, numbers) = value.try_extract_tensor::<f32>().map_err(failed)?;
            let shape = shape.iter().map(|&side| side as usize).collect();
            Ok((key.clone(), Tensor::new(shape, Values::F32(numbers.to_vec())).map_err(failed)?))
        });
        let outputs = tensors.collect::<Result<Outputs, Fault>>();
        drop(answer);
        self.idle().push(session);
        outputs
    }
}

fn spec(value: &ValueType) -> Option<TensorSpec> {
    let dtype = match value.tensor_type()? {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Int8 => DType::I8,
        _ => return None,
    };
    let axes = value.tensor_shape().map(|shape| shape.iter().map(|&side| usize::try_from(side).ok()).collect());
    Some(TensorSpec { dtype, axes })
}
