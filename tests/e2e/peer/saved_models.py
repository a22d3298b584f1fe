"""Exports the detector as SavedModels with the signatures of the Object Detection API and of others.

``python -m peer.saved_models OUT_DIR`` writes OUT_DIR/<variant>/1/, the layout that a model server
watches. The variants are the exporters' input types, each of which asks something else of a client:
another input key, another dtype, or the photo's file instead of its pixels. `signatures` has the
other exporters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from .detector import Detector
from .instances import center_net, mask_rcnn
from .signatures import SIGNATURES

DEFAULT_ONNX = Path(__file__).resolve().parents[3] / "models" / "nanodet_g_416.onnx"
TF1_OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def _only_photo(batch: tf.Tensor) -> tf.Tensor:
    # Signatures with an open batch dimension would drop a second photo without a word.
    return tf.ensure_shape(batch, [1, None, None, 3])[0]


def _decode(files: tf.Tensor) -> tf.Tensor:
    # Without expand_animations=False a GIF would come as a batch of frames.
    return tf.image.decode_image(tf.ensure_shape(files, [1])[0], channels=3, expand_animations=False)


Serve = Callable[[Detector, tf.Tensor], dict[str, tf.Tensor]]


def _export_tf2(
    spec: tf.TensorSpec, to_photo: Callable[[tf.Tensor], tf.Tensor], model: Serve = Detector.__call__
) -> Callable[[Detector, Path], None]:
    """An export as of exporter_main_v2: the signature's key is the argument's name."""

    def export(detector: Detector, out: Path) -> None:
        serve = tf.function(lambda input_tensor: model(detector, to_photo(input_tensor)), input_signature=[spec])
        tf.saved_model.save(tf.Module(), out, signatures=serve)

    return export


def _export_tf1(detector: Detector, out: Path) -> None:
    """An export as of export_inference_graph: a frozen graph, key `inputs`, no raw outputs."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        image = tf.compat.v1.placeholder(tf.uint8, [None, None, None, 3], "image_tensor")
        found = detector(_only_photo(image))
        outputs = {key: tf.identity(found[key], key) for key in TF1_OUTPUTS}
        tf.compat.v1.saved_model.simple_save(session, str(out), {"inputs": image}, outputs)


VARIANTS: dict[str, Callable[[Detector, Path], None]] = {
    "image_tensor": _export_tf2(tf.TensorSpec([1, None, None, 3], tf.uint8), _only_photo),
    "float_image_tensor": _export_tf2(tf.TensorSpec([1, None, None, 3], tf.float32), _only_photo),
    "encoded_image_string_tensor": _export_tf2(tf.TensorSpec([1], tf.string), _decode),
    "tf1": _export_tf1,
    "mask_rcnn": _export_tf2(tf.TensorSpec([1, None, None, 3], tf.uint8), _only_photo, mask_rcnn),
    "center_net": _export_tf2(tf.TensorSpec([1, None, None, 3], tf.uint8), _only_photo, center_net),
    **SIGNATURES,
}


def build(onnx_file: Path, out_dir: Path) -> None:
    detector = Detector(onnx_file)
    for variant, export in VARIANTS.items():
        started = time.monotonic()
        export(detector, out_dir / variant / "1")
        print(f"{out_dir / variant / '1'}: {time.monotonic() - started:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--onnx", type=Path, default=DEFAULT_ONNX, help="the detector (default: %(default)s)")
    arguments = parser.parse_args()
    build(arguments.onnx, arguments.out_dir)


if __name__ == "__main__":
    main()
