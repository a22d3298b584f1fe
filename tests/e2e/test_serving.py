"""The gateway in front of a TensorFlow model server: every signature, and every way the server lets it down.

The embedded detector has the same weights, so it is the reference: whatever differs between its answer
and the served one happened between the gateway and the model.
"""

from __future__ import annotations

import io
import math
import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from PIL import Image
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from conftest import LOGS, ROOT, VARIANTS, StartGateway, StartPeer
from support import photos
from support.client import request_for
from support.gateway import Gateway
from support.peer import Peer
from support.versions import add_version
from support.wait import until

OUTPUTS = {"detection_boxes", "detection_scores", "detection_classes", "num_detections"}
# Of a version of one digit in a ModelSpec: two fields, one in the other.
VERSION_BYTES = 4
BYTES_PER_VALUE = {"uint8": 1, "float32": 4}


def serving(address: str, model: str) -> tuple[str, ...]:
    return ("--serving", f"http://{address}", "--model", model, "--labels", "coco")


def assert_problem(response: requests.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["code"] == code


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def served(spotter_binary: Path, peer: Peer, variant: str) -> Iterator[Gateway]:
    """A gateway in front of one variant of the model."""
    with Gateway(spotter_binary, *serving(peer.address, variant), logs=LOGS) as running:
        until(running.is_ready, f"the gateway of {variant} to be ready")
        yield running


def the_call(peer: Peer, request_id: str) -> dict[str, Any]:
    """The one Predict that came of one HTTP request."""
    (call,) = [call for call in peer.requests() if call["metadata"].get("x-request-id") == request_id]
    return call


@pytest.mark.parametrize("name", photos.KNOWN)
def test_the_embedded_detector_finds_the_known_objects(embedded: Gateway, name: str) -> None:
    body = embedded.detect(photos.read(name))

    photos.assert_same(photos.answer_of(body), photos.KNOWN[name])
    assert body["model"]["name"] == "nanodet-g"


@pytest.mark.parametrize("name", photos.KNOWN)
def test_every_signature_gives_the_objects_of_the_embedded_detector(
    served: Gateway, embedded: Gateway, variant: str, name: str
) -> None:
    body, reference = served.detect(photos.read(name)), embedded.detect(photos.read(name))

    photos.assert_same(photos.answer_of(body), photos.answer_of(reference))
    assert body["image"] == reference["image"]
    assert (body["model"]["name"], str(body["model"]["version"])) == (variant, "1")


def in_export_md(variant: str) -> list[str]:
    """The row's cells on the two photos and the answer."""
    text = (ROOT / "docs/EXPORT.md").read_text()
    (row,) = re.findall(rf"^\| `{variant}` \|.*$", text, re.MULTILINE)
    return [cell.strip() for cell in row.strip("|").split("|")[2:]]


def test_the_sizes_on_the_wire_are_those_of_the_documentation(served: Gateway, peer: Peer, variant: str) -> None:
    if variant == "tf1":
        return  # is sent what `image_tensor` is
    found = []
    for size in ((4000, 3000), (451, 300)):
        file = io.BytesIO()
        Image.open(photos.PHOTOS / "chelsea.png").convert("RGB").resize(size).save(file, "JPEG")
        request_id = f"e2e-{uuid.uuid4()}"
        response = served.post(file.getvalue(), headers={"x-request-id": request_id})
        assert response.status_code == 200, response.text
        call = the_call(peer, request_id)
        sent = call["bytes"] - (VERSION_BYTES if "version" in call["model_spec"] else 0)
        if variant == "encoded_image_string_tensor":
            found.append(f"the file + {sent - len(file.getvalue()):,} B")
        else:
            found.append(f"{sent:,} B")
    assert [*found, f"{call['answer_bytes']:,} B"] == in_export_md(variant)


def test_without_a_filter_the_answer_is_the_megabytes_of_the_documentation(peer: Peer) -> None:
    """What whoever does not ask for certain outputs gets, as the article did."""
    with grpc.insecure_channel(peer.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        answer = PredictionServiceStub(channel).Predict(request_for("image_tensor", outputs=()), timeout=60)
    size = f"{answer.ByteSize() / 1e6:.1f} MB"
    assert f"all outputs: {size}" in (ROOT / "docs/EXPORT.md").read_text()
    assert f"instead of {size} from the tests' model" in (ROOT / "docs/ARTICLE.md").read_text()


def test_a_photo_travels_compactly_and_asks_for_what_is_needed(served: Gateway, peer: Peer, variant: str) -> None:
    request_id = f"e2e-{uuid.uuid4()}"
    response = served.post(photos.read("chelsea"), headers={"x-request-id": request_id})
    assert response.status_code == 200, response.text
    assert response.json()["request_id"] == request_id

    call = the_call(peer, request_id)
    assert call["code"] == "OK"
    assert call["unknown_bytes"] == 0, "fields that the official .proto files do not have"
    assert OUTPUTS - {"num_detections"} <= set(call["output_filter"]) <= OUTPUTS
    assert call["answer_bytes"] < 4096
    assert call["seconds_left"] is not None, "no deadline"

    (key,) = call["inputs"]
    tensor = call["inputs"][key]
    assert key == ("inputs" if variant == "tf1" else "input_tensor")
    assert tensor["int_val"] == tensor["float_val"] == 0
    if tensor["dtype"] == "string":
        assert len(tensor["string_val_bytes"]) == 1
        assert tensor["tensor_content_bytes"] == 0, "strings in tensor_content are the runtime's own affair"
    else:
        assert tensor["tensor_content_bytes"] == math.prod(tensor["shape"]) * BYTES_PER_VALUE[tensor["dtype"]]
        assert tensor["shape"][0] == 1
        assert tensor["shape"][3] == 3


@pytest.mark.parametrize("name", ["chelsea", "astronaut"])
def test_a_photo_taken_sideways_gives_the_boxes_of_the_upright_one(served: Gateway, name: str) -> None:
    upright = served.detect(photos.as_jpeg(name, orientation=1))
    sideways = served.detect(photos.as_jpeg(name, orientation=6))

    assert photos.answer_of(upright), "nothing to compare"
    photos.assert_same(photos.answer_of(sideways), photos.answer_of(upright))
    assert sideways["image"] == {**upright["image"], "orientation": 6}


def test_options_narrow_the_answer(served: Gateway) -> None:
    photo = photos.read("coffee")

    def labels(**options: Any) -> list[str]:
        return [found.label for found in photos.answer_of(served.detect(photo, **options))]

    assert sorted(labels()) == ["cup", "cup", "dining table"]
    assert labels(max_detections=1) == ["dining table"]
    assert labels(classes="cup") == ["cup", "cup"]
    assert labels(exclude_classes="cup") == ["dining table"]
    assert labels(min_score=0.36) == ["dining table"]
    assert len(labels(min_score=0.1)) > 3


def test_answers_in_tensor_content_are_read_as_well(
    saved_models: Path, start_peer: StartPeer, spotter: StartGateway
) -> None:
    peer = start_peer({"m": saved_models / "image_tensor"}, "--tensor-content")
    gateway = spotter(*serving(peer.address, "m"))
    until(gateway.is_ready, "the gateway to be ready")

    photos.assert_same(photos.answer_of(gateway.detect(photos.read("astronaut"))), photos.ASTRONAUT)


def test_a_new_version_answers_without_a_restart(
    saved_models: Path, start_peer: StartPeer, spotter: StartGateway, tmp_path: Path
) -> None:
    add_version(saved_models / "image_tensor" / "1", tmp_path, 1)
    peer = start_peer({"m": tmp_path}, "--poll-seconds=0.2")
    gateway = spotter(*serving(peer.address, "m"))
    until(gateway.is_ready, "the gateway to be ready")
    answered_by: list[str] = []

    def swapped() -> bool:
        answered_by.append(str(gateway.detect(photos.read("chelsea"))["model"]["version"]))
        return answered_by[-1] == "2"

    assert not swapped()
    add_version(saved_models / "image_tensor" / "1", tmp_path, 2)
    until(swapped, "version 2 to answer")
    assert answered_by == sorted(answered_by), "back to an old version"


def test_a_version_is_replaced_under_load_and_no_client_sees_an_error_or_a_cold_model(
    saved_models: Path, start_peer: StartPeer, spotter: StartGateway, tmp_path: Path
) -> None:
    add_version(saved_models / "image_tensor" / "1", tmp_path, 1)
    peer = start_peer({"m": tmp_path}, "--poll-seconds=0.2")
    # Looked at so seldom that the old version is gone before anybody has looked: the peer unloads it at once.
    gateway = spotter(*serving(peer.address, "m"), "--serving-versions-ms", "3600000")
    photo = photos.read("chelsea")
    answers: list[tuple[int, str | None]] = []
    over = threading.Event()

    def is_followed() -> bool:
        gateway.detect(photo)
        return "version" in peer.requests()[-1]["model_spec"]

    until(is_followed, "photos to go to version 1 by its number")

    def client(name: int) -> None:
        with requests.Session() as session:
            while not over.is_set():
                headers = {"x-request-id": f"client-{name}-{len(answers)}"}
                answer = session.post(f"{gateway.url}/v1/detect", data=photo, headers=headers, timeout=60)
                answers.append((answer.status_code, answer.headers.get("x-model-version")))

    clients = [threading.Thread(target=client, args=(name,)) for name in range(4)]
    for each in clients:
        each.start()
    try:
        until(lambda: len(answers) > len(clients), "the old version to be under load")
        add_version(saved_models / "image_tensor" / "1", tmp_path, 2)
        until(lambda: [version for _, version in answers].count("2") > len(clients), "the new version to answer")
    finally:
        over.set()
        for each in clients:
            each.join()

    assert {status for status, _ in answers} == {200}, answers
    assert {version for _, version in answers} == {"1", "2"}
    calls = [call for call in peer.requests() if call["code"] == "OK"]
    of_new = [call for call in calls if call["model_spec"].get("version") == "2"]
    of_clients = [call["metadata"]["x-request-id"].startswith("client-") for call in of_new]
    assert of_clients[0] is False, "the first picture that the new version sees is a blank one"
    assert all(of_clients[1:]), "and the only one"
    by_name = [call for call in calls if call["metadata"]["x-request-id"].startswith("client-")]
    assert all("version" in call["model_spec"] for call in by_name), "no photo goes to whatever is the latest"


@pytest.fixture(scope="module")
def versioned(saved_models: Path, spotter_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of a model with versions 1, called stable, and 2."""
    folder = tmp_path_factory.mktemp("versions")
    for number in (1, 2):
        add_version(saved_models / "image_tensor" / "1", folder, number)
    with (
        Peer({"m": folder}, "--all-versions", "--label=stable=1", logs=LOGS) as peer,
        Gateway(spotter_binary, *serving(peer.address, "m"), logs=LOGS) as running,
    ):
        until(running.is_ready, "the gateway to be ready")
        yield running


@pytest.mark.parametrize(
    ("choice", "version"),
    [({}, "2"), ({"version": 1}, "1"), ({"version": 2}, "2"), ({"version_label": "stable"}, "1")],
    ids=str,
)
def test_the_chosen_version_answers(versioned: Gateway, choice: dict[str, Any], version: str) -> None:
    assert str(versioned.detect(photos.read("chelsea"), **choice)["model"]["version"]) == version


@pytest.mark.parametrize("choice", [{"version": 7}, {"version_label": "canary"}], ids=str)
def test_an_unknown_version_is_404(versioned: Gateway, choice: dict[str, Any]) -> None:
    assert_problem(versioned.post(photos.read("chelsea"), **choice), 404, "UNKNOWN_VERSION")


def test_a_lost_server_is_503_until_it_is_back(
    saved_models: Path, start_peer: StartPeer, spotter: StartGateway
) -> None:
    models = {"m": saved_models / "image_tensor"}
    peer = start_peer(models)
    gateway = spotter(*serving(peer.address, "m"))
    until(gateway.is_ready, "the gateway to be ready")
    gateway.detect(photos.read("chelsea"))

    peer.stop()
    response = gateway.post(photos.read("chelsea"))
    assert_problem(response, 503, "MODEL_UNAVAILABLE")
    assert int(response.headers["retry-after"]) > 0
    until(lambda: gateway.get("/readyz").status_code == 503, "/readyz to say that the model server is gone")
    assert gateway.get("/livez").status_code == 200

    start_peer(models, listen=peer.address)
    until(gateway.is_ready, "/readyz to say that the model server is back")
    photos.assert_same(photos.answer_of(gateway.detect(photos.read("chelsea"))), photos.CHELSEA)


def test_a_slow_server_is_504(saved_models: Path, start_peer: StartPeer, spotter: StartGateway) -> None:
    peer = start_peer({"m": saved_models / "image_tensor"}, "--delay-ms=60000")
    gateway = spotter(*serving(peer.address, "m"), "--request-timeout-ms", "500")

    started = time.monotonic()
    response = gateway.post(photos.read("chelsea"))
    assert_problem(response, 504, "MODEL_DEADLINE")
    assert time.monotonic() - started < 5
    calls = peer.await_requests()
    assert all(call["seconds_left"] <= 0.5 for call in calls)


def test_a_hanging_server_is_504_until_it_answers_again(
    saved_models: Path, start_peer: StartPeer, spotter: StartGateway
) -> None:
    peer = start_peer({"m": saved_models / "image_tensor"})
    gateway = spotter(*serving(peer.address, "m"), "--request-timeout-ms", "1000")
    until(gateway.is_ready, "the gateway to be ready")

    peer.freeze()
    assert_problem(gateway.post(photos.read("chelsea")), 504, "MODEL_DEADLINE")

    peer.thaw()
    until(lambda: gateway.post(photos.read("chelsea")).status_code == 200, "photos to be answered again")
