"""Hostile clients: while each is at it, another client's photo is answered, and what the first holds is bounded."""

from __future__ import annotations

import json
import re
import resource
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
import requests

from support import photos
from support.gateway import Gateway
from support.wait import until

Start = Callable[..., Gateway]

SECONDS = 8  # that an attack lasts unless it is cut short
PHOTO = photos.read("chelsea")


def address(gateway: Gateway) -> tuple[str, int]:
    url = urlparse(gateway.url)
    assert url.hostname and url.port
    return url.hostname, url.port


def run(*command: str | int) -> subprocess.Popen[str]:
    words = [str(word) for word in command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def serves_others_while(gateway: Gateway, attack: subprocess.Popen[str]) -> str:
    """Photos are answered as long as the attack lasts; what the attacker had to say."""
    try:
        answered = 0
        while attack.poll() is None:
            photos.assert_same(photos.answer_of(gateway.detect(PHOTO)), photos.CHELSEA)
            answered += 1
        assert answered
        assert attack.stdout
        return re.sub(r"\x1b\[[0-9;]*m", "", attack.stdout.read())  # without colours
    finally:
        attack.kill()
        attack.wait()


def slowhttptest(gateway: Gateway, path: str, *flags: str | int, within: int = SECONDS) -> subprocess.Popen[str]:
    return run("slowhttptest", *flags, "-l", within, "-p", 30, "-u", gateway.url + path)


def assert_hung_up_on(report: str) -> None:
    """The service has closed every connection, long before the attack was to end."""
    assert "Exit status: No open connections left" in report, report


def test_slow_headers_are_hung_up_on(spotter: Start) -> None:
    gateway = spotter("--head-timeout-ms", "1500")
    attack = slowhttptest(gateway, "/", "-H", "-c", 400, "-r", 400, "-i", 1)
    report = serves_others_while(gateway, attack)
    assert_hung_up_on(report)


def test_slow_bodies_are_hung_up_on(spotter: Start) -> None:
    gateway = spotter("--upload-pause-ms", "1000")
    attack = slowhttptest(gateway, "/v1/detect", "-B", "-c", 400, "-r", 400, "-i", 2, "-s", 8192, "-f", "image/png")
    report = serves_others_while(gateway, attack)
    assert_hung_up_on(report)


def test_answers_that_are_not_read_are_given_up(spotter: Start) -> None:
    """The attacker does not notice, because its system has the beginning of the answer still to offer."""
    gateway = spotter("--keep-alive-ms", "3000")
    before = gateway.sockets()
    flags = ("-X", "-c", 200, "-r", 200, "-w", 1, "-y", 2, "-n", 5, "-z", 1)
    attack = slowhttptest(gateway, "/openapi.json", *flags, within=60)
    try:
        until(lambda: gateway.sockets() > before + 150, "the attack is on")
        photos.assert_same(photos.answer_of(gateway.detect(PHOTO)), photos.CHELSEA)
        until(lambda: gateway.sockets() < before + 10, "the connections are given up")
        assert attack.poll() is None, "the attack goes on"
    finally:
        attack.kill()
        attack.wait()


@contextmanager
def open_files() -> Iterator[int]:
    """As many as the system allows, in this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_idle_connections_than_there_may_be(spotter: Start) -> None:
    with open_files() as limit:
        most = min(10_000, limit - 1000)
        gateway = spotter("--max-connections", str(most), "--head-timeout-ms", "600000")
        idle: list[socket.socket] = []
        try:
            # Many at once: the system makes a connection that it has no room to announce wait for a second.
            with ThreadPoolExecutor(64) as openers:
                idle.extend(openers.map(lambda _: socket.create_connection(address(gateway)), range(most + 500)))
            for _ in range(3):
                photos.assert_same(photos.answer_of(gateway.detect(PHOTO)), photos.CHELSEA)
        finally:
            for connection in idle:
                connection.close()


def test_huge_headers(spotter: Start) -> None:
    gateway = spotter()
    head = b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(b"a%d: %s\r\n" % (n, b"x" * 10_000) for n in range(90))

    def attack() -> None:
        for _ in range(20):
            with socket.create_connection(address(gateway)) as connection:
                connection.sendall(head)
                answers.append(connection.recv(12))

    answers: list[bytes] = []
    threads = [threading.Thread(target=attack) for _ in range(4)]
    for thread in threads:
        thread.start()
    photos.assert_same(photos.answer_of(gateway.detect(PHOTO)), photos.CHELSEA)
    for thread in threads:
        thread.join()
    assert answers == [b"HTTP/1.1 431"] * 80


def rapid_reset(gateway: Gateway) -> h2.events.ConnectionTerminated:
    """Opens streams and resets them at once, until the service has had enough."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    head = [(":method", "POST"), (":path", "/v1/detect"), (":scheme", "http"), (":authority", "x")]
    with socket.create_connection(address(gateway)) as wire:
        wire.sendall(connection.data_to_send())
        try:
            for _ in range(5000):
                stream = connection.get_next_available_stream_id()
                connection.send_headers(stream, head)
                connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            wire.sendall(connection.data_to_send())
        except (BrokenPipeError, ConnectionResetError):
            pass  # its last words are still to be read
        while data := wire.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ConnectionTerminated):
                    return event
    raise AssertionError("the connection ended without GOAWAY")


