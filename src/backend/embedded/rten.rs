//! rten: in the binary, and in memory-safe Rust.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rten::{DataType, Dimension, NodeId, RunOptions, ThreadPool, Value, ValueType};
use rten_tensor::{AsView, Layout};

use super::{Graph, LoadError, failed};
use crate::fault::Fault;
use crate::model::adapter::Outputs;
use crate::tensor::{DType, Tensor, TensorSpec, Values};

/// A graph, its weights shared by all runs, and the threads it may use.
pub(super) struct Rten {
    model: rten::Model,
    inputs: BTreeMap<String, NodeId>,
    outputs: BTreeMap<String, NodeId>,
    /// One single-threaded pool per run at once: these nets gain nothing from a second thread, and rten's shared pool would
    /// let one request's wait run another request's work.
    threads: Mutex<Vec<Arc<ThreadPool>>>,
}

impl Rten {
    pub(super) fn load(file: Cow<'static, [u8]>) -> Result<Self, LoadError> {
        let model = match file {
            Cow::Borrowed(file) => rten::Model::load_static_slice(file),
            Cow::Owned(file) => rten::Model::load(file),
        };
        let model = model.map_err(|error| LoadError::Load(error.into()))?;
        let named = |ids: &[NodeId]| {
            let name = |&id: &NodeId| Some((model.node_info(id)?.name()?.to_owned(), id));
            ids.iter().map(name).collect::<Option<BTreeMap<_, _>>>()
        };
        let unnamed = || LoadError::Run("an input or output has no name".to_owned());
        let inputs = named(model.input_ids()).ok_or_else(unnamed)?;
        let outputs = named(model.output_ids()).ok_or_else(unnamed)?;
        Ok(Self { model, inputs, outputs, threads: Mutex::default() })
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ThreadPool>>> {
        // A poisoned lock guards a list of idle threads; the list is whole whatever panicked.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Graph for Rten {
    fn inputs(&self) -> Result<BTreeMap<String, TensorSpec>, LoadError> {
        let axis = |axis: &Dimension| match axis {
            Dimension::Fixed(side) => Some(*side),
            Dimension::Symbolic(_) => None,
        };
        let input = |(name, &id): (&String, &NodeId)| {
            let info = self.model.node_info(id).expect("the id is the model's own");
            let dtype = dtype(info.dtype()).ok_or_else(|| LoadError::strange_type(name))?;
            Ok((name.clone(), TensorSpec { dtype, axes: info.shape().map(|axes| axes.iter().map(axis).collect()) }))
        };
        self.inputs.iter().map(input).collect()
    }

    fn outputs(&self) -> Vec<String> {
        self.outputs.keys().cloned().collect()
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

        let answer = answer.map_err(failed)?;
        let tensors = wanted.iter().zip(answer).map(|(key, value)| {
            let tensor: rten_tensor::Tensor<f32> =
                value.try_into().map_err(|error: rten::TryFromValueError| failed(error))?;
            let shape = tensor.shape().to_vec();
            // A copy: rten answers in buffers that earlier layers had, up to a hundred times as large as what is in them, and
            // answers of tiles are kept until the last has come.
            let tensor = Tensor::new(shape, Values::F32(tensor.to_vec())).map_err(failed)?;
            Ok((key.clone(), tensor))
        });
        tensors.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_no_more_memory_than_its_numbers() {
        let model = Rten::load(super::super::NANODET_G.into()).expect("the binary's own");
        let zeros = Tensor::new(vec![1, 3, 416, 416], Values::F32(vec![0.0; 3 * 416 * 416])).expect("all of them");
        let input = model.inputs.keys().next().expect("one").clone();
        let answer = model.run(vec![(input, zeros)], &model.outputs()).expect("zeros are a picture");
        assert_eq!(answer.iter().count(), model.outputs.len());
        for (name, tensor) in answer.iter() {
            let Values::F32(numbers) = tensor.values() else { panic!("{name} is {tensor:?}") };
            assert_eq!(numbers.capacity(), numbers.len(), "{name}");
        }
    }
}
