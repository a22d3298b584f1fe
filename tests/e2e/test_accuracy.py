"""How well spotter finds what is there: average precision against ONNX Runtime and of photos that are decoded at a reduced
scale against whole ones, and small objects with and without tiles.

docs/ACCURACY.md holds the numbers and says how the labelled set is made. What is printed here is what stands there.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from conftest import LOGS, ONNX
from support import labelled
from support.gateway import Gateway
from support.labelled import Scene
from support.precision import Detection, average_precision
from support.reference import Reference

MIN_SCORE = 0.02  # low, as average precision wants it: everything that the model is not sure of counts as well
MAX_DIFFERENCE = 0.005


def ask(gateway: Gateway, scene: Scene) -> list[Detection]:
    found = gateway.detect(scene.file, min_score=MIN_SCORE, max_detections=100)["detections"]
    edges = ("x_min", "y_min", "x_max", "y_max")
    return [(d["class_id"], d["score"], tuple(d["box"][edge] for edge in edges)) for d in found]


def test_average_precision_is_that_of_onnx_runtime(embedded: Gateway) -> None:
    scenes = labelled.scenes()
    reference = Reference(ONNX)
    with ThreadPoolExecutor(2) as pool:
        ours = list(pool.map(lambda scene: ask(embedded, scene), scenes))
        theirs = list(pool.map(lambda scene: reference.detect(scene.file, MIN_SCORE), scenes))
    ap, ap50 = average_precision(scenes, ours)
    expected, expected50 = average_precision(scenes, theirs)
    objects = sum(len(scene.objects) for scene in scenes)
    print(f"\n{len(scenes)} scenes, {objects} objects: spotter AP {ap:.4f}, AP50 {ap50:.4f}; ", end="")
    print(f"ONNX Runtime AP {expected:.4f}, AP50 {expected50:.4f}")
    assert 0.2 < expected < 0.8, "the set is neither hopeless nor trivial, so that a difference shows"
    assert abs(ap - expected) <= MAX_DIFFERENCE
    assert abs(ap50 - expected50) <= MAX_DIFFERENCE


# Just wide enough to be decoded at 1/2, 1/4 and 1/8 for a model of 416 pixels, which is where a reduced scale shows least;
# with how many scenes, because the larger ones take their time.
REDUCED = {"1/2": (1300, 48), "1/4": (2600, 48), "1/8": (5000, 24)}


@pytest.fixture(scope="module")
def large_files(spotter_binary: Path) -> Iterator[Gateway]:
    with Gateway(spotter_binary, "--max-image-bytes", "100000000", logs=LOGS) as running:
        yield running


@pytest.mark.timeout(900)
def test_a_reduced_scale_loses_no_precision(large_files: Gateway) -> None:
    """The same photos as JPEG, and as BMP of all of their pixels, which nothing decodes at a reduced scale."""
    scenes, reduced, whole = [], [], []
    for scale, (width, count) in REDUCED.items():
        photos = labelled.scenes(count, (width, width * 3 // 4))
        with ThreadPoolExecutor(2) as pool:
            as_jpeg = list(pool.map(lambda scene: ask(large_files, scene), photos))
            as_bmp = list(pool.map(lambda scene: ask(large_files, replace(scene, file=bitmap(scene))), photos))
        at_scale, full = average_precision(photos, as_jpeg), average_precision(photos, as_bmp)
        print(f"\n{count} scenes of {width} pixels, decoded at {scale}: AP {at_scale[0]:.4f}, whole {full[0]:.4f}", end="")
        scenes, reduced, whole = scenes + photos, reduced + as_jpeg, whole + as_bmp
    (ap, _), (expected, _) = average_precision(scenes, reduced), average_precision(scenes, whole)
    print(f"\nall: AP {ap:.4f}, whole {expected:.4f}")
    assert 0.2 < expected < 0.8
    assert reduced != whole, "the files are not decoded alike"
    assert abs(ap - expected) <= MAX_DIFFERENCE


def bitmap(scene: Scene) -> bytes:
    """The upright photo's own pixels."""
    file = io.BytesIO()
    ImageOps.exif_transpose(Image.open(io.BytesIO(scene.file))).save(file, "BMP")
    return file.getvalue()


