//! Tensors: a shape and its values, row-major, of one element type. Nothing of any wire format.

use std::fmt;

use bytes::Bytes;

/// The element types that models speak here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are TensorFlow's")]
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    Bool,
    String,
}

impl DType {
    /// Bytes of one element; `None` for strings, whose elements differ.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => Some(2),
            Self::F32 | Self::U32 | Self::I32 => Some(4),
            Self::F64 | Self::U64 | Self::I64 => Some(8),
            Self::String => None,
        }
    }

    /// TensorFlow's name of the type: `float32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Bool => "bool",
            Self::String => "string",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The values of a tensor. Three forms are enough: pictures are bytes, encoded pictures are strings, and every number
/// that a detector answers fits an `f32` well enough to become a score, a coordinate or a class id below 2^24.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Bytes; a picture's samples.
    U8(Bytes),
    /// Numbers.
    F32(Vec<f32>),
    /// Byte strings; whole encoded pictures.
    String(Vec<Bytes>),
}

/// A dense tensor whose values always fill its shape.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

/// The values do not fill the shape.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{found} values for shape {}, which has room for {}", show_shape(.shape), room(.shape).map_or("more than memory".to_owned(), |n| n.to_string()))]
pub struct ShapeError {
    shape: Vec<usize>,
    found: usize,
}

impl fmt::Debug for Tensor {
    /// `Tensor float32 [1, 100, 4]`: its values are too many to be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = match self.values {
            Values::U8(_) => DType::U8,
            Values::F32(_) => DType::F32,
            Values::String(_) => DType::String,
        };
        write!(f, "Tensor {dtype} {:?}", self.shape)
    }
}

impl Tensor {
    /// A tensor of this shape, row-major.
    ///
    /// # Errors
    /// When the number of values is not the product of the shape.
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self, ShapeError> {
        let found = match &values {
            Values::U8(bytes) => bytes.len(),
            Values::F32(numbers) => numbers.len(),
            Values::String(strings) => strings.len(),
        };
        if room(&shape) == Some(found) { Ok(Self { shape, values }) } else { Err(ShapeError { shape, found }) }
    }

    /// The sizes of its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::U8(bytes) => bytes.len(),
            Values::F32(numbers) => numbers.len(),
            Values::String(strings) => strings.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its values, row-major.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Its values without a copy.
    pub fn into_values(self) -> Values {
        self.values
    }

    /// Its numbers, where it holds numbers.
    pub fn numbers(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(numbers) => Some(numbers),
            Values::U8(_) | Values::String(_) => None,
        }
    }
}

/// How many values a shape holds; `None` where the product overflows.
pub fn room(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side))
}

/// A shape as people write it: `[1, 100, 4]`.
pub fn show_shape(shape: &[usize]) -> String {
    format!("{shape:?}")
}

/// A tensor as a signature declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Element type.
    pub dtype: DType,
    /// The axes; `None` inside for an unknown size, `None` outside for an unknown rank.
    pub axes: Option<Vec<Option<usize>>>,
}

impl fmt::Display for TensorSpec {
    /// `uint8 [1, ?, ?, 3]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dtype)?;
        let Some(axes) = &self.axes else { return f.write_str(" [rank unknown]") };
        let axes: Vec<_> = axes.iter().map(|axis| axis.map_or("?".to_owned(), |side| side.to_string())).collect();
        write!(f, " [{}]", axes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_fill_the_shape() {
        assert!(Tensor::new(vec![1, 2, 3], Values::F32(vec![0.0; 6])).is_ok());
        let error = Tensor::new(vec![1, 2, 3], Values::F32(vec![0.0; 5])).expect_err("five of six");
        assert_eq!(error.to_string(), "5 values for shape [1, 2, 3], which has room for 6");
        assert!(Tensor::new(vec![usize::MAX, 2], Values::F32(vec![])).is_err(), "the product overflows");
        assert!(Tensor::new(vec![0, 4], Values::F32(vec![])).is_ok(), "an empty tensor is a tensor");
    }

    #[test]
    fn a_spec_reads_like_tensorflow_prints_it() {
        let spec = TensorSpec { dtype: DType::U8, axes: Some(vec![Some(1), None, None, Some(3)]) };
        assert_eq!(spec.to_string(), "uint8 [1, ?, ?, 3]");
        assert_eq!(TensorSpec { dtype: DType::F32, axes: None }.to_string(), "float32 [rank unknown]");
    }
}
