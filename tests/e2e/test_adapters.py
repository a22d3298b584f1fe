"""The gateway in front of every other kind of model: the objects are those of the embedded detector.

All of them have its weights, each behind the signature of another exporter. What differs from its
answer was read wrongly, or prepared wrongly.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from conftest import LOGS
from support import photos
from support.gateway import Gateway
from support.peer import Peer
from support.photos import Found
from support.wait import until

POSTPROCESS = "TFLite_Detection_PostProcess"
OBJECT_DETECTION = {"detection_boxes", "detection_scores", "detection_classes", "num_detections"}
SSD_TF2 = {f"StatefulPartitionedCall:{place}" for place in range(4)}
EDGE = 416  # the detector's square
GREY = (114, 114, 114)  # what it was trained with around photos

# What the embedded detector is shown for a photo, and how its boxes lead back to the photo.
Shown = tuple[Image.Image, Callable[[Found], Found]]


def as_it_is(photo: Image.Image) -> Shown:
    return photo, lambda found: found


def stretched(photo: Image.Image) -> Shown:
    """Both sides made as long as the detector's."""
    across, down = photo.width / EDGE, photo.height / EDGE
    scale = (across, down, across, down)

    def back(found: Found) -> Found:
        return Found(found.label, found.score, tuple(edge * by for edge, by in zip(found.box, scale, strict=True)))

    return photo.resize((EDGE, EDGE), Image.Resampling.BILINEAR), back


