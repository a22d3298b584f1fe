//! What a model takes and answers, in names, element types and shapes.

use std::collections::BTreeMap;
use std::fmt;

use crate::tensor::TensorSpec;

/// One entry point of a model.
///
/// Comparable, so that a new version of a model can be told from a new kind of model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `serving_default` on nearly every TensorFlow model.
    pub name: String,
    /// Inputs by key.
    pub inputs: BTreeMap<String, TensorSpec>,
    /// Outputs by key.
    pub outputs: BTreeMap<String, TensorSpec>,
}

impl fmt::Display for Signature {
    /// `input_tensor: uint8 [1, ?, ?, 3] -> detection_boxes: float32 [1, 100, 4], …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |tensors: &BTreeMap<String, TensorSpec>| {
            tensors.iter().map(|(key, spec)| format!("{key}: {spec}")).collect::<Vec<_>>().join(", ")
        };
        write!(f, "{} -> {}", list(&self.inputs), list(&self.outputs))
    }
}
