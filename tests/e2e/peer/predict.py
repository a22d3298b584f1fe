"""One Predict request: the checks a server makes before it runs the graph, then the graph.

The messages are the server's, word for word, because operators and gateways match on them. Their
order is the server's too: model, signature, number of inputs, names, payloads, outputs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from . import tensors
from .refusal import failed_precondition, invalid_argument
from .versions import Models, Servable

DEFAULT_SIGNATURE = "serving_default"


def predict(request: PredictRequest, models: Models, timeout_ms: int, as_content: bool) -> PredictResponse:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return run(request, models.find(request.model_spec), timeout_ms, as_content)


def run(request: PredictRequest, servable: Servable, timeout_ms: int = 0, as_content: bool = False) -> PredictResponse:
    signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.model.signatures.get(signature_name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{signature_name}" not found.')

    feeds = _feeds(request, signature)
    fetches = _fetches(request, signature)
    outputs = servable.model.run(feeds, list(fetches.values()), timeout_ms)

    response = PredictResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.model_spec.signature_name = signature_name
    for alias, array in zip(fetches, outputs, strict=True):
        response.outputs[alias].CopyFrom(tensors.encode(array, as_content))
    return response


def _feeds(request: PredictRequest, signature: SignatureDef) -> dict[str, np.ndarray]:
    sent, required = set(request.inputs), set(signature.inputs)
    if len(sent) != len(required):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({_braces(sent)}) != len({_braces(required)}). "
            f"Sent extra: {_braces(sent - required)}. Missing but required: {_braces(required - sent)}."
        )
    feeds = {}
    for alias, info in signature.inputs.items():
        if alias not in sent:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_braces(sent)}, "
                "or default input alias set: "
            )
        try:
            feeds[info.name] = tensors.decode(request.inputs[alias])
        except tensors.UnparsableTensor:
            raise invalid_argument(f"tensor parsing error: {alias}") from None
    return feeds


def _fetches(request: PredictRequest, signature: SignatureDef) -> dict[str, str]:
    """Alias to tensor name, for the outputs that were asked for; for all if none was."""
    fetches: dict[str, str] = {}
    for alias in request.output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_braces(signature.outputs)}."
            )
        if alias in fetches:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        fetches[alias] = signature.outputs[alias].name
    return fetches or {alias: info.name for alias, info in signature.outputs.items()}


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
