"""HTTP/1.1 by hand: a client that can pause, stop and leave wherever it likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PATIENCE = 60.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def outcome(self) -> str:
        """`200`, or status and code: `415 UNSUPPORTED_IMAGE_FORMAT`."""
        return str(self.status) if self.status < 400 else f"{self.status} {self.json['code']}"


class Connection:
    """One connection, opened when it is needed and kept for as long as the service keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, length: int | None = None
    ) -> None:
        """The head, and as much of the body as is given here."""
        length = len(body) if length is None else length
        fields = {"host": "soak", "content-length": str(length), **headers}
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(head.encode() + b"\r\n" + body)

    async def write(self, piece: bytes) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        writer = self._streams[1]
        writer.write(piece)
        await writer.drain()

    async def answer(self) -> Answer:
        assert self._streams
        reader = self._streams[0]
        async with asyncio.timeout(PATIENCE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
            body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(head[0].split(" ", 2)[1]), headers, body)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None
