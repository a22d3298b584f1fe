"""Replays an ONNX graph as TensorFlow ops.

The peer must find what the embedded engine finds, so it has to run the *same weights*. A converter
package would do, but each one pins a TensorFlow of its own; the detector needs fourteen kinds of
node, and fourteen short functions are easier to trust than a dependency.

Tensors keep ONNX's channels-first order between nodes, because that is what ``Concat`` and
``Split`` axes refer to. TensorFlow's CPU kernels want channels last, so the three spatial ops
transpose around themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

Attributes = Mapping[str, Any]
Operands = Sequence[Any]  # tf.Tensor, np.ndarray for constants, None for an omitted optional input


class UnsupportedGraph(Exception):
    """The graph uses something that would be translated wrongly; better refused than guessed."""


def _channels_last(op: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(op(tf.transpose(x, [0, 2, 3, 1])), [0, 3, 1, 2])


def _require(attributes: Attributes, **expected: Any) -> None:
    """Insist that every attribute given has the one value that the translation assumes."""
    for name, value in attributes.items():
        if name not in expected or value != expected[name]:
            raise UnsupportedGraph(f"attribute {name}={value!r}")


def _conv(operands: Operands, attributes: Attributes) -> tf.Tensor:
    x, kernel, *bias = operands
    strides = attributes["strides"]
    # This exporter writes padding as Pad nodes, hence VALID and no `pads`.
    _require(attributes, strides=strides, kernel_shape=[*kernel.shape[2:]], dilations=[1, 1], group=1)
    filters = np.transpose(kernel, [2, 3, 1, 0])
    y = _channels_last(lambda image: tf.nn.conv2d(image, filters, strides, "VALID"), x)
    return y + np.reshape(bias[0], [1, -1, 1, 1]) if bias else y


def _max_pool(operands: Operands, attributes: Attributes) -> tf.Tensor:
    kernel, strides = attributes["kernel_shape"], attributes["strides"]
    _require(attributes, kernel_shape=kernel, strides=strides)
    return _channels_last(lambda image: tf.nn.max_pool2d(image, kernel, strides, "VALID"), operands[0])


def _resize(operands: Operands, attributes: Attributes) -> tf.Tensor:
    # `nearest_mode` and `exclude_outside` are without meaning for linear interpolation.
    ignored = {name: attributes[name] for name in ("nearest_mode", "exclude_outside") if name in attributes}
    _require(attributes, mode=b"linear", coordinate_transformation_mode=b"half_pixel", **ignored)
    x, _roi, scales = operands
    size = [int(edge * scale) for edge, scale in zip(x.shape[2:], scales[2:], strict=True)]
    return _channels_last(lambda image: tf.image.resize(image, size, "bilinear"), x)


def _pad(operands: Operands, attributes: Attributes) -> tf.Tensor:
    _require(attributes, mode=b"constant")
    x, pads, *fill = operands
    begin, end = np.split(pads, 2)
    return tf.pad(x, np.stack([begin, end], axis=1), constant_values=fill[0].item() if fill else 0.0)


def _reshape(operands: Operands, attributes: Attributes) -> tf.Tensor:
    _require(attributes, allowzero=0)
    x, shape = operands
    if 0 in shape:
        raise UnsupportedGraph("0 in a shape, which copies the input's dimension")
    return tf.reshape(x, shape)


OPS: dict[str, Callable[[Operands, Attributes], Any]] = {
    "Add": lambda x, a: tf.add(x[0], x[1]),
    "Cast": lambda x, a: tf.cast(x[0], onnx.helper.tensor_dtype_to_np_dtype(a["to"])),
    "Concat": lambda x, a: tf.concat(x, a["axis"]),
    "Conv": _conv,
    "Expand": lambda x, a: x[0] * tf.ones(x[1], x[0].dtype),  # broadcasts both ways, as ONNX does
    "LeakyRelu": lambda x, a: tf.nn.leaky_relu(x[0], a["alpha"]),
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "ScatterND": lambda x, a: tf.tensor_scatter_nd_update(*x),
    "Sigmoid": lambda x, a: tf.sigmoid(x[0]),
    "Split": lambda x, a: tf.split(x[0], x[1], a["axis"]),
    "Transpose": lambda x, a: tf.transpose(x[0], a["perm"]),
}


class OnnxGraph:
    """An ONNX file as a callable from one input tensor to its named outputs."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        unknown = sorted({node.op_type for node in graph.node} - OPS.keys())
        if unknown:
            raise UnsupportedGraph(f"{path.name}: no TensorFlow counterpart for {', '.join(unknown)}")
        self._constants: dict[str, Any] = {"": None}
        self._constants.update((tensor.name, numpy_helper.to_array(tensor)) for tensor in graph.initializer)
        self._nodes = [node for node in graph.node if not self._fold(node)]
        self._input = next(value.name for value in graph.input if value.name not in self._constants)
        self._outputs = [value.name for value in graph.output]

    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {**self._constants, self._input: x}
        for node in self._nodes:
            values.update(_run(node, values))
        return {name: values[name] for name in self._outputs}

    def _fold(self, node: onnx.NodeProto) -> bool:
        """Run a node now if all its operands are constants.

        Exporters compute shapes with little chains of nodes. Folding them keeps every shape of the
        traced graph static, which `Resize` and the matching of outputs by their row count rely on.
        """
        if not all(name in self._constants for name in node.input):
            return False
        self._constants.update((name, value.numpy()) for name, value in _run(node, self._constants).items())
        return True


def _run(node: onnx.NodeProto, values: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    try:
        result = OPS[node.op_type]([values[name] for name in node.input], attributes)
    except UnsupportedGraph as reason:
        raise UnsupportedGraph(f"{node.op_type} {node.name!r}: {reason}") from None
    several = isinstance(result, (list, tuple))
    return dict(zip(node.output, result if several else [result], strict=True))
