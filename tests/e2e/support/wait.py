"""Waiting for a server to say what is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(asked: Callable[[], T | None], what: str, within: float = 30.0) -> T:
    """Ask until the answer is truthy, and return that; fail with `what` after `within` seconds.

    `asked` puts a question to a running server and waits for what it says, so there is no pause between two questions:
    the other process's answer is what the test waits for. What a process writes is waited for with `support.lines`.
    """
    deadline = time.monotonic() + within
    while True:
        if answer := asked():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
