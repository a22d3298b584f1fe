"""Fixtures: the built program, the SavedModels, and both servers.

Nothing here skips. A missing prerequisite fails with the command that provides it, because an
end-to-end suite that quietly shrinks is worse than none.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from support.browser import chromium
from support.gateway import Gateway
from support.peer import Peer

E2E = Path(__file__).resolve().parent
ROOT = E2E.parents[1]
OUT = ROOT / "target" / "e2e"
LOGS = OUT / "logs"
ONNX = ROOT / "models" / "nanodet_g_416.onnx"

VARIANTS = ("image_tensor", "float_image_tensor", "encoded_image_string_tensor", "tf1")

StartGateway = Callable[..., Gateway]
StartPeer = Callable[..., Peer]


@pytest.fixture(scope="session")
def spotter_binary() -> Path:
    candidates = [ROOT / "target" / profile / "spotter" for profile in ("release", "debug")]
    if named := os.environ.get("SPOTTER_BIN"):
        candidates = [Path(named)]
    found = next((path for path in candidates if os.access(path, os.X_OK)), None)
    if found is None:
        pytest.fail(f"no spotter at {' or '.join(map(str, candidates))}: cargo build --release, or set SPOTTER_BIN")
    return found


@pytest.fixture(scope="session")
def saved_models() -> Path:
    """The folder of all variants, built once for each state of the detector and of the code that exports it."""
    sources = [ONNX, *(E2E / "peer" / f"{name}.py" for name in ("onnx_graph", "detector", "instances", "saved_models", "signatures"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in [*sources, E2E / "requirements.txt"]))
    folder = OUT / "saved-models" / digest.hexdigest()[:16]
    if not folder.exists():
        unfinished = folder.with_suffix(f".{os.getpid()}")
        command = [sys.executable, "-m", "peer.saved_models", str(unfinished), "--onnx", str(ONNX)]
        subprocess.run(command, cwd=E2E, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"})
        unfinished.rename(folder)  # only a complete folder ever bears the name
    return folder


@pytest.fixture
def start_peer() -> Iterator[StartPeer]:
    """Peers of one test: `start_peer({"name": folder}, "--flag")`."""
    with ExitStack() as stack:
        yield lambda models, *flags, **options: stack.enter_context(Peer(models, *flags, logs=LOGS, **options))


@pytest.fixture(scope="session")
def peer(saved_models: Path) -> Iterator[Peer]:
    """One peer for every test that leaves it as it is: all variants, each under its own name."""
    with Peer({variant: saved_models / variant for variant in VARIANTS}, logs=LOGS) as running:
        yield running


@pytest.fixture
def spotter(spotter_binary: Path) -> Iterator[StartGateway]:
    """Gateways of one test: `spotter("--serving", url, ...)`."""
    with ExitStack() as stack:
        yield lambda *flags, **options: stack.enter_context(Gateway(spotter_binary, *flags, logs=LOGS, **options))


@pytest.fixture(scope="session")
def embedded(spotter_binary: Path) -> Iterator[Gateway]:
    """One gateway with the detector that it carries itself."""
    with Gateway(spotter_binary, logs=LOGS) as running:
        yield running


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as running:
        yield running
