"""The gateway in front of every other kind of model: the objects are those of the embedded detector.

All of them have its weights, each behind the signature of another exporter. What differs from its
answer was read wrongly, or prepared wrongly.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import LOGS
from support import photos
from support.gateway import Gateway
from support.peer import Peer
from support.wait import until

POSTPROCESS = "TFLite_Detection_PostProcess"
OBJECT_DETECTION = {"detection_boxes", "detection_scores", "detection_classes", "num_detections"}

# Variant: the adapter's name, and what it asks for.
KINDS: dict[str, tuple[str, set[str]]] = {
    "model_garden": ("Model Garden", OBJECT_DETECTION | {"image_info"}),
    "yolov8": ("YOLOv8", {"output_0"}),
    "yolov8_planes": ("YOLOv8", {"output0"}),
    "yolov5": ("YOLOv5", {"output_0"}),
    "yolo_suppressed": ("YOLO with suppression", {"output0"}),
    "ssd_tf1": ("SSD (TFLite)", {POSTPROCESS, *(f"{POSTPROCESS}:{place}" for place in (1, 2, 3))}),
    "ssd_tf2": ("SSD (TFLite)", {f"StatefulPartitionedCall:{place}" for place in range(4)}),
}


@pytest.fixture(scope="module")
def others(saved_models: Path) -> Iterator[Peer]:
    """One peer with a model of every kind."""
    with Peer({variant: saved_models / variant for variant in KINDS}, logs=LOGS) as running:
        yield running


@pytest.fixture(scope="module", params=KINDS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def served(spotter_binary: Path, others: Peer, variant: str) -> Iterator[Gateway]:
    """A gateway in front of one of them."""
    flags = ("--serving", f"http://{others.address}", "--model", variant, "--labels", "coco")
    with Gateway(spotter_binary, *flags, logs=LOGS) as running:
        until(running.is_ready, f"the gateway of {variant} to be ready")
        yield running


def prepared_alike(name: str, variant: str) -> bytes:
    """The photo; made a square with the embedded detector's own grey where the gateway would pad with black."""
    if not variant.startswith("ssd"):
        return photos.read(name)
    photo = Image.open(photos.PHOTOS / f"{name}.png").convert("RGB")
    square = Image.new("RGB", (max(photo.size),) * 2, (114, 114, 114))
    square.paste(photo)
    file = io.BytesIO()
    square.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", photos.KNOWN)
def test_every_kind_gives_the_objects_of_the_embedded_detector(
    served: Gateway, embedded: Gateway, variant: str, name: str
) -> None:
    photo = prepared_alike(name, variant)
    # YOLO's suppression is at 0.45 and the detector's own at 0.6; the photos have no boxes between the two.
    body, reference = served.detect(photo), embedded.detect(photo)

    assert photos.answer_of(reference), "nothing to compare"
    photos.assert_same(photos.answer_of(body), photos.answer_of(reference))
    assert body["image"] == reference["image"]
    assert body["model"]["name"] == variant


def test_the_kind_is_told_from_the_signature_and_asked_for_what_is_read(
    served: Gateway, others: Peer, variant: str
) -> None:
    kind, outputs = KINDS[variant]
    assert served.get(f"/v1/models/{variant}").json()["latest"]["kind"] == kind

    request_id = f"e2e-{uuid.uuid4()}"
    assert served.post(photos.read("chelsea"), headers={"x-request-id": request_id}).status_code == 200
    (call,) = [call for call in others.requests() if call["metadata"].get("x-request-id") == request_id]
    assert call["code"] == "OK"
    assert set(call["output_filter"]) == outputs


def test_a_photo_without_objects_is_no_failure(served: Gateway) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((200, 300, 3), 114, np.uint8)).save(file, "PNG")

    assert served.detect(file.getvalue())["detections"] == []
