"""What the clients of a soak do: the good, the slow, the bad, and those that leave."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import grpc.aio
from PIL import Image

from support import stubs
from support.photos import PHOTOS

from . import http1, http2
from .ledger import GRPC, Ledger

KEY = "a-key-of-the-soak-0123456789"
LABELS = {"cat", "tiger"}
"""What the label map calls the one class that the model finds, before and after it is exchanged."""

DETECT = "/v1/detect"
# While the model server is in trouble, and where more comes than can be worked on.
TROUBLE = {"503 MODEL_UNAVAILABLE", "503 OVERLOADED", "504 MODEL_DEADLINE", "504 DEADLINE_EXCEEDED"}
GOOD = {"200"} | TROUBLE
# Seconds between two requests of a client, on average; of one that does not wait for answers.
THINKING = 0.05
LEAVING = 0.3
# 30 MB of zeros, more than a photo may have and more than a hundred times the length.
BOMB = gzip.compress(bytes(30 << 20))


@dataclass(frozen=True)
class Photo:
    file: bytes
    size: tuple[int, int]


def photos() -> list[Photo]:
    """A real photo in as many sizes and formats, so that an answer to another request shows."""
    with Image.open(PHOTOS / "chelsea.png") as chelsea:
        picture = chelsea.convert("RGB")
    made = []
    for number, kind in enumerate(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF") * 3):
        size = (64 + 4 * number, 48 + 2 * number)
        file = io.BytesIO()
        picture.resize(size).save(file, kind)
        made.append(Photo(file.getvalue(), size))
    return made


def form(parts: list[tuple[str, bytes]]) -> tuple[dict[str, str], bytes]:
    body = b"".join(
        f'--b\r\ncontent-disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode() + content + b"\r\n"
        if name == "image"
        else f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in parts
    )
    return {"content-type": "multipart/form-data; boundary=b"}, body + b"--b--\r\n"


class Traffic:
    """All kinds of client against one service. Each kind is a method; each of its calls is a request or a few."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        self._port = port
        self._ledger = ledger
        self._photos = photos()
        self._pb2, self._pb2_grpc = stubs.made()
        self._random = random.Random(1)
        self._bad = self._bad_requests()

    async def run(self, go_on: Callable[[], bool]) -> None:
        """All clients at once, until there is no reason to go on; every connection is closed then."""
        kept = [http1.Connection(self._port) for _ in range(4)]
        self._http2 = http2.Connection()
        await self._http2.open(self._port)
        idle = [http1.Connection(self._port) for _ in range(8)]
        for connection in idle:
            await connection.write(b"GET /livez HTTP/1.1\r\nhost: soak\r\n\r\n")
            assert (await connection.answer()).status == 200
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            self._grpc = self._pb2_grpc.DetectionServiceStub(channel)
            clients: list[Callable[[], Awaitable[None]]] = [
                *(partial(self._good, connection) for connection in kept),
                self._many_at_once,
                self._taken_back,
                self._typed,
                self._typed_batch,
                self._typed_stream,
                self._typed_and_cancelled,
                self._slow,
                self._stalls,
                self._cut_off,
                self._leaves,
                self._refused,
                self._no_http,
            ]
            await asyncio.gather(*(self._repeat(client, go_on) for client in clients))
        self._http2.close()
        for connection in [*kept, *idle]:
            connection.close()

    async def _repeat(self, client: Callable[[], Awaitable[None]], go_on: Callable[[], bool]) -> None:
        leaving = {self._taken_back, self._typed_and_cancelled, self._cut_off, self._leaves, self._refused, self._no_http}
        while go_on():
            await client()
            # Those that wait for nothing would be most of the traffic.
            await asyncio.sleep(self._random.uniform(0, 2 * (LEAVING if client in leaving else THINKING)))

    def _photo(self) -> Photo:
        return self._random.choice(self._photos)

    def _headers(self, name: str, **more: str) -> dict[str, str]:
        return {"x-request-id": name, "authorization": f"Bearer {KEY}", **more}

    def _answered(self, name: str, answer: http1.Answer, allowed: set[str]) -> None:
        self._ledger.answer(name, answer.outcome, allowed, answer.body[:300].decode("utf-8", "replace"))
        found = answer.headers.get("x-request-id")
        self._ledger.check(found == name, name, f"the answer bears the id {found}")

    def _check(self, name: str, body: dict[str, Any], photo: Photo) -> None:
        """That these are the detections in this photo."""
        size = body["image"]["width"], body["image"]["height"]
        self._ledger.check(size == photo.size, name, f"a photo of {photo.size} is answered as of {size}")
        labels = {found["label"] for found in body["detections"]}
        self._ledger.check(bool(labels) and labels <= LABELS, name, f"the labels are {labels}")

    async def _good(self, connection: http1.Connection) -> None:
        """One photo, in one of the forms, on a connection that is kept."""
        photo = self._photo()
        kind = self._random.choice(("raw", "form", "json", "picture", "batch"))
        name = self._ledger.ask(kind)
        target, headers, body = DETECT, {"content-type": "application/octet-stream"}, photo.file
        match kind:
            case "form":
                headers, body = form([("min_score", b"0.2"), ("tiles", b"2"), ("crops", b"jpeg"), ("image", photo.file)])
            case "json":
                headers = {"content-type": "application/json"}
                text = base64.b64encode(photo.file).decode()
                body = json.dumps({"image": text, "normalized": True, "iou": 0.5}).encode()
            case "picture":
                headers["accept"] = "image/jpeg"
            case "batch":
                target = "/v1/detect/batch"
                headers, body = form([("image", photo.file), ("image", b"no photo"), ("image", photo.file)])
        await connection.send("POST", target, self._headers(name, **headers), body)
        answer = await connection.answer()
        self._answered(name, answer, GOOD)
        if answer.status != 200:
            return
        match kind:
            case "picture":
                with Image.open(io.BytesIO(answer.body)) as drawn:
                    self._ledger.check(drawn.size == photo.size, name, f"drawn on a picture of {drawn.size}")
            case "batch":
                for place, part in enumerate(answer.json["photos"]):
                    if place == 1:
                        code = part["problem"]["code"]
                        self._ledger.check(code == "UNSUPPORTED_IMAGE_FORMAT", name, f"the bad photo is {code}")
                    elif "answer" in part:
                        self._check(name, part["answer"], photo)
                    else:
                        outcome = f"{part['problem']['status']} {part['problem']['code']}"
                        self._ledger.check(outcome in TROUBLE, name, f"a photo of the batch is {outcome}")
            case _:
                self._check(name, answer.json, photo)

    async def _many_at_once(self) -> None:
        """Several photos at once on the one HTTP/2 connection."""
        await asyncio.gather(*(self._one_of_many() for _ in range(4)))

    async def _one_of_many(self) -> None:
        photo = self._photo()
        name = self._ledger.ask("h2")
        answer = await self._http2.ask(DETECT, self._headers(name), photo.file)
        assert answer
        self._answered(name, answer, GOOD)
        if answer.status == 200:
            self._check(name, answer.json, photo)

    async def _taken_back(self) -> None:
        """A request on the same connection that is reset as soon as it is sent."""
        name = self._ledger.ask("h2 reset")
        self._ledger.leave(name, is_seen=False)
        await self._http2.ask(DETECT, self._headers(name), self._photo().file, leave=True)

    async def _typed(self) -> None:
        photo = self._photo()
        name = self._ledger.ask(GRPC)
        call = self._grpc.Detect(self._pb2.DetectRequest(image=photo.file), metadata=self._headers(name).items(), timeout=60)
        if await self._typed_is_answered(name, call):
            response = await call
            self._ledger.check(response.request_id == name, name, f"the answer bears the id {response.request_id}")
            self._check_typed(name, response, photo)

    async def _typed_batch(self) -> None:
        """A photo, what is none, and the photo again."""
        photo = self._photo()
        name = self._ledger.ask(f"{GRPC} batch")
        request = self._pb2.DetectBatchRequest(images=[photo.file, b"no photo", photo.file])
        call = self._grpc.DetectBatch(request, metadata=self._headers(name).items(), timeout=60)
        if await self._typed_is_answered(name, call):
            good, bad, again = (await call).results
            self._ledger.check(bad.failure.code == "UNSUPPORTED_IMAGE_FORMAT", name, f"the bad photo is {bad}")
            for result in (good, again):
                self._check_result(name, result, photo)

    async def _typed_stream(self) -> None:
        """Frames of a camera, of which the newest wins: each is answered or said to be passed over, the last is answered."""
        frames = [self._photo() for _ in range(4)]
        name = self._ledger.ask(f"{GRPC} stream")
        requests = [
            self._pb2.StreamDetectRequest(frame=self._pb2.Frame(id=number, image=photo.file))
            for number, photo in enumerate(frames)
        ]
        call = self._grpc.StreamDetect(iter(requests), metadata=self._headers(name).items(), timeout=60)
        answers = []
        # What ends it too early is in its code.
        with suppress(grpc.aio.AioRpcError):
            answers = [answer async for answer in call]
        if await self._typed_is_answered(name, call):
            passed_over = sum(answer.passed_over for answer in answers)
            ids = [answer.frame_id for answer in answers]
            accounted = len(ids) + passed_over == len(frames) and ids == sorted(set(ids)) and ids[-1] == len(frames) - 1
            self._ledger.check(accounted, name, f"frames {ids} are answered, {passed_over} passed over")
            for answer in answers:
                self._check_result(name, answer.result, frames[answer.frame_id])

    def _check_result(self, name: str, result: Any, photo: Photo) -> None:
        if result.HasField("response"):
            self._check_typed(name, result.response, photo)
        else:
            troubled = any(outcome.endswith(f" {result.failure.code}") for outcome in TROUBLE)
            self._ledger.check(troubled, name, f"one of several photos is {result.failure}")

    def _check_typed(self, name: str, response: Any, photo: Photo) -> None:
        size = response.image.width, response.image.height
        self._ledger.check(size == photo.size, name, f"a photo of {photo.size} is answered as of {size}")

    async def _typed_is_answered(self, name: str, call: grpc.aio.Call) -> bool:
        code = await call.code()
        trailers = {**dict(await call.initial_metadata()), **dict(await call.trailing_metadata())}
        details = trailers.get("grpc-status-details-bin", b"").decode("latin-1")
        failed = next((outcome for outcome in sorted(TROUBLE) if outcome.split()[1] in details), f"500 {code.name}")
        outcome = "200" if code is grpc.StatusCode.OK else failed
        self._ledger.answer(name, outcome, GOOD, await call.details() or "")
        return code is grpc.StatusCode.OK

    async def _typed_and_cancelled(self) -> None:
        name = self._ledger.ask("gRPC cancelled")
        self._ledger.leave(name, is_seen=False)
        request = self._pb2.DetectRequest(image=self._photo().file)
        call = self._grpc.Detect(request, metadata=self._headers(name).items(), timeout=60)
        await asyncio.sleep(self._random.uniform(0, 0.1))
        call.cancel()

    async def _slow(self) -> None:
        """A photo in pieces, each within the pause that is allowed."""
        photo = self._photo()
        name = self._ledger.ask("slow")
        connection = http1.Connection(self._port)
        length = len(photo.file)
        await connection.send("POST", DETECT, self._headers(name), length=length)
        for begin in range(0, length, length // 4 + 1):
            await asyncio.sleep(0.1)
            await connection.write(photo.file[begin : begin + length // 4 + 1])
        answer = await connection.answer()
        self._answered(name, answer, GOOD)
        if answer.status == 200:
            self._check(name, answer.json, photo)
        connection.close()

    async def _stalls(self) -> None:
        """A body that stops, for longer than is allowed."""
        name = self._ledger.ask("stalls")
        connection = http1.Connection(self._port)
        await connection.send("POST", DETECT, self._headers(name), b"\xff\xd8\xff", length=10_000)
        self._answered(name, await connection.answer(), {"408 UPLOAD_TIMEOUT"})
        connection.close()

    async def _cut_off(self) -> None:
        """A connection that ends in the middle of an upload."""
        photo = self._photo()
        name = self._ledger.ask("cut")
        self._ledger.leave(name)
        connection = http1.Connection(self._port)
        await connection.send("POST", DETECT, self._headers(name), photo.file[:700], length=len(photo.file) + 1000)
        connection.close()

    async def _leaves(self) -> None:
        """A client that sends its photo and does not wait for the answer."""
        name = self._ledger.ask("leaves")
        self._ledger.leave(name)
        connection = http1.Connection(self._port)
        await connection.send("POST", DETECT, self._headers(name), self._photo().file)
        await asyncio.sleep(self._random.uniform(0, 0.1))
        connection.close()

    def _bad_requests(self) -> list[tuple[str, str, dict[str, str], bytes]]:
        """What each is refused with, its target, headers and body."""
        jpeg, png = self._photos[0].file, self._photos[1].file
        as_json = {"content-type": "application/json"}
        heic = b"\0\0\0\x18ftypheic" + bytes(200)
        return [
            ("422 UNREADABLE_IMAGE", DETECT, {}, jpeg[: len(jpeg) // 2]),
            ("422 UNREADABLE_IMAGE", DETECT, {}, png[:60] + bytes(300)),
            ("415 UNSUPPORTED_IMAGE_FORMAT", DETECT, {}, heic),
            ("400 MISSING_IMAGE", DETECT, {}, b""),
            ("422 INVALID_OPTION", DETECT + "?min_score=2", {}, jpeg),
            ("404 UNKNOWN_MODEL", "/v1/models/none/detect", {}, jpeg),
            ("404 NOT_FOUND", "/v2/detect", {}, jpeg),
            ("401 UNAUTHORIZED", DETECT, {"authorization": "Bearer no"}, jpeg),
            ("415 UNSUPPORTED_MEDIA_TYPE", DETECT, {"content-type": "text/plain"}, b"text"),
            ("400 INVALID_JSON", DETECT, as_json, b"{" * 1000),
            ("400 INVALID_BASE64", DETECT, as_json, b'{"image": "%%%"}'),
            ("400 INVALID_MULTIPART", DETECT, {"content-type": "multipart/form-data; boundary=x"}, jpeg),
            ("413 PAYLOAD_TOO_LARGE", DETECT, {"content-encoding": "gzip"}, BOMB),
        ]

    async def _refused(self) -> None:
        outcome, target, headers, body = self._random.choice(self._bad)
        name = self._ledger.ask("bad")
        connection = http1.Connection(self._port)
        await connection.send("POST", target, self._headers(name, **headers), body)
        self._answered(name, await connection.answer(), {outcome})
        connection.close()

    async def _no_http(self) -> None:
        """Bytes that are no request. They have no id to account for; the answer says what they are."""
        connection = http1.Connection(self._port)
        await connection.write(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n")
        answer = await connection.answer()
        if answer.outcome != "400 INVALID_REQUEST":
            self._ledger.wrong.append(f"what is no request is answered {answer.outcome}")
        connection.close()
