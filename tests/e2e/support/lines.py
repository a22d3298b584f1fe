"""Lines that another process writes, and waiting for one of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import IO, TypeVar

T = TypeVar("T")


class Lines:
    """Reads a stream to its end on a thread of its own, into a file as well where one is given: a pipe that nobody reads
    would block the writer one day. Whoever waits is woken by each line."""

    def __init__(self, stream: IO[str], copy: IO[str] | None = None) -> None:
        self._heard: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        threading.Thread(target=self._read, args=(stream, copy), daemon=True).start()

    def _read(self, stream: IO[str], copy: IO[str] | None) -> None:
        for line in stream:
            if copy:
                copy.write(line)
                copy.flush()
            with self._news:
                self._heard.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
        stream.close()
        if copy:
            copy.close()

    def so_far(self) -> list[str]:
        with self._news:
            return list(self._heard)

    def until(self, look: Callable[[list[str]], T | None], within: float) -> T | None:
        """What `look` finds in the lines, as soon as it does; `None` when the stream ends or time runs out before."""
        with self._news:
            self._news.wait_for(lambda: self._ended or look(self._heard), within)
            return look(self._heard)

    def matching(self, pattern: str, within: float) -> re.Match[str] | None:
        """The first match of the pattern in all that is written."""
        return self.until(lambda lines: re.search(pattern, "".join(lines)), within)
