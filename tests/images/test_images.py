"""Both images, run as Kubernetes would run them. `run.sh` has built them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import requests
from support.wait import until

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target/image-test"
PHOTO = ROOT / "tests/photos/chelsea.png"
PODMAN = ["podman", "--root", WORK / "run", "--runroot", WORK / "run-run", "--cgroup-manager", "cgroupfs",
          "--runtime", "runc", "--storage-driver", "vfs"]  # fmt: skip
# As in the manifests: nobody's user, nothing to write to, no capabilities.
CONFINED = ["--read-only", "--read-only-tmpfs=false", "--user", "65532:65532", "--cap-drop", "all",
            "--security-opt", "no-new-privileges", "--network", "host", "--pull", "never",
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # fmt: skip
MEMORY = "512m"
MAX_MIB = 60


def podman(*arguments: object, check: bool = True) -> subprocess.CompletedProcess:
    command = [*map(str, PODMAN), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done


@pytest.fixture(scope="module", autouse=True)
def images() -> Iterator[None]:
    for image in ("spotter", "detector"):
        podman("load", "--quiet", "--input", WORK / f"{image}.tar")
    yield
    podman("rmi", "--all", "--force")


@contextlib.contextmanager
def running(image: str, *flags: object, arguments: tuple = ()) -> Iterator[str]:
    container = podman("run", "--detach", *CONFINED, *flags, f"localhost/{image}:image-test", *arguments).stdout.strip()
    try:
        yield container
    finally:
        print(podman("logs", container, check=False).stderr[-2000:])
        podman("rm", "--force", "--time", 2, container)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def detect(url: str) -> list[str]:
    answer = requests.post(f"{url}/v1/detect", files={"image": PHOTO.read_bytes()}, timeout=60)
    assert answer.status_code == 200, answer.text
    return [found["label"] for found in answer.json()["detections"]]


@contextlib.contextmanager
def spotter(*flags: object) -> Iterator[tuple[str, str]]:
    address = f"127.0.0.1:{free_port()}"
    flags = ("--memory", MEMORY, "--env", f"SPOTTER_LISTEN={address}", *flags)
    with running("spotter", *flags) as container:
        until(lambda: answers(f"http://{address}/livez"), "spotter to answer", within=30)
        yield container, f"http://{address}"


def test_spotter_is_small_and_holds_no_shell() -> None:
    (image,) = json.loads(podman("image", "inspect", "localhost/spotter:image-test").stdout)
    mebibytes = image["Size"] / 2**20
    print(f"spotter's image on the stand-in base: {mebibytes:.1f} MiB")
    assert mebibytes < MAX_MIB
    for shell in ("/bin/sh", "/bin/bash", "/busybox/sh"):
        tried = podman("run", "--rm", *CONFINED, "--entrypoint", shell, "localhost/spotter:image-test", check=False)
        assert tried.returncode == 127, tried.stderr
    assert image["User"] == "65532:65532"
    assert image["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/spotter", "health"]


def test_spotter_decodes_with_the_c_library() -> None:
    said = podman("run", "--rm", *CONFINED, "localhost/spotter:image-test", "--version").stdout
    assert "JPEG: libjpeg-turbo" in said


def test_spotter_answers_a_photo_confined() -> None:
    with spotter() as (container, url):
        started = podman("inspect", "--format", "{{.State.StartedAt}}", container).stdout
        print(f"container started {started.strip()}")
        until(lambda: answers(f"{url}/readyz"), "the detector", within=30)
        assert detect(url) == ["cat"]
        assert podman("healthcheck", "run", container).returncode == 0
        pid = podman("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Uid:\t65532\t", status, re.M)
        assert re.search(r"^CapEff:\t0+$", status, re.M)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.M)
        roots = [line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
        assert next(options for _, where, _, options, *_ in roots if where == "/").split(",")[0] == "ro"


def test_spotter_stops_when_told_to() -> None:
    with spotter() as (container, _):
        begun = time.monotonic()
        podman("stop", "--time", 20, container)
        print(f"stopped in {time.monotonic() - begun:.1f} s")
        assert podman("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() == "0"


def test_spotter_starts_at_once() -> None:
    """Measured from the kernel's start of the process to the line that says where it listens; not asserted."""
    with spotter() as (container, _):
        first = podman("logs", "--timestamps", container).stdout.splitlines()[0].split()[0]
        started = podman("inspect", "--format", "{{.State.StartedAt}}", container).stdout.split()
        begun = datetime.fromisoformat(f"{started[0]}T{started[1][:15]}")
        listening = datetime.fromisoformat(first[:26])
        print(f"from start to listening: {(listening - begun).total_seconds() * 1000:.0f} ms")


def test_the_model_image_serves_spotter() -> None:
    port = free_port()
    mounts = ["--volume", f"{ROOT}/tests/e2e:/e2e:ro", "--volume", f"{sysconfig.get_path('purelib')}:/packages:ro",
              "--tmpfs", "/tmp"]  # fmt: skip
    with running("detector", *mounts, arguments=(f"--port={port}",)) as model_server:
        until(lambda: "listening" in podman("logs", model_server).stdout, "the model server", within=120)
        serving = ("--env", f"SPOTTER_SERVING=http://127.0.0.1:{port}", "--env", "SPOTTER_MODEL=detector",
                   "--env", "SPOTTER_LABELS=coco")  # fmt: skip
        with spotter(*serving) as (_, url):
            until(lambda: answers(f"{url}/readyz"), "the model", within=60)
            assert detect(url) == ["cat"]
