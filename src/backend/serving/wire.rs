//! Tensors to and from TensorFlow's messages.

use bytes::Bytes;

use super::proto::tensorflow::{DataType, TensorProto, TensorShapeProto, tensor_shape_proto::Dim};
use crate::tensor::{DType, Tensor, TensorSpec, Values, room};

/// A tensor message that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub(super) enum WireError {
    #[error("unknown element type {0}")]
    DType(i32),
    #[error("the shape {0:?} is not fully defined or does not fit into memory")]
    Shape(Vec<i64>),
    #[error("{elements} elements are more than the {limit} that an answer may hold")]
    TooLarge { elements: usize, limit: usize },
    #[error("tensor_content has {found} bytes where {expected} were expected")]
    Content { found: usize, expected: usize },
    #[error("an output of type {0} was not expected")]
    NotNumbers(DType),
}

/// Writes a tensor: bytes and numbers as raw `tensor_content`, never as repeated fields, which for a picture would be
/// half as large again and slow to parse; strings as `string_val`, their only portable form.
pub(super) fn encode(tensor: Tensor) -> TensorProto {
    let dim = |&side: &usize| Dim { size: side as i64, name: String::new() };
    let shape = TensorShapeProto { dim: tensor.shape().iter().map(dim).collect(), unknown_rank: false };
    let mut message = TensorProto { tensor_shape: Some(shape), ..TensorProto::default() };
    match tensor.into_values() {
        Values::U8(bytes) => {
            message.set_dtype(DataType::DtUint8);
            message.tensor_content = bytes;
        }
        Values::F32(numbers) => {
            message.set_dtype(DataType::DtFloat);
            message.tensor_content = little_endian(numbers);
        }
        Values::String(strings) => {
            message.set_dtype(DataType::DtString);
            message.string_val = strings;
        }
    }
    message
}

#[cfg(target_endian = "little")]
fn little_endian(numbers: Vec<f32>) -> Bytes {
    /// Lends the numbers' memory as bytes, so that a picture of floats is not copied.
    struct Lent(Vec<f32>);
    impl AsRef<[u8]> for Lent {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Lent(numbers))
}

#[cfg(target_endian = "big")]
fn little_endian(numbers: Vec<f32>) -> Bytes {
    numbers.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into()
}

/// Reads a tensor of numbers, whatever its dtype, from `tensor_content` or from the typed field: servers send either.
///
/// As TensorFlow itself reads them: with fewer values than elements the last value repeats, with none they are zero,
/// and values past the last element are ignored.
pub(super) fn decode(message: &TensorProto, limit: usize) -> Result<Tensor, WireError> {
    let dtype = dtype(message.dtype)?;
    let shape = message.tensor_shape.clone().unwrap_or_default();
    let sides: Vec<i64> = shape.dim.iter().map(|dim| dim.size).collect();
    let undefined = || WireError::Shape(sides.clone());
    if shape.unknown_rank {
        return Err(undefined());
    }
    let shape =
        sides.iter().map(|&side| usize::try_from(side)).collect::<Result<Vec<_>, _>>().map_err(|_| undefined())?;
    let elements = room(&shape).ok_or_else(undefined)?;
    // Checked before memory is taken: a message of a few bytes may declare a tensor of any size.
    if elements > limit {
        return Err(WireError::TooLarge { elements, limit });
    }
    let size = dtype.size().ok_or(WireError::NotNumbers(dtype))?;
    let numbers = if message.tensor_content.is_empty() {
        typed(message, dtype, elements)
    } else {
        let expected = elements * size;
        let found = message.tensor_content.len();
        if found != expected {
            return Err(WireError::Content { found, expected });
        }
        raw(&message.tensor_content, dtype)
    };
    Ok(Tensor::new(shape, Values::F32(numbers)).expect("as many numbers as elements"))
}

/// The values of the typed field that belongs to the dtype.
fn typed(message: &TensorProto, dtype: DType, elements: usize) -> Vec<f32> {
    match dtype {
        DType::F32 => fill(&message.float_val, elements, |&value| value),
        DType::F64 => fill(&message.double_val, elements, |&value| value as f32),
        DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::U16 => {
            fill(&message.int_val, elements, |&value| value as f32)
        }
        DType::I64 => fill(&message.int64_val, elements, |&value| value as f32),
        DType::U32 => fill(&message.uint32_val, elements, |&value| value as f32),
        DType::U64 => fill(&message.uint64_val, elements, |&value| value as f32),
        DType::Bool => fill(&message.bool_val, elements, |&value| f32::from(u8::from(value))),
        DType::F16 => fill(&message.half_val, elements, |&bits| half::f16::from_bits(bits as u16).to_f32()),
        DType::BF16 => fill(&message.half_val, elements, |&bits| half::bf16::from_bits(bits as u16).to_f32()),
        DType::String => unreachable!("strings have no size and were refused"),
    }
}

