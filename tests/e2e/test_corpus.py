"""Every format, color type, depth and damage, sent to the service: pixels as Pillow has them, or the right problem.

The pixels are those that the service itself saw: with `Accept: image/png` and a score that nothing reaches, the answer is
the photo as it was decoded, without a box on it.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from PIL import Image

from conftest import LOGS, ROOT
from support import corpus
from support.gateway import Gateway

FORMATS = ROOT / "tests" / "photos" / "formats"
# A detector of a few weights: it is the decoding that is under test.
TINY = ROOT / "tests" / "models" / "tiny_yolox.onnx"
MAX_PIXELS = 2_000_000

# Largest and mean difference of a channel between two decoders. Lossless formats may differ by the rounding of alpha and of
# 16 bits; JPEG and WebP by that of their transforms.
LOSSLESS = (1, 0.6)
LOSSY = (12, 1.2)


@pytest.fixture(scope="module")
def decoder(spotter_binary: Path) -> Iterator[Gateway]:
    flags = ("--model-file", str(TINY), "--labels", "coco", "--max-image-pixels", str(MAX_PIXELS))
    with Gateway(spotter_binary, *flags, logs=LOGS) as running:
        yield running


def see(gateway: Gateway, data: bytes) -> Image.Image | str:
    """The pixels, or the problem's code; anything else fails here.

    Every file is called a .heic of type image/webp: the bytes decide.
    """
    answer = requests.post(
        gateway.url + "/v1/detect",
        files={"image": ("photo.heic", data, "image/webp")},
        params={"min_score": 1},
        headers={"Accept": "image/png"},
        timeout=60,
    )
    if answer.status_code == 200:
        return Image.open(io.BytesIO(answer.content))
    assert answer.status_code < 500, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.json()["code"]


def check(cases: Sequence[tuple[str, Callable[[], str | None]]]) -> None:
    """Runs all cases, and fails with the names of all that failed."""
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda case: case[1](), cases))
    wrong = [f"{name}: {outcome}" for (name, _), outcome in zip(cases, outcomes, strict=True) if outcome]
    print(f"\n{len(cases)} files")
    assert not wrong, f"{len(wrong)} of {len(cases)}\n" + "\n".join(wrong)


def compare(seen: Image.Image | str, expected: Image.Image, allowed: tuple[float, float]) -> str | None:
    if isinstance(seen, str):
        return f"refused with {seen}"
    worst, mean = corpus.difference(seen.convert("RGB"), expected)
    return f"off by {worst:g}, {mean:.2f} in the mean" if worst > allowed[0] or mean > allowed[1] else None


def tolerance(name: str) -> tuple[float, float]:
    return LOSSY if re.search(r"jpe?g|webp\.lossy|ycbcr|lab", name) else LOSSLESS


def test_every_color_type_and_depth_has_the_pixels_of_pillow(decoder: Gateway) -> None:
    def case(name: str, data: bytes) -> tuple[str, Callable[[], str | None]]:
        return name, lambda: compare(see(decoder, data), corpus.reference(data), tolerance(name))

    check([case(name, data) for name, data in corpus.files()])


def test_harmless_damage_changes_nothing(decoder: Gateway) -> None:
    def case(name: str, data: bytes, damaged: bytes) -> tuple[str, Callable[[], str | None]]:
        return name, lambda: compare(see(decoder, damaged), corpus.reference(data), tolerance(name))

    cases = [
        case(f"{name} with {damage.__name__}", data, damaged)
        for name, data in corpus.files()
        for damage in corpus.HARMLESS
        if (damaged := damage(data)) is not None
    ]
    check(cases)


def test_harmful_damage_is_a_problem_of_the_file(decoder: Gateway) -> None:
    known = {"UNREADABLE_IMAGE", "UNSUPPORTED_IMAGE_FORMAT"}

    def case(name: str, damage: corpus.Damage, data: bytes) -> tuple[str, Callable[[], str | None]]:
        def run() -> str | None:
            seen = see(decoder, damage(data) or b"")
            if isinstance(seen, str):
                return None if seen in known else seen
            # Half of the file may hold all of the first picture: of an animation, of two pages, of a few pixels.
            return compare(seen, corpus.reference(data), tolerance(name))

        return f"{name} with {damage.__name__}", run

    check(
        [
            case(name, damage, data)
            for name, data in corpus.files()
            for damage in corpus.HARMFUL
            if damage(data) is not None
        ]
    )


def test_a_flipped_byte_is_seen_or_refused_and_never_a_failure_of_the_service(decoder: Gateway) -> None:
    def case(name: str, data: bytes) -> tuple[str, Callable[[], str | None]]:
        def run() -> str | None:
            seen = see(decoder, corpus.flipped(data))
            is_known = not isinstance(seen, str) or seen in {"UNREADABLE_IMAGE", "UNSUPPORTED_IMAGE_FORMAT", "IMAGE_TOO_LARGE"}
            return None if is_known else seen

        return name, run

    check([case(name, data) for name, data in corpus.files()])


def test_an_empty_file_is_a_missing_image(decoder: Gateway) -> None:
    assert see(decoder, b"") == "MISSING_IMAGE"


def committed(folder: str) -> list[Path]:
    return sorted(path for path in (FORMATS / folder).rglob("*") if path.is_file())


def test_the_committed_files_have_the_pixels_of_pillow(decoder: Gateway) -> None:
    """Where Pillow reads a file otherwise, or not at all, the picture that the file was made from decides."""
    by = Counter[str]()

    def case(path: Path) -> tuple[str, Callable[[], str | None]]:
        def run() -> str | None:
            data = path.read_bytes()
            seen = see(decoder, data)
            allowed = LOSSLESS if path.parent.name == "exact" else LOSSY
            try:
                pillow = corpus.reference(data)
            except Exception:  # whatever Pillow says to a file that it does not read
                pillow = None
            if pillow and compare(seen, pillow, allowed) is None:
                by["Pillow"] += 1
                return None
            expected = Image.open(FORMATS / "expected" / f"{path.name.split('.')[0]}.png").convert("RGB")
            by["made from, not read by Pillow" if pillow is None else "made from, read otherwise by Pillow"] += 1
            if pillow:
                others.append(path.name)
            return compare(seen, expected, allowed)

        return path.name, run

    others: list[str] = []
    check([case(path) for folder in ("exact", "close") for path in committed(folder)])
    print("agrees with:", dict(by), "\nread otherwise by Pillow:", *sorted(others))


def test_the_committed_bad_files_have_the_code_of_their_folder(decoder: Gateway) -> None:
    def case(path: Path) -> tuple[str, Callable[[], str | None]]:
        def run() -> str | None:
            seen = see(decoder, path.read_bytes())
            return None if seen == path.parent.name.upper() else f"{seen}"

        return f"{path.parent.name}/{path.name}", run

    check([case(path) for path in committed("refused")])


def test_bombs_stop_at_the_header_and_memory_is_bounded(decoder: Gateway) -> None:
    """Everything above went through this process; its memory never went beyond what its pixel limit allows."""
    for path in committed("refused/image_too_large"):
        assert see(decoder, path.read_bytes()) == "IMAGE_TOO_LARGE", path.name
    large = Image.effect_noise((2000, 1000), 90).convert("RGBA")
    large.putalpha(128)
    data = corpus.written(large, "PNG", compress_level=1)
    check([(f"large {number}", lambda: f"{seen}" if isinstance(seen := see(decoder, data), str) else None) for number in range(8)])
    # 16 bytes a pixel at most while decoding (src/image/encoded.rs), and as many again for the answer's PNG, for each of
    # the four photos at once; the rest is the program itself with its model and threads.
    allowed = 4 * 2 * 16 * MAX_PIXELS + (192 << 20)
    peak = peak_memory(decoder)
    print(f"\npeak {peak / 2**20:.0f} MiB of {allowed / 2**20:.0f} MiB allowed")
    assert peak < allowed


def peak_memory(gateway: Gateway) -> int:
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
