"""TensorProto to array by the runtime's rules, and array to TensorProto as the server writes it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

_TYPED_FIELD = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
    **dict.fromkeys((tf.int32, tf.int16, tf.int8, tf.uint8, tf.uint16), "int_val"),
}


class UnparsableTensor(ValueError):
    """The proto's content does not fill its shape, or the shape or type is not a concrete one."""


def decode(proto: TensorProto) -> np.ndarray:
    """Parse with the runtime itself.

    Its leniency (a short list repeats its last value, an empty one means zeros) is part of what a
    client has to live with, and a rewrite of it would be one more thing to doubt.
    """
    try:
        return tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
    except (TypeError, tf.errors.InvalidArgumentError) as error:
        raise UnparsableTensor(str(error)) from error


def encode(array: np.ndarray, as_content: bool) -> TensorProto:
    dtype = tf.as_dtype(array.dtype)
    proto = TensorProto(dtype=dtype.as_datatype_enum, tensor_shape=tf.TensorShape(array.shape).as_proto())
    if as_content and dtype != tf.string:
        proto.tensor_content = array.tobytes()
    else:
        getattr(proto, _TYPED_FIELD[dtype]).extend(array.ravel().tolist())
    return proto
