"""Child processes of a test: started, waited for until ready, and ended with the test."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .lines import Lines

_numbers = itertools.count(1)


def end(child: subprocess.Popen) -> None:
    """Ask, then insist. Does nothing if the child has ended."""
    child.terminate()
    try:
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


class Process:
    """A program that announces on stdout where it listens. A failed test leaves both of its streams behind, in files."""

    def __init__(
        self,
        command: Sequence[str | Path],
        announces: str,
        logs: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        within: float = 60,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{next(_numbers):02}-{Path(command[0]).name}"
        self.log = logs / f"{name}.log"
        with self.log.open("w") as log:
            self._child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
        try:
            self.out = Lines(self._child.stdout, (logs / f"{name}.out").open("w"))
            self.announced = self.printed(announces, within)[1]
        except BaseException:
            self.stop()
            raise

    def printed(self, pattern: str, within: float = 60) -> re.Match[str]:
        """Waits until the program has printed this."""
        if found := self.out.matching(pattern, within):
            return found
        last_words = self.log.read_text()[-4000:]
        raise AssertionError(f"no {pattern!r}, and it ended or {within:g} s are over (exit {self._child.poll()}):\n{last_words}")

    @property
    def pid(self) -> int:
        return self._child.pid

    def freeze(self) -> None:
        """Keep the connections open and answer nothing, as a machine that swaps does."""
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def sockets(self) -> int:
        """How many sockets the child has open."""
        count = 0
        for link in Path(f"/proc/{self._child.pid}/fd").iterdir():
            # One that is closed between the listing and the look is not open.
            with suppress(FileNotFoundError):
                count += os.readlink(link).startswith("socket:")
        return count

    def finish(self, within: float = 60) -> int:
        """Ask, and wait until the child has ended by itself."""
        self._child.terminate()
        return self._child.wait(timeout=within)

    def stop(self) -> None:
        """Ask, then insist. Does nothing if the child has ended."""
        self.thaw()  # or a frozen one would never hear it
        end(self._child)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
