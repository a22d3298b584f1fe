"""NanoDet-g as one TensorFlow function, from pixels to the Object Detection API's outputs.

Models of the Object Detection API resize, normalise and suppress inside the graph and hand out
boxes normalised to the photo they were given. A peer that left any of it to the client would let a
gateway pass that prepares photos its own way, so all of it is in the graph here too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from .onnx_graph import OnnxGraph

EDGE = 416  # the detector's square input
STRIDES = (8, 16, 32)
BINS = 11  # a box side is a distribution over 0..10 strides
CLASSES = 80
PAD_GREY = 114.0
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)

MAX_DETECTIONS = 100
IOU_THRESHOLD = 0.6
# Configurations in the wild keep thresholds near zero and leave the cut to the client; low enough
# here that a client which takes `num_detections` for an answer is found out.
SCORE_THRESHOLD = 0.02

# TensorFlow numbers COCO's classes 1..90 and leaves these ten out.
COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
COCO_IDS = np.array([i for i in range(1, 91) if i not in COCO_GAPS], np.int32)

# Detectors of the zoo have several anchors a cell, this one has a single one. Repeating the raw rows
# brings the unfiltered answer to the zoo's order of size, above gRPC's default limit of 4 MiB, so
# that a client which forgets `output_filter` fails here as it would there.
RAW_REPEATS = 4


class Detector:
    """Callable on one RGB photo [h, w, 3] of values 0..255, of any numeric dtype."""

    def __init__(self, onnx_file: Path) -> None:
        self._graph = OnnxGraph(onnx_file)

    def __call__(self, photo: tf.Tensor) -> dict[str, tf.Tensor]:
        canvas, ratio = letterbox(photo)
        boxes, scores = self.rows(canvas)
        extent = tf.cast(tf.shape(photo)[:2], tf.float32)
        normalised = boxes / ratio / tf.tile(extent, [2])
        return _as_detections(tf.clip_by_value(normalised, 0.0, 1.0), scores)

    def raw(self, planes: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the network itself gives for BGR planes [1, 3, EDGE, EDGE], normalised."""
        return self._graph(planes)

    def rows(self, canvas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One row a cell from an RGB canvas [EDGE, EDGE, 3] of 0..255.

        Boxes [cells, 4] as ymin, xmin, ymax, xmax in the canvas's pixels, and scores [cells, CLASSES].
        """
        normalised = (tf.reverse(tf.ensure_shape(canvas, [EDGE, EDGE, 3]), [-1]) - MEAN_BGR) / STD_BGR
        planes = tf.transpose(normalised, [2, 0, 1])[tf.newaxis]
        by_rows = {(int(t.shape[1]), int(t.shape[2])): t for t in self.raw(planes).values()}
        boxes, scores = [], []
        for stride in STRIDES:
            cells = (EDGE // stride) ** 2
            boxes.append(_decode_boxes(by_rows[cells, 4 * BINS][0], stride))
            scores.append(by_rows[cells, CLASSES][0])
        return tf.concat(boxes, 0), tf.concat(scores, 0)


def letterbox(photo: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Fit the photo into the top left of the square; the canvas as RGB, and what the photo was scaled by."""
    extent = tf.cast(tf.shape(photo)[:2], tf.float32)
    ratio = EDGE / tf.reduce_max(extent)
    size = tf.maximum(tf.cast(tf.round(extent * ratio), tf.int32), 1)
    # Shrinking a phone's photo tenfold without antialiasing drops most of its pixels.
    fitted = tf.image.resize(tf.cast(photo, tf.float32), size, "bilinear", antialias=True)
    canvas = tf.pad(fitted, [[0, EDGE - size[0]], [0, EDGE - size[1]], [0, 0]], constant_values=PAD_GREY)
    return canvas, ratio


def suppress(boxes: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Boxes [1, M, 4] and scores [1, M] best first, classes [1, M] from 0 as floats, and the count [1], int32."""
    # One class for each anchor: zeroing the others leaves them under the score threshold.
    best = tf.one_hot(tf.argmax(scores, axis=1), CLASSES) * scores
    return tf.image.combined_non_max_suppression(
        boxes[tf.newaxis, :, tf.newaxis, :],
        best[tf.newaxis],
        max_output_size_per_class=MAX_DETECTIONS,
        max_total_size=MAX_DETECTIONS,
        iou_threshold=IOU_THRESHOLD,
        score_threshold=SCORE_THRESHOLD,
        clip_boxes=False,  # boxes in pixels would all become the whole picture
    )


def _decode_boxes(sides: tf.Tensor, stride: int) -> tf.Tensor:
    """[cells, 44] -> [cells, 4] as ymin, xmin, ymax, xmax in the square's pixels."""
    expectation = tf.linalg.matvec(tf.nn.softmax(tf.reshape(sides, [-1, 4, BINS])), tf.range(BINS, dtype=tf.float32))
    left, top, right, bottom = tf.unstack(expectation * stride, axis=1)
    cells = EDGE // stride
    centre = np.arange(cells, dtype=np.float32) * stride + 0.5 * (stride - 1)
    x, y = np.tile(centre, cells), np.repeat(centre, cells)
    return tf.stack([y - top, x - left, y + bottom, x + right], axis=1)


def _as_detections(boxes: tf.Tensor, scores: tf.Tensor) -> dict[str, tf.Tensor]:
    """Suppress, sort and pad; all outputs are float32 with a leading batch of one, as exported."""
    kept_boxes, kept_scores, kept_classes, count = suppress(boxes, scores)
    # Padding rows come as class 0 and so turn into class 1, "person": what the real exporter's
    # label offset does to them too, and the reason why rows past `num_detections` mean nothing.
    classes = tf.gather(COCO_IDS, tf.cast(kept_classes, tf.int32))
    return {
        "detection_boxes": kept_boxes,
        "detection_scores": kept_scores,
        "detection_classes": tf.cast(classes, tf.float32),
        "num_detections": tf.cast(count, tf.float32),
        "raw_detection_boxes": tf.tile(boxes, [RAW_REPEATS, 1])[tf.newaxis],
        "raw_detection_scores": tf.tile(_by_coco_id(scores), [RAW_REPEATS, 1])[tf.newaxis],
    }


def _by_coco_id(scores: tf.Tensor) -> tf.Tensor:
    """[anchors, 80] -> [anchors, 91]: a background column first, and the gaps left empty."""
    column = np.full(91, CLASSES, np.int32)
    column[COCO_IDS] = np.arange(CLASSES)
    return tf.gather(tf.pad(scores, [[0, 0], [0, 1]]), column, axis=1)
