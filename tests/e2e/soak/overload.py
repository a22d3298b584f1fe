"""``python -m soak.overload SPOTTER``: four times as many photos as can be answered, for ten seconds.

Twice: thumbnails before a model server of known capacity, which is what there is too little of; and photos of three megapixels
for the detector in the process, on one worker, where it is the core.

Requests come at their times whether or not earlier ones are answered, each on a connection of its own. Bounds: at four times
the capacity at least 90 % of the peak is answered, the peak being the best of several loads; all but the slowest hundredth of what
is answered is within the deadline, by the client's clock; whoever is refused is told 503 and the model server is asked for nobody
else. From the moment that the load falls to three quarters of the capacity the queue empties: half a second later nobody is
refused any more, everybody is answered within the deadline, and when it is empty all is as before, for the slowest hundredth too.
With the detector in the process, four times as much once more, for twenty seconds, makes memory grow by a tenth at most.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from support import photos
from support.gateway import Gateway
from support.wait import until

from .model_server import LOGS, ModelServer
from .steady_model import AT_ONCE, SECONDS

CAPACITY = AT_ONCE / SECONDS
DEADLINE = 2.0
FLAGS = ("--max-in-flight", str(AT_ONCE), "--request-timeout-ms", str(int(DEADLINE * 1000)), "--log", "error")
LARGE = (2000, 1500)
# Shares of the capacity, of which the one that answers most is the peak.
LOADS = (0.5, 0.9, 1.0, 1.25)
# What comes after four times as much. A queue of half the deadline (the most that may wait) is empty when a quarter of the
# capacity has worked it off.
AFTERWARDS = 0.75
EMPTY = DEADLINE / 2 / (1 - AFTERWARDS)
# Of the memory of a service with the detector in it, from one such load to the next.
MOST_GROWTH = 1.1


@dataclass
class Phase:
    name: str
    rate: float
    seconds: float
    answers: list[tuple[int, float, float]] = field(default_factory=list)
    """Status, seconds that it took, and when it was asked for, in seconds from the beginning."""
    codes: Counter[str] = field(default_factory=Counter)
    """What those that were refused were told."""
    took: float = 0.0

    def times(self, status: int, since: float = 0.0) -> list[float]:
        return sorted(time for found, time, asked in self.answers if found == status and asked >= since)

    @property
    def goodput(self) -> float:
        return len(self.times(200)) / self.took

    def quantile(self, status: int, share: float, since: float = 0.0) -> float:
        times = self.times(status, since)
        return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0

    def __str__(self) -> str:
        def ms(status: int) -> str:
            return " / ".join(f"{self.quantile(status, share) * 1000:.0f}" for share in (0.5, 0.99))

        statuses = dict(sorted(Counter(status for status, _, _ in self.answers).items()))
        return (
            f"{self.name:12} offered {self.rate:4.0f}/s, answered {self.goodput:6.2f}/s; "
            f"answers p50 / p99 {ms(200)} ms, refusals {ms(503)} ms; {statuses} {dict(self.codes)}"
        )


async def ask(port: int, request: bytes, phase: Phase, since: float) -> None:
    begin = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5 * DEADLINE)
    writer.close()
    phase.answers.append((int(answer.split(b" ", 2)[1]), time.monotonic() - begin, begin - since))
    if code := re.search(rb'"code":"([A-Z_]+)"', answer):
        phase.codes[code[1].decode()] += 1


async def run(port: int, request: bytes, *phases: Phase) -> None:
    """One after the other; the next begins when the last has asked, not when it has been answered."""
    answered = []
    for phase in phases:
        begin = time.monotonic()
        asking = []
        for number in range(int(phase.rate * phase.seconds)):
            await asyncio.sleep(max(0.0, begin + number / phase.rate - time.monotonic()))
            asking.append(asyncio.create_task(ask(port, request, phase, begin)))
        answered.append((phase, begin, asking))
    for phase, begin, asking in answered:
        await asyncio.gather(*asking)
        phase.took = max(asked + took for _, took, asked in phase.answers)
        print(phase, flush=True)


@dataclass
class Measured:
    alone: float
    """Seconds that a photo takes when there is no other."""
    loads: list[Phase]
    over: Phase
    after: Phase

    def check(self) -> None:
        peak = max(phase.goodput for phase in self.loads)
        over, after = self.over, self.after
        assert over.goodput >= 0.9 * peak, f"{over.goodput:.2f}/s of {peak:.2f}/s"
        assert over.quantile(200, 0.99) <= DEADLINE
        assert {status for status, _, _ in over.answers} == {200, 503}
        assert over.codes.keys() == {"OVERLOADED"}
        assert {status for status, _, _ in after.answers} <= {200, 503}
        assert after.codes.keys() <= {"OVERLOADED"}
        refused = [asked for status, _, asked in after.answers if status != 200]
        print(f"last refused {max(refused, default=0.0) * 1000:.0f} ms after the load fell; "
              f"then p50 / p99 {after.quantile(200, 0.5, EMPTY) * 1000:.0f} / {after.quantile(200, 0.99, EMPTY) * 1000:.0f} ms")
        assert all(asked < 0.5 for asked in refused), f"refused after so many seconds: {refused}"
        assert after.quantile(200, 1.0) <= DEADLINE
        assert after.quantile(200, 0.5, EMPTY) <= 2 * self.alone, f"alone {self.alone * 1000:.0f} ms"
        assert after.quantile(200, 0.99, EMPTY) <= 5 * self.alone, f"alone {self.alone * 1000:.0f} ms"

    @property
    def answered(self) -> int:
        return sum(len(phase.times(200)) for phase in (*self.loads, self.over, self.after))


def request_of(photo: bytes) -> bytes:
    head = f"POST /v1/detect HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(photo)}\r\n\r\n"
    return head.encode() + photo


async def one_after_the_other(port: int, request: bytes, seconds: float) -> Phase:
    """Photos of a client that waits for each answer."""
    phase = Phase("one by one", 0, seconds)
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        await ask(port, request, phase, begin)
    phase.took = time.monotonic() - begin
    print(phase, flush=True)
    return phase


async def measure(port: int, request: bytes, capacity: float, alone: float) -> Measured:
    loads = [Phase(f"{load:g} times", capacity * load, 8) for load in LOADS]
    for load in loads:
        await run(port, request, load)
    over, after = Phase("four times", capacity * 4, 10), Phase("afterwards", capacity * AFTERWARDS, EMPTY + 5)
    await run(port, request, over, after)
    return Measured(alone, loads, over, after)


def before_a_model_server(binary: Path) -> None:
    print("a model server that is the bottleneck")
    with ModelServer() as model:
        serving = "--serving", f"http://{model.address}"
        with Gateway(binary, *serving, *FLAGS, logs=LOGS) as gateway:
            until(gateway.is_ready, "the gateway to be ready")
            request = request_of(photos.thumbnail("chelsea"))
            measured = asyncio.run(measure(gateway.port, request, CAPACITY, SECONDS))
        warm_ups = model.predicts() - measured.answered
    print(f"predicts beside those that were answered: {warm_ups}")
    measured.check()
    assert warm_ups == 1, "the blank picture of the start, and none for who was refused"


def on_one_core(binary: Path) -> None:
    print("a core that is the bottleneck")

    async def all_of_it(port: int) -> Measured:
        request = request_of(photos.enlarged("chelsea", LARGE))
        alone = await one_after_the_other(port, request, 5)
        # One worker does one photo at a time, and what the network does meanwhile is next to nothing.
        return await measure(port, request, alone.goodput, alone.quantile(200, 0.5))

    with Gateway(binary, "--workers", "1", *FLAGS, logs=LOGS) as gateway:
        until(gateway.is_ready, "the gateway to be ready")
        measured = asyncio.run(all_of_it(gateway.port))
        measured.check()
        # By now everything has been as large as such a load makes it.
        before = gateway.resident()
        again = Phase("once more", measured.over.rate, 20)
        asyncio.run(run(gateway.port, request_of(photos.enlarged("chelsea", LARGE)), again))
        asyncio.run(one_after_the_other(gateway.port, request_of(photos.enlarged("chelsea", LARGE)), 10))
        after = gateway.resident()
        print(f"resident: {before:.1f} MiB after all of it, {after:.1f} after four times as much once more")
        assert after <= MOST_GROWTH * before


def main() -> None:
    binary = Path(sys.argv[1])
    before_a_model_server(binary)
    on_one_core(binary)


if __name__ == "__main__":
    main()
