"""Every request of a soak by its id: what was asked, what came back, and what the service's log says of it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "soak-"
GRPC = "gRPC"
# What a request's one line says.
LINES = {"answered", "answered until the client has left", "not answered: the client has left"}


@dataclass
class Request:
    kind: str
    outcome: str | None = None
    """`200`, or status and code of a problem; nothing yet where no answer is there."""
    left: bool = False
    """The client has gone without waiting for an answer, as it meant to."""
    is_seen: bool = True
    """Whether the service has it to answer for; not where it may be taken back before it has been looked at."""


@dataclass
class Ledger:
    requests: dict[str, Request] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def ask(self, kind: str) -> str:
        """The id of a new request."""
        name = f"{PREFIX}{next(self._numbers)}"
        self.requests[name] = Request(kind)
        return name

    def leave(self, name: str, *, is_seen: bool = True) -> None:
        self.requests[name].left = True
        self.requests[name].is_seen = is_seen

    def answer(self, name: str, outcome: str, allowed: Collection[str], said: str = "") -> None:
        """What came back, once for each request, and one of what may come back."""
        request = self.requests[name]
        if request.outcome is not None:
            self.wrong.append(f"{name} ({request.kind}) is answered twice: {request.outcome}, {outcome}")
        request.outcome = outcome
        if outcome not in allowed:
            self.wrong.append(f"{name} ({request.kind}) is answered {outcome}, not {' or '.join(sorted(allowed))}: {said}")

    def check(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            self.wrong.append(f"{name} ({self.requests[name].kind}): {what}")

    @property
    def lost(self) -> list[str]:
        """Requests that were sent as a whole and never answered."""
        return [
            f"{name} ({request.kind})"
            for name, request in self.requests.items()
            if request.outcome is None and not request.left
        ]

    def against_log(self, log: Path) -> list[str]:
        """Where answers and the log's lines differ: one line for each answer, with its status; one for a request
        whose client left, or none where it may have been taken back unseen; and no line of a request that nobody sent.

        Where the service has no core for a moment, a client may have left before it is read at all. That is one in a
        hundred at most, and one more."""
        lines: dict[str, list[int]] = {}
        for entry in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
            name = entry.get("request_id") or entry.get("span", {}).get("request_id", "")
            if entry["message"] in LINES and name.startswith(PREFIX):
                lines.setdefault(name, []).append(entry["status"])
        unseen: list[str] = []
        differ = [f"{name} is in the log and was not sent" for name in lines.keys() - self.requests.keys()]
        for name, request in self.requests.items():
            found = lines.get(name, [])
            if request.outcome is not None:
                status = int(request.outcome.split()[0])
                # Over HTTP every answer to a gRPC call is a 200.
                allowed = [[status], [200]] if request.kind.startswith(GRPC) else [[status]]
                if found not in allowed:
                    differ.append(f"{name} ({request.kind}) was answered {request.outcome}; the log has {found}")
            elif len(found) > 1:
                differ.append(f"{name} ({request.kind}) was left; the log has {found}")
            elif not found and request.left and request.is_seen:
                unseen.append(f"{name} ({request.kind}) was left; the log has nothing of it")
        left = sum(request.left and request.is_seen for request in self.requests.values())
        return differ + (unseen if len(unseen) > 1 + left / 100 else [])

    def outcomes(self) -> Counter[str]:
        return Counter(request.outcome or ("left" if request.left else "lost") for request in self.requests.values())
