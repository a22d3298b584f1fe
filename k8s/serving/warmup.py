#!/usr/bin/env python3
"""Writes warm-up records beside a SavedModel, so that no client waits for its first answers, and lists its files anew.

    warmup.py models/detector/1 photo.jpg ...

TensorFlow Serving replays assets.extra/tf_serving_warmup_requests before it calls a version AVAILABLE. The records are
Predict requests as spotter sends them: the photo at a size that the model takes, and only the outputs that are read. Take
photos of the sizes that will come: a model with an open input size is compiled anew for some.

The export scripts do this for what they make; by itself it is for a SavedModel from elsewhere. SHA256SUMS is written last,
with the records in it: fetch_model.py fetches what is listed and refuses a version that would be cold.

Needs: pip install tensorflow pillow, and tensorflow-serving-api with --no-deps.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from file_list import write_list
from PIL import Image, ImageOps
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

SIGNATURE = "serving_default"
# What spotter asks for, and how large at most, where nothing else is said.
NAME = "detector"
MAX_SIDE = 1024
FILE = Path("assets.extra/tf_serving_warmup_requests")
# The server refuses a file with more.
MAX_RECORDS = 1000
# What spotter reads of a model of the Object Detection API; other models have few outputs, and all are asked for.
READ = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")


def signature_of(model: Path) -> SignatureDef:
    graphs = SavedModel.FromString((model / "saved_model.pb").read_bytes()).meta_graphs
    for graph in graphs:
        if "serve" in graph.meta_info_def.tags and SIGNATURE in graph.signature_def:
            return graph.signature_def[SIGNATURE]
    raise SystemExit(f"{model}: no signature {SIGNATURE}")


def tensor(signature: SignatureDef, photo: Path, max_side: int) -> tuple[str, tf.TensorProto]:
    """The only input, filled with a photo as spotter would: upright, fitted, in the input's own type."""
    ((key, info),) = signature.inputs.items()
    upright = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    if info.dtype == tf.string.as_datatype_enum:
        file = io.BytesIO()
        upright.save(file, "JPEG", quality=90)
        return key, tf.make_tensor_proto([file.getvalue()])
    dims = [dim.size for dim in info.tensor_shape.dim]
    if len(dims) != 4 or 3 not in (dims[1], dims[3]):
        raise SystemExit(f"{key} is {dims}: records are made for [batch, height, width, 3] or [batch, 3, height, width]")
    # As models from ONNX take it.
    planes = dims[3] != 3
    height, width = dims[2:] if planes else dims[1:3]
    if height > 0 and width > 0:
        upright = ImageOps.pad(upright, (width, height), centering=(0, 0))
    else:
        upright.thumbnail((max_side, max_side))
    # What is warmed up depends on shapes and types: the range that a model wants its floats in does not matter here.
    pixels = np.asarray(upright).astype(tf.as_dtype(info.dtype).as_numpy_dtype)
    return key, tf.make_tensor_proto((pixels.transpose(2, 0, 1) if planes else pixels)[np.newaxis])


def records(model: Path, name: str, photos: list[Path], max_side: int) -> Iterator[PredictionLog]:
    signature = signature_of(model)
    wanted = [key for key in READ if key in signature.outputs] or sorted(signature.outputs)
    for photo in photos:
        request = PredictRequest(output_filter=wanted)
        request.model_spec.name = name
        request.model_spec.signature_name = SIGNATURE
        key, value = tensor(signature, photo, max_side)
        request.inputs[key].CopyFrom(value)
        log = PredictionLog()
        log.predict_log.request.CopyFrom(request)
        yield log


def checked(photos: list[Path]) -> list[Path]:
    """Before the work of an export, not after it."""
    if missing := [str(photo) for photo in photos if not photo.is_file()]:
        raise SystemExit(f"no photo at {', '.join(missing)}")
    if len(photos) > MAX_RECORDS:
        raise SystemExit(f"{len(photos)} photos: the server reads at most {MAX_RECORDS} records")
    return photos


def write(model: Path, photos: list[Path], name: str = NAME, max_side: int = MAX_SIDE) -> None:
    out = model / FILE
    out.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(out)) as writer:
        for log in records(model, name, photos, max_side):
            writer.write(log.SerializeToString())
    print(f"{len(photos)} warm-up records, {out.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of one version, with saved_model.pb")
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--name", default=NAME, help="the model's name at the server (default: %(default)s)")
    parser.add_argument("--max-side", type=int, default=MAX_SIDE, help="as spotter's --max-side (default: %(default)s)")
    arguments = parser.parse_args()
    write(arguments.model, checked(arguments.photos), arguments.name, arguments.max_side)
    print(f"{arguments.model}: MODEL_SHA256 is {write_list(arguments.model)}")


if __name__ == "__main__":
    main()
