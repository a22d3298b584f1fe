"""Pictures in every format, color type and depth that Pillow writes, ways to damage them, and what Pillow reads in a file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from .photos import PHOTOS

SIZES = {"": (131, 97), "1x1": (1, 1), "20000x1": (20_000, 1)}


def picture(size: tuple[int, int]) -> Image.Image:
    with Image.open(PHOTOS / "chelsea.png") as photo:
        return photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def alpha(image: Image.Image, levels: int = 256) -> Image.Image:
    """The picture fading out to the right."""
    ramp = np.linspace(255, 0, image.width) if levels > 2 else np.repeat([255.0, 0.0], [image.width - image.width // 2, image.width // 2])
    mask = Image.fromarray(np.tile(ramp.astype(np.uint8), (image.height, 1)))
    with_alpha = image.convert("RGBA")
    with_alpha.putalpha(mask)
    return with_alpha


def grey16(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)


def written(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def files() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every combination."""
    for label, size in SIZES.items():
        rgb = picture(size)
        for name, data in of_picture(rgb):
            yield f"{name}{'.' + label if label else ''}", data


def of_picture(rgb: Image.Image) -> Iterator[tuple[str, bytes]]:
    grey, palette, rgba = rgb.convert("L"), rgb.quantize(256), alpha(rgb)
    bilevel, cmyk, la = rgb.convert("1"), rgb.convert("CMYK"), rgba.convert("LA")
    for progressive in (False, True):
        style = "progressive" if progressive else "baseline"
        for sampling in ("4:4:4", "4:2:2", "4:2:0"):
            name = f"jpeg.{style}.{sampling.replace(':', '')}"
            yield name, written(rgb, "JPEG", quality=92, subsampling=sampling, progressive=progressive)
        yield f"jpeg.{style}.grey", written(grey, "JPEG", quality=92, progressive=progressive)
        yield f"jpeg.{style}.cmyk", written(cmyk, "JPEG", quality=92, progressive=progressive)
    yield "png.1", written(bilevel, "PNG")
    for bits in (1, 2, 4, 8):
        yield f"png.palette-{bits}", written(rgb.quantize(2**bits), "PNG", bits=bits)
    for mode, image in {"grey": grey, "grey-alpha": la, "rgb": rgb, "rgba": rgba, "grey-16": grey16(rgb)}.items():
        yield f"png.{mode}", written(image, "PNG")
    yield "png.palette-transparent", written(palette, "PNG", transparency=3)
    frames = [ImageOps.invert(rgb).quantize(64), ImageOps.mirror(rgb).quantize(64)]
    yield "gif.palette", written(palette, "GIF")
    yield "gif.interlaced", written(palette, "GIF", interlace=1)
    yield "gif.grey", written(grey, "GIF")
    yield "gif.transparent", written(alpha(rgb, 2), "GIF")
    yield "gif.animated", written(palette, "GIF", save_all=True, append_images=frames, duration=50)
    for mode, image in {"1": bilevel, "grey": grey, "palette": palette, "rgb": rgb, "rgba": rgba}.items():
        yield f"bmp.{mode}", written(image, "BMP")
    modes = {"1": bilevel, "grey": grey, "grey-alpha": la, "palette": palette, "rgb": rgb, "rgba": rgba, "cmyk": cmyk}
    modes |= {"grey-16": grey16(rgb), "lab": lab(rgb), "float": Image.fromarray(np.asarray(grey, np.float32) / 255)}
    for mode, image in modes.items():
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"):
            yield f"tiff.{mode}.{compression.removeprefix('tiff_')}", written(image, "TIFF", compression=compression)
    yield "tiff.ycbcr.jpeg", written(rgb.convert("YCbCr"), "TIFF", compression="jpeg", quality=92)
    yield "tiff.rgb.jpeg", written(rgb, "TIFF", compression="jpeg", quality=92)
    for fax in ("group3", "group4", "tiff_ccitt"):
        yield f"tiff.1.{fax.removeprefix('tiff_')}", written(bilevel, "TIFF", compression=fax)
    yield "tiff.rgb.big", written(rgb, "TIFF", big_tiff=True)
    yield "tiff.pages", written(rgb, "TIFF", save_all=True, append_images=[ImageOps.invert(rgb)])
    if rgb.width <= 16_383:  # the most that WebP holds
        yield "webp.lossy", written(rgb, "WEBP", quality=92)
        yield "webp.lossless", written(rgb, "WEBP", lossless=True)
        yield "webp.lossy-alpha", written(rgba, "WEBP", quality=92)
        yield "webp.lossless-alpha", written(rgba, "WEBP", lossless=True, exact=True)
        yield "webp.animated", written(rgb, "WEBP", lossless=True, save_all=True, append_images=[ImageOps.invert(rgb)])


def lab(rgb: Image.Image) -> Image.Image:
    from PIL import ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB", 5000), "RGB", "LAB")
    return ImageCms.applyTransform(rgb, transform)


# --- damage ----------------------------------------------------------------------------------------------------------

Damage = Callable[[bytes], bytes | None]


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed_start(data: bytes) -> bytes:
    return bytes(16) + data[16:]


def only_zeros(data: bytes) -> bytes:
    return bytes(len(data))


def flipped(data: bytes) -> bytes:
    """One byte in the middle, where pixels are."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]


def bad_crc(data: bytes) -> bytes | None:
    if not data.startswith(b"\x89PNG"):
        return None
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    crc = at + 4 + length
    return data[:crc] + bytes(byte ^ 0xFF for byte in data[crc : crc + 4]) + data[crc + 4 :]


def trailing_junk(data: bytes) -> bytes:
    return data + b"junk that is no picture \x00\xff\xd8\xff" * 150


BOGUS = b"MM\x00*\xff\xff\xff\xf0\x00\x09\x01\x12\x00\x03\xff\xff\xff\xff"


def bogus_exif(data: bytes) -> bytes | None:
    """EXIF whose directory lies nowhere."""
    if data.startswith(b"\xff\xd8"):
        body = b"Exif\x00\x00" + BOGUS
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    if data.startswith(b"\x89PNG"):
        chunk = b"eXIf" + BOGUS
        return data[:33] + struct.pack(">I", len(BOGUS)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    if data[8:16] == b"WEBPVP8X":
        flags = data[20] | 0x08
        chunks = data[:20] + bytes([flags]) + data[21:] + b"EXIF" + struct.pack("<I", len(BOGUS)) + BOGUS
        return chunks[:4] + struct.pack("<I", len(chunks) - 8) + chunks[8:]
    return None


# Those after which the picture is still all there, and those after which it is not.
HARMLESS: list[Damage] = [trailing_junk, bogus_exif]
HARMFUL: list[Damage] = [truncated, zeroed_start, only_zeros, bad_crc]


# --- what Pillow sees ------------------------------------------------------------------------------------------------


def reference(data: bytes) -> Image.Image:
    """The first picture of a file as a person sees it: upright, RGB, over white where it is transparent."""
    with Image.open(io.BytesIO(data)) as file:
        first = next(iter(ImageSequence.Iterator(file)))
        first.load()
        upright = ImageOps.exif_transpose(first)
    return over_white(upright)


def over_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray(np.round(np.asarray(image, np.float64) / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB", 5000), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "LAB", "RGB"))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Largest and mean difference of a channel; infinite where the sizes differ."""
    if one.size != other.size:
        return float("inf"), float("inf")
    off = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
    return float(off.max()), float(off.mean())
