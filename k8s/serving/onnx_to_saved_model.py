#!/usr/bin/env python3
"""Turns an ONNX detector into a version folder with the same input and outputs, by name, layout and value.

    onnx_to_saved_model.py yolox_nano.onnx build/model/1 --photos photos/*.jpg

onnx2tf translates the operators; it also reorders outputs to what TensorFlow likes and gives them other names. Here they
get their names and axes back, and what the two runtimes make of one input is compared, so that a model that was
translated wrongly is refused. spotter reads the result as it would read the ONNX file.

Needs: pip install --no-deps -r tests/e2e/requirements.txt (converters pin versions of TensorFlow that need not be)
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnx
import onnx2tf
import onnxruntime
import tensorflow as tf
from version_folder import VersionFolder

# Of sums over some hundred thousand float32 products in another order; a wrong translation is off by far more.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Output:
    """An output as the ONNX file has it, and where the translation has it."""

    name: str
    translated: str
    axes: tuple[int, ...]


def shape_of(value: onnx.ValueInfoProto) -> list[int]:
    sides = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    # An open batch is one photo.
    shape = [1, *sides[1:]]
    if len(shape) != 4 or 0 in shape:
        raise SystemExit(f"the input '{value.name}' is {sides}: a detector takes [1, channels, height, width], all fixed")
    return shape


def plainly_named(model: onnx.ModelProto) -> onnx.ModelProto:
    """TensorFlow's names have no ':', and onnx2tf looks for an input under its own name."""
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace(":", "_") for name in names]
    for values in (graph.input, graph.output, graph.initializer, graph.value_info):
        for value in values:
            value.name = value.name.replace(":", "_")
    return model


def translate(model: onnx.ModelProto, key: str, folder: str) -> tf.Module:
    with contextlib.redirect_stdout(io.StringIO()):
        onnx2tf.convert(
            onnx_graph=model,
            output_folder_path=folder,
            keep_ncw_or_nchw_or_ncdhw_input_names=[key],
            not_use_onnxsim=True,
            output_signaturedefs=True,
            verbosity="error",
        )
    return tf.saved_model.load(folder)


def matched(name: str, wanted: np.ndarray, found: dict[str, np.ndarray]) -> Output:
    """The output of the translation that says the same, in whatever order of axes."""
    for translated, value in found.items():
        for axes in itertools.permutations(range(value.ndim)):
            turned = value.transpose(axes)
            if turned.shape == wanted.shape and np.allclose(turned, wanted, rtol=TOLERANCE, atol=TOLERANCE):
                return Output(name, translated, axes)
    raise SystemExit(f"the translation says something else than the file: no output of it equals '{name}'")


def convert(source: Path, target: VersionFolder) -> None:
    model = plainly_named(onnx.load(source))
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise SystemExit(f"{source} has {len(inputs)} inputs: {', '.join(value.name for value in inputs)}")
    key, shape = inputs[0].name, shape_of(inputs[0])
    # Noise, so that no two outputs are alike by chance.
    sample = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [value.name for value in model.graph.output]
    wanted = dict(zip(names, session.run(None, {key: sample}), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        loaded = translate(model, key, folder)
        answer = loaded.signatures["serving_default"]
        found = {name: value.numpy() for name, value in answer(**{key: tf.constant(sample)}).items()}
        outputs = [matched(name, value, found) for name, value in wanted.items()]

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name=key)])
        def serve(tensor: tf.Tensor) -> dict[str, tf.Tensor]:
            says = answer(**{key: tensor})
            return {output.name: tf.transpose(says[output.translated], output.axes) for output in outputs}

        target.save(serve, loaded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the ONNX file")
    VersionFolder.declare(parser)
    arguments = parser.parse_args()
    convert(arguments.source, VersionFolder.of(arguments))


if __name__ == "__main__":
    main()