/// TensorFlow's rule for short lists.
fn fill<T>(values: &[T], elements: usize, number: impl Fn(&T) -> f32) -> Vec<f32> {
    let mut numbers: Vec<f32> = values.iter().take(elements).map(number).collect();
    let last = numbers.last().copied().unwrap_or(0.0);
    numbers.resize(elements, last);
    numbers
}

/// Raw little-endian values.
fn raw(bytes: &[u8], dtype: DType) -> Vec<f32> {
    /// One number after the other, each of a fixed number of bytes.
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
    }
    match dtype {
        DType::F32 => each(bytes, f32::from_le_bytes),
        DType::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        DType::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        DType::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        DType::U8 | DType::Bool => each(bytes, |[b]| f32::from(b)),
        DType::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
        DType::U16 => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
        DType::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
        DType::U32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
        DType::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
        DType::U64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
        DType::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
        DType::String => unreachable!("strings have no size and were refused"),
    }
}

/// What a signature says of one tensor.
pub(super) fn spec(dtype_number: i32, shape: Option<&TensorShapeProto>) -> Result<TensorSpec, WireError> {
    let axes = shape.filter(|shape| !shape.unknown_rank);
    let axes = axes.map(|shape| shape.dim.iter().map(|dim| usize::try_from(dim.size).ok()).collect());
    Ok(TensorSpec { dtype: dtype(dtype_number)?, axes })
}

