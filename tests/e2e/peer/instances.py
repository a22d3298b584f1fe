"""What models of instances answer beside boxes: masks and keypoints, computed from the photo.

Both differ from box to box and from photo to photo, so that a client which reads another row, another
frame or another order of axes is found out.
"""

from __future__ import annotations

import tensorflow as tf

from .detector import Detector

MASK_EDGE = 33  # Mask R-CNN's in the Object Detection API's zoo
GARDEN_MASK_EDGE = 28  # the Model Garden's
CONTRAST = 12.0


def masks(photo: tf.Tensor, boxes: tf.Tensor, edge: int) -> tf.Tensor:
    """[1, N, edge, edge] of 0..1 from normalised boxes [1, N, 4]: what is brighter than the box is on the whole."""
    grey = tf.reduce_mean(tf.cast(photo, tf.float32), axis=-1)[tf.newaxis, ..., tf.newaxis] / 255
    patches = tf.image.crop_and_resize(grey, boxes[0], tf.zeros_like(boxes[0, :, 0], tf.int32), [edge, edge])
    smooth = tf.nn.avg_pool2d(patches, ksize=5, strides=1, padding="SAME")[..., 0]
    return tf.sigmoid(CONTRAST * (smooth - tf.reduce_mean(smooth, [1, 2], keepdims=True)))[tf.newaxis]


def mask_rcnn(detector: Detector, photo: tf.Tensor) -> dict[str, tf.Tensor]:
    found = detector(photo)
    return {**found, "detection_masks": masks(photo, found["detection_boxes"], MASK_EDGE)}


def center_net(detector: Detector, photo: tf.Tensor) -> dict[str, tf.Tensor]:
    """Three keypoints a box, y first: its middle, a point of its upper left quarter, and one that is not seen."""
    found = detector(photo)
    low, high = found["detection_boxes"][..., :2], found["detection_boxes"][..., 2:]
    unseen = tf.fill(tf.shape(low), float("nan"))
    scores = found["detection_scores"]
    return {
        **found,
        "detection_keypoints": tf.stack([(low + high) / 2, low + (high - low) * [0.125, 0.25], unseen], axis=2),
        "detection_keypoint_scores": tf.stack([scores, scores / 2, tf.zeros_like(scores)], axis=2),
    }
