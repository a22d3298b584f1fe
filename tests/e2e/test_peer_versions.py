"""The peer's model versions: swapped, failed, labelled and reported as by the real server."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from conftest import StartPeer
from support.client import request_for
from support.peer import Peer
from support.versions import add_version
from support.wait import until


class Status:
    """GetModelStatus, for one peer and model."""

    def __init__(self, address: str, model: str) -> None:
        self._stub = ModelServiceStub(grpc.insecure_channel(address))
        self._request = GetModelStatusRequest()
        self._request.model_spec.name = model

    def __call__(self) -> dict[int, ModelVersionStatus]:
        answer = self._stub.GetModelStatus(self._request, timeout=10)
        return {status.version: status for status in answer.model_version_status}

    def states(self) -> dict[int, str]:
        return {number: ModelVersionStatus.State.Name(status.state) for number, status in self().items()}


def test_status_of_an_unknown_model_is_not_found(peer: Peer) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        Status(peer.address, "nobody")()
    assert (refused.value.code(), refused.value.details()) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find any versions of model nobody",
    )


def test_status_says_ok_with_an_empty_message(peer: Peer) -> None:
    (version,) = Status(peer.address, "image_tensor")().values()
    assert version.state == ModelVersionStatus.AVAILABLE
    assert version.HasField("status")
    assert version.status.ByteSize() == 0


def test_a_new_version_replaces_the_old_without_a_gap(
    saved_models: Path, start_peer: StartPeer, tmp_path: Path
) -> None:
    add_version(saved_models / "image_tensor" / "1", tmp_path, 1)
    peer = start_peer({"m": tmp_path}, "--poll-seconds=0.1")
    status = Status(peer.address, "m")
    assert status.states() == {1: "AVAILABLE"}

    seen: list[dict[int, str]] = []

    def swapped() -> bool:
        seen.append(status.states())
        return seen[-1] == {1: "END", 2: "AVAILABLE"}

    add_version(saved_models / "image_tensor" / "1", tmp_path, 2)
    until(swapped, "version 2 instead of version 1")
    assert all("AVAILABLE" in states.values() for states in seen)


def test_a_version_that_does_not_load_ends_with_its_error_and_the_old_stays(
    saved_models: Path, start_peer: StartPeer, tmp_path: Path
) -> None:
    add_version(saved_models / "image_tensor" / "1", tmp_path, 1)
    peer = start_peer({"m": tmp_path}, "--poll-seconds=0.1")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"\xff" * 100)
    broken.rename(tmp_path / "2")

    status = Status(peer.address, "m")
    until(lambda: status.states() == {1: "AVAILABLE", 2: "END"}, "version 2 to fail and version 1 to stay")
    assert status()[2].status.error_code != 0
    assert "saved_model" in status()[2].status.error_message


def test_a_version_is_available_once_its_warm_up_records_are_replayed_and_ends_where_one_fails(
    saved_models: Path, start_peer: StartPeer, tmp_path: Path
) -> None:
    add_version(warm(saved_models / "image_tensor" / "1", tmp_path / "warm", request_for("image_tensor")), tmp_path, 1)
    peer = start_peer({"m": tmp_path}, "--poll-seconds=0.1")
    assert peer.printed("replayed (1) warm-up records of m 1")
    status = Status(peer.address, "m")
    assert status.states() == {1: "AVAILABLE"}

    wrong = request_for("image_tensor")
    wrong.output_filter.append("nothing")
    add_version(warm(saved_models / "image_tensor" / "1", tmp_path / "wrong", wrong), tmp_path, 2)
    until(lambda: status.states() == {1: "AVAILABLE", 2: "END"}, "version 2 to fail and version 1 to stay")
    assert "output tensor alias not found in signature: nothing" in status()[2].status.error_message


def warm(saved_model: Path, copy: Path, request: PredictRequest) -> Path:
    """A copy of the version with this one warm-up record."""
    shutil.copytree(saved_model, copy)
    log = PredictionLog()
    log.predict_log.request.CopyFrom(request)
    (copy / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(copy / "assets.extra/tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
    return copy


def test_labels_name_versions(saved_models: Path, start_peer: StartPeer, tmp_path: Path) -> None:
    for number in (1, 2):
        add_version(saved_models / "image_tensor" / "1", tmp_path, number)
    peer = start_peer({"m": tmp_path}, "--all-versions", "--label=stable=1", "--label=m:canary=2")

    with grpc.insecure_channel(peer.address) as channel:
        for label, number in (("stable", 1), ("canary", 2), ("", 2)):
            request = request_for("image_tensor")
            request.model_spec.name = "m"
            if label:
                request.model_spec.version_label = label
            assert PredictionServiceStub(channel).Predict(request, timeout=30).model_spec.version.value == number
