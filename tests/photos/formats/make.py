#!/usr/bin/env python3
"""Makes the golden files of this folder: photos in every format and depth, and what they must decode to.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 numpy tifffile==2026.3.3 imagecodecs==2026.3.6
    apt-get install libjpeg-turbo-progs          # cjpeg, for codings that Pillow does not write
    apt-get install libtiff-tools                # tiffcp and tiff2rgba, for those of libtiff alone
    venv/bin/python tests/photos/formats/make.py

A file is found by its folder and its name, so a new one needs no line of test code:

    exact/<picture>.<variant>.<ext>    decodes to expected/<picture>.png, every pixel equal
    close/<picture>.<variant>.<ext>    the same within the tolerance of a lossy format (src/image/tests.rs states it)
    refused/<code>/<name>.<ext>        is answered with that code

`.orientation-N.` in a name: EXIF orientation N must be found. Expected pictures come from arithmetic on a known
pattern, or from Pillow or libtiff where a lossy format is decoded.
"""

import ctypes
import io
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 48, 32


def save(folder, name, data):
    path = HERE / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert not path.exists(), path
    path.write_bytes(data)
    return data


def expect(picture, pixels):
    """States what files called `picture.…` decode to."""
    path = HERE / "expected" / f"{picture}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    assert not path.exists(), path
    Image.fromarray(np.asarray(pixels, np.uint8), "RGB").save(path, optimize=True)


def pillow(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# --- the pictures -----------------------------------------------------------------------------------------------------


def pattern():
    """No two corners alike, no two channels alike: a swap, an inversion or a turn cannot go unseen."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.stack([40 + 4 * x, 220 - 5 * y, 60 + 2 * x + 2 * y], -1)
    picture[:8, :16] = [220, 30, 40]
    picture[:8, 32:] = [30, 200, 60]
    picture[24:, :16] = [20, 60, 210]
    picture[12:20, 20:24] = [250, 250, 250]
    picture[16:24, 24:28] = [5, 5, 5]
    return picture.astype(np.uint8)


RGB = pattern()
GREY = ((RGB * [0.3, 0.59, 0.11]).sum(-1) + 0.5).astype(np.uint8)
ALPHA = (np.mgrid[0:HEIGHT, 0:WIDTH][1] * 255 // (WIDTH - 1)).astype(np.uint8)
ALPHA[:8] = 0
ALPHA[24:] = 255
# 16 bits whose upper byte is not simply the 8-bit value.
RGB16 = (RGB.astype(np.uint16) * 256) + (255 - RGB.astype(np.uint16))
GREY16 = (GREY.astype(np.uint16) * 256) + (255 - GREY.astype(np.uint16))
ALPHA16 = (ALPHA.astype(np.uint16) * 256) + (255 - ALPHA.astype(np.uint16))


def grey3(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, -1)


def over_white(color, alpha):
    color, alpha = np.asarray(color, np.int64), np.asarray(alpha, np.int64)[..., None]
    return (color * alpha + 127) // 255 + (255 - alpha)


def to_8(values):
    return (values.astype(np.int64) + 128) // 257


def colors(bits):
    """The pattern in 2**bits colors: indices and palette."""
    image = Image.fromarray(RGB).quantize(2**bits, dither=Image.Dither.NONE)
    palette = np.array(image.getpalette()[: 3 * 2**bits], np.uint8).reshape(-1, 3)
    return np.asarray(image), np.pad(palette, ((0, 2**bits - len(palette)), (0, 0)))


# --- PNG, written by hand: Pillow writes neither every depth nor interlaced -------------------------------------------

PNG_GREY, PNG_RGB, PNG_PALETTE, PNG_GREY_ALPHA, PNG_RGBA = 0, 2, 3, 4, 6


def chunk(name, payload):
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def png_rows(samples, bits):
    """Filter byte and packed samples of each row; samples: height x width x channels."""
    rows = []
    for row in samples:
        flat = row.reshape(-1)
        if bits == 16:
            packed = flat.astype(">u2").tobytes()
        elif bits == 8:
            packed = flat.astype(np.uint8).tobytes()
        else:
            steps = ((flat[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
            packed = np.packbits(steps.reshape(-1)).tobytes()
        rows.append(b"\0" + packed)
    return b"".join(rows)


def png(samples, kind, bits, interlaced=False, before=(), after=()):
    samples = np.asarray(samples)
    if samples.ndim == 2:
        samples = samples[..., None]
    height, width = samples.shape[:2]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes]
        data = b"".join(png_rows(part, bits) for part in parts if part.size)
    else:
        data = png_rows(samples, bits)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(data, 9)), *after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def make_png():
    for bits in (1, 2, 4, 8, 16):
        top = 2**bits - 1
        values = GREY16 if bits == 16 else GREY >> (8 - bits)
        shown = to_8(GREY16) if bits == 16 else values.astype(np.int64) * 255 // top
        expect(f"png-grey-{bits}", grey3(shown))
        for interlaced in (False, True):
            variant = "interlaced" if interlaced else "plain"
            save("exact", f"png-grey-{bits}.{variant}.png", png(values, PNG_GREY, bits, interlaced))
        # One grey is declared transparent.
        gap = int(values[0, 0])
        expect(f"png-grey-{bits}-gap", np.where((values == gap)[..., None], 255, grey3(shown)))
        transparent = chunk(b"tRNS", struct.pack(">H", gap))
        save("exact", f"png-grey-{bits}-gap.trns.png", png(values, PNG_GREY, bits, before=[transparent]))

    for bits in (1, 2, 4, 8):
        indices, palette = colors(bits)
        lookup = chunk(b"PLTE", palette.tobytes())
        expect(f"png-palette-{bits}", palette[indices])
        save("exact", f"png-palette-{bits}.plain.png", png(indices, PNG_PALETTE, bits, before=[lookup]))
        alphas = np.full(len(palette), 255)
        alphas[0], alphas[1] = 0, 100
        expect(f"png-palette-{bits}-alpha", over_white(palette[indices], alphas[indices]))
        transparent = chunk(b"tRNS", bytes([0, 100]))
        save(
            "exact",
            f"png-palette-{bits}-alpha.trns.png",
            png(indices, PNG_PALETTE, bits, interlaced=bits == 4, before=[lookup, transparent]),
        )

    expect("pattern", RGB)
    save("exact", "pattern.rgb-8.png", png(RGB, PNG_RGB, 8))
    save("exact", "pattern.rgb-8-interlaced.png", png(RGB, PNG_RGB, 8, interlaced=True))
    expect("pattern-16", to_8(RGB16))
    save("exact", "pattern-16.rgb.png", png(RGB16, PNG_RGB, 16))
    expect("pattern-gap", np.where((RGB == RGB[0, 0]).all(-1)[..., None], 255, RGB))
    transparent = chunk(b"tRNS", RGB[0, 0].astype(">u2").tobytes())
    save("exact", "pattern-gap.trns-8.png", png(RGB, PNG_RGB, 8, before=[transparent]))
    expect("pattern-gap-16", np.where((RGB16 == RGB16[0, 0]).all(-1)[..., None], 255, to_8(RGB16)))
    transparent = chunk(b"tRNS", RGB16[0, 0].astype(">u2").tobytes())
    save("exact", "pattern-gap-16.trns.png", png(RGB16, PNG_RGB, 16, before=[transparent]))

    expect("pattern-alpha", over_white(RGB, ALPHA))
    save("exact", "pattern-alpha.rgba-8.png", png(np.dstack([RGB, ALPHA]), PNG_RGBA, 8))
    save("exact", "pattern-alpha.rgba-8-interlaced.png", png(np.dstack([RGB, ALPHA]), PNG_RGBA, 8, interlaced=True))
    expect("pattern-alpha-16", over_white(to_8(RGB16), to_8(ALPHA16)))
    save("exact", "pattern-alpha-16.rgba.png", png(np.dstack([RGB16, ALPHA16]), PNG_RGBA, 16))
    expect("grey-alpha", over_white(grey3(GREY), ALPHA))
    save("exact", "grey-alpha.8.png", png(np.dstack([GREY, ALPHA]), PNG_GREY_ALPHA, 8))
    expect("grey-alpha-16", over_white(grey3(to_8(GREY16)), to_8(ALPHA16)))
    save("exact", "grey-alpha-16.png", png(np.dstack([GREY16, ALPHA16]), PNG_GREY_ALPHA, 16))

    other = Image.fromarray(255 - RGB)
    save("exact", "pattern.animated.png", pillow(Image.fromarray(RGB), "PNG", save_all=True, append_images=[other]))
    default = Image.fromarray(RGB)
    save(
        "exact",
        "pattern.animated-default-image.png",
        pillow(default, "PNG", save_all=True, append_images=[other, other], default_image=True),
    )
    save("exact", "pattern.junk-at-the-end.png", png(RGB, PNG_RGB, 8) + b"junk" * 9)


# --- JPEG -------------------------------------------------------------------------------------------------------------


def cjpeg(*arguments, picture=RGB, scans=None):
    if scans:
        script = HERE / "scans.tmp"
        script.write_text(scans)
        arguments = (*arguments, "-scans", str(script))
    source = pillow(Image.fromarray(picture), "PPM")
    try:
        return subprocess.run(["cjpeg", "-quality", "92", *arguments], input=source, capture_output=True, check=True).stdout
    finally:
        if scans:
            script.unlink()


def segment(code, payload):
    return bytes([0xFF, code]) + struct.pack(">H", len(payload) + 2) + payload


def without_segment(jpeg, code):
    start = jpeg.index(bytes([0xFF, code]))
    return jpeg[:start] + jpeg[start + 2 + struct.unpack(">H", jpeg[start + 2 : start + 4])[0] :]


def ycck():
    """CMYK as Adobe writes it: inks inverted, the first three as YCbCr, transform 2. Pillow writes transform 0 only."""
    inks = 255 - np.asarray(Image.fromarray(RGB).convert("CMYK"), np.float64)
    c, m, y, k = np.moveaxis(inks, -1, 0)
    r, g, b = 255 - c, 255 - m, 255 - y
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    planes = [luma, 128 + (b - luma) / 1.772, 128 + (r - luma) / 1.402, k]
    stored = np.stack(planes, -1).round().clip(0, 255).astype(np.uint8)
    jpeg = bytearray(pillow(Image.fromarray(255 - stored, "CMYK"), "JPEG", quality=95))
    transform = jpeg.index(b"Adobe") + 11
    assert jpeg[transform] == 0
    jpeg[transform] = 2
    return bytes(jpeg)


def rgb_by_adobe():
    """RGB channels told by Adobe's marker alone: the components are numbered 1, 2, 3 and not R, G, B."""
    jpeg = bytearray(cjpeg("-rgb"))
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    for component in range(3):
        assert jpeg[frame + 10 + 3 * component] == b"RGB"[component]
        jpeg[frame + 10 + 3 * component] = component + 1
        jpeg[scan + 5 + 2 * component] = component + 1
    return bytes(jpeg)


def make_jpeg():
    image = Image.fromarray(RGB)
    cmyk = pillow(image.convert("CMYK"), "JPEG", quality=92)
    thumbnail = pillow(Image.fromarray(255 - RGB[::2, ::2]), "JPEG")
    base = pillow(image, "JPEG", quality=92, subsampling="4:2:0")
    body = base[2:]
    one_component_each = "0;\n1;\n2;\n"
    files = {
        "baseline-444": pillow(image, "JPEG", quality=92, subsampling="4:4:4"),
        "baseline-422": pillow(image, "JPEG", quality=92, subsampling="4:2:2"),
        "baseline-420": base,
        "baseline-440": cjpeg("-sample", "1x2"),
        "baseline-411": cjpeg("-sample", "4x1"),
        "baseline-one-component-a-scan": cjpeg("-sample", "2x2", scans=one_component_each),
        "chroma-finer-than-luma": cjpeg("-sample", "1x1,2x2,2x2"),
        "progressive-420": pillow(image, "JPEG", quality=92, subsampling="4:2:0", progressive=True),
        "progressive-444": pillow(image, "JPEG", quality=92, subsampling="4:4:4", progressive=True),
        "restart-markers": cjpeg("-sample", "2x2", "-restart", "1B"),
        "progressive-restart-markers": cjpeg("-progressive", "-restart", "1B"),
        "odd-size": cjpeg("-sample", "2x2", picture=RGB[:31, :47]),
        "one-pixel": cjpeg("-sample", "2x2", picture=RGB[:1, :1]),
        "grey": pillow(Image.fromarray(GREY), "JPEG", quality=92),
        "grey-progressive": pillow(Image.fromarray(GREY), "JPEG", quality=92, progressive=True),
        "grey-subsampled": cjpeg("-grayscale", "-sample", "2x2"),
        "rgb-by-names": cjpeg("-rgb"),
        "rgb-by-adobe": rgb_by_adobe(),
        "cmyk-adobe": cmyk,
        "cmyk-progressive": pillow(image.convert("CMYK"), "JPEG", quality=92, progressive=True),
        "cmyk-unmarked": without_segment(cmyk, 0xEE),
        "ycck-adobe": ycck(),
        "no-jfif": without_segment(base, 0xE0),
        "thumbnail-in-exif": b"\xff\xd8" + segment(0xE1, b"Exif\0\0" + thumbnail) + body,
        "garbage-between-segments": b"\xff\xd8" + segment(0xFE, b"note") + b"\0garbage\0" + body,
        "fill-bytes": b"\xff\xd8\xff\xff\xff" + body,
        "junk-at-the-end": base + b"\r\n--boundary--\r\n",
        # A photo with a second one behind it: MPO of a 3D camera, Ultra HDR of a phone.
        "second-picture-behind": base + pillow(Image.fromarray(255 - RGB), "JPEG"),
    }
    for name, data in files.items():
        save("close", f"jpeg-{name}.jpg", data)
        expect(f"jpeg-{name}", np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


# --- orientation ------------------------------------------------------------------------------------------------------


def stored_for(orientation, picture):
    """What a camera stores so that the orientation turns it into `picture`."""
    return {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](picture)


def exif(orientation, little=True):
    """A block with two entries, the orientation second."""
    order = "<" if little else ">"
    start = b"II*\0" if little else b"MM\0*"
    make = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"cam\0")
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return start + struct.pack(order + "IH", 8, 2) + make + entry + struct.pack(order + "I", 0)


def jpeg_with(block, jpeg):
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + block) + jpeg[2:]


