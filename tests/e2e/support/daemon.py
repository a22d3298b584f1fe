"""Programs of others that a test runs in a folder of their own, until it ends."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .process import end


class Daemon:
    """A program that says when it is ready in a way of its own. What it writes stays behind in a file."""

    def __init__(self, name: str, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{name}-")
        self.folder = Path(self._temporary.name)
        self.log = logs / f"{self.folder.name}.log"

    def _start(self, command: Sequence[str | Path]) -> None:
        with self.log.open("w") as log:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self) -> None:
        end(self._child)
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
