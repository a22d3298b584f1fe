"""The detector behind the signatures of exporters other than the Object Detection API's.

Each says the same objects in another exporter's terms: another order of a box's numbers, pixels or
fractions, one output or four. What differs from `detector` is only what those exporters do
differently, so that an answer that differs was read wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from .detector import COCO_IDS, EDGE, MAX_DETECTIONS, Detector, letterbox, suppress

Export = Callable[[Detector, Path], None]
Serve = Callable[[Detector, tf.Tensor], dict[str, tf.Tensor]]

ROWS = 300  # what YOLO lists with its suppression inside


def _export(key: str, spec: tf.TensorSpec, serve: Serve) -> Export:
    """A frozen graph with keys of any form; those of TFLite's tensors are no Python names."""

    def export(detector: Detector, out: Path) -> None:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            image = tf.compat.v1.placeholder(spec.dtype, spec.shape)
            outputs = {name: tf.identity(tensor) for name, tensor in serve(detector, image).items()}
            tf.compat.v1.saved_model.simple_save(session, str(out), {key: image}, outputs)

    return export


def _model_garden(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """As official/vision/serving/detection.py: pixels of the resized picture, integers, and how it was resized."""
    photo = tf.ensure_shape(image, [1, None, None, 3])[0]
    original = tf.cast(tf.shape(photo)[:2], tf.float32)
    canvas, ratio = letterbox(photo)
    boxes, scores, classes, count = suppress(*detector.rows(canvas))
    scale = tf.round(original * ratio) / original
    return {
        "detection_boxes": boxes,
        "detection_scores": scores,
        "detection_classes": tf.gather(COCO_IDS, tf.cast(classes, tf.int32)),
        "num_detections": count,
        "image_info": tf.stack([original, [EDGE, EDGE], scale, [0.0, 0.0]])[tf.newaxis],
    }


def _centres(boxes: tf.Tensor) -> tf.Tensor:
    """ymin, xmin, ymax, xmax as YOLO's x, y, width, height."""
    low, high = boxes[:, 1::-1], boxes[:, :1:-1]
    return tf.concat([(low + high) / 2, high - low], axis=1)


def _rows(detector: Detector, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """YOLO's input: RGB of 0..1, already on the canvas."""
    return detector.rows(image[0] * 255)


def _yolov8(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    boxes, scores = _rows(detector, image)
    return {"output_0": tf.transpose(tf.concat([_centres(boxes), scores], axis=1))[tf.newaxis]}


def _yolov8_planes(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same from ONNX's order of axes."""
    return {"output0": _yolov8(detector, tf.transpose(image, [0, 2, 3, 1]))["output_0"]}


def _yolov5(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """Three anchors a cell, of which two see nothing, and fractions as models/tf.py exports them."""
    boxes, scores = _rows(detector, image)
    seen = tf.concat([_centres(boxes) / EDGE, tf.ones_like(scores[:, :1]), scores], axis=1)
    unseen = tf.concat([seen[:, :4], tf.zeros_like(seen[:, 4:])], axis=1)
    return {"output_0": tf.reshape(tf.stack([unseen, seen, unseen], axis=1), [1, -1, seen.shape[1]])}


def _yolo_suppressed(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    boxes, scores, classes, _ = (tensor[0] for tensor in suppress(*_rows(detector, image)))
    rows = tf.concat([tf.gather(boxes, [1, 0, 3, 2], axis=1), scores[:, tf.newaxis], classes[:, tf.newaxis]], axis=1)
    return {"output0": tf.pad(rows, [[0, ROWS - MAX_DETECTIONS], [0, 0]])[tf.newaxis]}


def _ssd(*keys: str) -> Serve:
    """TFLite_Detection_PostProcess's four outputs under these keys."""

    def serve(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores, classes, count = suppress(*detector.rows((image[0] + 1) * 127.5))
        found = (boxes / EDGE, classes, scores, tf.cast(count, tf.float32))
        return dict(zip(keys, found, strict=True))

    return serve


PHOTO = tf.TensorSpec([1, None, None, 3], tf.uint8)
CANVAS = tf.TensorSpec([1, EDGE, EDGE, 3], tf.float32)
PLANES = tf.TensorSpec([1, 3, EDGE, EDGE], tf.float32)
POSTPROCESS = "TFLite_Detection_PostProcess"

SIGNATURES: dict[str, Export] = {
    "model_garden": _export("inputs", PHOTO, _model_garden),
    "yolov8": _export("images", CANVAS, _yolov8),
    "yolov8_planes": _export("images", PLANES, _yolov8_planes),
    "yolov5": _export("x", CANVAS, _yolov5),
    "yolo_suppressed": _export("images", CANVAS, _yolo_suppressed),
    "ssd_tf1": _export(
        "normalized_input_image_tensor",
        CANVAS,
        _ssd(POSTPROCESS, f"{POSTPROCESS}:1", f"{POSTPROCESS}:2", f"{POSTPROCESS}:3"),
    ),
    "ssd_tf2": _export("images", CANVAS, _ssd(*(f"StatefulPartitionedCall:{place}" for place in (3, 2, 1, 0)))),
}
