"""The model server of known capacity (`soak.steady_model`) as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

E2E = Path(__file__).resolve().parents[1]
LOGS = E2E.parents[1] / "target" / "e2e" / "logs"


class ModelServer:
    def __init__(self, logs: Path = LOGS) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._log = (logs / f"{os.getpid()}-steady-model.log").open("w")

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "soak.steady_model"],
            cwd=E2E,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._child.stdout
        self.address = self._child.stdout.readline().split()[-1]
        return self

    def predicts(self) -> int:
        """Ends it, and says how many photos it has worked on."""
        said, _ = self._child.communicate(timeout=30)
        return int(said.split()[-1])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()
        self._log.close()
