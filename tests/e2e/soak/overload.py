"""``python -m soak.overload SPOTTER``: four times as many photos as can be answered, for ten seconds.

Requests come at their times whether or not earlier ones are answered, each on a connection of its own. Bounds: at four times
the capacity at least 90 % of the peak is answered, the slowest hundredth of what is answered is within the deadline, whoever
is refused is told 503 and the model server is asked for nobody else, and right afterwards all is as before.
"""

from __future__ import annotations

import asyncio
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
# What the machine may add between the client's clock and the service's.
SLACK = 0.1


@dataclass
class Phase:
    name: str
    rate: float
    seconds: float
    answers: list[tuple[int, float]] = field(default_factory=list)
    took: float = 0.0

    def times(self, status: int) -> list[float]:
        return sorted(time for found, time in self.answers if found == status)

    @property
    def goodput(self) -> float:
        return len(self.times(200)) / self.took

    def quantile(self, status: int, share: float) -> float:
        times = self.times(status)
        return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0

    def __str__(self) -> str:
        def ms(status: int) -> str:
            return " / ".join(f"{self.quantile(status, share) * 1000:.0f}" for share in (0.5, 0.99))

        statuses = dict(sorted(Counter(status for status, _ in self.answers).items()))
        return (
            f"{self.name:12} offered {self.rate:4.0f}/s, answered {self.goodput:5.1f}/s; "
            f"answers p50 / p99 {ms(200)} ms, refusals {ms(503)} ms; {statuses}"
        )


async def ask(port: int, request: bytes, phase: Phase) -> None:
    begin = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5 * DEADLINE)
    writer.close()
    phase.answers.append((int(answer.split(b" ", 2)[1]), time.monotonic() - begin))


async def run(port: int, request: bytes, phase: Phase) -> Phase:
    begin = time.monotonic()
    asking = []
    for number in range(int(phase.rate * phase.seconds)):
        await asyncio.sleep(max(0.0, begin + number / phase.rate - time.monotonic()))
        asking.append(asyncio.create_task(ask(port, request, phase)))
    await asyncio.gather(*asking)
    phase.took = time.monotonic() - begin
    print(phase, flush=True)
    return phase


async def measure(port: int) -> tuple[Phase, Phase, Phase, int]:
    photo = photos.thumbnail("chelsea")
    head = f"POST /v1/detect HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(photo)}\r\n\r\n"
    request = head.encode() + photo
    phases = [
        await run(port, request, phase)
        for phase in (
            Phase("half", CAPACITY / 2, 5),
            Phase("peak", CAPACITY, 10),
            Phase("four times", CAPACITY * 4, 10),
            Phase("afterwards", CAPACITY * 3 / 4, 5),
        )
    ]
    _, peak, over, after = phases
    return peak, over, after, sum(len(phase.times(200)) for phase in phases)


def main() -> None:
    with ModelServer() as model:
        serving = "--serving", f"http://{model.address}"
        with Gateway(Path(sys.argv[1]), *serving, *FLAGS, logs=LOGS) as gateway:
            until(gateway.is_ready, "the gateway to be ready")
            peak, over, after, answered = asyncio.run(measure(gateway.port))
        warm_ups = model.predicts() - answered
    print(f"predicts beside those that were answered: {warm_ups}")
    assert over.goodput >= 0.9 * peak.goodput
    assert over.quantile(200, 0.99) <= DEADLINE + SLACK
    assert {status for status, _ in over.answers} == {200, 503}
    assert {status for status, _ in after.answers} == {200}
    assert after.quantile(200, 0.5) <= 2 * SECONDS
    assert warm_ups <= 1, "the blank picture of the start, and nothing for those that were refused"


if __name__ == "__main__":
    main()
