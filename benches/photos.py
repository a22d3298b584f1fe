"""The photos of the benchmarks, made from photos of this repository: enlarged, with grain, so that a JPEG of quality 88
has the bytes that a camera's has (about 0.2 bytes a pixel)."""

from pathlib import Path

import numpy
from PIL import Image

SOURCE = Path(__file__).resolve().parent.parent / "tests" / "photos" / "chelsea.png"
QUALITY = 88
# The strength of the grain at which 12 megapixels become 2.5 MB.
GRAIN = 5.3


def photo(width: int, height: int) -> Image.Image:
    """A photo of this size: the committed one enlarged, grain of two pixels' width upon it."""
    enlarged = Image.open(SOURCE).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    random = numpy.random.default_rng(7)
    grain = random.normal(0, GRAIN, (height, width, 1)).astype(numpy.float32)
    grain = (grain + numpy.roll(grain, 1, 0) + numpy.roll(grain, 1, 1)) / 1.73
    pixels = numpy.asarray(enlarged, dtype=numpy.float32) + grain
    return Image.fromarray(numpy.clip(pixels, 0, 255).astype(numpy.uint8))


# Name, width, height, form.
PHOTOS = {
    "0.1 MP JPEG": (360, 270, "jpeg"),
    "0.3 MP JPEG": (640, 480, "jpeg"),
    "1 MP JPEG": (1156, 867, "jpeg"),
    "3 MP JPEG": (2000, 1500, "jpeg"),
    "12 MP JPEG": (4000, 3000, "jpeg"),
    "48 MP JPEG": (8000, 6000, "jpeg"),
    "3 MP progressive JPEG": (2000, 1500, "progressive"),
    "3 MP PNG": (2000, 1500, "png"),
}


def make(folder: Path) -> dict[str, Path]:
    """All photos as files, made where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, (width, height, form) in PHOTOS.items():
        file = folder / f"{width}x{height}.{form}"
        files[name] = file
        if file.exists():
            continue
        picture = photo(width, height)
        unfinished = file.with_suffix(".unfinished")
        if form == "png":
            picture.save(unfinished, "PNG", compress_level=6)
        else:
            picture.save(unfinished, "JPEG", quality=QUALITY, subsampling="4:2:0", progressive=form == "progressive")
        unfinished.rename(file)
    return files


if __name__ == "__main__":
    for name, file in make(Path("target/bench/photos")).items():
        print(f"{name:24} {file.stat().st_size:>10} bytes  {file}")
