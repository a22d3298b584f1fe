"""A page of another origin that uses the service, in a real browser: what the browser sends, and what it lets the page read."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from conftest import LOGS
from support import photos
from support.gateway import Gateway

KEY = "0123456789abcdef-of-the-shop"
MAX_BYTES = 300_000

# One upload as a page makes it. A fetch that the browser forbids rejects with a TypeError and tells nothing else.
UPLOAD = """
async ({url, photo, headers}) => {
  const form = new FormData();
  form.append("image", new Blob([new Uint8Array(photo)]), "photo.png");
  try {
    const answer = await fetch(url + "/v1/detect", {method: "POST", body: form, headers});
    return {
      status: answer.status,
      body: await answer.json(),
      headers: Object.fromEntries(answer.headers),
    };
  } catch (error) {
    return {forbidden: error.name};
  }
}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of somebody else's page."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "index.html").write_text("<!doctype html><title>shop</title>")
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def service(spotter_binary: Path, shop: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"shop: {KEY}\n")
    flags = ["--cors-origins", shop, "--api-keys", str(keys), "--max-image-bytes", str(MAX_BYTES)]
    with Gateway(spotter_binary, *flags, logs=LOGS) as running:
        yield running


@pytest.fixture
def page(browser: Browser, shop: str) -> Iterator[Page]:
    fresh = browser.new_page()
    fresh.goto(shop)
    yield fresh
    fresh.close()


def upload(page: Page, service: Gateway, photo: bytes, headers: dict[str, str]) -> dict[str, Any]:
    return page.evaluate(UPLOAD, {"url": service.url, "photo": list(photo), "headers": headers})


def test_a_page_of_a_listed_origin_uses_the_service(page: Page, service: Gateway) -> None:
    """The key and the timeout make the browser ask first (preflight)."""
    headers = {"Authorization": f"Bearer {KEY}", "X-Request-Timeout": "20", "X-Request-Id": "from-the-page"}
    answer = upload(page, service, photos.read("chelsea"), headers)

    assert answer["status"] == 200, answer
    assert answer["body"]["detections"][0]["label"] == "cat"
    readable = answer["headers"]
    assert readable["x-request-id"] == "from-the-page"
    assert readable["x-model-version"] == answer["body"]["model"]["version"]
    assert "infer;dur=" in readable["server-timing"]


def test_the_page_can_read_why_it_was_refused(page: Page, service: Gateway) -> None:
    """Without the headers on failures too, a page sees nothing but a network error."""
    without_key = upload(page, service, photos.thumbnail("chelsea"), {})
    assert (without_key["status"], without_key["body"]["code"]) == (401, "UNAUTHORIZED")

    too_large = upload(page, service, b"x" * (2 * MAX_BYTES), {"X-API-Key": KEY})
    assert (too_large["status"], too_large["body"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_a_page_of_another_origin_reads_nothing(browser: Browser, shop: str, service: Gateway) -> None:
    elsewhere = browser.new_page()
    elsewhere.goto(shop.replace("127.0.0.1", "localhost"))  # the same page, and another origin
    answer = upload(elsewhere, service, photos.thumbnail("chelsea"), {"X-API-Key": KEY})
    elsewhere.close()
    assert answer == {"forbidden": "TypeError"}


@pytest.mark.parametrize("megabytes", [1, 8, 40])
def test_a_large_upload_without_a_key_is_told_so(page: Page, service: Gateway, megabytes: int) -> None:
    """The service answers from the head alone and hangs up; the browser shows the answer, not "connection reset"."""
    answer = page.evaluate(
        """async ([url, size]) => {
          try {
            const body = new Blob([new Uint8Array(size)]);
            const answer = await fetch(url + "/v1/detect", {method: "POST", body, headers: {"content-type": "image/png"}});
            return {status: answer.status, code: (await answer.json()).code};
          } catch (error) {
            return {failed: String(error)};
          }
        }""",
        [service.url, megabytes << 20],
    )
    assert answer == {"status": 401, "code": "UNAUTHORIZED"}
