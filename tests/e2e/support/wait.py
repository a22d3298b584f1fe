"""Waiting for a condition instead of for a guess at how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.05


def until(condition: Callable[[], T | None], what: str, within: float = 30.0) -> T:
    """Call `condition` until its answer is truthy, and return that; fail with `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(PAUSE_SECONDS)
