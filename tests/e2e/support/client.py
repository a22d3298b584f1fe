"""The least a client of the Object Detection API does: ask with a photo, and read the boxes."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from . import photos
from .photos import Found

BOXES, SCORES, CLASSES, COUNT = "detection_boxes", "detection_scores", "detection_classes", "num_detections"
NEEDED = (BOXES, SCORES, CLASSES, COUNT)

COCO_NAMES = {1: "person", 17: "cat", 47: "cup", 62: "chair", 67: "dining table"}


def pixels(name: str) -> np.ndarray:
    return np.asarray(Image.open(photos.PHOTOS / f"{name}.png").convert("RGB"))


def request_for(model: str, name: str = "chelsea", outputs: tuple[str, ...] = NEEDED) -> PredictRequest:
    key = "inputs" if model == "tf1" else "input_tensor"
    image = pixels(name)[np.newaxis]
    value = {"encoded_image_string_tensor": [photos.read(name)], "float_image_tensor": image.astype(np.float32)}
    request = PredictRequest(output_filter=outputs)
    request.model_spec.name = model
    request.inputs[key].CopyFrom(tf.make_tensor_proto(value.get(model, image)))
    return request


def found_in(response: PredictResponse, name: str, min_score: float = 0.3) -> list[Found]:
    height, width = pixels(name).shape[:2]
    boxes, scores, classes = (tf.make_ndarray(response.outputs[key])[0] for key in (BOXES, SCORES, CLASSES))
    edges = boxes[:, [1, 0, 3, 2]] * [width, height, width, height]
    return [
        Found(COCO_NAMES.get(int(kind), str(kind)), float(score), tuple(box))
        for box, score, kind in zip(edges, scores, classes, strict=True)
        if score >= min_score
    ]