def test_rapid_reset_ends_the_connection(spotter: Start) -> None:
    gateway = spotter()
    ends: list[h2.events.ConnectionTerminated] = []
    threads = [threading.Thread(target=lambda: ends.append(rapid_reset(gateway))) for _ in range(8)]
    for thread in threads:
        thread.start()
    photos.assert_same(photos.answer_of(gateway.detect(PHOTO)), photos.CHELSEA)
    for thread in threads:
        thread.join()
    assert [end.error_code for end in ends] == [h2.errors.ErrorCodes.ENHANCE_YOUR_CALM] * 8


@pytest.mark.parametrize("streams", [1, 100])
def test_load_over_http2(spotter: Start, streams: int) -> None:
    gateway = spotter()
    load = run("h2load", "--duration", SECONDS, "-c", 50, "-m", streams, gateway.url + "/livez")
    report = serves_others_while(gateway, load)
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", report)
    assert found, report
    assert int(found[1]) > 1000 and int(found[3]) == 0, report


def test_a_million_parts_and_a_million_brackets(spotter: Start) -> None:
    gateway = spotter()
    parts = b"--b\r\n\r\n\r\n" * 1_000_000
    brackets = b'{"image": ' + b"[" * 1_000_000
    for body, kind, code in [
        (parts, "multipart/form-data; boundary=b", "INVALID_MULTIPART"),
        (brackets, "application/json", "INVALID_JSON"),
    ]:
        answer = requests.post(gateway.url + "/v1/detect", data=body, headers={"content-type": kind}, timeout=60)
        assert (answer.status_code, json.loads(answer.content)["code"]) == (400, code)
    photos.assert_same(photos.answer_of(gateway.detect(PHOTO)), photos.CHELSEA)


@pytest.mark.parametrize("expect", ["", "100-continue"])
def test_curl_is_told_that_a_key_is_missing(spotter: Start, tmp_path: Path, expect: str) -> None:
    """The service answers from the head alone and hangs up; curl shows the answer and says nothing of a reset."""
    keys, upload = tmp_path / "keys", tmp_path / "upload"
    keys.write_text("shop: 0123456789abcdef-of-the-shop\n")
    upload.write_bytes(bytes(40 << 20))
    gateway = spotter("--api-keys", keys)
    curl = run(
        "curl", "--silent", "--show-error", "--header", f"Expect: {expect}", "--header", "Content-Type: image/png",
        "--data-binary", f"@{upload}", "--write-out", "\n%{http_code}", f"{gateway.url}/v1/detect",
    )  # fmt: skip
    told, _ = curl.communicate(timeout=60)
    body, status = told.rsplit("\n", 1)
    assert (curl.returncode, status) == (0, "401"), told
    assert json.loads(body)["code"] == "UNAUTHORIZED"
