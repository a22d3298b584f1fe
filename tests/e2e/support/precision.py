"""COCO's average precision of detections on labelled scenes, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .labelled import COCO_IDS, Scene

# COCO id of the class, score, and x1 y1 x2 y2 in the scene's pixels.
Detection = tuple[int, float, tuple[float, float, float, float]]


def average_precision(scenes: Sequence[Scene], found: Sequence[Sequence[Detection]]) -> tuple[float, float]:
    """AP (IoU 0.50 to 0.95) and AP50 over the classes that the scenes have, up to 100 detections a scene."""
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": i, "width": s.size[0], "height": s.size[1]} for i, s in enumerate(scenes)],
        "categories": [{"id": number, "name": label} for label, number in COCO_IDS.items()],
        "annotations": [],
    }
    for index, scene in enumerate(scenes):
        for item in scene.objects:
            x, y, width, height = extent(item.box)
            annotation = {"id": len(truth.dataset["annotations"]) + 1, "image_id": index, "iscrowd": 0}
            annotation |= {"category_id": COCO_IDS[item.label], "bbox": [x, y, width, height], "area": width * height}
            truth.dataset["annotations"].append(annotation)
    rows = [
        {"image_id": index, "category_id": kind, "score": score, "bbox": extent(box)}
        for index, detections in enumerate(found)
        for kind, score, box in detections
        if kind in COCO_IDS.values()
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and a table
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def extent(box: tuple[float, float, float, float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]