def centred(photo: Image.Image) -> Shown:
    """In the middle of the detector's square."""
    ratio = EDGE / max(photo.size)
    fitted = photo.resize([round(side * ratio) for side in photo.size], Image.Resampling.BILINEAR)
    left, top = ((EDGE - side) // 2 for side in fitted.size)
    canvas = Image.new("RGB", (EDGE, EDGE), GREY)
    canvas.paste(fitted, (left, top))
    offset = (left, top, left, top)

    def back(found: Found) -> Found:
        clipped = zip(found.box, offset, photo.size * 2, strict=True)
        return Found(found.label, found.score, tuple(min(max((edge - by) / ratio, 0), side) for edge, by, side in clipped))

    return canvas, back


@dataclass(frozen=True)
class Case:
    """A model, what is said of it, and what is read."""

    kind: str
    outputs: set[str]
    # The SavedModel, where it is not called like the case.
    variant: str = ""
    # What the configuration file says; nothing where the signature is enough.
    settings: str = ""
    shown: Callable[[Image.Image], Shown] = as_it_is
    # Whether the gateway fills up with black, which nothing tells it, where the detector wants grey.
    pads_black: bool = False


PADDED = "[models.input]\npadding = 114\n"
# The Object Detection API knows no planes, so that its outputs are named here.
PLANES = f"""{PADDED}channels = "BGR"
mean = [103.53, 116.28, 123.675]
std = [57.375, 57.12, 58.395]
[models.mapping]
kind = "boxes"
boxes = "detection_boxes"
scores = "detection_scores"
classes = "detection_classes"
count = "num_detections"
box_format = "yxyx"
box_frame = "normalized"
"""
NAMED = """class_offset = 1
[models.input]
range = [0, 1]
padding = 114
[models.mapping]
kind = "boxes"
boxes = "output_0"
scores = "output_1"
classes = "output_2"
count = "output_3"
box_format = "xyxy"
box_frame = "normalized"
"""

CASES: dict[str, Case] = {
    "model_garden": Case("Model Garden", OBJECT_DETECTION | {"image_info"}),
    "model_garden_fractions": Case("Model Garden", OBJECT_DETECTION | {"image_info"}),
    "fixed": Case("TF Object Detection", OBJECT_DETECTION, pads_black=True),
    "fixed_padded": Case("TF Object Detection", OBJECT_DETECTION, "fixed", PADDED),
    "fixed_stretched": Case(
        "TF Object Detection", OBJECT_DETECTION, "fixed", '[models.input]\nresize = "stretch"\n', stretched
    ),
    "fixed_centred": Case(
        "TF Object Detection", OBJECT_DETECTION, "fixed", f'{PADDED}resize = "letterbox-center"\n', centred
    ),
    "unit_range": Case("TF Object Detection", OBJECT_DETECTION, settings=f"{PADDED}range = [0, 1]\n"),
    "normalised_planes": Case("boxes by name", OBJECT_DETECTION, settings=PLANES),
    "by_name": Case("boxes by name", {f"output_{place}" for place in range(4)}, settings=NAMED),
    "nanodet": Case("NanoDet", {f"output_{place}" for place in range(6)}),
    "yolox": Case("YOLOX", {"output"}),
    "yolov8": Case("YOLOv8", {"output_0"}),
    "yolov8_planes": Case("YOLOv8", {"output0"}),
    "yolov8_rows": Case("YOLOv8", {"output_0"}),
    "yolov5": Case("YOLOv5", {"output_0"}),
    "yolov5_planes": Case("YOLOv5", {"output0"}),
    "yolo_suppressed": Case("YOLO with suppression", {"output0"}),
    "yolo_suppressed_planes": Case("YOLO with suppression", {"output0"}),
    "ssd_tf1": Case(
        "SSD (TFLite)", {POSTPROCESS, *(f"{POSTPROCESS}:{place}" for place in (1, 2, 3))}, pads_black=True
    ),
    "ssd_tf2": Case("SSD (TFLite)", SSD_TF2, pads_black=True),
    "ssd_stretched": Case("SSD (TFLite)", SSD_TF2, "ssd_tf2", '[models.input]\nresize = "stretch"\n', stretched),
}


@pytest.fixture(scope="module")
def others(saved_models: Path) -> Iterator[Peer]:
    """One peer with a model of every kind."""
    with Peer({name: saved_models / (case.variant or name) for name, case in CASES.items()}, logs=LOGS) as running:
        yield running


@pytest.fixture(scope="module", params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture(scope="module")
def served(
    spotter_binary: Path, others: Peer, name: str, case: Case, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway in front of one of them."""
    address = f"http://{others.address}"
    flags = ["--serving", address, "--model", name, "--labels", "coco"]
    if case.settings:
        file = tmp_path_factory.mktemp("config") / "spotter.toml"
        model = f'[[models]]\nname = "{name}"\nbackend = "serving"\naddresses = "{address}"\nlabels = "coco"\n'
        file.write_text(model + case.settings)
        flags = ["--config", str(file)]
    with Gateway(spotter_binary, *flags, logs=LOGS) as running:
        until(running.is_ready, f"the gateway of {name} to be ready")
        yield running


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def sent(photo: Image.Image, case: Case) -> Image.Image:
    """The photo; made a square with the detector's grey where the gateway would fill up with black."""
    if not case.pads_black:
        return photo
    square = Image.new("RGB", (max(photo.size),) * 2, GREY)
    square.paste(photo)
    return square


@pytest.mark.parametrize("known", photos.KNOWN)
def test_every_kind_gives_the_objects_of_the_embedded_detector(
    served: Gateway, embedded: Gateway, name: str, case: Case, known: str
) -> None:
    photo = sent(Image.open(photos.PHOTOS / f"{known}.png").convert("RGB"), case)
    # Some suppress at 0.45 and the detector itself at 0.6; the photos have no boxes between the two.
    body = served.detect(png(photo))
    shown, back = case.shown(photo)
    expected = [back(found) for found in photos.answer_of(embedded.detect(png(shown)))]

    assert expected, "nothing to compare"
    photos.assert_same(photos.answer_of(body), expected)
    assert (body["image"]["width"], body["image"]["height"]) == photo.size
    assert body["model"]["name"] == name


def test_the_kind_is_told_from_the_signature_and_asked_for_what_is_read(
    served: Gateway, others: Peer, name: str, case: Case
) -> None:
    assert served.get(f"/v1/models/{name}").json()["latest"]["kind"] == case.kind

    request_id = f"e2e-{uuid.uuid4()}"
    assert served.post(photos.read("chelsea"), headers={"x-request-id": request_id}).status_code == 200
    (call,) = [call for call in others.requests() if call["metadata"].get("x-request-id") == request_id]
    assert call["code"] == "OK"
    assert set(call["output_filter"]) == case.outputs


def test_a_photo_without_objects_is_no_failure(served: Gateway) -> None:
    assert served.detect(png(Image.new("RGB", (300, 200), GREY)))["detections"] == []
