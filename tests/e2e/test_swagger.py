"""Swagger UI at /docs as a person uses it, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from conftest import OUT
from support import photos
from support.browser import Asked
from support.gateway import Gateway

ANSWER_MS = 20_000


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    fresh = browser.new_page(viewport={"width": 1280, "height": 1600})
    yield fresh
    fresh.close()


@pytest.fixture
def detect(page: Page, embedded: Gateway) -> Iterator[Locator]:
    """The opened block of POST /v1/detect; afterwards, the page must have kept to its own host."""
    asked = Asked(page)
    page.goto(embedded.url + "/docs", wait_until="networkidle")
    block = page.locator(".opblock-post").filter(has=page.locator('[data-path="/v1/detect"]'))
    block.locator(".opblock-summary-control").click()
    try_out = block.locator(".try-out__btn:not(.cancel)")
    expect(try_out.or_(execute_button(block))).to_be_visible()
    if try_out.count():  # absent when the page is set to open blocks ready to be tried
        try_out.click()

    yield block

    asked.assert_only(embedded.url)


def execute_button(block: Locator) -> Locator:
    return block.get_by_role("button", name="Execute")


def execute(block: Locator) -> Locator:
    """Press Execute and return the answer as shown."""
    execute_button(block).click()
    answer = block.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_contain_text(re.compile(r"^\s*\d{3}"), timeout=ANSWER_MS)
    return answer


def test_a_chosen_file_is_detected(page: Page, detect: Locator) -> None:
    detect.get_by_label("Request content type").select_option("multipart/form-data")
    detect.locator("input[type=file]").set_input_files(photos.PHOTOS / "chelsea.png")

    answer = execute(detect)
    answer.scroll_into_view_if_needed()
    OUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUT / "swagger.png")
    expect(answer.locator(".response-col_status").last).to_contain_text("200")
    expect(answer).to_contain_text('"label": "cat"')


def test_the_json_example_works_as_it_stands(detect: Locator) -> None:
    choose_json(detect)
    expect(execute(detect).locator(".response-col_status").last).to_contain_text("200")


def test_the_json_example_is_still_there_after_a_file(detect: Locator) -> None:
    """Swagger UI since 5.29 fills the JSON editor with its own form state then (swagger-ui issue 10738)."""
    detect.get_by_label("Request content type").select_option("multipart/form-data")
    detect.locator("input[type=file]").set_input_files(photos.PHOTOS / "chelsea.png")
    execute(detect)

    choose_json(detect)
    expect(execute(detect).locator(".response-col_status").last).to_contain_text("200")


def choose_json(block: Locator) -> None:
    block.get_by_label("Request content type").select_option("application/json")
    expect(block.locator("textarea")).to_have_value(re.compile(r'"image":\s*"'))
