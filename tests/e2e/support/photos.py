"""Photos, what is on them, and how close two answers have to be."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

PHOTOS = Path(__file__).resolve().parents[2] / "photos"

# Two resizers that round differently move a box's edge by this much and no more; a confusion of
# axes, of channels or of the letterbox's frame moves it by tens of pixels.
MAX_PIXELS = 3.0
MAX_SCORE = 0.02

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Found:
    """One object; the box as x1 y1 x2 y2 in the photo's pixels."""

    label: str
    score: float
    box: tuple[float, float, float, float]


# What NanoDet-g finds at score >= 0.3 with one class for each anchor, best first.
CHELSEA = [Found("cat", 0.56, (1, 1, 439, 297))]
ASTRONAUT = [Found("person", 0.73, (14, 14, 364, 507)), Found("chair", 0.33, (275, 346, 500, 512))]
COFFEE = [
    Found("dining table", 0.37, (15, 2, 595, 400)),
    Found("cup", 0.35, (8, 6, 546, 394)),
    Found("cup", 0.34, (170, 19, 416, 250)),
]
KNOWN = {"chelsea": CHELSEA, "astronaut": ASTRONAUT, "coffee": COFFEE}


def read(name: str) -> bytes:
    return (PHOTOS / f"{name}.png").read_bytes()


def answer_of(body: dict[str, Any]) -> list[Found]:
    """The detections of an answer of the service."""
    return [
        Found(d["label"], d["score"], tuple(d["box"][edge] for edge in ("x_min", "y_min", "x_max", "y_max")))
        for d in body["detections"]
    ]


def assert_same(actual: Sequence[Found], expected: Sequence[Found]) -> None:
    """The same objects, in whatever order scores a hair apart put them."""
    left = list(actual)
    for want in expected:
        match = next((found for found in left if _is_same(found, want)), None)
        assert match, f"no {want} in\n" + "\n".join(map(str, actual))
        left.remove(match)
    assert not left, f"found besides: {left}"


def _is_same(a: Found, b: Found) -> bool:
    return (
        a.label == b.label
        and abs(a.score - b.score) <= MAX_SCORE
        and all(abs(p - q) <= MAX_PIXELS for p, q in zip(a.box, b.box, strict=True))
    )


def thumbnail(name: str) -> bytes:
    """A real photo of about a kilobyte, for tests that print what they sent when they fail."""
    photo = Image.open(PHOTOS / f"{name}.png").convert("RGB")
    photo.thumbnail((48, 48))
    file = io.BytesIO()
    photo.save(file, "JPEG")
    return file.getvalue()


def enlarged(name: str, size: tuple[int, int]) -> bytes:
    """A real photo with as many pixels as a camera has, as JPEG."""
    file = io.BytesIO()
    Image.open(PHOTOS / f"{name}.png").convert("RGB").resize(size).save(file, "JPEG", quality=90)
    return file.getvalue()


def as_jpeg(name: str, orientation: int) -> bytes:
    """The photo as a camera held upright (1) or on its side (6) would have written it."""
    stored = {1: None, 6: Image.Transpose.ROTATE_90}[orientation]  # 6: "turn by 90 degrees clockwise to view"
    photo = Image.open(PHOTOS / f"{name}.png").convert("RGB")
    photo = photo.transpose(stored) if stored is not None else photo
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    return file.getvalue()
