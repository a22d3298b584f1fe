"""Makes tiny_yolox.onnx: a detector of YOLOX's form that sees one cat, as surely as the picture is bright.

Input float32 [1, 3, 64, 64], 0..255; output [1, 84, 85], 84 being the cells of strides 8, 16 and 32. Only the cell in column 1
and row 1 of stride 16 speaks: centre (24, 24), 32 pixels wide and high, class 15, objectness the mean of the picture / 255.

    python tests/models/make.py        (needs onnx and numpy, as tests/e2e/setup.sh installs them)
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CELLS, COLUMNS = 8 * 8 + 4 * 4 + 2 * 2, 85
OBJECTNESS, CAT = 4, 5 + 15


def constant(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)


rows = np.zeros((1, CELLS, 1))
rows[0, 8 * 8 + 1 * 4 + 1] = 1
values = np.zeros((1, 1, COLUMNS))
values[0, 0, [0, 1, 2, 3, CAT]] = 0.5, 0.5, np.log(2), np.log(2), 0.9
brightness = np.zeros((1, 1, COLUMNS))
brightness[0, 0, OBJECTNESS] = 1 / 255

graph = helper.make_graph(
    [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["brightness"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["brightness", "per_brightness"], ["objectness"]),
        helper.make_node("Add", ["objectness", "values"], ["row"]),
        helper.make_node("Mul", ["row", "rows"], ["output"]),
    ],
    "tiny_yolox",
    [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
    [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CELLS, COLUMNS])],
    [constant("rows", rows), constant("values", values), constant("per_brightness", brightness)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, Path(__file__).with_name("tiny_yolox.onnx"))
