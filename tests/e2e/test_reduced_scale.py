"""A photo that is decoded with less detail, because the model does not see it, is answered as one decoded in full."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from support import photos
from support.gateway import Gateway

# Of the longer side; a pixel of the model's canvas is 0.24 percent of it.
MAX_SHIFT = 0.006


def enlarged(name: str, times: int) -> Image.Image:
    small = Image.open(photos.PHOTOS / f"{name}.png").convert("RGB")
    # One more pixel: sides that no scale divides.
    return small.resize((small.width * times + 1, small.height * times + 1), Image.Resampling.BICUBIC)


def file(photo: Image.Image, kind: str, **options: object) -> bytes:
    written = io.BytesIO()
    photo.save(written, kind, **options)
    return written.getvalue()


# The canvas is 416 pixels wide: half, a quarter and an eighth of the photo are more than that.
@pytest.mark.parametrize("times", [3, 5, 8])
@pytest.mark.parametrize("name", sorted(photos.KNOWN))
def test_a_large_jpeg_is_answered_as_all_of_its_pixels_are(embedded: Gateway, name: str, times: int) -> None:
    jpeg = file(enlarged(name, times), "JPEG", quality=90)
    # The very pixels that the JPEG has in full, in a form that is always decoded in full.
    png = file(Image.open(io.BytesIO(jpeg)), "PNG", compress_level=1)
    reduced, full = (photos.answer_of(embedded.detect(data)) for data in (jpeg, png))
    assert full, "something is found"
    side = max(Image.open(io.BytesIO(jpeg)).size)
    assert [found.label for found in reduced] == [found.label for found in full]
    for one, other in zip(reduced, full, strict=True):
        assert one.score == pytest.approx(other.score, abs=photos.MAX_SCORE)
        assert one.box == pytest.approx(other.box, abs=MAX_SHIFT * side)
