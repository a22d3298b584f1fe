"""A TCP proxy that breaks on command, between the service and a model server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from typing import Self

PIECE = 64 * 1024
CUT_AFTER = 40  # bytes that still come: the head of a frame and some of what is in it
DELAY = 0.2


class Trouble(Enum):
    NOTHING = auto()
    REFUSES = auto()  # connections are closed, those that were open as well
    FREEZES = auto()  # connections stay open, and nothing passes
    CUTS = auto()  # an answer ends in the middle
    BABBLES = auto()  # answers are bytes that are no HTTP/2
    DELAYS = auto()  # every piece of an answer comes later


class BreakingProxy:
    """In front of the server at this address, inside of a running loop."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = host, int(port)
        self._open: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._trouble = Trouble.NOTHING

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        self._passes.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self._close_all()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open) // 2

    def set(self, trouble: Trouble) -> None:
        """From now on, also on connections that are open."""
        self._trouble = trouble
        if trouble is Trouble.FREEZES:
            self._passes.clear()
        else:
            self._passes.set()
        if trouble is Trouble.REFUSES:
            self._close_all()

    def _close_all(self) -> None:
        for writer in self._open:
            writer.close()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._trouble is Trouble.REFUSES:
            to_client.close()
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._server)
        except OSError:
            to_client.close()
            return
        both = {to_client, to_server}
        self._open |= both
        ways = [
            asyncio.create_task(self._pass(from_client, to_server, answers=False)),
            asyncio.create_task(self._pass(from_server, to_client, answers=True)),
        ]
        # Whichever ends first takes the other with it.
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self._open -= both
        for way in ways:
            way.cancel()
        for writer in both:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE):
                await self._passes.wait()
                match self._trouble:
                    case Trouble.CUTS if answers:
                        writer.write(piece[:CUT_AFTER])
                        await writer.drain()
                        return
                    case Trouble.BABBLES if answers:
                        piece = b"\xaa" * len(piece)
                    case Trouble.DELAYS if answers:
                        await asyncio.sleep(DELAY)
                writer.write(piece)
                await writer.drain()
