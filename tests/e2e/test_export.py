"""From a trained model to a served one: the scripts' own results behind the real TensorFlow runtime, asked by spotter."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import grpc
import keras
import onnx
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from conftest import ONNX, StartGateway, StartPeer
from deploy.manifests import K8S
from support import photos
from support.gateway import Gateway
from support.wait import until

SIDE = 64
PHOTOS = [photos.PHOTOS / f"{name}.png" for name in ("chelsea", "coffee")]
ONNX_SCRIPT, KERAS_SCRIPT = (K8S / f"serving/{kind}_to_saved_model.py" for kind in ("onnx", "keras"))


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def from_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "detector"
    before = ONNX.read_bytes()
    made = run(ONNX_SCRIPT, ONNX, folder / "1", "--photos", *PHOTOS)
    assert made.returncode == 0, made.stderr
    assert ONNX.read_bytes() == before, "the converter by itself would write names into the file that it is given"
    return folder


def test_an_onnx_detector_finds_the_same_behind_tensorflow_as_in_the_process(
    from_onnx: Path, start_peer: StartPeer, spotter: StartGateway, embedded: Gateway
) -> None:
    peer = start_peer({"detector": from_onnx})
    gateway = spotter("--serving", f"http://{peer.address}", "--model", "detector", "--labels", "coco")
    until(gateway.is_ready, "the model", within=60)
    for name in ("chelsea", "coffee", "astronaut"):
        photo = photos.read(name)
        here, there = (service.detect(photo)["detections"] for service in (embedded, gateway))
        assert [found["label"] for found in there] == [found["label"] for found in here]
        for one, other in zip(here, there, strict=True):
            assert other["score"] == pytest.approx(one["score"], abs=0.02)
            assert list(other["box"].values()) == pytest.approx(list(one["box"].values()), abs=3)


def test_a_version_is_listed_and_never_overwritten(from_onnx: Path) -> None:
    listed = {line.split("  ")[1] for line in (from_onnx / "1/SHA256SUMS").read_text().splitlines()}
    files = {str(path.relative_to(from_onnx / "1")) for path in (from_onnx / "1").rglob("*") if path.is_file()}
    assert listed == files - {"SHA256SUMS"}
    again = run(ONNX_SCRIPT, ONNX, from_onnx / "1", "--photos", *PHOTOS)
    assert (again.returncode, "a version never changes" in again.stderr) == (1, True)
    nameless = run(ONNX_SCRIPT, ONNX, from_onnx / "latest", "--photos", *PHOTOS)
    assert (nameless.returncode, "the version's number" in nameless.stderr) == (1, True)


def test_an_onnx_file_with_an_open_size_is_refused_with_what_was_found(tmp_path: Path) -> None:
    model = onnx.load(ONNX)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "open.onnx")
    refused = run(ONNX_SCRIPT, tmp_path / "open.onnx", tmp_path / "1", "--photos", *PHOTOS)
    assert (refused.returncode, "all fixed" in refused.stderr) == (1, True)
    assert not (tmp_path / "1").exists()


def test_a_model_from_onnx_is_warm_before_it_answers(from_onnx: Path, start_peer: StartPeer) -> None:
    records = tf.data.TFRecordDataset(str(from_onnx / "1/assets.extra/tf_serving_warmup_requests"))
    requests = [PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
    assert len(requests) == len(PHOTOS)
    peer = start_peer({"detector": from_onnx})
    assert peer.printed("replayed (2) warm-up records of detector 1")
    with grpc.insecure_channel(peer.address) as channel:
        for request in requests:
            answer = PredictionServiceStub(channel).Predict(request, timeout=60)
            assert set(answer.outputs) == set(request.output_filter)


def white_square_detector() -> keras.Model:
    """Finds the one bright thing on a dark ground, among pixels of -1 to 1."""
    pixels = keras.Input((SIDE, SIDE, 3))
    bright = keras.ops.cast(keras.ops.mean(pixels, axis=-1) > 0, "float32")
    edges = []
    for axis in (2, 1):  # rows first: the API's boxes begin with y
        line = keras.ops.max(bright, axis=axis)
        edges.append((keras.ops.argmax(line, axis=-1), SIDE - keras.ops.argmax(keras.ops.flip(line, axis=-1), axis=-1)))
    (top, bottom), (left, right) = edges
    boxes = keras.ops.cast(keras.ops.stack([top, left, bottom, right], axis=-1), "float32")[:, None] / SIDE
    score = keras.ops.max(bright, axis=(1, 2))[:, None]
    return keras.Model(pixels, {"boxes": boxes, "scores": score, "classes": score * 3, "count": score[:, 0]})


def test_a_keras_detector_takes_bytes_and_its_boxes_sit_where_things_are(
    tmp_path: Path, start_peer: StartPeer, spotter: StartGateway
) -> None:
    white_square_detector().save(tmp_path / "detector.keras")
    names = {"boxes": "detection_boxes", "scores": "detection_scores", "classes": "detection_classes",
             "count": "num_detections"}  # fmt: skip
    flags = [f"--name={ours}={theirs}" for ours, theirs in names.items()]
    made = run(KERAS_SCRIPT, tmp_path / "detector.keras", tmp_path / "detector/1", "--range", -1, 1, *flags, "--photos", *PHOTOS)
    assert made.returncode == 0, made.stderr
    peer = start_peer({"detector": tmp_path / "detector"})
    gateway = spotter("--serving", f"http://{peer.address}", "--model", "detector", "--labels", "coco")
    until(gateway.is_ready, "the model", within=60)

    photo = Image.new("RGB", (640, 480))
    photo.paste((255, 255, 255), (200, 100, 400, 300))
    file = io.BytesIO()
    photo.save(file, "PNG")
    (found,) = gateway.detect(file.getvalue())["detections"]
    assert (found["label"], found["score"]) == ("car", 1.0)
    # Within a pixel of the model's, ten of the photo's.
    assert list(found["box"].values()) == pytest.approx([200, 100, 400, 300], abs=640 / SIDE)
    sent = peer.await_requests()[-1]["inputs"]["input_tensor"]
    assert (sent["dtype"], sent["tensor_content_bytes"]) == ("uint8", SIDE * SIDE * 3)


def test_an_output_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    white_square_detector().save(tmp_path / "detector.keras")
    refused = run(
        KERAS_SCRIPT, tmp_path / "detector.keras", tmp_path / "1",
        "--range", 0, 1, "--name=box=detection_boxes", "--photos", *PHOTOS,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "no output is called box; there are boxes, scores, classes, count" in refused.stderr
    assert not (tmp_path / "1").exists()
