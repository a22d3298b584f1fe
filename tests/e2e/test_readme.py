"""The README's commands, run as written: the first in a fresh copy, then every line that asks the service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from conftest import LOGS, ROOT
from support.gateway import Gateway
from support.process import Process

README = (ROOT / "README.md").read_text()
SHELL_BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
START, TEST = "cargo run --release\n", "make test\n"
ASKING = [block for block in SHELL_BLOCKS if "/v1/" in block or "grpcurl" in block]
ADDRESS = "127.0.0.1:8080"

# The copy shares what is compiled of the dependencies; the project itself is compiled anew.
BUILD_SECONDS = 1500


@pytest.fixture(scope="module")
def fresh_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone would hold: the files git knows of, and nothing that was built."""
    copy = tmp_path_factory.mktemp("readme") / "spotter"
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "-z"]
    for name in filter(None, subprocess.check_output(listing, text=True).split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def started(fresh_copy: Path) -> Iterator[Process]:
    env = {"CARGO_TARGET_DIR": str(ROOT / "target"), "SPOTTER_LISTEN": "127.0.0.1:0"}
    announces = r"listening +http://(127\.0\.0\.1:\d+)\n"
    with Process(START.split(), announces, LOGS, env=env, cwd=fresh_copy, within=BUILD_SECONDS) as running:
        yield running


def shell(command: str, folder: Path) -> bytes:
    # grpcurl is among the test tools.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        timeout=60,
        env={**os.environ, "PATH": path},
    ).stdout


def test_the_readme_leads_with_the_two_commands() -> None:
    assert SHELL_BLOCKS[:2] == [START, TEST]
    assert len(ASKING) == 6, "a form, the raw file, JSON, the annotated picture, a batch, gRPC"
    assert all(ADDRESS in block for block in ASKING)


@pytest.mark.timeout(BUILD_SECONDS + 60)
@pytest.mark.parametrize("block", ASKING, ids=["form", "raw", "json", "annotated", "batch", "grpc"])
def test_each_line_works_as_pasted(block: str, started: Process, fresh_copy: Path) -> None:
    answer = shell(block.replace(ADDRESS, started.announced), fresh_copy)
    if "-o annotated.jpg" in block:
        with Image.open(fresh_copy / "annotated.jpg") as picture:
            assert picture.format == "JPEG"
            assert picture.size == (512, 512)
    elif "/detect/batch" in block:
        photos = json.loads(answer)["photos"]
        assert [photo["answer"]["detections"][0]["label"] for photo in photos] == ["cat", "dining table"]
    else:
        photo = re.search(r"tests/photos/(\w+)\.png", block)
        assert photo
        expected = {"chelsea": "cat", "coffee": "cup", "astronaut": "person"}[photo[1]]
        assert [found["label"] for found in json.loads(answer)["detections"]] == [expected]


@pytest.mark.timeout(BUILD_SECONDS + 60)
def test_the_line_printed_at_start_works_as_pasted(started: Process, fresh_copy: Path) -> None:
    line = started.printed(r"try it +(curl .*)\n")
    answer = json.loads(shell(line[1], fresh_copy))
    assert answer["detections"][0]["label"] == "person"
    assert started.printed(rf"documentation +http://{re.escape(started.announced)}/docs\n")


def test_the_example_answer_has_the_form_of_a_real_one(embedded: Gateway) -> None:
    """Names and types, at every depth, of the JSON that the README shows."""
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)[0])
    real = embedded.detect((ROOT / "tests/photos/chelsea.png").read_bytes())
    assert form(shown) == form(real)


def form(value: object) -> object:
    if isinstance(value, dict):
        return {name: form(member) for name, member in value.items()}
    if isinstance(value, list):
        return [form(member) for member in value]
    return float if isinstance(value, int | float) else type(value)
