"""A rolling restart under load: two instances behind a real HAProxy are replaced one after the other."""

from __future__ import annotations

import collections
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from conftest import LOGS
from support import photos
from support.gateway import TIMEOUT_SECONDS, Gateway
from support.wait import until

CLIENTS = 4
# The proxy asks every 100 ms and believes the first answer; half a second is several times what it needs.
FLAGS = ("--shutdown-delay-ms", "500")

CONFIG = """
global
    log stdout format raw local0
    stats socket {folder}/stats
defaults
    mode http
    log global
    # A request that was passed on is never sent again: if an instance loses one, its client sees it.
    retries 3
    retry-on conn-failure
    option redispatch
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend front
    bind fd@{socket}
    default_backend instances
backend instances
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
    default-server check inter 100ms fall 1 rise 1
    server a 127.0.0.1:{a}
    server b 127.0.0.1:{b}
"""


class Proxy:
    def __init__(self, folder: Path, a: int, b: int) -> None:
        self._stats = folder / "stats"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(folder=folder, socket=self._socket.fileno(), a=a, b=b))
        with (LOGS / "haproxy.log").open("w") as log:
            command = ["haproxy", "-db", "-f", str(config)]
            fds = [self._socket.fileno()]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, pass_fds=fds)

    def states(self) -> dict[str, str]:
        """UP or DOWN, by the name of the instance; nothing before the proxy has started."""
        if not self._stats.exists():
            return {}
        with socket.socket(socket.AF_UNIX) as stats:
            stats.connect(str(self._stats))
            stats.sendall(b"show stat\n")
            table = stats.makefile().read()
        rows = [line.split(",") for line in table.splitlines() if line.startswith("instances,")]
        return {row[1]: row[17] for row in rows if row[1] in "ab"}

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Callable[[int, int], Proxy]]:
    running: list[Proxy] = []

    def start(a: int, b: int) -> Proxy:
        running.append(Proxy(tmp_path, a, b))
        return running[-1]

    yield start
    for each in running:
        each.stop()


def test_a_rolling_restart_loses_no_request(
    spotter: Callable[..., Gateway], proxy: Callable[[int, int], Proxy]
) -> None:
    instances = {name: spotter(*FLAGS) for name in "ab"}
    front = proxy(instances["a"].port, instances["b"].port)
    both_up = {"a": "UP", "b": "UP"}
    until(lambda: front.states() == both_up or None, "both instances are up")

    photo = photos.read("chelsea")
    answers: collections.Counter[int | str] = collections.Counter()
    over = threading.Event()

    def client() -> None:
        with requests.Session() as session:
            while not over.is_set():
                try:
                    answer = session.post(f"{front.url}/v1/detect", data=photo, timeout=TIMEOUT_SECONDS)
                    answers[answer.status_code] += 1
                except requests.RequestException as error:
                    answers[repr(error)] += 1

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        for name in "ab":
            before = answers.total()
            old = instances[name]
            assert old.finish() == 0
            instances[name] = spotter(*FLAGS, port=old.port)
            until(lambda: front.states() == both_up or None, f"{name} is up again")
            until(lambda: answers.total() > before + CLIENTS or None, "requests go on")
    finally:
        over.set()
        for each in clients:
            each.join()
    assert set(answers) == {200}, answers
