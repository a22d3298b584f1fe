"""The article's design as a service of today: a photo is decoded in full by PIL, becomes a tensor by `make_tensor_proto`, and
goes to TensorFlow Serving over gRPC by the official stubs; the best boxes come back as JSON in pixels.

    SERVING=host:port uvicorn article_service:app
"""

import io
import os

import grpc
import numpy
from fastapi import FastAPI, UploadFile
from PIL import Image
from tensorflow import make_tensor_proto
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# The article raises both limits, because a photo of 12 megapixels is 36 MB as a tensor.
LARGEST_MESSAGE = 512 << 20
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")

channel = grpc.insecure_channel(
    os.environ["SERVING"],
    options=[
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ],
)
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
app = FastAPI()


@app.post("/v1/detect")
def detect(image: UploadFile) -> dict:
    pixels = numpy.array(Image.open(io.BytesIO(image.file.read())).convert("RGB"))
    height, width, _ = pixels.shape
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "model"
    request.inputs["input_tensor"].CopyFrom(make_tensor_proto(pixels[numpy.newaxis]))
    answer = stub.Predict(request, timeout=60)
    boxes, scores, classes, _ = (numpy.array(answer.outputs[key].float_val) for key in OUTPUTS)
    scale = numpy.array([height, width, height, width])
    detections = []
    for box, score, number in zip(boxes.reshape(-1, 4) * scale, scores, classes, strict=True):
        if score >= 0.3:
            y_min, x_min, y_max, x_max = (round(edge) for edge in box)
            box = {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max}
            detections.append({"class_id": int(number), "score": float(score), "box": box})
    return {"width": width, "height": height, "detections": detections}
