"""Hostile clients: while each is at it, another client's photo is answered, and what the first holds is bounded."""

from __future__ import annotations

import json
import re
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
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
T = TypeVar("T")

SECONDS = 8  # that an attack lasts unless it is cut short
PHOTO = photos.read("chelsea")


def address(gateway: Gateway) -> tuple[str, int]:
    url = urlparse(gateway.url)
    assert url.hostname and url.port
    return url.hostname, url.port


def run(*command: str | int) -> subprocess.Popen[str]:
    words = [str(word) for word in command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def serves_others_while(gateway: Gateway, attack: Callable[[], T], key: str | None = None) -> T:
    """Photos of another client are answered for as long as the attack lasts; what came of that."""
    with ThreadPoolExecutor(1) as attacker:
        attacking = attacker.submit(attack)
        while True:
            response = gateway.post(PHOTO, headers={"x-api-key": key} if key else None)
            assert response.status_code == 200, f"{response.status_code}: {response.text}"
            photos.assert_same(photos.answer_of(response.json()), photos.CHELSEA)
            if attacking.done():
                return attacking.result()


def report_of(attack: subprocess.Popen[str], within: int = 60) -> str:
    """What a program had to say, once it has ended."""
    try:
        said, _ = attack.communicate(timeout=within)
        return re.sub(r"\x1b\[[0-9;]*m", "", said)  # without colours
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
    assert_hung_up_on(serves_others_while(gateway, lambda: report_of(attack)))


def test_slow_bodies_are_hung_up_on(spotter: Start) -> None:
    gateway = spotter("--upload-pause-ms", "1000")
    attack = slowhttptest(gateway, "/v1/detect", "-B", "-c", 400, "-r", 400, "-i", 2, "-s", 8192, "-f", "image/png")
    assert_hung_up_on(serves_others_while(gateway, lambda: report_of(attack)))


def test_answers_that_are_not_read_are_given_up(spotter: Start) -> None:
    """The attacker does not notice, because its system has the beginning of the answer still to offer."""
    gateway = spotter("--keep-alive-ms", "3000")
    before = gateway.sockets()
    flags = ("-X", "-c", 200, "-r", 200, "-w", 1, "-y", 2, "-n", 5, "-z", 1)
    attack = slowhttptest(gateway, "/openapi.json", *flags, within=60)
    try:
        until(lambda: gateway.sockets() > before + 150, "the attack is on")
        serves_others_while(
            gateway, lambda: until(lambda: gateway.sockets() < before + 10, "the connections are given up")
        )
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
    most, more = 10_000, 500
    with open_files() as limit:
        if limit < most + more + 1000:
            pytest.fail(f"{limit} files may be open, and 10,000 connections need {most + more + 1000}: ulimit -Hn")
        gateway = spotter("--max-connections", str(most), "--head-timeout-ms", "600000")
        before = gateway.sockets()
        idle: list[socket.socket] = []

        def open_all() -> None:
            # Many at once: the system makes a connection that it has no room to announce wait for a second.
            with ThreadPoolExecutor(64) as openers:
                idle.extend(openers.map(lambda _: socket.create_connection(address(gateway)), range(most + more)))

        try:
            serves_others_while(gateway, open_all)
            # The other client's own may be among them.
            until(lambda: most - 10 <= gateway.sockets() - before <= most, "as many are open as may be")
            for _ in range(3):
                photos.assert_same(photos.answer_of(gateway.detect(PHOTO)), photos.CHELSEA)
            held = gateway.sockets() - before
            assert most - 10 <= held <= most, f"{held} of {len(idle)} are open"
        finally:
            for connection in idle:
                connection.close()


def test_huge_headers(spotter: Start) -> None:
    gateway = spotter()
    head = b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(b"a%d: %s\r\n" % (n, b"x" * 10_000) for n in range(90))

    def answer(_: int) -> bytes:
        with socket.create_connection(address(gateway)) as connection:
            connection.sendall(head)
            return connection.recv(12)

    assert serves_others_while(gateway, lambda: at_once(4, answer, 80)) == [b"HTTP/1.1 431"] * 80


def at_once(clients: int, attack: Callable[[int], T], times: int) -> list[T]:
    """So many clients do it so many times together."""
    with ThreadPoolExecutor(clients) as attackers:
        return list(attackers.map(attack, range(times)))


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
    ends = serves_others_while(gateway, lambda: at_once(8, lambda _: rapid_reset(gateway), 24))
    assert [end.error_code for end in ends] == [h2.errors.ErrorCodes.ENHANCE_YOUR_CALM] * 24


@pytest.mark.parametrize("streams", [1, 100])
def test_load_over_http2(spotter: Start, streams: int) -> None:
    gateway = spotter()
    load = run("h2load", "--duration", SECONDS, "-c", 50, "-m", streams, gateway.url + "/livez")
    report = serves_others_while(gateway, lambda: report_of(load))
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", report)
    assert found, report
    succeeded, *others = map(int, found.groups())
    assert succeeded > 1000 and others == [0, 0, 0], report


def part(name: str) -> bytes:
    return f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n\r\n'.encode()


# Of each, the body, the answer, and what it must say to be about just that.
ATTACKS = {
    "a million parts": (part("tiles") * 1_000_000, 400, "INVALID_MULTIPART", "more than 64 parts beside its photos"),
    "a million brackets where a photo belongs": (b'{"image": ' + b"[" * 1_000_000, 400, "INVALID_JSON", "to be a base64 string"),
    "a million brackets in an option": (
        b'{"image": "", "min_scores": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        413, "PAYLOAD_TOO_LARGE", "more than 65536 bytes",
    ),
    "as many brackets as options may have bytes": (
        b'{"image": "", "min_scores": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        400, "INVALID_JSON", "30001 objects and lists deep; this server reads up to 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_million_parts_and_a_million_brackets(spotter: Start, attack: str) -> None:
    body, status, code, said = ATTACKS[attack]
    gateway = spotter("--max-image-bytes", "100000000")
    kind = "application/json" if body.startswith(b"{") else "multipart/form-data; boundary=b"

    def answer(_: int) -> requests.Response:
        return requests.post(gateway.url + "/v1/detect", data=body, headers={"content-type": kind}, timeout=60)

    for response in serves_others_while(gateway, lambda: at_once(2, answer, 6)):
        problem = json.loads(response.content)
        assert (response.status_code, problem["code"]) == (status, code), problem
        assert said in problem["detail"], problem


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
    told = serves_others_while(gateway, lambda: report_of(curl), key="0123456789abcdef-of-the-shop")
    body, status = told.rsplit("\n", 1)
    assert (curl.returncode, status) == (0, "401"), told
    assert json.loads(body)["code"] == "UNAUTHORIZED"
