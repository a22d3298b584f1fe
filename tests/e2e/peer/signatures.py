"""The detector behind the signatures of exporters other than the Object Detection API's.

Each says the same objects in another exporter's terms: another order of a box's numbers, pixels or
fractions, one output or four. What differs from `detector` is only what those exporters do
differently, so that an answer that differs was read wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from .detector import (
    COCO_IDS,
    EDGE,
    MAX_DETECTIONS,
    MEAN_BGR,
    STD_BGR,
    STRIDES,
    Detector,
    letterbox,
    suppress,
)
from .instances import GARDEN_MASK_EDGE, masks

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


def _model_garden_fractions(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same where it was exported with normalised boxes and floats throughout."""
    found = _model_garden(detector, image)
    info = found["image_info"][0]
    extent = tf.tile(info[0] * info[2], [2])  # the photo's part of the canvas
    floats = {key: tf.cast(found[key], tf.float32) for key in ("detection_scores", "detection_classes", "num_detections")}
    return found | floats | {"detection_boxes": found["detection_boxes"] / extent}


def _on_canvas(detector: Detector, canvas: tf.Tensor) -> dict[str, tf.Tensor]:
    """The Object Detection API's outputs for a canvas [EDGE, EDGE, 3] of 0..255 that the client laid the photo on."""
    boxes, scores, classes, count = suppress(*detector.rows(canvas))
    return {
        "detection_boxes": boxes / EDGE,
        "detection_scores": scores,
        "detection_classes": tf.cast(tf.gather(COCO_IDS, tf.cast(classes, tf.int32)), tf.float32),
        "num_detections": tf.cast(count, tf.float32),
    }


def _fixed(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    return _on_canvas(detector, tf.cast(image[0], tf.float32))


def _unit_range(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    return _on_canvas(detector, image[0] * 255)


def _normalised_planes(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """BGR planes with the mean taken off and divided by the deviation, as the training frameworks have them."""
    return _on_canvas(detector, tf.reverse(tf.transpose(image[0], [1, 2, 0]) * STD_BGR + MEAN_BGR, [-1]))


def _by_name(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """Four outputs that no convention names, as torch exports them: x first, and int64 classes that are one too low."""
    boxes, scores, classes, count = suppress(*detector.rows(tf.transpose(image[0], [1, 2, 0]) * 255))
    return {
        "output_0": tf.gather(boxes, [1, 0, 3, 2], axis=2) / EDGE,
        "output_1": scores,
        "output_2": tf.cast(tf.gather(COCO_IDS, tf.cast(classes, tf.int32)) - 1, tf.int64),
        "output_3": count,
    }


def _nanodet(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """The network as it is: everything around it is the client's."""
    return {f"output_{place}": tensor for place, tensor in enumerate(detector.raw(image).values())}


def _yolox(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """Centres in cells from each cell's corner, sides as logarithms in strides; BGR of 0..255 goes in."""
    boxes, scores = detector.rows(tf.reverse(tf.transpose(image[0], [1, 2, 0]), [-1]))
    grid = [(x, y, stride) for stride in STRIDES for y in range(EDGE // stride) for x in range(EDGE // stride)]
    corners, strides = np.array(grid, np.float32)[:, :2], np.array(grid, np.float32)[:, 2:]
    centres = _centres(boxes)
    raw = [centres[:, :2] / strides - corners, tf.math.log(centres[:, 2:] / strides), tf.ones_like(scores[:, :1]), scores]
    return {"output": tf.concat(raw, axis=1)[tf.newaxis]}


def _model_garden_masks(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same with masks."""
    found = _model_garden(detector, image)
    original, _, scale, _ = tf.unstack(found["image_info"][0])
    normalised = found["detection_boxes"] / tf.tile(scale * original, [2])
    return {**found, "detection_masks": masks(image[0], normalised, GARDEN_MASK_EDGE)}


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


def _yolov8_rows(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """A box a row instead of a box a column, and fractions of the canvas."""
    boxes, scores = _rows(detector, image)
    return {"output_0": tf.concat([_centres(boxes) / EDGE, scores], axis=1)[tf.newaxis]}


def _yolov5(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """Three anchors a cell, of which two see nothing, and fractions as models/tf.py exports them."""
    boxes, scores = _rows(detector, image)
    seen = tf.concat([_centres(boxes) / EDGE, tf.ones_like(scores[:, :1]), scores], axis=1)
    unseen = tf.concat([seen[:, :4], tf.zeros_like(seen[:, 4:])], axis=1)
    return {"output_0": tf.reshape(tf.stack([unseen, seen, unseen], axis=1), [1, -1, seen.shape[1]])}


def _yolov5_planes(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same by way of ONNX: planes go in, pixels come out."""
    rows = _yolov5(detector, tf.transpose(image, [0, 2, 3, 1]))["output_0"]
    return {"output0": tf.concat([rows[..., :4] * EDGE, rows[..., 4:]], axis=2)}


def _yolo_suppressed(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    boxes, scores, classes, _ = (tensor[0] for tensor in suppress(*_rows(detector, image)))
    rows = tf.concat([tf.gather(boxes, [1, 0, 3, 2], axis=1), scores[:, tf.newaxis], classes[:, tf.newaxis]], axis=1)
    return {"output0": tf.pad(rows, [[0, ROWS - MAX_DETECTIONS], [0, 0]])[tf.newaxis]}


def _yolo_suppressed_planes(detector: Detector, image: tf.Tensor) -> dict[str, tf.Tensor]:
    return _yolo_suppressed(detector, tf.transpose(image, [0, 2, 3, 1]))


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
    "model_garden_fractions": _export("inputs", PHOTO, _model_garden_fractions),
    "fixed": _export("input_tensor", tf.TensorSpec([1, EDGE, EDGE, 3], tf.uint8), _fixed),
    "unit_range": _export("input_tensor", CANVAS, _unit_range),
    "normalised_planes": _export("input", PLANES, _normalised_planes),
    "by_name": _export("images", PLANES, _by_name),
    "nanodet": _export("input_1", PLANES, _nanodet),
    "yolox": _export("images", PLANES, _yolox),
    "model_garden_masks": _export("inputs", PHOTO, _model_garden_masks),
    "yolov8": _export("images", CANVAS, _yolov8),
    "yolov8_planes": _export("images", PLANES, _yolov8_planes),
    "yolov8_rows": _export("images", CANVAS, _yolov8_rows),
    "yolov5": _export("x", CANVAS, _yolov5),
    "yolov5_planes": _export("images", PLANES, _yolov5_planes),
    "yolo_suppressed": _export("images", CANVAS, _yolo_suppressed),
    "yolo_suppressed_planes": _export("images", PLANES, _yolo_suppressed_planes),
    "ssd_tf1": _export(
        "normalized_input_image_tensor",
        CANVAS,
        _ssd(POSTPROCESS, f"{POSTPROCESS}:1", f"{POSTPROCESS}:2", f"{POSTPROCESS}:3"),
    ),
    "ssd_tf2": _export("images", CANVAS, _ssd(*(f"StatefulPartitionedCall:{place}" for place in (3, 2, 1, 0)))),
}
