"""Both images, run as Kubernetes would run them. `run.sh` has built them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
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
# No more than a machine that is a container itself may give.
ULIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
# As in the manifests: nobody's user, nothing to write to, no capabilities.
CONFINED = ["--read-only", "--read-only-tmpfs=false", "--user", "65532:65532", "--cap-drop", "all",
            "--security-opt", "no-new-privileges", "--network", "host", "--pull", "never",
            *ULIMITS]  # fmt: skip
# What these tests ask for, within the manifests' limits.
MEMORY, MODEL_SERVERS_MEMORY = 512 << 20, 3 << 30
MAX_MIB = 60
MAX_SECONDS_TO_LISTEN = 1.0
# Of the stand-in for TensorFlow Serving: itself, and what it runs. Its program is mounted as well, so that it is today's.
STAND_IN = ["--volume", f"{ROOT}/tests/images/tensorflow_model_server:/usr/bin/tensorflow_model_server:ro",
            "--volume", f"{ROOT}/tests/e2e:/e2e:ro",
            "--volume", f"{sysconfig.get_path('purelib')}:/packages:ro"]  # fmt: skip


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


def assert_confined(container: str, memory: int) -> None:
    """As the kernel sees the process: whose it is, what it may, where it may write, and how much memory it gets."""
    pid = podman("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
    process = Path("/proc", pid)
    status = (process / "status").read_text()
    assert re.search(r"^Uid:\t65532\t", status, re.M)
    assert re.search(r"^CapEff:\t0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.M)
    roots = [line.split() for line in (process / "mounts").read_text().splitlines()]
    assert next(options for _, where, _, options, *_ in roots if where == "/").split(",")[0] == "ro"
    assert memory_bound(process) == memory


def memory_bound(process: Path) -> int:
    """Bytes that the process's control group may have; of version 1 where that still has the memory."""
    groups = dict(line.split(":", 2)[1:] for line in (process / "cgroup").read_text().splitlines())
    looked_at = []
    for mount, group, file in (
        ("/sys/fs/cgroup", groups.get(""), "memory.max"),
        ("/sys/fs/cgroup/memory", groups.get("memory"), "memory.limit_in_bytes"),
    ):
        if group is not None:
            place = Path(f"{mount}{group}/{file}")
            if place.exists():
                bound = place.read_text().strip()
                assert bound.isdigit(), f"{place} says {bound}: the container has no bound"
                return int(bound)
            looked_at.append(str(place))
    pytest.fail(
        f"no memory limit to be seen at {' or '.join(looked_at)}: this test takes a machine whose control groups have memory"
    )


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
        assert_confined(container, MEMORY)


def test_spotter_stops_when_told_to() -> None:
    with spotter() as (container, _):
        begun = time.monotonic()
        podman("stop", "--time", 20, container)
        print(f"stopped in {time.monotonic() - begun:.1f} s")
        assert podman("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() == "0"


def test_spotter_starts_at_once() -> None:
    """From the kernel's start of the process to the line that says where it listens."""
    with spotter() as (container, _):
        first = podman("logs", "--timestamps", container).stdout.splitlines()[0].split()[0]
        started = podman("inspect", "--format", "{{.State.StartedAt}}", container).stdout.split()
        begun = datetime.fromisoformat(f"{started[0]}T{started[1][:15]}")
        listening = datetime.fromisoformat(first[:26])
        seconds = (listening - begun).total_seconds()
        print(f"from start to listening: {seconds * 1000:.0f} ms")
        assert seconds < MAX_SECONDS_TO_LISTEN


def test_the_model_image_serves_spotter() -> None:
    port = free_port()
    flags = (*STAND_IN, "--tmpfs", "/tmp", "--memory", MODEL_SERVERS_MEMORY)
    with running("detector", *flags, arguments=(f"--port={port}",)) as model_server:
        until(lambda: "listening" in podman("logs", model_server).stdout, "the model server", within=120)
        assert "warm-up records of detector 1" in podman("logs", model_server).stdout, "it is warm"
        assert_confined(model_server, MODEL_SERVERS_MEMORY)
        serving = ("--env", f"SPOTTER_SERVING=http://127.0.0.1:{port}", "--env", "SPOTTER_MODEL=detector",
                   "--env", "SPOTTER_LABELS=coco")  # fmt: skip
        with spotter(*serving) as (_, url):
            until(lambda: answers(f"{url}/readyz"), "the model", within=60)
            assert detect(url) == ["cat"]


def test_spotter_judges_the_model_image_as_the_overlay_asks_for_it(tmp_path: Path) -> None:
    """The pipeline's own script, with podman for docker: what this machine and the stand-in want is added to each `run`."""
    engine = tmp_path / "docker"
    added = shlex.join(map(str, ["--pull", "never", *ULIMITS]))
    engine.write_text(
        "#!/bin/sh\n"
        f"podman() {{ exec {shlex.join(map(str, PODMAN))} \"$@\"; }}\n"
        'case "$*" in\n'
        f'  "run --detach"*) shift; podman run {added} {shlex.join(STAND_IN)} "$@" ;;\n'
        f'  run*) shift; podman run {added} "$@" ;;\n'
        '  *) podman "$@" ;;\n'
        "esac\n"
    )
    engine.chmod(0o755)
    judge = [ROOT / "k8s/pipeline/judge.sh", "localhost/spotter:image-test", "localhost/detector:image-test"]
    done = subprocess.run(judge, capture_output=True, text=True, check=False, timeout=300,
                          env={**os.environ, "DOCKER": str(engine)})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is read as TF Object Detection" in done.stdout
    assert podman("ps", "--all", "--quiet").stdout == "", "nothing is left running"
