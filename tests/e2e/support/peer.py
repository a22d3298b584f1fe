"""The model server's stand-in as a child process, and what it saw."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .process import Process

E2E = Path(__file__).resolve().parents[1]


class Peer(Process):
    """`models` maps served names to folders of numbered versions; `flags` are those of peer.server."""

    def __init__(self, models: Mapping[str, Path], *flags: str, logs: Path, listen: str = "127.0.0.1:0") -> None:
        logs.mkdir(parents=True, exist_ok=True)
        handle, record = tempfile.mkstemp(".jsonl", "requests-", logs)
        os.close(handle)
        self._record = Path(record)
        super().__init__(
            [
                *(sys.executable, "-m", "peer.server", "--listen", listen, "--record", record),
                *(f"--model={name}={folder}" for name, folder in models.items()),
                *flags,
            ],
            announces=r"listening on (127\.0\.0\.1:\d+)\n",
            logs=logs,
            env={"TF_CPP_MIN_LOG_LEVEL": "2"},
            cwd=E2E,
        )
        self.address = self.announced

    def requests(self, method: str = "Predict") -> list[dict[str, Any]]:
        """The calls answered so far, oldest first."""
        lines = self._record.read_text(encoding="utf-8").splitlines()
        return [call for call in map(json.loads, lines) if call["method"] == method]

    def await_requests(self, method: str = "Predict", within: float = 5) -> list[dict[str, Any]]:
        """The same, once there is one: the peer says so when it has written one down."""
        calls = self.out.until(lambda _: self.requests(method), within)
        assert calls, f"no {method} was over within {within:g} s"
        return calls
