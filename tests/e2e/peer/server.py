"""``python -m peer.server --model NAME=FOLDER``: the three RPCs a gateway uses, over real gRPC.

Prints ``listening on 127.0.0.1:PORT`` once every model's first load is settled, so that a parent
process needs neither a fixed port nor a guess at how long loading takes.

Not imitated: batching and its queue, retries of a failed load, the REST port, reloading the
configuration, and the health service (off by default in the real server as well).
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from .predict import predict
from .record import Recorder, seconds_left
from .refusal import Refusal, invalid_argument
from .versions import Models
from .warm_up import replay

MAX_MESSAGE_BYTES = 2**31 - 1  # the server's own limit; the famous 4 MiB is the client's
MAX_MESSAGE_CHARS = 1024  # of a status message
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True)
class Settings:
    tensor_content: bool
    delay_seconds: float


class _Service:
    """What the two gRPC services share: one way to answer, to refuse and to record."""

    def __init__(self, models: Models, recorder: Recorder, settings: Settings) -> None:
        self._models = models
        self._recorder = recorder
        self._settings = settings

    def _answer(self, request: Any, context: grpc.ServicerContext, work: Callable[[], Answer]) -> Answer:
        left = seconds_left(context)
        try:
            answer = work()
        except Refusal as refusal:
            code, message = refusal.code, refusal.message
        except tf.errors.OpError as error:  # from the runtime, in its own words
            code, message = STATUS_CODES[error.error_code], error.message
        else:
            self._recorder.write(request, context, left, "OK", answer.ByteSize())
            return answer
        self._recorder.write(request, context, left, code.name, 0)
        if len(message) > MAX_MESSAGE_CHARS:
            message = message[:MAX_MESSAGE_CHARS] + "...TRUNCATED"
        context.abort(code, message)
        raise AssertionError("abort raises")


class PredictionService(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        def work() -> PredictResponse:
            self._delay(context)
            left = seconds_left(context)
            # 0 would mean "no timeout" to the runtime, so a deadline that has passed becomes 1 ms.
            timeout_ms = 0 if left is None else max(1, int(left * 1000))
            return predict(request, self._models, timeout_ms, self._settings.tensor_content)

        return self._answer(request, context, work)

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        def work() -> GetModelMetadataResponse:
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            if not request.metadata_field:
                raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != "signature_def":
                    raise invalid_argument(f"Metadata field {field} is not supported")
            servable = self._models.find(request.model_spec)
            response = GetModelMetadataResponse()
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=servable.model.signatures))
            return response

        return self._answer(request, context, work)

    def _delay(self, context: grpc.ServicerContext) -> None:
        """Take the set time, or less if the client gives up first, so that no thread outlives its call."""
        gone = threading.Event()
        if self._settings.delay_seconds and context.add_callback(gone.set):
            gone.wait(self._settings.delay_seconds)


class ModelService(_Service, model_service_pb2_grpc.ModelServiceServicer):
    def GetModelStatus(self, request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
        def work() -> GetModelStatusResponse:
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            return GetModelStatusResponse(model_version_status=self._models.statuses(request.model_spec))

        return self._answer(request, context, work)


def serve(listen: str, models: Models, recorder: Recorder, settings: Settings) -> tuple[grpc.Server, int]:
    server = grpc.server(
        ThreadPoolExecutor(max_workers=16),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # or a second peer on the same port would share its requests
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(models, recorder, settings), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models, recorder, settings), server)
    port = server.add_insecure_port(listen)
    server.start()
    return server, port


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--listen", default="127.0.0.1:0", help="HOST:PORT; port 0 takes a free one (default: %(default)s)")
    add("--model", action="append", required=True, metavar="NAME=FOLDER", help="a folder of versions; repeatable")
    add("--label", action="append", default=[], metavar="[MODEL:]LABEL=VERSION", help="for all models without MODEL:")
    add("--all-versions", action="store_true", help="serve every version on disk, not only the latest")
    add("--poll-seconds", type=float, default=1.0, help="how often to look for versions (default: %(default)s)")
    add("--tensor-content", action="store_true", help="answer packed bytes instead of typed fields")
    add("--delay-ms", type=int, default=0, help="wait so long before each Predict")
    add("--record", type=Path, metavar="FILE", help="append a line of JSON for each request")
    return parser.parse_args()


def _labels(flags: list[str], names: list[str]) -> dict[tuple[str, str], int]:
    labels = {}
    for flag in flags:
        key, _, number = flag.partition("=")
        model, colon, label = key.rpartition(":")
        labels.update({(name, label): int(number) for name in ([model] if colon else names)})
    return labels


def main() -> None:
    arguments = _arguments()
    tf.get_logger().setLevel("ERROR")  # else one notice of deprecation for each load
    folders = {name: Path(folder) for name, _, folder in (flag.partition("=") for flag in arguments.model)}
    models = Models(folders, _labels(arguments.label, list(folders)), arguments.all_versions, replay)
    models.poll()
    settings = Settings(arguments.tensor_content, arguments.delay_ms / 1000)
    server, port = serve(arguments.listen, models, Recorder(arguments.record), settings)
    print(f"listening on {arguments.listen.rpartition(':')[0]}:{port}", flush=True)
    while server.wait_for_termination(timeout=arguments.poll_seconds):
        models.poll()


if __name__ == "__main__":
    main()
