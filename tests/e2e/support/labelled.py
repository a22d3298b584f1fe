"""A labelled set: scenes pasted together from the three committed photos, whose objects were boxed by hand.

No set of labelled photos may be committed here and none comes with a package, so this one is made: every
scene is a large JPEG with several of the photos on a blurred ground, at random sizes, mirrored, darker or
brighter, out of focus, and stored sideways as cameras do, so that a scene is about as hard for the detector as
an ordinary photo and average precision can tell a right box from a box that is nearly right. The numbers are
random by a fixed seed: the same scenes on every machine.

    from support import labelled
    for scene in labelled.scenes():
        scene.file, scene.objects      # objects: label and x1 y1 x2 y2 in the upright scene's pixels
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from .photos import EXIF_ORIENTATION, PHOTOS

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Labelled:
    label: str
    box: Box


@dataclass(frozen=True)
class Scene:
    name: str
    file: bytes
    size: tuple[int, int]
    """Width and height as a person sees it."""
    objects: tuple[Labelled, ...]


# Boxes drawn by hand on the photos themselves, tight around what can be seen of each object.
DRAWN = {
    "chelsea": [Labelled("cat", (0, 0, 441, 300))],
    "astronaut": [Labelled("person", (18, 15, 365, 512))],
    "coffee": [
        Labelled("dining table", (0, 0, 600, 400)),
        Labelled("cup", (172, 17, 410, 309)),
        Labelled("spoon", (326, 66, 425, 327)),
    ],
}
COCO_IDS = {"person": 1, "cat": 17, "cup": 47, "spoon": 50, "dining table": 67}

# What turns an upright picture into the one that is stored under this EXIF orientation.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scenes(count: int = 64, size: tuple[int, int] = (1600, 1200)) -> list[Scene]:
    """Scenes of two to five photos each, a sixth to three quarters of the scene high."""
    return [scene(f"scene-{number:02}", number, size, (2, 5), (0.16, 0.75)) for number in range(count)]


def many_small(number: int) -> Scene:
    """Forty photos of 90 to 210 pixels on 12 megapixels: too small to be seen at the scale of the whole."""
    return scene(f"many-small-{number}", 1000 + number, (4000, 3000), (40, 40), (0.03, 0.07))


def one_small(name: str, number: int) -> Scene:
    """A photo of 150 pixels on 12 megapixels."""
    return scene(f"small-{name}-{number}", 2000 + number, (4000, 3000), (1, 1), (0.05, 0.05), only=name)


def scene(
    name: str,
    seed: int,
    size: tuple[int, int],
    photos: tuple[int, int],
    heights: tuple[float, float],
    only: str | None = None,
) -> Scene:
    chance = random.Random(seed)
    canvas = ground(chance, size)
    taken: list[Box] = []
    objects: list[Labelled] = []
    for _ in range(chance.randint(*photos)):
        source = only or chance.choice(sorted(DRAWN))
        photo, labelled = varied(chance, source, round(size[1] * chance.uniform(*heights)))
        if (place := free_place(chance, size, photo.size, taken)) is None:
            continue
        left, top = place
        canvas.paste(photo, place)
        taken.append((left, top, left + photo.width, top + photo.height))
        objects += [Labelled(o.label, moved(o.box, left, top)) for o in labelled]
    return Scene(name, stored(canvas, 1 + seed % 8), size, tuple(objects))


def ground(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    """Soft blotches of muted color: nothing that could be an object."""
    spots = Image.new("RGB", (8, 6))
    spots.putdata([tuple(chance.randint(70, 170) for _ in range(3)) for _ in range(48)])
    return spots.resize(size, Image.Resampling.BICUBIC)


def varied(chance: random.Random, name: str, height: int) -> tuple[Image.Image, list[Labelled]]:
    """The photo at this height, changed a little, with its boxes."""
    photo = original(name)
    ratio = height / photo.height
    objects = [Labelled(o.label, tuple(edge * ratio for edge in o.box)) for o in DRAWN[name]]
    photo = photo.resize((round(photo.width * ratio), height), Image.Resampling.LANCZOS)
    if chance.random() < 0.5:
        photo = ImageOps.mirror(photo)
        objects = [Labelled(o.label, (photo.width - o.box[2], o.box[1], photo.width - o.box[0], o.box[3])) for o in objects]
    photo = ImageEnhance.Brightness(photo).enhance(chance.uniform(0.5, 1.3))
    photo = ImageEnhance.Color(photo).enhance(chance.uniform(0.3, 1.2))
    return photo.filter(ImageFilter.GaussianBlur(chance.uniform(0, height / 120))), objects


@cache
def original(name: str) -> Image.Image:
    with Image.open(PHOTOS / f"{name}.png") as photo:
        return photo.convert("RGB")


def free_place(
    chance: random.Random, canvas: tuple[int, int], size: tuple[int, int], taken: list[Box]
) -> tuple[int, int] | None:
    """Where a photo of this size covers no other; `None` where a hundred tries found nothing."""
    if size[0] > canvas[0] or size[1] > canvas[1]:
        return None
    for _ in range(100):
        left, top = chance.randint(0, canvas[0] - size[0]), chance.randint(0, canvas[1] - size[1])
        right, bottom = left + size[0], top + size[1]
        if all(right <= t[0] or t[2] <= left or bottom <= t[1] or t[3] <= top for t in taken):
            return left, top
    return None


def moved(box: Box, left: int, top: int) -> Box:
    return (box[0] + left, box[1] + top, box[2] + left, box[3] + top)


def stored(upright: Image.Image, orientation: int) -> bytes:
    """The JPEG of a camera that was held so."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    picture = upright.transpose(STORED_AS[orientation]) if orientation in STORED_AS else upright
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92, exif=exif)
    return file.getvalue()


def recall(objects: tuple[Labelled, ...], found: list[tuple[str, Box]], least: float = 0.5) -> float:
    """The share of objects that a box of their label lies on; each box counts for one object."""
    left, hits = list(found), 0
    for wanted in objects:
        best = max((f for f in left if f[0] == wanted.label), key=lambda f: iou(f[1], wanted.box), default=None)
        if best and iou(best[1], wanted.box) >= least:
            left.remove(best)
            hits += 1
    return hits / len(objects)


def iou(a: Box, b: Box) -> float:
    def area(box: Box) -> float:
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return common / (area(a) + area(b) - common)