def make_orientation():
    for orientation in range(1, 9):
        stored = np.ascontiguousarray(stored_for(orientation, RGB))
        assert (stored == stored_for(orientation, RGB)).all()
        image = Image.fromarray(stored)
        block = exif(orientation, little=orientation % 2 == 0)
        plain = pillow(image, "JPEG", quality=97, subsampling="4:4:4")
        save("close", f"pattern.orientation-{orientation}.jpg", jpeg_with(block, plain))
        where = {"after": [chunk(b"eXIf", block)]} if orientation % 3 == 0 else {"before": [chunk(b"eXIf", block)]}
        save("exact", f"pattern.orientation-{orientation}.png", png(stored, PNG_RGB, 8, **where))
        prefix = b"Exif\0\0" if orientation > 4 else b""
        save(
            "exact",
            f"pattern.orientation-{orientation}.webp",
            pillow(image, "WEBP", lossless=True, exact=True, exif=prefix + block),
        )
        save(
            "exact",
            f"pattern.orientation-{orientation}.tif",
            pillow(image, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation}),
        )

    plain = pillow(Image.fromarray(RGB), "JPEG", quality=97, subsampling="4:4:4")
    bogus = {
        "orientation-0": exif(0),
        "orientation-9": exif(9),
        "orientation-65535": exif(65535),
        "empty": b"",
        "garbage": b"\xff" * 40,
        "directory-beyond-the-end": b"II*\0\xff\xff\xff\x7f",
        "cut-inside-the-entry": exif(6)[:-12],
        "as-a-rational": exif(6).replace(b"\x12\x01\x03\0", b"\x12\x01\x05\0"),
    }
    for name, block in bogus.items():
        save("close", f"pattern.bogus-exif-{name}.jpg", jpeg_with(block, plain))
        save("exact", f"pattern.bogus-exif-{name}.png", png(RGB, PNG_RGB, 8, before=[chunk(b"eXIf", block)]))
    save("close", "pattern.second-exif-ignored.orientation-1.jpg", jpeg_with(exif(1), jpeg_with(exif(6), plain)))
    save("exact", "pattern.bogus-orientation.tif", pillow(Image.fromarray(RGB), "TIFF", tiffinfo={274: 77}))


# --- WebP, GIF --------------------------------------------------------------------------------------------------------


def make_webp():
    image, clear = Image.fromarray(RGB), Image.fromarray(np.dstack([RGB, ALPHA]))
    other = Image.fromarray(255 - RGB)
    save("exact", "pattern.lossless.webp", pillow(image, "WEBP", lossless=True))
    save("exact", "pattern-alpha.lossless.webp", pillow(clear, "WEBP", lossless=True, exact=True))
    save(
        "exact",
        "pattern.animated.webp",
        pillow(image, "WEBP", lossless=True, save_all=True, append_images=[other], duration=100),
    )
    lossy = pillow(image, "WEBP", quality=90)
    save("close", "webp-lossy.webp", lossy)
    expect("webp-lossy", np.asarray(Image.open(io.BytesIO(lossy)).convert("RGB")))
    lossy = pillow(clear, "WEBP", quality=90)
    save("close", "webp-lossy-alpha.webp", lossy)
    shown = np.asarray(Image.open(io.BytesIO(lossy)).convert("RGBA"))
    expect("webp-lossy-alpha", over_white(shown[..., :3], shown[..., 3]))
    odd = pillow(Image.fromarray(RGB[:31, :47]), "WEBP", quality=90)
    save("close", "webp-odd-size.webp", odd)
    expect("webp-odd-size", np.asarray(Image.open(io.BytesIO(odd)).convert("RGB")))


