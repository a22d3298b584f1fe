"""Debian's Chromium, and what a page asked while it was open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = Path("/usr/bin/chromium")
# Without these the browser looks for its maker's hosts at every start; the sandbox wants a user other than root.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium(playwright: Playwright, *flags: str) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"no {CHROMIUM}: run tests/e2e/setup.sh, or apt-get install chromium")
    running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
    yield running
    running.close()


class Asked:
    """Every request of a page, from the moment on when this is made."""

    def __init__(self, page: Page) -> None:
        self.all: list[tuple[str, str]] = []
        page.on("request", lambda request: self.all.append((request.method, request.url)))

    def posts(self) -> list[str]:
        return [url for method, url in self.all if method == "POST"]

    def assert_only(self, host: str) -> None:
        over_network = {url for _, url in self.all if urlsplit(url).scheme in {"http", "https"}}  # and not data: or blob:
        assert over_network
        assert not [url for url in over_network if not url.startswith(host + "/")]
