"""NanoDet-g as its authors run it, in ONNX Runtime and Pillow: what spotter's answers are measured against.

Written from the model's description (models/README.md) and from nothing of spotter's.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from .precision import Detection

EDGE, BINS, CLASSES = 416, 11, 80
PAD = 114
MEAN_BGR = np.array([103.53, 116.28, 123.675], np.float32)
STD_BGR = np.array([57.375, 57.12, 58.395], np.float32)
MAX_DETECTIONS, IOU = 100, 0.6
GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO = [number for number in range(1, 91) if number not in GAPS]


class Reference:
    def __init__(self, onnx: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    def detect(self, file: bytes, min_score: float) -> list[Detection]:
        """What the model sees in an encoded photo, best first, in pixels of the upright photo."""
        photo = ImageOps.exif_transpose(Image.open(io.BytesIO(file)).convert("RGB"))
        ratio = min(EDGE / photo.height, EDGE / photo.width)
        size = (round(photo.width * ratio), round(photo.height * ratio))
        canvas = Image.new("RGB", (EDGE, EDGE), (PAD, PAD, PAD))
        canvas.paste(photo.resize(size, Image.Resampling.BILINEAR))
        pixels = (np.asarray(canvas, np.float32)[:, :, ::-1] - MEAN_BGR) / STD_BGR
        outputs = self._session.run(None, {"input_1:0": pixels.transpose(2, 0, 1)[np.newaxis]})
        boxes, scores, kinds = rows(outputs)
        kept = suppressed(boxes, scores, kinds, min_score)
        bounds = np.array([photo.width, photo.height] * 2, np.float32)
        return [
            (COCO[kinds[i]], float(scores[i]), tuple(map(float, np.clip(boxes[i] / ratio, 0, bounds)))) for i in kept
        ]


def rows(outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes x1 y1 x2 y2 on the canvas, the best class's score and its place, one row a cell."""
    by_shape = {output.shape[1:]: output[0] for output in outputs}
    boxes, scores = [], []
    for stride in (8, 16, 32):
        cells = EDGE // stride
        sides = by_shape[cells * cells, 4 * BINS].reshape(-1, 4, BINS)
        odds = np.exp(sides - sides.max(-1, keepdims=True))
        left, top, right, bottom = (odds / odds.sum(-1, keepdims=True) @ np.arange(BINS, dtype=np.float32) * stride).T
        y, x = np.mgrid[0:cells, 0:cells].reshape(2, -1) * stride + 0.5 * (stride - 1)
        boxes.append(np.stack([x - left, y - top, x + right, y + bottom], 1))
        scores.append(by_shape[cells * cells, CLASSES])
    all_scores = np.concatenate(scores)
    return np.concatenate(boxes), all_scores.max(1), all_scores.argmax(1)


def suppressed(boxes: np.ndarray, scores: np.ndarray, kinds: np.ndarray, min_score: float) -> list[int]:
    """Greedy suppression within a class; the rows that are left, best first."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] < min_score or len(kept) == MAX_DETECTIONS:
            break
        if all(kinds[k] != kinds[i] or overlap(boxes[k], boxes[i]) <= IOU for k in kept):
            kept.append(int(i))
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = max(width, 0) * max(height, 0)
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)
