"""Writes down what each request looked like on arrival, one JSON object a line.

Tests read it to see what a gateway *sent*: that a photo travelled as raw bytes and not as a list of
varints cannot be told from a correct answer.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tensorflow.core.framework.tensor_pb2 import TensorProto

_A_YEAR = 365 * 24 * 3600


def seconds_left(context: grpc.ServicerContext) -> float | None:
    """Time until the client's deadline, None without one (which gRPC reports as some aeons)."""
    left = context.time_remaining()
    return None if left is None or left > _A_YEAR else left


class Recorder:
    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def write(
        self, request: Message, context: grpc.ServicerContext, left: float | None, code: str, answer_bytes: int
    ) -> None:
        """`left` is the time to the deadline on arrival; by now it may have passed."""
        if self._path is None:
            return
        line = json.dumps(
            {
                "method": type(request).__name__.removesuffix("Request"),
                "bytes": request.ByteSize(),
                "unknown_bytes": _unknown_bytes(request),
                "model_spec": MessageToDict(request.model_spec, preserving_proto_field_name=True),
                "inputs": {key: _describe(tensor) for key, tensor in getattr(request, "inputs", {}).items()},
                "output_filter": list(getattr(request, "output_filter", ())),
                "metadata": dict(context.invocation_metadata()),
                "seconds_left": left,
                "code": code,
                "answer_bytes": answer_bytes,
            },
            default=repr,  # binary metadata
        )
        with self._lock:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            print(f"recorded {type(request).__name__}", flush=True)  # for whoever waits for it


def _describe(tensor: TensorProto) -> dict[str, Any]:
    return {
        "dtype": tf.as_dtype(tensor.dtype).name if tensor.dtype else None,
        "shape": [dim.size for dim in tensor.tensor_shape.dim],
        "tensor_content_bytes": len(tensor.tensor_content),
        "string_val_bytes": [len(value) for value in tensor.string_val],
        "int_val": len(tensor.int_val),
        "float_val": len(tensor.float_val),
    }


def _unknown_bytes(request: Message) -> int:
    """Bytes in fields that the official .proto files do not have, at any depth."""
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    return request.ByteSize() - known.ByteSize()
