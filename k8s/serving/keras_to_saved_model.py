#!/usr/bin/env python3
"""Wraps a Keras detector into a signature that takes the bytes of a photo, so that no client has to know its scaling.

    keras_to_saved_model.py detector.keras build/model/1 --range 0 1 --name boxes=detection_boxes ... --photos *.jpg

The signature takes uint8 RGB, [1, height, width, 3], a quarter of what the same photo is as floats; the bytes 0 to 255 become
the range that the model was trained with, inside the model. Its outputs keep their names (a model that returns a dictionary)
or are called output_0, output_1, ...; --name calls them what spotter looks for (docs/MODELS.md). Boxes of TF Object Detection
are [1, N, 4], y first, fractions of the input; classes are ids of the label map.

Needs: pip install --no-deps -r tests/e2e/requirements.txt
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from version_folder import VersionFolder


def named(outputs: object, names: dict[str, str]) -> dict[str, tf.Tensor]:
    if not isinstance(outputs, dict):
        several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        outputs = {f"output_{place}": output for place, output in enumerate(several)}
    if unknown := names.keys() - outputs.keys():
        raise SystemExit(f"no output is called {', '.join(sorted(unknown))}; there are {', '.join(outputs)}")
    return {names.get(name, name): output for name, output in outputs.items()}


def convert(source: Path, target: VersionFolder, low: float, high: float, names: dict[str, str]) -> None:
    model = keras.saving.load_model(source, compile=False)
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
        raise SystemExit(f"{source} takes {shape}: a detector takes one input, [batch, height, width, 3]")

    @tf.function(input_signature=[tf.TensorSpec([1, *shape[1:]], tf.uint8, name="input_tensor")])
    def serve(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = low + tf.cast(input_tensor, tf.float32) * ((high - low) / 255)
        return named(model(pixels, training=False), names)

    target.save(serve, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the .keras file")
    VersionFolder.declare(parser)
    parser.add_argument(
        "--range", type=float, nargs=2, required=True, metavar=("LOW", "HIGH"),
        help="what black and white are to the model: 0 1, -1 1, or 0 255 where it scales by itself",
    )  # fmt: skip
    parser.add_argument("--name", action="append", default=[], metavar="OUTPUT=NAME", help="repeatable")
    arguments = parser.parse_args()
    names = dict(name.split("=", 1) for name in arguments.name)
    convert(arguments.source, VersionFolder.of(arguments), *arguments.range, names)


if __name__ == "__main__":
    main()