fn dtype(number: i32) -> Result<DType, WireError> {
    match DataType::try_from(number) {
        Ok(DataType::DtFloat) => Ok(DType::F32),
        Ok(DataType::DtDouble) => Ok(DType::F64),
        Ok(DataType::DtInt32) => Ok(DType::I32),
        Ok(DataType::DtUint8) => Ok(DType::U8),
        Ok(DataType::DtInt16) => Ok(DType::I16),
        Ok(DataType::DtInt8) => Ok(DType::I8),
        Ok(DataType::DtString) => Ok(DType::String),
        Ok(DataType::DtInt64) => Ok(DType::I64),
        Ok(DataType::DtBool) => Ok(DType::Bool),
        Ok(DataType::DtBfloat16) => Ok(DType::BF16),
        Ok(DataType::DtUint16) => Ok(DType::U16),
        Ok(DataType::DtHalf) => Ok(DType::F16),
        Ok(DataType::DtUint32) => Ok(DType::U32),
        Ok(DataType::DtUint64) => Ok(DType::U64),
        Ok(DataType::DtInvalid) | Err(_) => Err(WireError::DType(number)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn message(dtype: DataType, sides: &[i64]) -> TensorProto {
        let dim = sides.iter().map(|&size| Dim { size, name: String::new() }).collect();
        let shape = TensorShapeProto { dim, unknown_rank: false };
        TensorProto { dtype: dtype.into(), tensor_shape: Some(shape), ..TensorProto::default() }
    }

    fn numbers(message: &TensorProto) -> Vec<f32> {
        decode(message, LIMIT).expect("readable").numbers().expect("numbers").to_vec()
    }

    #[test]
    fn every_dtype_reads_the_same_from_raw_bytes_and_from_its_typed_field() {
        let rows: [(DataType, Vec<u8>, TensorProto); 12] = [
            (
                DataType::DtFloat,
                [2.0f32, 3.0].map(f32::to_le_bytes).concat(),
                TensorProto { float_val: vec![2.0, 3.0], ..Default::default() },
            ),
            (
                DataType::DtDouble,
                [2.0f64, 3.0].map(f64::to_le_bytes).concat(),
                TensorProto { double_val: vec![2.0, 3.0], ..Default::default() },
            ),
            (
                DataType::DtInt32,
                [2i32, 3].map(i32::to_le_bytes).concat(),
                TensorProto { int_val: vec![2, 3], ..Default::default() },
            ),
            (
                DataType::DtInt16,
                [2i16, 3].map(i16::to_le_bytes).concat(),
                TensorProto { int_val: vec![2, 3], ..Default::default() },
            ),
            (
                DataType::DtUint16,
                [2u16, 3].map(u16::to_le_bytes).concat(),
                TensorProto { int_val: vec![2, 3], ..Default::default() },
            ),
            (DataType::DtUint8, vec![2, 3], TensorProto { int_val: vec![2, 3], ..Default::default() }),
            (DataType::DtInt8, vec![2, 3], TensorProto { int_val: vec![2, 3], ..Default::default() }),
            (
                DataType::DtInt64,
                [2i64, 3].map(i64::to_le_bytes).concat(),
                TensorProto { int64_val: vec![2, 3], ..Default::default() },
            ),
            (
                DataType::DtUint32,
                [2u32, 3].map(u32::to_le_bytes).concat(),
                TensorProto { uint32_val: vec![2, 3], ..Default::default() },
            ),
            (
                DataType::DtUint64,
                [2u64, 3].map(u64::to_le_bytes).concat(),
                TensorProto { uint64_val: vec![2, 3], ..Default::default() },
            ),
            // 2.0 and 3.0 as bits of binary16 and of bfloat16.
            (
                DataType::DtHalf,
                [0x4000u16, 0x4200].map(u16::to_le_bytes).concat(),
                TensorProto { half_val: vec![0x4000, 0x4200], ..Default::default() },
            ),
            (
                DataType::DtBfloat16,
                [0x4000u16, 0x4040].map(u16::to_le_bytes).concat(),
                TensorProto { half_val: vec![0x4000, 0x4040], ..Default::default() },
            ),
        ];
        for (dtype, raw, typed) in rows {
            let shape = message(dtype, &[1, 2]);
            let raw = TensorProto { tensor_content: raw.into(), ..shape.clone() };
            let typed = TensorProto { dtype: shape.dtype, tensor_shape: shape.tensor_shape, ..typed };
            assert_eq!(numbers(&raw), [2.0, 3.0], "raw {dtype:?}");
            assert_eq!(numbers(&typed), [2.0, 3.0], "typed {dtype:?}");
        }
        let bools = TensorProto { bool_val: vec![true, false], ..message(DataType::DtBool, &[2]) };
        assert_eq!(numbers(&bools), [1.0, 0.0]);
    }

    #[test]
    fn short_lists_repeat_their_last_value_as_tensorflow_has_it() {
        let with = |float_val: Vec<f32>| TensorProto { float_val, ..message(DataType::DtFloat, &[4]) };
        assert_eq!(numbers(&with(vec![1.0, 2.0])), [1.0, 2.0, 2.0, 2.0]);
        assert_eq!(numbers(&with(vec![])), [0.0; 4]);
        assert_eq!(numbers(&with(vec![1.0, 2.0, 3.0, 4.0, 5.0])), [1.0, 2.0, 3.0, 4.0]);
        assert!(numbers(&message(DataType::DtFloat, &[0, 4])).is_empty());
    }

    #[test]
    fn a_message_that_lies_about_its_size_is_refused_before_memory_is_taken() {
        let huge = message(DataType::DtFloat, &[1 << 40]);
        assert!(matches!(decode(&huge, LIMIT), Err(WireError::TooLarge { .. })));
        let overflow = message(DataType::DtFloat, &[i64::MAX, 4]);
        assert!(matches!(decode(&overflow, LIMIT), Err(WireError::Shape(_))));
        let open = message(DataType::DtFloat, &[-1, 4]);
        assert!(matches!(decode(&open, LIMIT), Err(WireError::Shape(_))));
        let short = TensorProto { tensor_content: vec![0; 7].into(), ..message(DataType::DtFloat, &[2]) };
        assert_eq!(decode(&short, LIMIT), Err(WireError::Content { found: 7, expected: 8 }));
        assert_eq!(decode(&message(DataType::DtString, &[1]), LIMIT), Err(WireError::NotNumbers(DType::String)));
        assert_eq!(decode(&TensorProto { dtype: 77, ..Default::default() }, LIMIT), Err(WireError::DType(77)));
    }

    #[test]
    fn pictures_travel_as_raw_bytes_and_files_as_strings() {
        let pixels = Tensor::new(vec![1, 1, 1, 3], Values::U8(Bytes::from_static(&[1, 2, 3]))).expect("fits");
        let message = encode(pixels);
        assert_eq!((message.dtype(), &message.tensor_content[..]), (DataType::DtUint8, &[1, 2, 3][..]));
        assert!(message.int_val.is_empty());
        let file = Tensor::new(vec![1], Values::String(vec![Bytes::from_static(b"JFIF")])).expect("fits");
        let message = encode(file);
        assert_eq!((message.dtype(), message.string_val.len()), (DataType::DtString, 1));
        assert!(message.tensor_content.is_empty());
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Shapes of up to four axes, some of them empty.
    fn shape() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(0usize..6, 0..=4)
    }

    /// The same values as raw bytes and in the typed field of their dtype, and as `f32`.
    macro_rules! both_forms {
        ($test:ident, $dtype:expr, $field:ident, $value:ty, $stored:ty, $number:expr, $wire:expr) => {
            proptest! {
                #[test]
                fn $test(values in prop::collection::vec(any::<$value>(), 0..50)) {
                    let shape = message($dtype, &[values.len() as i64]);
                    let raw = TensorProto {
                        tensor_content: values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
                        ..shape.clone()
                    };
                    let wire: fn(&$value) -> $stored = $wire;
                    let typed = TensorProto { $field: values.iter().map(wire).collect(), ..shape };
                    let number: fn(&$value) -> f32 = $number;
                    let expected = bits(&values.iter().map(number).collect::<Vec<_>>());
                    prop_assert_eq!(bits(&numbers(&raw)), expected.clone());
                    prop_assert_eq!(bits(&numbers(&typed)), expected);
                }
            }
        };
    }

    both_forms!(float32, DataType::DtFloat, float_val, f32, f32, |v| *v, |v| *v);
    both_forms!(float64, DataType::DtDouble, double_val, f64, f64, |v| *v as f32, |v| *v);
    both_forms!(uint8, DataType::DtUint8, int_val, u8, i32, |v| f32::from(*v), |v| i32::from(*v));
    both_forms!(int8, DataType::DtInt8, int_val, i8, i32, |v| f32::from(*v), |v| i32::from(*v));
    both_forms!(uint16, DataType::DtUint16, int_val, u16, i32, |v| f32::from(*v), |v| i32::from(*v));
    both_forms!(int16, DataType::DtInt16, int_val, i16, i32, |v| f32::from(*v), |v| i32::from(*v));
    both_forms!(int32, DataType::DtInt32, int_val, i32, i32, |v| *v as f32, |v| *v);
    both_forms!(uint32, DataType::DtUint32, uint32_val, u32, u32, |v| *v as f32, |v| *v);
    both_forms!(int64, DataType::DtInt64, int64_val, i64, i64, |v| *v as f32, |v| *v);
    both_forms!(uint64, DataType::DtUint64, uint64_val, u64, u64, |v| *v as f32, |v| *v);
    both_forms!(float16, DataType::DtHalf, half_val, u16, i32, |v| half::f16::from_bits(*v).to_f32(), |v| i32::from(
        *v
    ));
    both_forms!(bfloat16, DataType::DtBfloat16, half_val, u16, i32, |v| half::bf16::from_bits(*v).to_f32(), |v| {
        i32::from(*v)
    });

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were_sent(shape in shape(), seed in any::<u32>()) {
            let length = room(&shape).expect("small");
            // Every bit pattern, NaN with its payload among them.
            let values: Vec<_> = (0..length as u32).map(|at| f32::from_bits(seed.wrapping_mul(at.wrapping_add(7)))).collect();
            let tensor = Tensor::new(shape.clone(), Values::F32(values.clone())).expect("fits");
            let back = decode(&encode(tensor), LIMIT).expect("readable");
            prop_assert_eq!(back.shape(), &shape);
            prop_assert_eq!(bits(back.numbers().expect("numbers")), bits(&values));
        }

        #[test]
        fn bytes_come_back_as_numbers(shape in shape(), first in any::<u8>()) {
            let length = room(&shape).expect("small");
            let values: Vec<u8> = (0..length).map(|at| first.wrapping_add(at as u8)).collect();
            let tensor = Tensor::new(shape.clone(), Values::U8(values.clone().into())).expect("fits");
            let back = decode(&encode(tensor), LIMIT).expect("readable");
            prop_assert_eq!(back.shape(), &shape);
            prop_assert_eq!(back.numbers().expect("numbers"), values.into_iter().map(f32::from).collect::<Vec<_>>());
        }

        #[test]
        fn files_are_sent_as_they_are(files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4)) {
            let files: Vec<Bytes> = files.into_iter().map(Bytes::from).collect();
            let message = encode(Tensor::new(vec![files.len()], Values::String(files.clone())).expect("fits"));
            prop_assert_eq!((message.dtype(), &message.string_val), (DataType::DtString, &files));
            prop_assert_eq!(&message.tensor_shape.expect("given").dim[0].size, &(files.len() as i64));
            prop_assert!(message.tensor_content.is_empty());
        }
    }
}
