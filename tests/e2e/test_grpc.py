"""The typed gRPC front as others meet it: stubs that protoc makes from the .proto file, and grpcurl, which knows nothing
but the port."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import grpc
import pytest

from support import photos
from support.gateway import Gateway
from support.stubs import made

GRPCURL = Path(sys.executable).parent / "grpcurl"


@pytest.fixture(scope="module")
def stubs() -> tuple[ModuleType, ModuleType]:
    """Messages and stubs."""
    return made()


def target(gateway: Gateway) -> str:
    return gateway.url.removeprefix("http://")


def found_in(response) -> list[photos.Found]:
    return [
        photos.Found(d.label, d.score, (d.box.x_min, d.box.y_min, d.box.x_max, d.box.y_max))
        for d in response.detections
    ]


def test_generated_stubs_find_the_objects(embedded: Gateway, stubs) -> None:
    pb2, pb2_grpc = stubs
    with grpc.insecure_channel(target(embedded)) as channel:
        client = pb2_grpc.DetectionServiceStub(channel)
        for name, known in photos.KNOWN.items():
            response = client.Detect(pb2.DetectRequest(image=photos.read(name)), timeout=30)
            photos.assert_same(found_in(response), known)
        assert [model.name for model in client.ListModels(pb2.ListModelsRequest()).models] == ["nanodet-g"]


def test_a_failure_carries_the_stable_code(embedded: Gateway, stubs) -> None:
    pb2, pb2_grpc = stubs
    with grpc.insecure_channel(target(embedded)) as channel:
        client = pb2_grpc.DetectionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            client.Detect(pb2.DetectRequest(image=b"no photo"), timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = dict(refused.value.trailing_metadata() or ()) | dict(refused.value.initial_metadata() or ())
    assert b"UNSUPPORTED_IMAGE_FORMAT" in details["grpc-status-details-bin"]


def test_frames_are_answered_while_more_are_sent(embedded: Gateway, stubs) -> None:
    pb2, pb2_grpc = stubs
    frames = [
        pb2.StreamDetectRequest(frame=pb2.Frame(id=number, image=photos.read("chelsea"))) for number in range(1, 13)
    ]
    with grpc.insecure_channel(target(embedded)) as channel:
        answers = list(pb2_grpc.DetectionServiceStub(channel).StreamDetect(iter(frames), timeout=60))
    ids = [answer.frame_id for answer in answers]
    assert ids == sorted(ids) and ids[-1] == len(frames)
    assert len(answers) + sum(answer.passed_over for answer in answers) == len(frames)
    for answer in answers:
        photos.assert_same(found_in(answer.result.response), photos.CHELSEA)


def grpcurl(gateway: Gateway, *arguments: str, data: str | None = None) -> str:
    command = [GRPCURL, "-plaintext", *(("-d", "@") if data else ()), target(gateway), *arguments]
    done = subprocess.run(command, input=data, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpcurl_finds_its_way_by_reflection(embedded: Gateway) -> None:
    services = grpcurl(embedded, "list").split()
    assert {"spotter.v1.DetectionService", "grpc.health.v1.Health"} <= set(services)
    assert "rpc StreamDetect" in grpcurl(embedded, "describe", "spotter.v1.DetectionService")
    health = json.loads(grpcurl(embedded, "grpc.health.v1.Health/Check"))
    assert health == {"status": "SERVING"}
    request = {"image": base64.b64encode(photos.read("chelsea")).decode(), "options": {"max_detections": 1}}
    answer = json.loads(grpcurl(embedded, "spotter.v1.DetectionService/Detect", data=json.dumps(request)))
    assert [found["label"] for found in answer["detections"]] == ["cat"]
    assert answer["image"] == {
        "width": 451, "height": 300, "format": "png", "orientation": 1, "orientationApplied": True
    }
