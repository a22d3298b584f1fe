"""Masks and keypoints of real models, compared with what TensorFlow itself makes of the same tensors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from conftest import LOGS
from support import photos
from support.client import pixels
from support.gateway import Gateway
from support.peer import Peer
from support.wait import until

MODELS = ("mask_rcnn", "model_garden_masks", "center_net")
MIN_SCORE = 0.3
LABELS = """
item { id: 17 name: 'cat' keypoints { id: 0 label: 'middle' } keypoints { id: 2 label: 'tail' } }
item { id: 1 name: 'person' keypoints { id: 0 label: 'heart' } keypoints { id: 1 label: 'shoulder' } }
"""

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def instances(saved_models: Path) -> Iterator[Peer]:
    with Peer({model: saved_models / model for model in MODELS}, logs=LOGS) as running:
        yield running


@pytest.fixture(scope="module")
def gateways(
    spotter_binary: Path, instances: Peer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Gateway]]:
    """A gateway in front of each model."""
    labels = tmp_path_factory.mktemp("labels") / "named.pbtxt"
    labels.write_text(LABELS, encoding="utf-8")
    with ExitStack() as stack:
        running = {}
        for model in MODELS:
            flags = ("--serving", f"http://{instances.address}", "--model", model, "--labels", str(labels))
            running[model] = stack.enter_context(Gateway(spotter_binary, *flags, logs=LOGS))
            until(running[model].is_ready, f"the gateway of {model} to be ready")
        yield running


def predicted(peer: Peer, model: str, photo: np.ndarray) -> Tensors:
    """What the model answers for these pixels, through the official stubs: the rows that are listed, best first."""
    request = PredictRequest()
    request.model_spec.name = model
    key = "inputs" if model.startswith("model_garden") else "input_tensor"
    request.inputs[key].CopyFrom(tf.make_tensor_proto(photo[np.newaxis]))
    wanted = ["detection_boxes", "detection_scores", "detection_masks", "image_info"]
    wanted += ["detection_keypoints", "detection_keypoint_scores"]
    with grpc.insecure_channel(peer.address, [("grpc.max_receive_message_length", -1)]) as channel:
        response = PredictionServiceStub(channel).Predict(request, timeout=60)
    tensors = {key: tf.make_ndarray(response.outputs[key])[0] for key in wanted if key in response.outputs}
    rows = np.flatnonzero(tensors["detection_scores"] >= MIN_SCORE)
    return {key: value if key == "image_info" else value[rows] for key, value in tensors.items()}


def decoded(mask: dict[str, Any]) -> np.ndarray:
    """COCO's uncompressed run lengths as a picture [height, width] of True and False."""
    height, width = mask["rle"]["size"]
    counts = mask["rle"]["counts"]
    assert sum(counts) == height * width
    filled = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
    assert filled.sum() == mask["area"]
    return filled


def at_pixel_centres(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask's value at the centre of every pixel of the photo, by TensorFlow's own bilinear reader.

    `box` is where the outermost values lie, as ymin, xmin, ymax, xmax in fractions of the photo.
    """
    low, extent = box[:2], box[2:] - box[:2]
    half = 0.5 / np.array([height, width])
    window = np.concatenate([(half - low) / extent, (1 - half - low) / extent]).astype(np.float32)
    values = tf.image.crop_and_resize(mask[np.newaxis, ..., np.newaxis], window[np.newaxis], [0], [height, width])
    return values.numpy()[0, ..., 0]


def reframed_by_tensorflow(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """What `reframe_box_masks_to_image_masks` does: the whole photo in terms of the box, from corner to corner."""
    low, extent = box[:2], box[2:] - box[:2]
    window = np.concatenate([-low / extent, (1 - low) / extent]).astype(np.float32)
    values = tf.image.crop_and_resize(mask[np.newaxis, ..., np.newaxis], window[np.newaxis], [0], [height, width])
    return values.numpy()[0, ..., 0] > 0.5


def pasted_by_the_model_garden(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """What `paste_instance_masks` does: a border of nothing, the box grown by it to whole pixels, and a resize."""
    edge = mask.shape[0]
    padded = np.pad(mask, 1)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * (edge + 2) / edge
    y, x = (centre - half).astype(int)
    down, across = (centre + half).astype(int) - (y, x) + 1
    resized = tf.image.resize(padded[..., np.newaxis], [down, across]).numpy()[..., 0] > 0.5
    whole = np.zeros((height, width), bool)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + down, height), min(x + across, width)
    whole[top:bottom, left:right] = resized[top - y : bottom - y, left - x : right - x]
    return whole


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def neighbours(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight shifts by a pixel, [9, height, width]."""
    padded = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    return np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])