def gif_on_canvas(gif, left, top, width, height):
    """The same frame at another place of a larger canvas."""
    gif = bytearray(gif)
    frame = gif.index(b"\x2c\0\0\0\0" + struct.pack("<HH", WIDTH, HEIGHT))
    gif[6:10] = struct.pack("<HH", width, height)
    gif[frame + 1 : frame + 5] = struct.pack("<HH", left, top)
    return bytes(gif)


def make_gif():
    indices, palette = colors(4)
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(palette.tobytes())
    shown = palette[indices]
    expect("gif", shown)
    plain = pillow(image, "GIF", interlace=0)
    save("exact", "gif.plain.gif", plain)
    save("exact", "gif.interlaced.gif", pillow(image, "GIF", interlace=1))
    other = image.transpose(Image.Transpose.ROTATE_180)
    save("exact", "gif.animated.gif", pillow(image, "GIF", save_all=True, append_images=[other], duration=100, loop=0))
    save("exact", "gif.junk-at-the-end.gif", plain + b"junk" * 9)
    gap = int(indices[0, 0])
    expect("gif-gap", np.where((indices == gap)[..., None], 255, shown))
    save("exact", "gif-gap.transparent.gif", pillow(image, "GIF", transparency=gap, interlace=0))
    canvas = np.full((HEIGHT + 10, WIDTH + 12, 3), 255)
    canvas[4 : 4 + HEIGHT, 7 : 7 + WIDTH] = shown
    expect("gif-on-canvas", canvas)
    save("exact", "gif-on-canvas.gif", gif_on_canvas(plain, 7, 4, WIDTH + 12, HEIGHT + 10))


# --- BMP, written by hand: Pillow writes only some ---------------------------------------------------------------------


def bmp(rows, bits, palette=b"", compression=0, masks=b"", height=HEIGHT, colors_used=0, header_size=40):
    """`rows`: the pixel data as stored. A negative height is top-down."""
    header = struct.pack("<iiHHIIiiII", WIDTH, height, 1, bits, compression, len(rows), 2835, 2835, colors_used, 0)
    header = struct.pack("<I", header_size) + header + masks
    offset = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset) + header + palette + rows


def bmp_rows(packed_rows):
    return b"".join(row + b"\0" * (-len(row) % 4) for row in packed_rows)


