"""Models in the process, run by ONNX Runtime: the library that its Python package carries sees what the built-in engine sees."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime
import pytest

from conftest import LOGS, ONNX
from support import labelled
from support.gateway import Gateway


@pytest.fixture(scope="module")
def library() -> Path:
    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    assert found, "the onnxruntime package has brought its library in another place"
    return found[0]


@pytest.fixture(scope="module", params=["the built-in model", "a model file"])
def by_library(request: pytest.FixtureRequest, spotter_binary: Path, library: Path) -> Iterator[Gateway]:
    flags = ["--onnx-runtime", str(library)]
    if request.param == "a model file":
        flags += ["--model-file", str(ONNX), "--labels", "coco"]
    with Gateway(spotter_binary, *flags, logs=LOGS) as running:
        yield running


def test_both_engines_see_the_same(by_library: Gateway, embedded: Gateway) -> None:
    scenes = labelled.scenes(8)
    with ThreadPoolExecutor(8) as pool:  # more than there are workers, so that sessions are shared and awaited
        theirs = list(pool.map(lambda scene: by_library.detect(scene.file)["detections"], scenes))
    ours = [embedded.detect(scene.file)["detections"] for scene in scenes]
    assert sum(map(len, ours)) > 10
    for scene, there, here in zip(scenes, theirs, ours, strict=True):
        assert [d["label"] for d in there] == [d["label"] for d in here], scene.name
        for one, other in zip(there, here, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-3)
            assert all(abs(one["box"][edge] - other["box"][edge]) <= 1 for edge in one["box"]), (one, other)


def test_a_ready_service_has_run_the_model(by_library: Gateway) -> None:
    assert by_library.is_ready()
