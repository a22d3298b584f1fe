"""HTTP/2 with prior knowledge: many requests at once on one connection, some of which are taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events

from .http1 import PATIENCE, Answer

PIECE = 16_384  # the longest frame that a peer must take


@dataclass
class _Stream:
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reset: bool = False


class Connection:
    def __init__(self) -> None:
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._streams: dict[int, _Stream] = {}
        self._room = asyncio.Event()

    async def open(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._h2.initiate_connection()
        self._flush()
        self._listening = asyncio.create_task(self._listen())

    async def ask(self, target: str, headers: Mapping[str, str], body: bytes, *, leave: bool = False) -> Answer | None:
        """The answer; with `leave` the request is taken back as soon as it is sent, and there is none."""
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = _Stream()
        fields = {":method": "POST", ":path": target, ":scheme": "http", ":authority": "soak", **headers}
        self._h2.send_headers(number, list(fields.items()))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._send(number, body)
                if leave:
                    self._h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
                    self._flush()
                    return None
                await stream.ended.wait()
        finally:
            del self._streams[number]
        assert not stream.reset, "a stream is reset instead of being answered"
        return Answer(int(stream.headers[":status"]), stream.headers, bytes(stream.body))

    async def _send(self, number: int, body: bytes) -> None:
        while body:
            room = min(self._h2.local_flow_control_window(number), PIECE)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            piece, body = body[:room], body[room:]
            self._h2.send_data(number, piece, end_stream=not body)
            self._flush()
            await self._writer.drain()

    async def _listen(self) -> None:
        while received := await self._reader.read(PIECE):
            for event in self._h2.receive_data(received):
                stream = self._streams.get(getattr(event, "stream_id", None) or 0)
                match event:
                    case h2.events.ResponseReceived(headers=headers) if stream:
                        stream.headers = dict(headers)
                    case h2.events.DataReceived(data=data, flow_controlled_length=length, stream_id=number):
                        self._h2.acknowledge_received_data(length, number)
                        if stream:
                            stream.body += data
                    case h2.events.StreamEnded() if stream:
                        stream.ended.set()
                    case h2.events.StreamReset() if stream:
                        stream.reset = True
                        stream.ended.set()
                    case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                        self._room.set()
            self._flush()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    def close(self) -> None:
        self._listening.cancel()
        self._writer.close()