def make_bmp():
    bgr = RGB[..., ::-1]
    upwards = bmp_rows(row.tobytes() for row in bgr[::-1])
    save("exact", "pattern.24-bit.bmp", bmp(upwards, 24))
    save("exact", "pattern.24-bit-top-down.bmp", bmp(bmp_rows(row.tobytes() for row in bgr), 24, height=-HEIGHT))
    # The fourth byte of plain 32 bits is nothing: many programs leave it 0, which must not read as transparent.
    unused = np.dstack([bgr, np.zeros_like(ALPHA)])
    save("exact", "pattern.32-bit-unused-byte.bmp", bmp(unused[::-1].tobytes(), 32))
    clear = np.dstack([bgr, ALPHA])
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    v4 = masks + b"\0" * (108 - 40 - len(masks))
    save("exact", "pattern-alpha.32-bit-v4.bmp", bmp(clear[::-1].tobytes(), 32, compression=3, masks=v4, header_size=108))
    core = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24)
    save("exact", "pattern.core-header.bmp", struct.pack("<2sIHHI", b"BM", 26 + len(upwards), 0, 0, 26) + core + upwards)

    for name, (r, g, b) in {"555": (5, 5, 5), "565": (5, 6, 5)}.items():
        reduced = [RGB[..., channel].astype(np.int64) >> (8 - bits) for channel, bits in enumerate((r, g, b))]
        shown = [(values * 255 + (2**bits - 1) // 2) // (2**bits - 1) for values, bits in zip(reduced, (r, g, b))]
        expect(f"bmp-{name}", np.stack(shown, -1))
        words = (reduced[0] << (g + b)) | (reduced[1] << b) | reduced[2]
        rows = words[::-1].astype("<u2").tobytes()
        masks = struct.pack("<III", ((1 << r) - 1) << (g + b), ((1 << g) - 1) << b, (1 << b) - 1)
        save("exact", f"bmp-{name}.bitfields.bmp", bmp(rows, 16, compression=3, masks=masks))
        if name == "555":
            save("exact", f"bmp-{name}.plain.bmp", bmp(rows, 16))

    for bits in (1, 4, 8):
        indices, palette = colors(bits)
        expect(f"bmp-palette-{bits}", palette[indices])
        table = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
        packed = [png_rows(row[None, :, None], bits)[1:] for row in indices[::-1]]
        save("exact", f"bmp-palette-{bits}.plain.bmp", bmp(bmp_rows(packed), bits, palette=table))
        if bits == 8:
            runs = b"".join(b"".join(bytes([1, i]) for i in row) + b"\0\0" for row in indices[::-1].tolist()) + b"\0\1"
            save("exact", "bmp-palette-8.rle.bmp", bmp(runs, 8, palette=table, compression=1))
        if bits == 4:
            runs = b"".join(
                b"".join(bytes([2, a << 4 | b]) for a, b in zip(row[::2], row[1::2])) + b"\0\0"
                for row in indices[::-1].tolist()
            )
            save("exact", "bmp-palette-4.rle.bmp", bmp(runs + b"\0\1", 4, palette=table, compression=2))


# --- TIFF -------------------------------------------------------------------------------------------------------------


def tiff_rows(samples, bits, order):
    """Rows as stored; samples of fewer than 8 bits, and of those that fill no word, packed."""
    kind = {8: "u1", 16: "u2", 32: "u4", 64: "u8"}
    if samples.dtype.kind == "f" and bits > 8:
        return samples.astype(f"{order}f{bits // 8}").tobytes()
    if bits in kind:
        return samples.astype(order + kind[bits]).tobytes()
    flat = samples.reshape(len(samples), -1, 1).astype(np.int64)
    if bits == 24 and order == "<":
        return flat.astype("<u4").view("u1").reshape(-1, 4)[:, :3].tobytes()
    return np.packbits(((flat >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).reshape(len(samples), -1), -1).tobytes()


def tiff(samples, photometric, bits, big=False, extra=(), planar=False, data=None):
    """An uncompressed TIFF of one strip; samples: height x width x channels. `extra` adds to and replaces tags, `data`
    replaces what the strip holds, or says what each of several holds."""
    order = ">" if big else "<"
    samples = np.asarray(samples)
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, channels = samples.shape
    parts = [samples[..., channel] for channel in range(channels)] if planar else [samples]
    strips = [tiff_rows(part, bits, order) for part in parts] if data is None else data
    strips = [strips] if isinstance(strips, bytes) else strips
    tags = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [bits] * channels),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [None] * len(strips)),
        277: (3, [channels]),
        278: (3, [height]),
        279: (4, [len(strip) for strip in strips]),
        284: (3, [2 if planar else 1]),
    }
    tags.update({tag: (kind, values) for tag, kind, values in extra})
    tags = [(tag, kind, values) for tag, (kind, values) in sorted(tags.items()) if values]
    directory = 8
    spill = directory + 2 + 12 * len(tags) + 4
    long_values, entries = b"", []
    sizes = {3: "H", 4: "I", 5: "II"}
    size = lambda kind, values: len(values) * struct.calcsize(sizes[kind][:1])
    start = spill + sum(size(kind, values) for _, kind, values in tags if size(kind, values) > 4)
    for tag, kind, values in tags:
        if tag == 273 and values[0] is None:
            values = [start + sum(map(len, strips[:index])) for index in range(len(strips))]
        packed = struct.pack(f"{order}{len(values)}{sizes[kind][:1]}", *values)
        if len(packed) > 4:
            place = struct.pack(order + "I", spill + len(long_values))
            long_values += packed
        else:
            place = packed.ljust(4, b"\0")
        entries.append(struct.pack(order + "HHI", tag, kind, len(values) // len(sizes[kind])) + place)
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(order + "I", directory)
    return head + struct.pack(order + "H", len(tags)) + b"".join(entries) + b"\0\0\0\0" + long_values + b"".join(strips)


def tiff_by_tifffile(samples, photometric, **options):
    """Tiles, compressions and predictors."""
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def reversed_bits(data):
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


def fraction(value):
    return [round(value * 10000), 10000]


def make_tiff_grey():
    for bits in (1, 2, 4, 12, 14, 20, 24):
        top = 2**bits - 1
        values = GREY16.astype(np.int64) >> (16 - bits) if bits <= 16 else GREY16.astype(np.int64) << (bits - 16)
        expect(f"tiff-grey-{bits}", grey3((values * 510 + top) // (2 * top)))
        save("exact", f"tiff-grey-{bits}.raw.tif", tiff(values, 1, bits))
        save("exact", f"tiff-grey-{bits}.white-is-zero.tif", tiff(top - values, 0, bits, big=True))
    # A row that ends inside a byte.
    values = (GREY >> 6)[:, :45]
    expect("tiff-grey-2-odd", grey3(values * 85))
    save("exact", "tiff-grey-2-odd.raw.tif", tiff(values, 1, 2))
    save("exact", "grey-16.white-is-zero.tif", tiff(65535 - GREY16, 0, 16))
    save("exact", "grey-16.uint-32.tif", tiff(GREY16.astype(np.int64) * 65537, 1, 32))
    save("exact", "grey-16.uint-64-white-is-zero.tif", tiff(~(GREY16.astype(np.uint64) * (2**64 // 65535)), 0, 64, big=True))
    save("exact", "grey-alpha.8.tif", tiff(np.dstack([GREY, ALPHA]), 1, 8, extra=[(338, 3, [2])]))
    save("exact", "grey-alpha.planar.tif", tiff(np.dstack([GREY, ALPHA]), 1, 8, extra=[(338, 3, [2])], planar=True))
    save("exact", "grey-alpha-16.tif", tiff(np.dstack([GREY16, ALPHA16]), 1, 16, big=True, extra=[(338, 3, [2])]))
    save("exact", "grey.unspecified-extra.tif", tiff(np.dstack([GREY, ALPHA]), 1, 8, extra=[(338, 3, [0])]))
    one_bit = GREY > 127
    save("exact", "black-and-white.fill-order-2.tif", tiff(one_bit, 1, 1, extra=[(266, 3, [2])], data=reversed_bits(tiff_rows(one_bit, 1, "<"))))
    fax = pillow(Image.fromarray(one_bit), "TIFF", compression="group4")
    tags = Image.open(io.BytesIO(fax)).tag_v2
    (place,), (length,) = tags[273], tags[279]
    strip = reversed_bits(fax[place : place + length])
    save("exact", "black-and-white.fax-fill-order-2.tif", tiff(one_bit, tags[262], 1, extra=[(259, 3, [4]), (266, 3, [2])], data=strip))


def make_tiff_palette():
    for bits in (1, 2, 4, 8):
        indices, palette = colors(bits)
        expect(f"tiff-palette-{bits}", palette[indices])
        full = [(320, 3, (palette.T.astype(int) * 257).reshape(-1).tolist())]
        save("exact", f"tiff-palette-{bits}.plain.tif", tiff(indices, 3, bits, extra=full, big=bits == 2))
        old = [(320, 3, palette.T.astype(int).reshape(-1).tolist())]
        save("exact", f"tiff-palette-{bits}.map-of-8-bits.tif", tiff(indices, 3, bits, extra=old))
    # Pillow writes 256 times the level, the others 257 times.
    paletted = Image.fromarray(indices.astype(np.uint8), "P")
    paletted.putpalette(palette.tobytes())
    save("exact", "tiff-palette-8.lzw.tif", pillow(paletted, "TIFF", compression="tiff_lzw"))


    # 65536 colors, of which the picture has those at 41 times their number.
    indices, palette = colors(8)
    expect("tiff-palette-16", palette[indices])
    full = np.zeros((3, 65536), np.uint16)
    full[:, np.arange(256) * 41] = palette.T.astype(np.uint16) * 257
    packed = imagecodecs.lzw_encode((indices.astype(np.uint16) * 41).astype(">u2").tobytes())
    maps = [(320, 3, full.reshape(-1).tolist()), (259, 3, [5])]
    save("exact", "tiff-palette-16.lzw.tif", tiff(indices, 3, 16, extra=maps, big=True, data=packed))
    alpha = np.dstack([indices, ALPHA])
    expect("tiff-palette-8-alpha", over_white(palette[indices], ALPHA))
    full = [(320, 3, (palette.T.astype(int) * 257).reshape(-1).tolist()), (338, 3, [2])]
    save("exact", "tiff-palette-8-alpha.tif", tiff(alpha, 3, 8, extra=full))


def make_tiff_rgb():
    rgba = np.dstack([RGB, ALPHA])
    premultiplied = (RGB.astype(np.int64) * ALPHA[..., None] + 127) // 255
    expect("pattern-associated", premultiplied + (255 - ALPHA[..., None].astype(np.int64)))
    associated = np.dstack([premultiplied, ALPHA])
    save("exact", "pattern-associated.rgba.tif", tiff(associated, 2, 8, extra=[(338, 3, [1])]))
    save("exact", "pattern-associated.planar.tif", tiff(associated, 2, 8, extra=[(338, 3, [1])], planar=True))
    save("exact", "pattern-alpha.planar.tif", tiff(rgba, 2, 8, extra=[(338, 3, [2])], planar=True))
    second = np.dstack([RGB, 255 - ALPHA, ALPHA])
    save("exact", "pattern-alpha.second-extra.tif", tiff(second, 2, 8, extra=[(338, 3, [0, 2])]))
    save("exact", "pattern-alpha-16.rgba.tif", tiff(np.dstack([RGB16, ALPHA16]), 2, 16, extra=[(338, 3, [2])]))
    save("exact", "pattern.unspecified-extra.tif", tiff(rgba, 2, 8, extra=[(338, 3, [0])]))
    save("exact", "pattern-alpha.undeclared.tif", tiff(rgba, 2, 8))
    save("exact", "pattern.fill-order-2.tif", tiff(RGB, 2, 8, extra=[(266, 3, [2])], data=reversed_bits(RGB.tobytes())))
    save("exact", "pattern.no-lengths.tif", tiff(RGB, 2, 8, extra=[(279, 4, [])]))
    save("exact", "pattern.one-bits-per-sample.tif", tiff(RGB, 2, 8, extra=[(258, 3, [8])]))
    save("exact", "pattern-16.planar.tif", tiff(RGB16, 2, 16, planar=True, big=True))
    save("exact", "pattern-16.uint-32.tif", tiff(RGB16.astype(np.int64) * 65537, 2, 32))
    four = RGB.astype(np.int64) >> 4
    expect("tiff-rgb-4", four * 17)
    save("exact", "tiff-rgb-4.raw.tif", tiff(four, 2, 4))
    save("exact", "tiff-rgb-4.planar.tif", tiff(four, 2, 4, planar=True))

    for name, options in {
        "strips-lzw-predicted": dict(rowsperstrip=5, compression="lzw", predictor=2),
        "strips-packbits": dict(rowsperstrip=7, compression="packbits"),
        "tiles-raw": dict(tile=(16, 32)),
        "tiles-deflate-predicted": dict(tile=(32, 32), compression="zlib", predictor=2),
        "tiles-larger-than-it": dict(tile=(64, 64), compression="lzw"),
    }.items():
        save("exact", f"pattern.{name}.tif", tiff_by_tifffile(RGB, "rgb", **options))
        planes = np.ascontiguousarray(np.moveaxis(RGB, -1, 0))
        save("exact", f"pattern.planar-{name}.tif", tiff_by_tifffile(planes, "rgb", planarconfig="separate", **options))
        save("exact", f"pattern-16.{name}.tif", tiff_by_tifffile(RGB16, "rgb", byteorder=">", **options))


def make_tiff_float():
    unit = RGB / 255
    for bits in (16, 32, 64):
        save("exact", f"pattern.float-{bits}.tif", tiff(unit, 2, bits, extra=[(339, 3, [3, 3, 3])], big=bits == 32))
        save("exact", f"grey.float-{bits}.tif", tiff(GREY / 255, 1, bits, extra=[(339, 3, [3])]))
    words = unit.astype("f4").view("u4").astype(np.int64)
    # Rounded to 16 bits of mantissa, with an exponent of 7.
    words = np.where(words == 0, 0, ((words + 64) >> 7) - ((127 - 63) << 16))
    for order, big in (("little", False), ("big", True)):
        save("exact", f"pattern.float-24-{order}-endian.tif", tiff(words, 2, 24, extra=[(339, 3, [3, 3, 3])], big=big))
    predicted = dict(compression="zlib", predictor=3)
    save("exact", "pattern.float-32-predicted.tif", tiff_by_tifffile(unit.astype("f4"), "rgb", **predicted))
    save("exact", "pattern.float-16-tiles.tif", tiff_by_tifffile(unit.astype("f2"), "rgb", tile=(32, 32), **predicted))
    save("exact", "grey.float-white-is-zero.tif", tiff(1 - GREY / 255, 0, 32, extra=[(339, 3, [3])]))
    save(
        "exact",
        "pattern-alpha.float-32.tif",
        tiff(np.dstack([unit, ALPHA / 255]), 2, 32, extra=[(339, 3, [3] * 4), (338, 3, [2])]),
    )
    beyond = GREY / 100 - 0.5
    beyond[0, :4] = [np.nan, np.inf, -np.inf, -0.0]
    shown = np.floor(np.nan_to_num(beyond, nan=0, posinf=1, neginf=0).astype("f4").clip(0, 1) * np.float32(255) + np.float32(0.5))
    expect("tiff-float-beyond", grey3(shown))
    save("exact", "tiff-float-beyond.grey.tif", tiff(beyond, 1, 32, extra=[(339, 3, [3])]))


def make_tiff_cmyk():
    # Black ink of its own: Pillow's conversion leaves it out.
    black = 255 - RGB.max(-1)
    inks = np.dstack([255 - RGB - black[..., None], black]).astype(np.int64)
    shown = ((255 - inks[..., :3]) * (255 - inks[..., 3:]) + 127) // 255
    expect("tiff-cmyk", shown)
    save("exact", "tiff-cmyk.8.tif", tiff(inks, 5, 8))
    save("exact", "tiff-cmyk.16.tif", tiff(inks * 257, 5, 16, big=True))
    save("exact", "tiff-cmyk.planar.tif", tiff(inks, 5, 8, planar=True))
    save("exact", "tiff-cmyk.tiles.tif", tiff_by_tifffile(inks.astype(np.uint8), "separated", tile=(32, 32), compression="lzw", predictor=2))
    expect("tiff-cmyk-alpha", over_white(shown, ALPHA))
    save("exact", "tiff-cmyk-alpha.tif", tiff(np.dstack([inks, ALPHA]), 5, 8, extra=[(338, 3, [2])]))


def ycbcr_samples(rgb, luma=(0.299, 0.587, 0.114)):
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = luma[0] * r + luma[1] * g + luma[2] * b
    cb, cr = 128 + (b - y) / (2 - 2 * luma[2]) * 127 / 127.5 , 128 + (r - y) / (2 - 2 * luma[0]) * 127 / 127.5
    return np.stack([y, cb, cr], -1).round().clip(0, 255)


def ycbcr_shown(samples, luma=(0.299, 0.587, 0.114)):
    """The formulas of the specification, TIFF 6.0 section 21."""
    y, cb, cr = samples[..., 0], samples[..., 1] - 128, samples[..., 2] - 128
    r, b = cr * (2 - 2 * luma[0]) + y, cb * (2 - 2 * luma[2]) + y
    return np.stack([r, (y - luma[2] * b - luma[0] * r) / luma[1], b], -1).round().clip(0, 255)


def subsampled(samples, across, down):
    """Blocks as TIFF stores them, and the samples that they stand for. Beyond the edge, the last pixel again."""
    height, width = samples.shape[:2]
    padded = np.pad(samples, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // down, padded.shape[1] // across
    blocks = padded.reshape(rows, down, columns, across, 3)
    chroma = blocks[..., 1:].mean((1, 3)).round()
    lumas = blocks[..., 0].transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    stored = np.concatenate([lumas, chroma], -1).astype(np.uint8)
    spread = chroma.repeat(down, 0).repeat(across, 1)[:height, :width]
    return stored, np.dstack([samples[..., :1], spread])


def make_tiff_ycbcr():
    for across, down in ((1, 1), (2, 1), (2, 2), (4, 1), (4, 4), (1, 2)):
        picture = RGB[:31, :45] if (across, down) in ((2, 2), (4, 4)) else RGB
        stored, meant = subsampled(ycbcr_samples(picture), across, down)
        name = f"tiff-ycbcr-{across}{down}"
        expect(name, ycbcr_shown(meant))
        # Unsaid, it is 2 x 2.
        tags = [(530, 3, [across, down])] if (across, down) != (2, 2) else []
        save("close", f"{name}.raw.tif", tiff(picture, 6, 8, extra=tags, data=stored.tobytes()))
        packed = imagecodecs.lzw_encode(stored.tobytes())
        save("close", f"{name}.lzw.tif", tiff(picture, 6, 8, extra=[*tags, (259, 3, [5])], data=packed))
    stored, meant = subsampled(ycbcr_samples(RGB), 2, 2)
    strips = [stored[:8].tobytes(), stored[8:].tobytes()]
    expect("tiff-ycbcr-strips", ycbcr_shown(meant))
    save("close", "tiff-ycbcr-strips.tif", tiff(RGB, 6, 8, extra=[(278, 3, [16])], data=strips))

    for across, down, big in ((2, 2, False), (4, 1, True)):
        stored, meant = subsampled(ycbcr_samples(RGB), across, down)
        expect(f"tiff-ycbcr-16-{across}{down}", ycbcr_shown(meant))
        words = (stored.astype(np.uint16) * 257).astype(">u2" if big else "<u2").tobytes()
        tags = [(530, 3, [across, down])]
        save("close", f"tiff-ycbcr-16-{across}{down}.raw.tif", tiff(RGB, 6, 16, extra=tags, big=big, data=words))
        packed = [*tags, (259, 3, [50000])]
        save("close", f"tiff-ycbcr-16-{across}{down}.zstd.tif", tiff(RGB, 6, 16, extra=packed, big=big, data=imagecodecs.zstd_encode(words)))

    samples = ycbcr_samples(RGB)
    full = [(530, 3, [1, 1])]
    expect("tiff-ycbcr", ycbcr_shown(samples))
    save("close", "tiff-ycbcr.12.tif", tiff((samples * 4095 / 255).round().astype(int), 6, 12, extra=full))
    save("close", "tiff-ycbcr.planar.tif", tiff(samples, 6, 8, extra=full, planar=True))
    save("close", "tiff-ycbcr.16.tif", tiff((samples * 257).astype(np.uint16), 6, 16, extra=full))
    wide = (532, 5, sum((fraction(value) for value in (0, 65535, 32768, 65535, 32768, 65535)), []))
    save("close", "tiff-ycbcr.16-with-range.tif", tiff((samples * 257).astype(np.uint16), 6, 16, extra=[*full, wide]))
    rec709 = (0.2126, 0.7152, 0.0722)
    coefficients = (529, 5, sum((fraction(share) for share in rec709), []))
    samples = ycbcr_samples(RGB, rec709)
    expect("tiff-ycbcr-709", ycbcr_shown(samples, rec709))
    save("close", "tiff-ycbcr-709.tif", tiff(samples, 6, 8, extra=[*full, coefficients]))
    # The range of video: luma from 16 to 235, chroma to 240.
    samples = ycbcr_samples(RGB)
    narrow = np.dstack([16 + samples[..., :1] * 219 / 255, 128 + (samples[..., 1:] - 128) * 112 / 127]).round()
    reference = (532, 5, sum((fraction(value) for value in (16, 235, 128, 240, 128, 240)), []))
    expect("tiff-ycbcr-video", ycbcr_shown(np.dstack([(narrow[..., :1] - 16) * 255 / 219, 128 + (narrow[..., 1:] - 128) * 127 / 112])))
    save("close", "tiff-ycbcr-video.tif", tiff(narrow, 6, 8, extra=[*full, reference]))

    for name, samples, photometric, options in (
        ("ycbcr", RGB, "ycbcr", {}),
        ("ycbcr-444", RGB, "ycbcr", dict(subsampling=(1, 1))),
        ("ycbcr-tiles", RGB, "ycbcr", dict(tile=(32, 32))),
        ("strips", RGB, "rgb", dict(rowsperstrip=16)),
        ("grey-tiles", GREY, "minisblack", dict(tile=(16, 16))),
    ):
        file = tiff_by_tifffile(samples, photometric, compression="jpeg", compressionargs={"level": 92}, **options)
        save("close", f"tiff-jpeg-{name}.tif", file)
        expect(f"tiff-jpeg-{name}", np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))
    inks = Image.fromarray(RGB).convert("CMYK")
    file = pillow(inks, "TIFF", compression="jpeg", quality=95)
    save("close", "tiff-jpeg-cmyk.tif", file)
    expect("tiff-jpeg-cmyk", 255 - np.asarray(Image.open(io.BytesIO(file)))[..., :3])


def make_tiff_lab():
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    # By the formulas, not by the tables that they are otherwise shortened to, which are off by 13.
    exactly = ImageCms.Flags.NOOPTIMIZE
    stored = ImageCms.profileToProfile(Image.fromarray(RGB), srgb, lab, outputMode="LAB", flags=exactly)
    shown = ImageCms.profileToProfile(stored, lab, srgb, outputMode="RGB", flags=exactly)
    expect("tiff-lab", np.asarray(shown))
    signed = np.asarray(stored)
    assert abs(int(signed[12, 20, 1].astype(np.int8))) < 4
    save("close", "tiff-lab.cie.tif", tiff(signed, 8, 8))
    save("close", "tiff-lab.icc.tif", tiff(signed ^ np.array([0, 128, 128], np.uint8), 9, 8))
    save("close", "tiff-lab.pillow.tif", pillow(stored, "TIFF"))
    # The same colors in 16 bits: L* over the whole range, or up to 0xff00 as ICC has it; 256 to a unit of a* and b*.
    units = signed.astype(np.uint16)
    save("close", "tiff-lab.cie-16.tif", tiff(np.dstack([units[..., :1] * 257, units[..., 1:] << 8]), 8, 16))
    offset = units ^ np.array([0, 128, 128], np.uint16)
    save("close", "tiff-lab.icc-16.tif", tiff(offset << 8, 9, 16))
    # The upper 12 bits of those.
    save("close", "tiff-lab.cie-12.tif", tiff(np.dstack([units[..., :1] * 257 >> 4, units[..., 1:] << 4]), 8, 12))
    save("close", "tiff-lab.icc-12.tif", tiff(offset << 4, 9, 12))


def libtiff(tool, file, *options):
    """What a tool of libtiff makes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "in.tif"), Path(folder, "out.tif")
        before.write_bytes(file)
        subprocess.run([tool, *options, before, after], check=True, capture_output=True)
        return after.read_bytes()


def shown_by_libtiff(file):
    return np.asarray(Image.open(io.BytesIO(libtiff("tiff2rgba", file, "-n"))).convert("RGB"))


def make_tiff_packed():
    """What takes a decompressor of its own, as libtiff and tifffile write it."""
    plain, plain_16 = tiff(RGB, 2, 8), tiff(RGB16, 2, 16)
    for packing in ("zstd", "lzma"):
        save("exact", f"pattern.{packing}.tif", tiff_by_tifffile(RGB, "rgb", compression=packing))
        save("exact", f"pattern.{packing}-strips-predicted.tif", libtiff("tiffcp", plain, "-c", f"{packing}:2", "-r", "7"))
        save("exact", f"pattern.{packing}-planes.tif", libtiff("tiffcp", plain, "-c", packing, "-p", "separate"))
        save("exact", f"pattern.{packing}-fill-order-2.tif", libtiff("tiffcp", plain, "-c", packing, "-f", "lsb2msb"))
        tiles = ["-t", "-w", "32", "-l", "16", "-B"]
        save("exact", f"pattern-16.{packing}-tiles-predicted.tif", libtiff("tiffcp", plain_16, "-c", f"{packing}:2", *tiles))
        floats = (RGB / 255).astype("f4")
        predicted = tiff_by_tifffile(floats, "rgb", compression=packing, predictor=3)
        save("exact", f"pattern.{packing}-float-32-predicted.tif", predicted)
    rgba = np.dstack([RGB, ALPHA])
    lossless = dict(compression="webp", compressionargs={"lossless": True})
    save("exact", "pattern.webp-lossless.tif", tiff_by_tifffile(RGB, "rgb", rowsperstrip=10, **lossless))
    save("exact", "pattern.webp-opaque-alpha.tif", tiff_by_tifffile(np.dstack([RGB, ALPHA * 0 + 255]), "rgb", extrasamples=["unassalpha"], **lossless))
    save("exact", "pattern-alpha.webp-lossless.tif", tiff_by_tifffile(rgba, "rgb", tile=(16, 16), extrasamples=["unassalpha"], **lossless))
    other = libtiff("tiffcp", plain, "-c", "webp:p100", "-f", "lsb2msb")
    save("exact", "pattern.webp-fill-order-2.tif", other)
    lossy = tiff_by_tifffile(RGB, "rgb", compression="webp", compressionargs={"level": 90})
    save("close", "tiff-webp.tif", lossy)
    expect("tiff-webp", tifffile.imread(io.BytesIO(lossy)))
    # 64-bit places.
    save("exact", "pattern.big-tiff.tif", tiff_by_tifffile(RGB, "rgb", bigtiff=True, rowsperstrip=5))
    save("exact", "pattern.big-tiff-big-endian.tif", tiff_by_tifffile(RGB, "rgb", bigtiff=True, byteorder=">", tile=(16, 16), compression="lzw"))
    save("exact", "pattern-16.big-tiff.tif", libtiff("tiffcp", plain_16, "-8", "-c", "zip:2"))
    save("exact", "pattern.stray-predictor.tif", tiff(RGB, 2, 8, extra=[(317, 3, [2])]))
    save("exact", "pattern.no-photometric.tif", tiff(RGB, 2, 8, extra=[(262, 3, [])]))


def make_tiff_fax():
    one_bit = tiff((GREY <= 127).astype(np.uint8), 0, 1)
    for name, option in {"1d": "g3:1d", "2d": "g3:2d", "1d-aligned": "g3:1d:fill", "2d-aligned": "g3:2d:fill"}.items():
        save("exact", f"black-and-white.fax-group-3-{name}.tif", libtiff("tiffcp", one_bit, "-c", option))
        save("exact", f"black-and-white.fax-group-3-{name}-strips.tif", libtiff("tiffcp", one_bit, "-c", option, "-r", "7", "-f", "lsb2msb"))
    save("exact", "black-and-white.fax-group-4-strips.tif", libtiff("tiffcp", one_bit, "-c", "g4", "-r", "5"))
    save("exact", "black-and-white.fax-group-4-tiles.tif", libtiff("tiffcp", one_bit, "-c", "g4", "-t", "-w", "32", "-l", "16"))
    bits = Image.fromarray(GREY > 127)
    save("exact", "black-and-white.fax-rows.tif", pillow(bits, "TIFF", compression="tiff_ccitt"))
    save("exact", "black-and-white.fax-black-is-zero.tif", libtiff("tiffcp", pillow(bits, "TIFF"), "-c", "g3"))
    # As fax machines leave it: nothing says that white is zero.
    tags = Image.open(io.BytesIO(libtiff("tiffcp", one_bit, "-c", "g3"))).tag_v2
    file = libtiff("tiffcp", one_bit, "-c", "g3")
    strip = file[tags[273][0] : tags[273][0] + tags[279][0]]
    save("exact", "black-and-white.fax-no-photometric.tif", tiff(GREY > 127, 0, 1, extra=[(259, 3, [3]), (262, 3, [])], data=strip))


def make_tiff_log_luv():
    """As libtiff writes it, and shows it; nothing else does."""
    library = ctypes.CDLL("libtiff.so.6")
    library.TIFFOpen.restype = ctypes.c_void_p
    # Back from what is shown: levels are the square root, the primaries those of Rec. 709 with a white of equal energy.
    linear = ((RGB.astype(float) + 0.5) / 256) ** 2
    matrix = np.array([[2.690, -1.276, -0.414], [-1.022, 1.978, 0.044], [0.061, -0.224, 1.163]])
    xyz = (linear @ np.linalg.inv(matrix).T).astype("f4")
    # Beyond white, and nothing at all.
    xyz[0, 0], xyz[0, 1] = 3, 0
    for name, photometric, pixels in (("luv", 32845, xyz), ("l", 32844, np.ascontiguousarray(xyz[..., 1]))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "log.tif")
            file = ctypes.c_void_p(library.TIFFOpen(str(path).encode(), b"w"))
            floats = 0
            tags = {256: WIDTH, 257: HEIGHT, 258: 32, 277: pixels[0, 0].size, 339: 3, 284: 1, 278: 10}
            for tag, value in {**tags, 262: photometric, 259: 34676, 65560: floats}.items():
                assert library.TIFFSetField(file, tag, ctypes.c_int(value))
            for y in range(HEIGHT):
                assert library.TIFFWriteScanline(file, pixels[y].tobytes(), y, 0) == 1
            library.TIFFClose(file)
            data = path.read_bytes()
        save("close", f"tiff-log-{name}.tif", data)
        save("close", f"tiff-log-{name}.fill-order-2.tif", libtiff("tiffcp", data, "-c", "sgilog", "-f", "lsb2msb"))
        expect(f"tiff-log-{name}", shown_by_libtiff(data))


def old_jpeg_parts(jpeg):
    """The tables of a JPEG by kind and number, and where its scan starts."""
    found, at = {}, 2
    while True:
        code, (length,) = jpeg[at + 1], struct.unpack(">H", jpeg[at + 2 : at + 4])
        payload, at = jpeg[at + 4 : at + 2 + length], at + 2 + length
        if code == 0xDA:
            return found, at
        while code == 0xDB and payload:
            found["quantiser", payload[0]], payload = payload[1:65], payload[65:]
        while code == 0xC4 and payload:
            size = 17 + sum(payload[1:17])
            found["codes", payload[0]], payload = payload[1:size], payload[size:]


def make_tiff_old_jpeg():
    """A JPEG taken apart as TIFF 6.0 has it, section 22; libtiff reads it, and nobody writes it any more."""

    def save_with(name, samples, photometric, tags, behind, places, data=b""):
        """`places` makes tags of where `behind` comes to lie."""
        make = lambda base: tiff(samples, photometric, 8, extra=[(259, 3, [6]), (512, 3, [1]), *tags, *places(base)], data=data)
        base = len(make(0))
        file = make(base) + behind
        save("close", f"tiff-old-jpeg-{name}.tif", file)
        return file

    for name, options in {"420": [], "444": ["-sample", "1x1"], "grey": ["-grayscale"]}.items():
        jpeg = cjpeg("-baseline", "-restart", "1", *options)
        is_grey, sides = name == "grey", 16 if name == "420" else 8
        samples, photometric = (GREY, 1) if is_grey else (RGB, 6)
        tags = [] if is_grey else [(530, 3, [2, 2] if name == "420" else [1, 1])]
        shown = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        expect(f"tiff-old-jpeg-{name}", shown)
        found, start = old_jpeg_parts(jpeg)
        scan = jpeg[start:-2]
        # A file within the file, its pixels where the strips say; then only its headers.
        file = [
            save_with(f"{name}.file", samples, photometric, tags, jpeg, lambda base: [
                (513, 4, [base]), (514, 4, [len(jpeg)]), (273, 4, [base + start]), (279, 4, [len(scan)])
            ]),
            save_with(f"{name}.headers", samples, photometric, tags, jpeg[:start], lambda base: [
                (513, 4, [base]), (514, 4, [start])
            ], scan),
        ]
        # Tables in tags, each component with its own.
        numbers = [0] if is_grey else [0, 1, 1]
        tables = [found[key] for kind, first in (("quantiser", 0), ("codes", 0), ("codes", 16)) for key in [(kind, first + n) for n in numbers]]
        starts = lambda base: [base + sum(map(len, tables[:index])) for index in range(len(tables))]
        by_tag = lambda base: [
            (tag, 4, starts(base)[index * len(numbers) :][: len(numbers)]) for index, tag in enumerate((519, 520, 521))
        ]
        interval = (515, 3, [WIDTH // sides])
        strips = [part for part in re.split(b"\xff[\xd0-\xd7]", scan)]
        whole = [*tags, interval]
        parts = [*tags, (278, 3, [sides])]
        file.append(save_with(f"{name}.tables", samples, photometric, whole, b"".join(tables), by_tag, scan))
        file.append(save_with(f"{name}.tables-strips", samples, photometric, parts, b"".join(tables), by_tag, strips))
        for one in file:
            worst = np.abs(shown_by_libtiff(one).astype(int) - shown).max()
            print("old JPEG", name, "libtiff is off by", worst)


def make_tiff_refused():
    folder = "refused/unreadable_image"
    save(folder, "signed.tif", tiff(GREY16, 1, 16, extra=[(339, 3, [2])]))
    save(folder, "complex.tif", tiff(GREY16, 1, 64, extra=[(339, 3, [6])]))
    save(folder, "565.tif", tiff(RGB, 2, 8, extra=[(258, 3, [5, 6, 5])]))
    save(folder, "lab-float.tif", tiff(RGB / 255, 8, 32, extra=[(339, 3, [3, 3, 3])]))
    save(folder, "log-luv-uncompressed.tif", tiff(RGB16, 32845, 16))
    save(folder, "log-luv-24.tif", tiff(RGB, 32845, 8, extra=[(259, 3, [34677])]))
    save(folder, "planes-of-subsampled-chroma.tif", tiff(RGB, 6, 8, planar=True))
    for compression in ("jpeg2000", "jpegxl", "lerc"):
        save(folder, f"{compression}.tif", tiff_by_tifffile(RGB, "rgb", compression=compression))
    save(folder, "jbig.tif", libtiff("tiffcp", tiff(GREY > 127, 1, 1), "-c", "jbig"))
    save(folder, "jpeg-12-bit.tif", tiff_by_tifffile(RGB16 >> 4, "rgb", compression="jpeg", bitspersample=12))
    save(folder, "old-jpeg-without-tables.tif", tiff(RGB, 6, 8, extra=[(259, 3, [6])]))
    save(folder, "old-jpeg-lossless.tif", tiff(RGB, 6, 8, extra=[(259, 3, [6]), (512, 3, [14])]))
    save(folder, "mask.tif", tiff(GREY > 127, 4, 1))
    save(folder, "six-inks.tif", tiff(np.dstack([RGB, RGB]), 5, 8, extra=[(332, 3, [2])]))
    save(folder, "palette-without-colors.tif", tiff(GREY, 3, 8))
    save(folder, "palette-16-without-colors.tif", tiff(GREY16, 3, 16, extra=[(320, 3, [0] * 6)]))
    # The predictor of floats, for floats that do not exist.
    save(folder, "float-8.tif", tiff(GREY, 1, 8, extra=[(339, 3, [3]), (317, 3, [3])]))
    # Small files that ask for gigabytes: a tile, samples, tiles again and again.
    tiles = [(273, 4, []), (279, 4, []), (278, 3, [])]
    huge = [*tiles, (322, 4, [1 << 20]), (323, 4, [1 << 20]), (324, 4, [8]), (325, 4, [8])]
    save(folder, "huge-tile.tif", tiff(GREY, 1, 8, extra=huge))
    save(folder, "many-samples.tif", tiff(GREY, 1, 8, extra=[(277, 3, [65535]), (258, 3, [8])]))
    repeated = [*tiles, (322, 4, [1 << 20]), (323, 4, [1]), (324, 4, [8] * 200), (325, 4, [8] * 200)]
    save(folder, "wide-tiles.tif", tiff(GREY[:, :1], 1, 8, extra=[(257, 4, [200]), *repeated]))
    jpeg = pillow(Image.fromarray(RGB), "TIFF", compression="jpeg", quality=92)
    (place,), (length,) = (Image.open(io.BytesIO(jpeg)).tag_v2[tag] for tag in (273, 279))
    # The rest of the strip never arrived.
    lost = jpeg[: place + length // 2] + b"\0" * (length - length // 2) + jpeg[place + length :]
    save(folder, "zeros-instead-of-the-end-of-a-jpeg.tif", lost)


def make_tiff():
    image, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        save("exact", f"pattern.{compression.removeprefix('tiff_')}.tif", pillow(image, "TIFF", compression=compression))
    save("exact", "pattern.big-endian.tif", tiff(RGB, 2, 8, big=True))
    save("exact", "pattern.planar.tif", tiff(RGB, 2, 8, planar=True))
    save(
        "exact",
        "pattern.two-pages.tif",
        pillow(image, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGB)], compression="tiff_lzw"),
    )
    save("exact", "pattern-16.little-endian.tif", tiff(RGB16, 2, 16))
    save("exact", "pattern-16.big-endian.tif", tiff(RGB16, 2, 16, big=True))
    save("exact", "pattern-alpha.rgba.tif", pillow(Image.fromarray(np.dstack([RGB, ALPHA])), "TIFF"))
    expect("grey", grey3(GREY))
    save("exact", "grey.8.tif", pillow(grey, "TIFF", compression="tiff_lzw"))
    save("exact", "grey.white-is-zero.tif", tiff(255 - GREY, 0, 8))
    expect("grey-16", grey3(to_8(GREY16)))
    save("exact", "grey-16.tif", tiff(GREY16, 1, 16))
    bits = Image.fromarray(GREY).point(lambda value: 255 * (value > 127)).convert("1")
    expect("black-and-white", np.asarray(bits.convert("RGB")))
    save("exact", "black-and-white.raw.tif", pillow(bits, "TIFF"))
    save("exact", "black-and-white.fax-group-4.tif", pillow(bits, "TIFF", compression="group4"))
    cmyk = image.convert("CMYK")
    save("close", "pattern-cmyk.tif", pillow(cmyk, "TIFF", compression="tiff_lzw"))
    expect("pattern-cmyk", np.asarray(cmyk.convert("RGB")))
    for name, picture in {"rgb": image, "grey": grey}.items():
        file = pillow(picture, "TIFF", compression="jpeg", quality=92)
        shown = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        save("close", f"tiff-jpeg-{name}.tif", file)
        expect(f"tiff-jpeg-{name}", shown)

    make_tiff_grey()
    make_tiff_palette()
    make_tiff_rgb()
    make_tiff_float()
    make_tiff_cmyk()
    make_tiff_ycbcr()
    make_tiff_lab()
    make_tiff_packed()
    make_tiff_fax()
    make_tiff_log_luv()
    make_tiff_old_jpeg()
    make_tiff_refused()


# --- what is refused --------------------------------------------------------------------------------------------------


def ftyp(major, *compatible):
    body = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return struct.pack(">I", len(body) + 4) + body + struct.pack(">I", 16) + b"free" + b"\0" * 8


def declared(width, height):
    """Every format with a header that declares this size, and next to nothing behind it."""
    jpeg = bytearray(pillow(Image.fromarray(RGB), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    small = png(RGB, PNG_RGB, 8)
    header = struct.pack(">II", width, height) + small[24:29]
    gif = pillow(Image.fromarray(GREY), "GIF")
    lossy = bytearray(pillow(Image.fromarray(RGB), "WEBP"))
    start = lossy.index(b"\x9d\x01\x2a")
    # A plain WebP has 14 bits for a side.
    lossy[start + 3 : start + 7] = struct.pack("<HH", min(width, 16383), min(height, 16383))
    extended = struct.pack("<I", max(width - 1, 0))[:3] + struct.pack("<I", max(height - 1, 0))[:3]
    inside = chunk_riff(b"VP8X", b"\0\0\0\0" + extended) + bytes(lossy[12:])
    bitmap = bytearray(bmp(b"\0" * 64, 24))
    bitmap[18:26] = struct.pack("<ii", width, height)
    fax = tiff(np.zeros((1, 1, 3)), 2, 8)
    size = lambda tag, value: struct.pack("<HHIHH", tag, 3, 1, value, 0)
    fax = fax.replace(size(256, 1), size(256, width)).replace(size(257, 1), size(257, height))
    fax = fax.replace(size(278, 1), size(278, height))
    return {
        "jpeg.jpg": bytes(jpeg),
        "png.png": small[:8] + chunk(b"IHDR", header) + small[33:],
        "gif.gif": gif[:6] + struct.pack("<HH", width, height) + gif[10:],
        "webp.webp": bytes(lossy),
        "webp-extended.webp": b"RIFF" + struct.pack("<I", len(inside) + 4) + b"WEBP" + inside,
        "bmp.bmp": bytes(bitmap),
        "tiff.tif": fax,
    }


def chunk_riff(name, payload):
    return name + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)


def make_refused():
    for name, data in declared(50_000, 50_000).items():
        save("refused/image_too_large", f"declares-50000-x-50000.{name}", data)
    for name, data in declared(0, 32).items():
        # An extended WebP stores its size less one and cannot say 0.
        if "extended" not in name:
            save("refused/unreadable_image", f"declares-0-x-32.{name}", data)

    image = Image.fromarray(RGB)
    whole = {
        "jpg": pillow(image, "JPEG", quality=92),
        "progressive.jpg": pillow(image, "JPEG", quality=92, progressive=True),
        "png": png(RGB, PNG_RGB, 8),
        "webp": pillow(image, "WEBP", quality=90),
        "lossless.webp": pillow(image, "WEBP", lossless=True),
        "gif": pillow(Image.fromarray(GREY), "GIF"),
        "bmp": pillow(image, "BMP"),
        "tif": pillow(image, "TIFF", compression="tiff_lzw"),
    }
    for name, data in whole.items():
        save("refused/unreadable_image", f"cut-in-the-pixels.{name}", data[: len(data) * 3 // 4])
        save("refused/unreadable_image", f"cut-in-the-header.{name}", data[:20])
    jpeg = whole["jpg"]
    # The rest of the file never arrived, but its place was reserved.
    save("refused/unreadable_image", "zeros-instead-of-the-end.jpg", jpeg[: len(jpeg) // 2] + b"\0" * (len(jpeg) // 2))
    save("refused/unreadable_image", "no-end-marker.jpg", jpeg[:-2])
    save("refused/unreadable_image", "only-the-start-marker.jpg", b"\xff\xd8\xff")
    save("refused/unreadable_image", "arithmetic.jpg", cjpeg("-arithmetic"))
    twelve = bytearray(jpeg)
    frame = jpeg.index(b"\xff\xc0")
    # An extended frame: in a baseline one, 12 bits are damage.
    twelve[frame + 1], twelve[frame + 4] = 0xC1, 12
    save("refused/unreadable_image", "12-bit.jpg", bytes(twelve))
    two = bytearray(pillow(image, "JPEG"))
    frame = two.index(b"\xff\xc0")
    two[frame + 2 : frame + 4], two[frame + 9] = struct.pack(">H", 14), 2
    del two[frame + 16 : frame + 19]
    save("refused/unreadable_image", "two-components.jpg", bytes(two))
    # A scan that refines one bit of a picture, again and again: each repetition costs a pass over all pixels.
    progressive = whole["progressive.jpg"]
    last = progressive.rindex(b"\xff\xda")
    save("refused/unreadable_image", "over-a-hundred-scans.jpg", progressive[:-2] + progressive[last:-2] * 120 + b"\xff\xd9")
    flipped = bytearray(whole["png"])
    flipped[len(flipped) // 2] ^= 0x55
    save("refused/unreadable_image", "flipped-byte.png", bytes(flipped))
    save("refused/unreadable_image", "no-end-chunk.png", whole["png"][:-12])
    save("refused/unreadable_image", "no-pixels.png", whole["png"][:33] + chunk(b"IEND", b""))
    # A small canvas with a frame that needs gigabytes.
    gif = bytearray(whole["gif"])
    at = gif.index(b"\x2c\0\0\0\0")
    gif[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    save("refused/unreadable_image", "small-canvas-huge-frame.gif", bytes(gif))
    huge = declared(16383, 16383)["webp.webp"][12:]
    inside = chunk_riff(b"VP8X", b"\0\0\0\0" + struct.pack("<I", 47)[:3] + struct.pack("<I", 31)[:3]) + huge
    file = b"RIFF" + struct.pack("<I", len(inside) + 4) + b"WEBP" + inside
    save("refused/unreadable_image", "small-canvas-huge-frame.webp", file)
    # A list in the header that is longer than the file.
    entry = lambda count: struct.pack("<HHI", 258, 3, count)
    file = tiff(RGB, 2, 8).replace(entry(3), entry(1 << 23))
    save("refused/unreadable_image", "endless-list.tif", file)

    other = "refused/unsupported_image_format"
    save(other, "iphone.heic", ftyp(b"heic", b"mif1", b"heic"))
    save(other, "burst.heic", ftyp(b"hevc", b"msf1", b"hevc"))
    save(other, "neutral-brand.heif", ftyp(b"mif1", b"mif1", b"heic"))
    save(other, "photo.avif", ftyp(b"avif", b"mif1", b"miaf"))
    save(other, "neutral-brand.avif", ftyp(b"mif1", b"avif", b"miaf"))
    save(other, "video.mp4", ftyp(b"isom", b"isom", b"mp41"))
    save(other, "video.mov", ftyp(b"qt  ", b"qt  "))
    save(other, "canon.cr3", ftyp(b"crx ", b"crx ", b"isom"))
    save(other, "photo.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 16)
    save(other, "bare.jxl", b"\xff\x0a" + b"\0" * 16)
    save(other, "photo.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 16)
    save(other, "icon.ico", pillow(Image.fromarray(RGB[:16, :16]), "ICO", sizes=[(16, 16)]))
    save(other, "layers.psd", b"8BPS\0\x01" + b"\0" * 20)
    save(other, "canon.cr2", b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 16)
    preview = pillow(image, "TIFF", tiffinfo={254: 1})
    save(other, "nikon.nef", preview)
    save(other, "adobe.dng", pillow(image, "TIFF", tiffinfo={50706: b"\x01\x04\0\0"}))
    save(other, "scan.pdf", b"%PDF-1.7\n1 0 obj")
    save(other, "photos.zip", b"PK\x03\x04" + b"\0" * 26)
    save(other, "drawing.svg", b'<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg"/>')
    save(other, "login.html", b"\n<!DOCTYPE html>\n<html><body>Please sign in</body></html>")
    save(other, "answer.json", b'{"image": "/9j/4AAQ"}')
    save(other, "photo.base64", b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD")
    save(other, "note.txt", b"BMW is a car maker, not a bitmap.")
    save(other, "noise.bin", bytes(range(100, 140)))


if __name__ == "__main__":
    for folder in ("exact", "close", "refused", "expected"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    for make in (make_png, make_jpeg, make_orientation, make_webp, make_gif, make_bmp, make_tiff, make_refused):
        make()
    sizes = [path.stat().st_size for path in HERE.rglob("*") if path.is_file()]
    print(f"{len(sizes)} files, {sum(sizes) / 1024:.0f} KiB, the largest {max(sizes)} bytes")
