"""The warm-up records of a version, replayed before it is AVAILABLE; one that fails keeps the version from being so."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from .predict import run
from .refusal import invalid_argument
from .versions import Servable

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(servable: Servable, folder: Path) -> None:
    file = folder / FILE
    if not file.exists():
        return
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    if len(records) > MAX_RECORDS:
        raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
    for record in records:
        run(PredictionLog.FromString(record).predict_log.request, servable)
    print(f"replayed {len(records)} warm-up records of {servable.name} {servable.version}", flush=True)
