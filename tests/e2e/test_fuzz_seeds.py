"""What the fuzz targets found worth keeping, posted to the running service: no input is the service's own failure.

`tests/seeds.rs` replays the same inputs inside the program; here they come over a socket, to a real model.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from conftest import LOGS, ROOT
from support.gateway import Gateway

SEEDS = ROOT / "fuzz" / "seeds"
# A detector of a few weights: it is what comes before it that is under test.
TINY = ROOT / "tests" / "models" / "tiny_yolox.onnx"
ROUTES = ("/v1/detect", "/v1/detect/batch")

# Path, media type, body.
Post = tuple[str, str, bytes]


@pytest.fixture(scope="module")
def service(spotter_binary: Path) -> Iterator[Gateway]:
    with Gateway(spotter_binary, "--model-file", str(TINY), "--labels", "coco", logs=LOGS) as running:
        yield running


def of_image(seed: bytes) -> Iterator[Post]:
    """A file in each of the three forms of a request."""
    yield "/v1/detect", "application/octet-stream", seed
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n' + seed + b"\r\n--b--\r\n"
    yield "/v1/detect", "multipart/form-data; boundary=b", form
    yield "/v1/detect", "application/json", b'{"image":"' + base64.b64encode(seed) + b'"}'


def of_form(seed: bytes) -> Iterator[Post]:
    # The first byte chooses the target's route; here both are asked.
    return ((route, "multipart/form-data; boundary=b", seed[1:]) for route in ROUTES)


def of_json(seed: bytes) -> Iterator[Post]:
    return ((route, "application/json", seed[1:]) for route in ROUTES)


@pytest.mark.parametrize(("target", "posts_of"), [("image", of_image), ("multipart", of_form), ("json", of_json)])
def test_no_seed_is_a_failure_of_the_service(
    service: Gateway, target: str, posts_of: Callable[[bytes], Iterator[Post]]
) -> None:
    seeds = sorted(path for path in (SEEDS / target).iterdir() if path.is_file())
    assert seeds, f"{SEEDS / target} holds the target's seeds"
    statuses = Counter[int]()

    def ask(path: Path) -> list[str]:
        failures = []
        for route, media_type, body in posts_of(path.read_bytes()):
            answer = requests.post(service.url + route, data=body, headers={"Content-Type": media_type}, timeout=60)
            statuses[answer.status_code] += 1
            named = answer.headers["Content-Type"] == "application/problem+json" and answer.json()["status"] == answer.status_code
            if answer.status_code >= 500 or (answer.status_code >= 400 and not named):
                failures.append(f"{path.name} to {route} as {media_type}: {answer.status_code} {answer.text[:200]}")
            failures += own_failures(answer) if route.endswith("batch") and answer.ok else []
        return failures

    with ThreadPoolExecutor(4) as pool:
        failures = [failure for found in pool.map(ask, seeds) for failure in found]
    print(f"\n{target}: {len(seeds)} seeds, answers by status: {dict(sorted(statuses.items()))}")
    assert not failures, "\n".join(failures)
    assert statuses[200], "some of them are photos"
    assert service.get("/livez").status_code == 200


def own_failures(answer: requests.Response) -> list[str]:
    """The photos of a batch that failed by no fault of theirs."""
    problems = (photo.get("problem") for photo in answer.json()["photos"])
    return [f"in a batch: {problem}" for problem in problems if problem and problem["status"] >= 500]
