"""A model server with a capacity that is known: so many Predicts at once, each of which takes so long.

Like TensorFlow Serving it works on calls whose callers have gone. Ends with its standard input, and says then how many it has
worked on.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

AT_ONCE, SECONDS = 4, 0.1
# Threads that wait for their turn: more than the service ever lets in.
THREADS = 64
CAT = {
    "detection_boxes": [[[0.25, 0.25, 0.75, 0.75]]],
    "detection_scores": [[0.9]],
    "detection_classes": [[17.0]],
    "num_detections": [1.0],
}


class Steady(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self) -> None:
        self._turns = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self.predicts = 0
        self._answer = PredictResponse()
        self._answer.model_spec.version.value = 1
        for key, value in CAT.items():
            self._answer.outputs[key].CopyFrom(tf.make_tensor_proto(value, dtype=tf.float32))

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        with self._lock:
            self.predicts += 1
        with self._turns:
            time.sleep(SECONDS)
        return self._answer

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        signature = SignatureDef(method_name="tensorflow/serving/predict")
        picture = signature.inputs["input_tensor"]
        picture.dtype = tf.uint8.as_datatype_enum
        for size in (1, -1, -1, 3):
            picture.tensor_shape.dim.add(size=size)
        for key, value in CAT.items():
            output = signature.outputs[key]
            output.dtype = tf.float32.as_datatype_enum
            for size in tf.constant(value).shape:
                output.tensor_shape.dim.add(size=size)
        response = GetModelMetadataResponse()
        response.model_spec.version.value = 1
        response.metadata["signature_def"].Pack(SignatureDefMap(signature_def={"serving_default": signature}))
        return response

    def GetModelStatus(self, request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
        response = GetModelStatusResponse()
        response.model_version_status.add(version=1, state=ModelVersionStatus.AVAILABLE)
        return response


def main() -> None:
    steady = Steady()
    server = grpc.server(ThreadPoolExecutor(max_workers=THREADS))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(steady, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(steady, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=1).wait()
    print(f"predicts {steady.predicts}", flush=True)


if __name__ == "__main__":
    main()
