"""``python -m soak.mixed SPOTTER``: good and bad clients of every kind, and a model server that is hardly ever well.

Ten rounds. In each, clients of all kinds ask at once (`soak.traffic`) while the connections to the model server are refused,
frozen, cut, delayed and filled with nonsense, one of its two addresses at a time and once both, and while the label map is
exchanged under SIGHUP, once for a broken one. Between rounds all is quiet, and what the service holds is measured.

SOAK_SECONDS is how long the rounds take together; ten minutes unless it is set. Ends with a table, and with 1 where

- a request was lost, answered twice, answered with what belongs to another, or otherwise than it may be;
- the log has no line of an answer, several, or another status;
- fewer than nine in ten good requests were answered with their detections;
- memory at rest grew by more than a tenth after the first rounds, or more file descriptors are open after a round than were
  before the first request.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.breaking_proxy import BreakingProxy, Trouble
from support.gateway import Gateway

from . import http1
from .ledger import GRPC, Ledger
from .model_server import LOGS, ModelServer
from .traffic import KEY, TROUBLE, Traffic

ROUNDS = 10
# Rounds in which caches, pools and the allocator fill up; the three after them are what the last three are compared with.
WARM_UP = 3
COMPARED = 3
MOST_GROWTH = 1.1
LEAST_GOOD = 0.9
# What goes through the model server and is waited for.
GOOD_KINDS = {"raw", "form", "json", "picture", "batch", "h2", GRPC, f"{GRPC} batch", f"{GRPC} stream", "slow"}
# Which of the two addresses of the model server are in which trouble, and for how long: a host that is frozen is found out
# after a second.
TROUBLES = [
    ([0], Trouble.REFUSES, 0.5),
    ([1], Trouble.CUTS, 0.5),
    ([0], Trouble.FREEZES, 2.5),
    ([1], Trouble.REFUSES, 0.5),
    ([0], Trouble.BABBLES, 0.5),
    ([1], Trouble.DELAYS, 1.0),
    ([0], Trouble.CUTS, 0.5),
    ([1], Trouble.FREEZES, 2.5),
    ([0, 1], Trouble.REFUSES, 0.3),
]
# A host that is well again is used again within two seconds.
RECOVERY = 2.5
# --serving-channels for each address.
MOST_TO_MODEL = 4
# Exchanged under SIGHUP, one for each trouble; the broken one changes nothing.
LABEL_MAPS = ['{"17": "tiger"}', "{", '{"17": "cat"}']
FLAGS = (
    *("--log-format", "json", "--log", "info"),
    *("--upload-pause-ms", "1000", "--request-timeout-ms", "20000", "--keep-alive-ms", "5000"),
)


@dataclass
class Held:
    """What a process holds."""

    resident: float
    """MiB."""
    descriptors: int
    """Without those of the connections to the model server, of which there may be a few or none."""
    to_model: int
    threads: int

    @classmethod
    def by(cls, pid: int, *proxies: BreakingProxy) -> Held:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        to_model = sum(proxy.connections for proxy in proxies)
        descriptors = len(os.listdir(f"/proc/{pid}/fd")) - to_model
        return cls(int(status["VmRSS"].split()[0]) / 1024, descriptors, to_model, int(status["Threads"]))


@dataclass
class Round:
    """What came of its requests, and what the service held when it was over and all was quiet."""

    outcomes: Counter[str]
    held: Held

    def __str__(self) -> str:
        requests, answered, left = self.outcomes.total(), self.outcomes["200"], self.outcomes["left"]
        troubled = sum(count for outcome, count in self.outcomes.items() if outcome in TROUBLE)
        refused = requests - answered - left - troubled
        held = self.held
        return (
            f"{requests:8} {answered:8} {troubled:8} {refused:8} {left:8} "
            f"{held.resident:9.1f} {held.descriptors:6} {held.to_model:9} {held.threads:8}"
        )


HEAD = "round requests      200 no model  refused     left  RSS MiB    fds  to model  threads"


class Soak:
    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self.ledger = Ledger()
        self.rounds: list[Round] = []
        self.log: Path | None = None
        self._troubles = itertools.cycle(TROUBLES)
        self._label_maps = itertools.cycle(LABEL_MAPS)

    async def run(self, model: str, rounds: int, enough: Callable[[], Callable[[], bool]]) -> None:
        """`enough` begins a round and gives what says whether it goes on."""
        keys, self._labels = self._folder / "keys", self._folder / "labels.json"
        keys.write_text(f"soak: {KEY}\n")
        self._labels.write_text('{"17": "cat"}')
        async with BreakingProxy(model) as first, BreakingProxy(model) as second:
            serving = ("--serving", f"{first.url},{second.url}", "--labels", str(self._labels), "--api-keys", str(keys))
            with Gateway(self._binary, *serving, *FLAGS, logs=LOGS) as gateway:
                self.log = gateway.log
                traffic = Traffic(gateway.port, self.ledger)
                await self._until_ready(gateway.port)
                self.before = Held.by(gateway.pid, first, second)
                print(HEAD)
                for number in range(1, rounds + 1):
                    before = self.ledger.outcomes()
                    go_on = enough()
                    troubles = asyncio.create_task(self._trouble(first, second, gateway.pid, go_on))
                    await traffic.run(go_on)
                    await troubles
                    await self._until_ready(gateway.port)
                    held = await self._at_rest(lambda: Held.by(gateway.pid, first, second))
                    self.rounds.append(Round(self.ledger.outcomes() - before, held))
                    print(f"{number:5} {self.rounds[-1]}", flush=True)
                code = await asyncio.to_thread(gateway.finish)
                if code:
                    self.ledger.wrong.append(f"the service ended with {code}")

    async def _until_ready(self, port: int) -> None:
        """Asks until the model server is used again."""
        connection = http1.Connection(port)
        async with asyncio.timeout(60):
            while True:
                await connection.send("GET", "/readyz", {})
                if (await connection.answer()).status == 200:
                    break
        connection.close()

    async def _trouble(
        self, first: BreakingProxy, second: BreakingProxy, pid: int, go_on: Callable[[], bool]
    ) -> None:
        """One trouble after the other, for as long as the round lasts, each with time to recover from the one before."""
        while go_on():
            places, trouble, seconds = next(self._troubles)
            proxies = [(first, second)[place] for place in places]
            for proxy in proxies:
                proxy.set(trouble)
            self._labels.write_text(next(self._label_maps))
            os.kill(pid, signal.SIGHUP)
            await asyncio.sleep(seconds)
            for proxy in proxies:
                proxy.set(Trouble.NOTHING)
            await asyncio.sleep(RECOVERY)

    async def _at_rest(self, held: Callable[[], Held]) -> Held:
        """Once no more descriptors are open than before the first request, or half a minute later."""
        deadline = time.monotonic() + 30
        while (now := held()).descriptors > self.before.descriptors and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        return now

    def findings(self) -> list[str]:
        """Everything that is not as it should be."""
        assert self.log
        found = self.ledger.wrong + [f"{name} was never answered" for name in self.ledger.lost]
        found += self.ledger.against_log(self.log)
        good = [request.outcome for request in self.ledger.requests.values() if request.kind in GOOD_KINDS]
        share = good.count("200") / len(good)
        print(f"good requests answered with their detections: {share:.1%} of {len(good)}")
        if share < LEAST_GOOD:
            found.append(f"only {share:.1%} of the good requests were answered with their detections")
        for number, each in enumerate(self.rounds, 1):
            if each.held.descriptors > self.before.descriptors:
                found.append(
                    f"{each.held.descriptors} file descriptors are open after round {number}; {self.before.descriptors} were before"
                )
            if each.held.to_model > MOST_TO_MODEL:
                found.append(f"{each.held.to_model} connections to the model server are open after round {number}")
        return found

    def growth(self) -> float:
        """How much more memory is held at rest in the last rounds than after the warm-up."""
        resident = [each.held.resident for each in self.rounds[WARM_UP:]]
        return statistics.median(resident[-COMPARED:]) / statistics.median(resident[:COMPARED])


def main() -> None:
    # The client's own notice of connections that the service resets, which it is told to.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))

    def enough() -> Callable[[], bool]:
        end = time.monotonic() + seconds / ROUNDS
        return lambda: time.monotonic() < end

    folder = LOGS.parent / "soak"
    folder.mkdir(parents=True, exist_ok=True)
    soak = Soak(Path(sys.argv[1]), folder)
    with ModelServer() as model:
        asyncio.run(soak.run(model.address, ROUNDS, enough))
    findings = soak.findings()
    growth = soak.growth()
    print(f"memory at rest, the last {COMPARED} rounds by the {COMPARED} after the warm-up: {growth:.3f}")
    if growth > MOST_GROWTH:
        findings.append(f"memory at rest grew to {growth:.3f} times what it was after the warm-up")
    print(f"outcomes: {dict(soak.ledger.outcomes().most_common())}")
    for finding in findings[:50]:
        print(f"WRONG: {finding}")
    sys.exit(f"{len(findings)} findings; the service's log is {soak.log}" if findings else 0)


if __name__ == "__main__":
    main()