def png(photo: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


def assert_masks(found: list[dict[str, Any]], values: list[np.ndarray]) -> None:
    """The masks are exactly where the values are above a half, but for where rounding decides."""
    assert len(found) == len(values) > 0
    for detection, value in zip(found, values, strict=True):
        mask = decoded(detection["mask"])
        assert 0.05 < mask.mean() < 0.95, "a mask of nothing or everything compares with anything"
        certain = np.abs(value - 0.5) > 1e-3
        differing = (mask != (value > 0.5)) & certain
        # On the edge of the box itself, a pixel's centre may lie on either side of what float32 makes of it.
        assert differing.sum() <= 2, f"{differing.sum()} pixels differ"


@pytest.mark.parametrize("name", photos.KNOWN)
def test_masks_are_what_tensorflow_reads_at_the_pixels(
    gateways: dict[str, Gateway], instances: Peer, name: str
) -> None:
    photo = pixels(name)
    height, width = photo.shape[:2]
    tensors = predicted(instances, "mask_rcnn", photo)
    body = gateways["mask_rcnn"].detect(photos.read(name), masks="rle", min_score=MIN_SCORE)

    rows = list(zip(tensors["detection_masks"], tensors["detection_boxes"], strict=True))
    assert_masks(body["detections"], [at_pixel_centres(mask, box, height, width) for mask, box in rows])
    # Its own function looks up to half a pixel beside the centre: what differs is at the border of the mask, or thinner
    # than a pixel.
    for detection, (mask, box) in zip(body["detections"], rows, strict=True):
        ours, theirs = decoded(detection["mask"]), reframed_by_tensorflow(mask, box, height, width)
        around = neighbours(theirs)
        strays = (ours & ~around.any(axis=0)) | (~ours & around.all(axis=0))
        assert strays.sum() <= ours.sum() / 1000
        assert overlap(ours, theirs) > 0.97


@pytest.mark.parametrize("name", photos.KNOWN)
def test_the_model_gardens_values_lie_in_the_middle_of_cells(
    gateways: dict[str, Gateway], instances: Peer, name: str
) -> None:
    photo = pixels(name)
    height, width = photo.shape[:2]
    tensors = predicted(instances, "model_garden_masks", photo)
    body = gateways["model_garden_masks"].detect(photos.read(name), masks="rle", min_score=MIN_SCORE)

    boxes = tensors["detection_boxes"] / np.tile(tensors["image_info"][2], 2) / [height, width, height, width]
    edge = tensors["detection_masks"].shape[-1]
    values = []
    for mask, box in zip(tensors["detection_masks"], boxes, strict=True):
        margin = (box[2:] - box[:2]) * 0.5 / edge
        grown = np.concatenate([box[:2] - margin, box[2:] + margin])
        values.append(at_pixel_centres(np.pad(mask, 1), grown, height, width))
    assert_masks(body["detections"], values)
    for detection, mask, box in zip(body["detections"], tensors["detection_masks"], boxes, strict=True):
        pasted = pasted_by_the_model_garden(mask, box * [height, width, height, width], height, width)
        assert overlap(decoded(detection["mask"]), pasted) > 0.95, "it rounds boxes to whole pixels"


def test_polygons_enclose_the_pixels_of_the_run_lengths(gateways: dict[str, Gateway]) -> None:
    gateway = gateways["mask_rcnn"]
    by_pixels = gateway.detect(photos.read("chelsea"), masks="rle")["detections"]
    by_lines = gateway.detect(photos.read("chelsea"), masks="polygon")["detections"]
    for pixel, line in zip(by_pixels, by_lines, strict=True):
        mask = decoded(pixel["mask"])
        assert line["mask"]["area"] == pixel["mask"]["area"]
        assert overlap(filled(line["mask"]["polygons"], *mask.shape), mask) > 0.97


def filled(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie inside an odd number of lines."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    inside = np.zeros((height, width), bool)
    for polygon in polygons:
        corners = np.array(polygon).reshape(-1, 2)
        for (x_from, y_from), (x_to, y_to) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y_from != y_to:
                crossing = (x_to - x_from) * (y - y_from) / (y_to - y_from) + x_from
                inside ^= ((y_from > y) != (y_to > y)) & (x < crossing)
    return inside


def test_a_region_and_a_turned_photo_have_masks_in_the_frame_of_their_boxes(gateways: dict[str, Gateway]) -> None:
    gateway = gateways["mask_rcnn"]
    left, top, right, bottom = 60, 20, 420, 290
    photo = pixels("chelsea")
    region = f"{left},{top},{right},{bottom}"
    inside = gateway.detect(photos.read("chelsea"), masks="rle", region=region)["detections"]
    alone = gateway.detect(png(photo[top:bottom, left:right]), masks="rle")["detections"]
    assert len(inside) == len(alone) > 0
    for framed, cut in zip(inside, alone, strict=True):
        whole = decoded(framed["mask"])
        assert whole.shape == photo.shape[:2]
        window = whole[top:bottom, left:right]
        assert overlap(window, decoded(cut["mask"])) > 0.999
        assert whole.sum() == window.sum(), "nothing outside of the region"

    upright, turned = (
        gateway.detect(photos.as_jpeg("astronaut", orientation), masks="rle")["detections"] for orientation in (1, 6)
    )
    assert len(upright) == len(turned) > 0
    for straight, sideways in zip(upright, turned, strict=True):
        assert overlap(decoded(straight["mask"]), decoded(sideways["mask"])) > 0.97


def test_keypoints_are_in_pixels_of_the_photo_and_have_names(gateways: dict[str, Gateway], instances: Peer) -> None:
    photo = pixels("astronaut")
    height, width = photo.shape[:2]
    tensors = predicted(instances, "center_net", photo)
    body = gateways["center_net"].detect(photos.read("astronaut"), keypoints="true", min_score=MIN_SCORE)

    names = {"person": ["heart", "shoulder"]}
    rows = zip(tensors["detection_keypoints"], tensors["detection_keypoint_scores"], strict=True)
    assert len(body["detections"]) == len(tensors["detection_scores"]) > 1
    for detection, (places, scores) in zip(body["detections"], rows, strict=True):
        assert [point["id"] for point in detection["keypoints"]] == [0, 1], "the third is not seen"
        assert [point.get("name") for point in detection["keypoints"]] == names.get(detection["label"], [None, None])
        for point, (y, x), score in zip(detection["keypoints"], places, scores, strict=False):
            assert (point["x"], point["y"]) == (pytest.approx(x * width, abs=0.06), pytest.approx(y * height, abs=0.06))
            assert point["score"] == pytest.approx(score, abs=1e-4)


def test_only_what_is_wanted_is_asked_for(gateways: dict[str, Gateway], instances: Peer) -> None:
    for options, wanted in (({}, set()), ({"masks": "rle"}, {"detection_masks"})):
        request_id = f"masks-{len(options)}"
        response = gateways["mask_rcnn"].post(photos.read("chelsea"), headers={"x-request-id": request_id}, **options)
        assert response.status_code == 200, response.text
        (call,) = [call for call in instances.requests() if call["metadata"].get("x-request-id") == request_id]
        boxes = {"detection_boxes", "detection_scores", "detection_classes", "num_detections"}
        assert set(call["output_filter"]) == boxes | wanted
