"""The peer itself: that it finds what there is to find, and that it refuses as the real server does.

A gateway tested against a stand-in is only as good as the stand-in, so these run the official stubs
against it and never touch the gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnx.reference
import pytest
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from conftest import ONNX, VARIANTS, StartPeer
from peer.detector import COCO_IDS
from peer.onnx_graph import OnnxGraph, UnsupportedGraph
from support import photos
from support.client import BOXES, CLASSES, COUNT, NEEDED, SCORES, found_in, request_for
from support.peer import Peer

DEFAULT_LIMIT = 4 * 1024 * 1024  # what a gRPC client accepts unless told otherwise


@pytest.fixture(scope="module")
def channel(peer: Peer) -> grpc.Channel:
    return grpc.insecure_channel(peer.address, options=[("grpc.max_receive_message_length", -1)])


@pytest.fixture(scope="module")
def prediction(channel: grpc.Channel) -> PredictionServiceStub:
    return PredictionServiceStub(channel)


@pytest.mark.parametrize("name", photos.KNOWN)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_finds_the_known_objects(prediction: PredictionServiceStub, variant: str, name: str) -> None:
    response = prediction.Predict(request_for(variant, name), timeout=30)

    photos.assert_same(found_in(response, name), photos.KNOWN[name])
    assert response.model_spec.name == variant
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_tensorflow_computes_what_the_onnx_reference_computes() -> None:
    image = np.random.default_rng(1).normal(size=(1, 3, 416, 416)).astype(np.float32)
    reference = onnx.reference.ReferenceEvaluator(str(ONNX))
    expected = dict(zip(reference.output_names, reference.run(None, {reference.input_names[0]: image}), strict=True))

    for name, tensor in OnnxGraph(ONNX)(tf.constant(image)).items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], atol=1e-4)


def test_an_unknown_onnx_op_is_refused_by_name(tmp_path: Path) -> None:
    model = onnx.load(ONNX)
    model.graph.node[0].op_type = "GridSample"
    onnx.save(model, tmp_path / "other.onnx")

    with pytest.raises(UnsupportedGraph, match="GridSample"):
        OnnxGraph(tmp_path / "other.onnx")


def test_coco_ids_leave_out_ten() -> None:
    assert len(COCO_IDS) == 80
    assert (COCO_IDS[0], COCO_IDS[-1]) == (1, 90)


def test_rows_past_the_count_look_like_persons(prediction: PredictionServiceStub) -> None:
    request = request_for("image_tensor")
    request.inputs["input_tensor"].CopyFrom(tf.make_tensor_proto(np.full((1, 240, 320, 3), 128, np.uint8)))
    response = prediction.Predict(request, timeout=30)

    outputs = {key: tf.make_ndarray(response.outputs[key]) for key in NEEDED}
    shapes = {key: array.shape for key, array in outputs.items()}
    assert shapes == {BOXES: (1, 100, 4), SCORES: (1, 100), CLASSES: (1, 100), COUNT: (1,)}
    count = int(outputs[COUNT][0])
    assert count < 100
    assert not outputs[BOXES][0, count:].any()
    assert not outputs[SCORES][0, count:].any()
    assert (outputs[CLASSES][0, count:] == 1).all()


def test_unfiltered_answer_breaks_a_default_client(peer: Peer, prediction: PredictionServiceStub) -> None:
    unfiltered = request_for("image_tensor", outputs=())

    assert prediction.Predict(unfiltered, timeout=30).ByteSize() > DEFAULT_LIMIT
    assert prediction.Predict(request_for("image_tensor"), timeout=30).ByteSize() < 3000
    with grpc.insecure_channel(peer.address) as default, pytest.raises(grpc.RpcError) as refused:
        PredictionServiceStub(default).Predict(unfiltered, timeout=30)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in refused.value.details()


def test_an_omitted_payload_is_a_black_image(prediction: PredictionServiceStub) -> None:
    request = request_for("image_tensor")
    request.inputs["input_tensor"].ClearField("tensor_content")

    assert found_in(prediction.Predict(request, timeout=30), "chelsea") == []


@pytest.mark.parametrize("flags", [(), ("--tensor-content",)], ids=["typed fields", "tensor_content"])
def test_answers_come_in_both_encodings(saved_models: Path, start_peer: StartPeer, flags: tuple[str, ...]) -> None:
    peer = start_peer({"m": saved_models / "image_tensor"}, *flags)
    request = request_for("image_tensor")
    request.model_spec.name = "m"
    with grpc.insecure_channel(peer.address) as channel:
        response = PredictionServiceStub(channel).Predict(request, timeout=30)

    assert all(bool(tensor.tensor_content) == bool(flags) for tensor in response.outputs.values())
    photos.assert_same(found_in(response, "chelsea"), photos.CHELSEA)


# Each row spoils a good request in one way.
Spoil = Callable[[PredictRequest], object]
INVALID, MISSING, UNMET = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)


def _rename_input(request: PredictRequest) -> None:
    request.inputs["image"].CopyFrom(request.inputs["input_tensor"])
    del request.inputs["input_tensor"]


REFUSALS: dict[str, tuple[Spoil, grpc.StatusCode, str]] = {
    "no model_spec": (lambda r: r.ClearField("model_spec"), INVALID, "Missing ModelSpec"),
    "no name": (lambda r: r.model_spec.ClearField("name"), INVALID, "ModelSpec has no name specified."),
    "unknown model": (
        lambda r: setattr(r.model_spec, "name", "nobody"),
        MISSING,
        "Servable not found for request: Latest(nobody)",
    ),
    "unknown version": (
        lambda r: setattr(r.model_spec.version, "value", 7),
        MISSING,
        "Servable not found for request: Specific(image_tensor, 7)",
    ),
    "unknown label": (
        lambda r: setattr(r.model_spec, "version_label", "canary"),
        INVALID,
        "Unrecognized servable version label: canary",
    ),
    "unknown signature": (
        lambda r: setattr(r.model_spec, "signature_name", "foo"),
        UNMET,
        'Serving signature key "foo" not found.',
    ),
    "wrong key": (
        _rename_input,
        INVALID,
        "Signature input alias: input_tensor(feed name: serving_default_input_tensor:0) not found in request and no "
        "default value provided. Inputs expected to be in the request {image}, or default input alias set: ",
    ),
    "extra input": (
        lambda r: r.inputs["extra"].CopyFrom(r.inputs["input_tensor"]),
        INVALID,
        "input size does not match signature: 2!=1 len({extra,input_tensor}) != len({input_tensor}). "
        "Sent extra: {extra}. Missing but required: {}.",
    ),
    "wrong dtype": (
        lambda r: r.inputs["input_tensor"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 8, 8, 3), np.float32))),
        INVALID,
        "Expects arg[0] to be uint8 but float is provided",
    ),
    "content too short": (
        lambda r: setattr(r.inputs["input_tensor"], "tensor_content", b"abc"),
        INVALID,
        "tensor parsing error: input_tensor",
    ),
    "open shape": (
        lambda r: setattr(r.inputs["input_tensor"].tensor_shape.dim[1], "size", -1),
        INVALID,
        "tensor parsing error: input_tensor",
    ),
    "unknown output": (
        lambda r: r.output_filter.append("detection_masks"),
        INVALID,
        "output tensor alias not found in signature: detection_masks Outputs expected to be in the set "
        "{detection_boxes,detection_classes,detection_scores,num_detections,raw_detection_boxes,raw_detection_scores}.",
    ),
    "output twice": (
        lambda r: r.output_filter.append(BOXES),
        INVALID,
        "duplicate output tensor alias: detection_boxes",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_the_servers_word_for_word(prediction: PredictionServiceStub, case: str) -> None:
    spoil, code, message = REFUSALS[case]
    request = request_for("image_tensor")
    spoil(request)

    with pytest.raises(grpc.RpcError) as refused:
        prediction.Predict(request, timeout=30)
    assert (refused.value.code(), refused.value.details()) == (code, message)


def test_an_undecodable_file_is_refused_in_the_runtimes_words(prediction: PredictionServiceStub) -> None:
    request = request_for("encoded_image_string_tensor")
    request.inputs["input_tensor"].string_val[0] = b"not a photo"

    with pytest.raises(grpc.RpcError) as refused:
        prediction.Predict(request, timeout=30)
    assert refused.value.code() is INVALID
    assert refused.value.details().startswith("Unknown image file format.")


def test_a_deadline_ends_the_wait(saved_models: Path, start_peer: StartPeer) -> None:
    peer = start_peer({"image_tensor": saved_models / "image_tensor"}, "--delay-ms=60000")
    with grpc.insecure_channel(peer.address) as channel, pytest.raises(grpc.RpcError) as refused:
        PredictionServiceStub(channel).Predict(request_for("image_tensor"), timeout=0.5)

    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    seen = peer.await_requests()
    assert seen[0]["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("variant", "key", "dtype", "shape"),
    [
        ("image_tensor", "input_tensor", tf.uint8, [1, -1, -1, 3]),
        ("float_image_tensor", "input_tensor", tf.float32, [1, -1, -1, 3]),
        ("encoded_image_string_tensor", "input_tensor", tf.string, [1]),
        ("tf1", "inputs", tf.uint8, [-1, -1, -1, 3]),
    ],
)
def test_metadata_tells_the_signature(
    prediction: PredictionServiceStub, variant: str, key: str, dtype: tf.DType, shape: list[int]
) -> None:
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = variant
    answer = prediction.GetModelMetadata(request, timeout=10)

    signatures = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    (only,) = signature.inputs
    tensor = signature.inputs[only]
    assert (only, tensor.dtype) == (key, dtype.as_datatype_enum)
    assert [dim.size for dim in tensor.tensor_shape.dim] == shape
    assert set(NEEDED) <= set(signature.outputs)
    assert answer.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["foo"], "Metadata field foo is not supported"),
    ],
)
def test_metadata_without_a_known_field_is_refused(
    prediction: PredictionServiceStub, fields: list[str], message: str
) -> None:
    request = GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "image_tensor"
    with pytest.raises(grpc.RpcError) as refused:
        prediction.GetModelMetadata(request, timeout=10)
    assert (refused.value.code(), refused.value.details()) == (INVALID, message)


def test_requests_are_recorded_as_they_arrived(peer: Peer, prediction: PredictionServiceStub) -> None:
    prediction.Predict(request_for("tf1"), timeout=30, metadata=[("x-request-id", "recorded-1")])

    (call,) = [call for call in peer.requests() if call["metadata"].get("x-request-id") == "recorded-1"]
    assert call["model_spec"] == {"name": "tf1"}
    assert call["inputs"]["inputs"]["dtype"] == "uint8"
    assert call["inputs"]["inputs"]["shape"] == [1, 300, 451, 3]
    assert call["inputs"]["inputs"]["tensor_content_bytes"] == 300 * 451 * 3
    assert call["output_filter"] == list(NEEDED)
    assert 0 < call["seconds_left"] <= 30.5
    assert call["unknown_bytes"] == 0
