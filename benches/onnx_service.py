"""NanoDet-g behind FastAPI and ONNX Runtime, on one thread: the same weights, the same preparation and the same reading of
the outputs as spotter's embedded detector.

    MODEL=models/nanodet_g_416.onnx uvicorn onnx_service:app
"""

import io
import os

import numpy
import onnxruntime
from fastapi import FastAPI, UploadFile
from PIL import Image

SIDE = 416
STRIDES = {2704: 8, 676: 16, 169: 32}
MEAN = numpy.array([103.53, 116.28, 123.675], dtype=numpy.float32)
STD = numpy.array([57.375, 57.12, 58.395], dtype=numpy.float32)

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


def prepare(photo: Image.Image) -> tuple[numpy.ndarray, float]:
    """The photo at the upper left of a grey canvas, BGR, normalised."""
    ratio = min(SIDE / photo.width, SIDE / photo.height)
    size = round(photo.width * ratio), round(photo.height * ratio)
    # The least work that Pillow can do: a JPEG is decoded at a reduced scale.
    photo.draft("RGB", size)
    small = photo.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    canvas = numpy.full((SIDE, SIDE, 3), 114, dtype=numpy.uint8)
    canvas[: size[1], : size[0]] = numpy.asarray(small)
    samples = (canvas[:, :, ::-1].astype(numpy.float32) - MEAN) / STD
    return numpy.ascontiguousarray(samples.transpose(2, 0, 1)[numpy.newaxis]), ratio


def interpret(outputs: list[numpy.ndarray], least: float) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Boxes on the canvas, scores and classes, one class an anchor."""
    boxes, scores, classes = [], [], []
    for anchors, stride in STRIDES.items():
        level = [output[0] for output in outputs if output.shape[1] == anchors]
        probabilities = next(output for output in level if output.shape[1] == 80)
        edges = next(output for output in level if output.shape[1] == 44)
        best = probabilities.max(axis=1)
        kept = numpy.flatnonzero(best >= least)
        bins = numpy.exp(edges[kept].reshape(-1, 4, 11))
        sides = (bins / bins.sum(axis=2, keepdims=True)) @ numpy.arange(11, dtype=numpy.float32) * stride
        columns = SIDE // stride
        x = kept % columns * stride + 0.5 * (stride - 1)
        y = kept // columns * stride + 0.5 * (stride - 1)
        boxes.append(numpy.stack([x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]], axis=1))
        scores.append(best[kept])
        classes.append(probabilities[kept].argmax(axis=1))
    return numpy.concatenate(boxes), numpy.concatenate(scores), numpy.concatenate(classes)


def thin_out(boxes: numpy.ndarray, scores: numpy.ndarray, classes: numpy.ndarray) -> list[int]:
    """Class-aware greedy suppression."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for one in numpy.argsort(-scores):
        for other in kept:
            if classes[one] == classes[other]:
                low = numpy.maximum(boxes[one, :2], boxes[other, :2])
                high = numpy.minimum(boxes[one, 2:], boxes[other, 2:])
                common = numpy.prod(numpy.maximum(high - low, 0))
                if common / (areas[one] + areas[other] - common) > 0.6:
                    break
        else:
            kept.append(one)
    return kept[:100]


@app.post("/v1/detect")
def detect(image: UploadFile) -> dict:
    photo = Image.open(io.BytesIO(image.file.read()))
    width, height = photo.size
    tensor, ratio = prepare(photo)
    boxes, scores, classes = interpret(session.run(None, {session.get_inputs()[0].name: tensor}), 0.3)
    detections = []
    for index in thin_out(boxes, scores, classes):
        x_min, y_min, x_max, y_max = (round(float(edge) / ratio) for edge in boxes[index])
        box = {"x_min": max(x_min, 0), "y_min": max(y_min, 0), "x_max": min(x_max, width), "y_max": min(y_max, height)}
        detections.append({"class_id": int(classes[index]), "score": float(scores[index]), "box": box})
    return {"width": width, "height": height, "detections": detections}