def test_the_measure_sees_a_mistake_in_preparing_the_photo() -> None:
    """Red for blue, which costs an ordinary set a few hundredths, must be far beyond the difference allowed."""
    scenes = labelled.scenes(32)
    reference = Reference(ONNX)
    right = average_precision(scenes, [reference.detect(scene.file, MIN_SCORE) for scene in scenes])
    swapped = average_precision(scenes, [reference.detect(swap_red_and_blue(scene), MIN_SCORE) for scene in scenes])
    assert abs(right[0] - swapped[0]) > 2 * MAX_DIFFERENCE, (right, swapped)


def swap_red_and_blue(scene: Scene) -> bytes:
    photo = ImageOps.exif_transpose(Image.open(io.BytesIO(scene.file)))
    file = io.BytesIO()
    Image.merge("RGB", photo.split()[::-1]).save(file, "JPEG", quality=98, subsampling=0)
    return file.getvalue()


SMALL = ["person", "cat", "cup"]  # what the pasted photos are of; a spoon of ten pixels is nobody's business


def recall(gateway: Gateway, scenes: list[Scene], **options: object) -> float:
    """Mean recall at score 0.3 and IoU 0.5 of the objects that matter."""
    total = 0.0
    for scene in scenes:
        wanted = tuple(o for o in scene.objects if o.label in SMALL)
        found = gateway.detect(scene.file, classes=",".join(SMALL), max_detections=300, **options)["detections"]
        edges = ("x_min", "y_min", "x_max", "y_max")
        total += labelled.recall(wanted, [(d["label"], tuple(d["box"][edge] for edge in edges)) for d in found])
    return total / len(scenes)


@pytest.fixture(scope="module")
def many_tiles(spotter_binary: Path) -> Iterator[Gateway]:
    with Gateway(spotter_binary, "--max-tiles", "64", "--request-timeout-ms", "240000", logs=LOGS, patience=250) as running:
        yield running


@pytest.mark.timeout(900)
def test_tiles_find_many_small_objects(many_tiles: Gateway) -> None:
    scenes = [labelled.many_small(0)]
    recalls = {tiles: recall(many_tiles, scenes, tiles=tiles) for tiles in (0, 16, 48)}
    print("\nforty small photos on 12 megapixels, recall by tiles:", {t: round(r, 3) for t, r in recalls.items()})
    assert recalls[48] > recalls[16] > recalls[0]
    assert recalls[48] > recalls[0] + 0.5


@pytest.mark.timeout(900)
def test_tiles_and_a_region_find_one_small_photo_on_a_large_canvas(many_tiles: Gateway) -> None:
    scenes = [labelled.one_small(name, 0) for name in ("astronaut", "chelsea", "coffee")]
    whole = recall(many_tiles, scenes)
    tiled = recall(many_tiles, scenes, tiles=48)
    inside = sum(recall(many_tiles, [scene], region=around(scene)) for scene in scenes) / len(scenes)
    print(f"\none photo of 150 pixels on 12 megapixels, recall: whole {whole:.3f}, tiles=48 {tiled:.3f}, region {inside:.3f}")
    assert tiled > whole + 0.3
    assert inside > whole + 0.3


def around(scene: Scene) -> str:
    """A region twice as large as what is in it, as somebody would draw it."""
    boxes = [o.box for o in scene.objects]
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
    across, down = (right - left) / 2, (bottom - top) / 2
    edges = (max(left - across, 0), max(top - down, 0), min(right + across, scene.size[0]), min(bottom + down, scene.size[1]))
    return ",".join(str(int(edge)) for edge in edges)
