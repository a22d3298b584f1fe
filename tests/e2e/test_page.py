"""The page at / as people use it, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, FilePayload, Page, Playwright, Request, Route, expect

from conftest import LOGS, OUT, ROOT, StartGateway, StartPeer
from support import photos
from support.browser import Asked, chromium
from support.gateway import Gateway
from support.peer import Peer
from support.photos import ASTRONAUT, COFFEE, PHOTOS, Found
from support.versions import add_version
from support.wait import until

ANSWER_MS = 20_000
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
# A line lies on the page's own pixels, and boxes are whole pixels of the photo.
MAX_DRAWN = 2.0

OpenPage = Callable[..., "Opened"]


class Opened:
    """The page in a tab, what it asked for, and what the browser complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.asked = Asked(page)
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)
        page.goto(url + "/")
        # There is something to do once the models are there, or a key is asked for.
        expect(page.locator("#model option, #key:not([hidden])")).not_to_have_count(0)

    def _hear(self, message: ConsoleMessage) -> None:
        # The browser writes a line for every answer that is not a success; those the tests cause on purpose.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def pick(self, file: Path | FilePayload) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.locator("#pick").click()
        chooser.value.set_files(file)

    def found(self, count: int) -> list[Found]:
        """What is drawn once so many boxes are, in pixels of the photo as it is displayed."""
        expect(self.page.locator(".box")).to_have_count(count, timeout=ANSWER_MS)
        drawn = self.page.evaluate(
            """() => {
              const image = document.querySelector('#shown img');
              const frame = image.getBoundingClientRect();
              const scale = image.naturalWidth / frame.width;
              return [...document.querySelectorAll('.box')].map((box) => {
                const { left, top, right, bottom } = box.getBoundingClientRect();
                const tag = document.querySelector(`.tag[data-index="${box.dataset.index}"]`).textContent;
                const [, label, percent] = /^(.*) (\\d+) %$/.exec(tag);
                const corner = [left - frame.left, top - frame.top, right - frame.left, bottom - frame.top];
                return { label, score: Number(percent) / 100, box: corner.map((edge) => edge * scale) };
              });
            }"""
        )
        return [Found(it["label"], it["score"], tuple(it["box"])) for it in drawn]

    def answer(self) -> dict[str, Any]:
        """The JSON as shown."""
        return json.loads(self.page.locator("#json").text_content() or "")

    def slide(self, percent: int) -> None:
        self.page.locator("#min-score").fill(str(percent))

    def displayed(self) -> Image.Image:
        """The photo as the browser shows it, without the boxes."""
        overlay = self.page.locator(".boxes")
        overlay.evaluate("it => { it.style.visibility = 'hidden'; }")
        picture = Image.open(io.BytesIO(self.page.locator("#shown img").screenshot())).convert("RGB")
        overlay.evaluate("it => { it.style.visibility = ''; }")
        return picture


@pytest.fixture
def open_page(browser: Browser, embedded: Gateway) -> Iterator[OpenPage]:
    """Tabs of one test; afterwards none may have asked another host, or broken the page's own policy."""
    contexts: list[BrowserContext] = []
    tabs: list[Opened] = []

    def open_page(gateway: Gateway = embedded, **options: Any) -> Opened:
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-US", **options})
        contexts.append(context)
        tabs.append(Opened(context.new_page(), gateway.url))
        return tabs[-1]

    yield open_page

    for tab in tabs:
        tab.asked.assert_only(tab.url)
        assert not tab.complaints
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def served(spotter_binary: Path, peer: Peer) -> Iterator[Gateway]:
    flags = ("--serving", f"http://{peer.address}", "--model", "image_tensor,tf1", "--labels", "coco")
    with Gateway(spotter_binary, *flags, logs=LOGS) as running:
        until(running.is_ready, "the gateway of the model server to be ready")
        yield running


def jpeg(name: str, orientation: int = 1) -> FilePayload:
    return {"name": f"{name}.jpg", "mimeType": "image/jpeg", "buffer": photos.as_jpeg(name, orientation)}


def saved(picture: Image.Image, name: str, kind: str, **options: Any) -> FilePayload:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": file.getvalue()}


def assert_alike(one: Image.Image, other: Image.Image, most: float = 6.0) -> None:
    """The same picture at two sizes: a turned or mirrored one differs by tens of levels."""
    size = (96, 96)
    difference = ImageChops.difference(one.convert("RGB").resize(size), other.convert("RGB").resize(size))
    assert max(ImageStat.Stat(difference).mean) < most


@pytest.mark.parametrize("backend", ["embedded", "served"])
def test_a_chosen_photo_is_shown_with_its_boxes(request: pytest.FixtureRequest, open_page: OpenPage, backend: str) -> None:
    tab = open_page(request.getfixturevalue(backend))
    tab.pick(PHOTOS / "astronaut.png")

    photos.assert_same(tab.found(2), ASTRONAUT)
    rows = tab.page.locator("#found li")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("person")
    expect(rows.first).to_contain_text("73 %")
    expect(tab.page.locator("#timing")).to_contain_text("image_tensor 1" if backend == "served" else "nanodet-g 1")


@pytest.mark.parametrize("orientation", [1, 6])
def test_boxes_sit_on_the_objects_of_a_turned_phone_photo(open_page: OpenPage, orientation: int) -> None:
    tab = open_page()
    tab.pick(jpeg("astronaut", orientation))

    drawn = tab.found(2)
    photos.assert_same(drawn, ASTRONAUT)
    assert tab.answer()["image"]["orientation"] == orientation
    for on_page, answered in zip(sorted(drawn, key=str), sorted(photos.answer_of(tab.answer()), key=str), strict=True):
        assert max(abs(a - b) for a, b in zip(on_page.box, answered.box, strict=True)) <= MAX_DRAWN
    assert_alike(tab.displayed(), Image.open(PHOTOS / "astronaut.png"))


def test_a_turned_png_is_shown_as_the_server_sees_it(open_page: OpenPage) -> None:
    """Browsers disagree about the orientation of a PNG; the boxes must not."""
    turned = Image.open(PHOTOS / "coffee.png").convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[photos.EXIF_ORIENTATION] = 6
    tab = open_page()
    tab.pick(saved(turned, "turned.png", "PNG", exif=exif))

    photos.assert_same(tab.found(3), COFFEE)
    assert_alike(tab.displayed(), Image.open(PHOTOS / "coffee.png"))
    expect(tab.page.locator("#note")).to_contain_text("as the server sees it")


def test_a_tiff_that_no_browser_shows_is_shown(open_page: OpenPage) -> None:
    tab = open_page()
    tab.pick(saved(Image.open(PHOTOS / "coffee.png").convert("RGB"), "scan.tiff", "TIFF"))

    photos.assert_same(tab.found(3), COFFEE)
    assert_alike(tab.displayed(), Image.open(PHOTOS / "coffee.png"))


def test_a_format_that_only_the_browser_reads_is_converted(open_page: OpenPage, tmp_path: Path) -> None:
    """AVIF in Chromium takes the way of HEIC in Safari."""
    tab = open_page()
    tab.pick(saved(Image.open(PHOTOS / "astronaut.png").convert("RGB"), "holiday.avif", "AVIF", quality=95))

    for found in tab.found(2):  # two lossy codecs in a row move scores, not boxes
        (same,) = [known for known in ASTRONAUT if known.label == found.label]
        assert max(abs(a - b) for a, b in zip(found.box, same.box, strict=True)) <= photos.MAX_PIXELS
    expect(tab.page.locator("#note")).to_contain_text("Converted to JPEG in this browser")
    assert_curl_answers_once_the_file_is_saved(tab, "holiday.jpg", tmp_path)


def test_heic_that_the_browser_cannot_read_is_explained(open_page: OpenPage) -> None:
    tab = open_page()
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)
    tab.pick({"name": "IMG_0001.HEIC", "mimeType": "image/heic", "buffer": heic})

    problem = tab.page.get_by_role("alert")
    expect(problem).to_contain_text("Most Compatible")
    expect(problem).to_contain_text("HEIC")


def test_a_dropped_photo_is_detected(open_page: OpenPage) -> None:
    tab = open_page()
    session = tab.page.context.new_cdp_session(tab.page)
    dragged = {"items": [], "files": [str(PHOTOS / "astronaut.png")], "dragOperationsMask": 1}
    at = {"x": 400, "y": 400, "data": dragged}
    session.send("Input.dispatchDragEvent", {"type": "dragEnter", **at})
    expect(tab.page.locator("#dropping")).to_be_visible()
    session.send("Input.dispatchDragEvent", {"type": "dragOver", **at})
    session.send("Input.dispatchDragEvent", {"type": "drop", **at})

    photos.assert_same(tab.found(2), ASTRONAUT)
    expect(tab.page.locator("#dropping")).to_be_hidden()


def test_a_pasted_photo_is_detected(open_page: OpenPage, tmp_path: Path) -> None:
    tab = open_page(permissions=["clipboard-read", "clipboard-write"])
    text = base64.b64encode(photos.read("astronaut")).decode()
    tab.page.evaluate(
        """async (text) => {
          const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
          await navigator.clipboard.write([new ClipboardItem({ 'image/png': new Blob([bytes], { type: 'image/png' }) })]);
        }""",
        text,
    )
    tab.page.keyboard.press("Control+V")

    photos.assert_same(tab.found(2), ASTRONAUT)
    assert_curl_answers_once_the_file_is_saved(tab, "image.png", tmp_path)


def test_every_word_is_said_somewhere() -> None:
    """Of those that are looked up by a key: a key that is nowhere else was left over."""
    words = (ROOT / "web/strings.js").read_text().partition("export const PROBLEMS")[0]
    keys = set(re.findall(r"^  '([\w.]+)': ", words, re.MULTILINE))
    others = [path for path in (ROOT / "web").iterdir() if path.suffix in {".js", ".html"} and path.name != "strings.js"]
    looked_up = set(re.findall(r"['\"]([\w.]+)['\"]", "".join(path.read_text() for path in others)))
    # What is counted has a key for each plural form.
    assert {key for key in keys if key.removesuffix(".one").removesuffix(".other") not in looked_up} == set()


def test_the_example_is_there_without_a_photo_of_ones_own(open_page: OpenPage, tmp_path: Path) -> None:
    tab = open_page()
    tab.page.get_by_role("button", name="Try an example").click()
    assert {found.label for found in tab.found(2)} == {"person", "chair"}
    assert_curl_answers_once_the_file_is_saved(tab, "example.jpg", tmp_path)


def test_the_slider_filters_without_asking_again(open_page: OpenPage) -> None:
    tab = open_page()
    tab.pick(PHOTOS / "astronaut.png")
    tab.found(2)

    tab.slide(50)
    assert [found.label for found in tab.found(1)] == ["person"]
    expect(tab.page.locator("#found li")).to_have_count(1)
    assert [found["label"] for found in tab.answer()["detections"]] == ["person"]
    tab.slide(90)
    tab.found(0)
    expect(tab.page.locator("#found-none")).to_contain_text("Nothing at this score")
    tab.slide(10)
    assert len(tab.found(tab.page.locator("#found li").count())) > 2
    assert len(tab.asked.posts()) == 1


def test_a_class_can_be_switched_off_without_asking_again(open_page: OpenPage) -> None:
    tab = open_page()
    tab.pick(PHOTOS / "coffee.png")
    tab.found(3)

    cups = tab.page.get_by_role("group", name="Classes").get_by_role("button", name="cup")
    cups.click()
    expect(cups).to_have_attribute("aria-pressed", "false")
    assert [found.label for found in tab.found(1)] == ["dining table"]
    expect(tab.page.locator("#curl")).to_contain_text("exclude_classes=cup")
    cups.click()
    tab.found(3)
    assert len(tab.asked.posts()) == 1


@pytest.mark.parametrize("name", ["astronaut.png", "it's a photo (1).png"])
def test_the_curl_line_answers_what_is_listed(open_page: OpenPage, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(photos.read("coffee"))
    tab = open_page()
    tab.pick(tmp_path / name)
    tab.found(3)
    tab.slide(20)
    tab.page.get_by_role("group", name="Classes").get_by_role("button", name="dining table").click()
    assert_curl_answers(tab, tmp_path)
    expect(tab.page.locator("#curl-save")).to_be_hidden()


def assert_curl_answers(tab: Opened, folder: Path) -> None:
    """What is listed, run in the folder of the photo."""
    line = tab.page.locator("#curl").text_content() or ""
    ran = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, check=True, timeout=60)
    shown = tab.answer()["detections"]
    assert shown and json.loads(ran.stdout)["detections"] == shown


def assert_curl_answers_once_the_file_is_saved(tab: Opened, name: str, folder: Path) -> None:
    """Where the file that was sent is in the page only."""
    expect(tab.page.locator("#curl-more")).to_contain_text(f"save it as {name} first")
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Save the file").click()
    assert download.value.suggested_filename == name
    download.value.save_as(folder / name)
    assert_curl_answers(tab, folder)


def test_the_request_is_copied(open_page: OpenPage) -> None:
    tab = open_page(permissions=["clipboard-read", "clipboard-write"])
    tab.pick(PHOTOS / "astronaut.png")
    tab.found(2)
    tab.page.get_by_role("button", name="Copy").first.click()
    expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == tab.page.locator("#curl").text_content()


def test_the_saved_picture_has_the_boxes_in_the_colors_of_the_server(open_page: OpenPage, embedded: Gateway) -> None:
    tab = open_page()
    tab.pick(PHOTOS / "astronaut.png")
    tab.found(2)
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == "astronaut-spotted.jpg"

    saved_picture = Image.open(download.value.path()).convert("RGB")
    by_server = embedded.post(photos.read("astronaut"), {"Accept": "image/png"}).content
    server_picture = Image.open(io.BytesIO(by_server)).convert("RGB")
    assert saved_picture.size == server_picture.size == (512, 512)
    for found in tab.answer()["detections"]:
        box = found["box"]
        on_the_line = (box["x_max"] - 1, box["y_min"] + 40)
        pairs = zip(saved_picture.getpixel(on_the_line), server_picture.getpixel(on_the_line), strict=True)
        assert max(abs(a - b) for a, b in pairs) < 60, found["label"]  # JPEG smears a thin line's color


def test_a_picture_larger_than_a_phone_can_draw_is_saved_smaller(open_page: OpenPage) -> None:
    tab = open_page()
    file = io.BytesIO()
    Image.open(PHOTOS / "astronaut.png").convert("RGB").resize((5000, 2500)).save(file, "JPEG")
    tab.pick({"name": "wide.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Save picture").click()
    assert Image.open(download.value.path()).size == (4096, 2048)
    # Where there is no memory for that either.
    tab.page.evaluate("() => { HTMLCanvasElement.prototype.toBlob = (done) => done(null); }")
    tab.page.get_by_role("button", name="Save picture").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("cannot make the picture")
    assert not tab.complaints


def test_another_model_and_version_are_asked(open_page: OpenPage, served: Gateway) -> None:
    tab = open_page(served)
    tab.pick(PHOTOS / "astronaut.png")
    tab.found(2)
    tab.page.get_by_label("Model", exact=True).select_option("tf1")
    expect(tab.page.locator("#timing")).to_contain_text("tf1 1", timeout=ANSWER_MS)
    photos.assert_same(tab.found(2), ASTRONAUT)
    tab.page.get_by_label("Version").select_option("1")
    expect(tab.page.locator("#curl")).to_contain_text("/v1/models/tf1/detect?min_score=0.3&version=1", timeout=ANSWER_MS)
    photos.assert_same(tab.found(2), ASTRONAUT)


def test_another_version_is_asked_where_there_are_two(
    open_page: OpenPage, saved_models: Path, start_peer: StartPeer, spotter: StartGateway, tmp_path: Path
) -> None:
    for number in (1, 2):
        add_version(saved_models / "image_tensor" / "1", tmp_path, number)
    peer = start_peer({"detector": tmp_path}, "--all-versions")
    gateway = spotter("--serving", f"http://{peer.address}", "--model", "detector", "--labels", "coco")
    until(gateway.is_ready, "the model", within=60)
    tab = open_page(gateway)
    tab.pick(PHOTOS / "astronaut.png")
    expect(tab.page.locator("#timing")).to_contain_text("detector 2", timeout=ANSWER_MS)
    tab.page.get_by_label("Version").select_option("1")
    expect(tab.page.locator("#timing")).to_contain_text("detector 1", timeout=ANSWER_MS)
    assert tab.answer()["model"] == {"name": "detector", "version": "1"}
    tab.page.get_by_label("Version").select_option("")
    expect(tab.page.locator("#timing")).to_contain_text("detector 2", timeout=ANSWER_MS)


def test_the_version_of_a_configured_label_is_not_called_the_latest(
    open_page: OpenPage, saved_models: Path, start_peer: StartPeer, spotter: StartGateway, tmp_path: Path
) -> None:
    """As in the shipped overlays: what is asked by default is what the label says, though another one is newer."""
    for number in (1, 2):
        add_version(saved_models / "image_tensor" / "1", tmp_path / "models", number)
    peer = start_peer({"detector": tmp_path / "models"}, "--all-versions", "--label=stable=1")
    config = tmp_path / "spotter.toml"
    config.write_text(
        f'serving = ["http://{peer.address}"]\nlabels = "coco"\n'
        '[[models]]\nname = "detector"\nbackend = "serving"\nversion_label = "stable"\n'
    )
    gateway = spotter("--config", config)
    until(gateway.is_ready, "the model", within=60)
    tab = open_page(gateway)
    options = tab.page.locator("#version option")
    expect(options).to_have_text(["default (1)", "2", "1"], timeout=ANSWER_MS)
    tab.pick(PHOTOS / "astronaut.png")
    expect(tab.page.locator("#timing")).to_contain_text("detector 1", timeout=ANSWER_MS)
    tab.page.get_by_role("button", name="日本語").click()
    expect(options).to_have_text(["既定（1）", "2", "1"])


def test_an_item_of_the_list_sets_its_box_off(open_page: OpenPage) -> None:
    tab = open_page()
    tab.pick(PHOTOS / "coffee.png")
    tab.found(3)
    items = tab.page.locator("#found button")
    items.nth(2).focus()
    expect(tab.page.locator(".box.on")).to_have_count(1)
    expect(tab.page.locator(".box.on")).to_have_attribute("data-index", "2")
    tab.page.keyboard.press("Enter")
    expect(items.nth(2)).to_have_attribute("aria-pressed", "true")
    tab.page.locator("#min-score").focus()
    expect(tab.page.locator(".box.on")).to_have_attribute("data-index", "2")  # it was chosen, so it stays


def test_the_page_works_with_the_keyboard_alone(open_page: OpenPage) -> None:
    tab = open_page()
    keyboard = tab.page.keyboard

    def reach(selector: str) -> None:
        for _ in range(40):
            keyboard.press("Tab")
            if tab.page.evaluate("(it) => document.activeElement.matches(it)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached with Tab")

    keyboard.press("Tab")
    expect(tab.page.locator(".skip")).to_be_focused()
    reach("#example")
    keyboard.press("Enter")
    tab.found(2)
    expect(tab.page.get_by_role("status")).to_contain_text("2 objects: person 73 % and chair")
    reach("#min-score")
    for _ in range(20):
        keyboard.press("ArrowRight")
    tab.found(1)
    expect(tab.page.get_by_role("status")).to_contain_text("1 object: person 73 %")
    reach(".chip")
    reach("#found button")
    expect(tab.page.locator(".box.on")).to_have_count(1)
    reach("#version")
    reach("[data-copy=curl]")
    reach("[data-copy=json], #json, details:last-of-type summary")


def test_a_text_file_is_refused_in_people_s_words(open_page: OpenPage) -> None:
    tab = open_page()
    tab.pick({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no photo at all"})

    problem = tab.page.get_by_role("alert")
    expect(problem).to_contain_text("This is not a photo that can be read")
    expect(problem).to_contain_text("The format of the image is not known")
    request_id = problem.locator("code").text_content() or ""
    assert len(request_id) == 36
    with tab.page.context.expect_page() as explained:
        problem.get_by_role("link", name="About this problem").click()
    expect(explained.value.get_by_role("heading")).to_contain_text("not supported")
    problem.get_by_role("button", name="Close").focus()
    tab.page.keyboard.press("Escape")
    assert tab.page.evaluate("document.activeElement.id") == "stage", "the keyboard goes on where the photo is"
    expect(problem).to_be_hidden()


def test_a_photo_too_large_for_the_server_is_made_smaller(
    open_page: OpenPage, spotter: StartGateway, tmp_path: Path
) -> None:
    tab = open_page(spotter("--max-image-pixels", "4500000"))
    large = Image.open(PHOTOS / "astronaut.png").convert("RGB").resize((2600, 2600))
    tab.pick(saved(large, "large.jpg", "JPEG"))

    problem = tab.page.get_by_role("alert")
    expect(problem).to_contain_text("The photo has too many pixels", timeout=ANSWER_MS)
    expect(problem).to_contain_text("2600")
    problem.get_by_role("button", name="Make it smaller and try again").click()
    assert "person" in {found.label for found in tab.found(tab_count(tab))}
    expect(problem).to_be_hidden()
    expect(tab.page.locator("#note")).to_contain_text("2,048 × 2,048")
    # Not the name of the photo that was too large.
    assert_curl_answers_once_the_file_is_saved(tab, "large-smaller.jpg", tmp_path)


def tab_count(tab: Opened) -> int:
    expect(tab.page.locator(".box")).not_to_have_count(0, timeout=ANSWER_MS)
    return tab.page.locator(".box").count()


def test_a_server_that_is_gone_is_named_and_asked_again(open_page: OpenPage) -> None:
    tab = open_page()
    tab.page.route("**/v1/detect?*", lambda route: route.abort())
    tab.pick(PHOTOS / "astronaut.png")
    problem = tab.page.get_by_role("alert")
    expect(problem).to_contain_text("The server cannot be reached")

    tab.page.unroute("**/v1/detect?*")
    problem.get_by_role("button", name="Try again").click()
    photos.assert_same(tab.found(2), ASTRONAUT)
    expect(problem).to_be_hidden()


def test_a_server_that_ended_is_named(open_page: OpenPage, spotter: StartGateway) -> None:
    gateway = spotter()
    tab = open_page(gateway)
    gateway.stop()
    tab.pick(PHOTOS / "astronaut.png")
    expect(tab.page.get_by_role("alert")).to_contain_text("The server cannot be reached")


def test_a_model_server_that_is_gone_is_named(open_page: OpenPage, spotter: StartGateway) -> None:
    tab = open_page(spotter("--serving", "http://127.0.0.1:9", "--model", "absent"))
    tab.pick(PHOTOS / "astronaut.png")
    problem = tab.page.get_by_role("alert")
    expect(problem).to_contain_text("The model is not there at the moment", timeout=ANSWER_MS)
    expect(problem.get_by_role("button", name="Try again")).to_be_visible()


def test_a_key_is_asked_for_where_the_server_wants_one(open_page: OpenPage, spotter: StartGateway, tmp_path: Path) -> None:
    right, wrong = "5f0c1b8e2f7d4c90a1e6b3d27c84f95a", "91d7a6e0c35b4f28b8c2e14fa06d7b39"
    keys = tmp_path / "keys"
    keys.write_text(f"page: {right}\n")
    tab = open_page(spotter("--api-keys", str(keys)))
    sent: list[str | None] = []
    tab.page.on("request", lambda request: "/v1/" in request.url and sent.append(request.headers.get("authorization")))

    field = tab.page.get_by_label("API key", exact=True)
    expect(field).to_be_focused()
    field.fill(wrong)
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_text("The server did not accept this key.")).to_be_visible()
    assert tab.page.evaluate("sessionStorage.length") == 0, "it is not kept"
    field.fill(right)
    tab.page.keyboard.press("Enter")
    expect(field).to_be_hidden()
    tab.pick(PHOTOS / "astronaut.png")
    photos.assert_same(tab.found(2), ASTRONAUT)
    assert (sent[0], sent[-1]) == (f"Bearer {wrong}", f"Bearer {right}")

    # In this tab's own memory, and nowhere that outlives it or that others read.
    expect(tab.page.locator("#curl")).to_contain_text('"Authorization: Bearer $SPOTTER_KEY"')
    assert right not in tab.page.content() + tab.page.url
    assert tab.page.evaluate("JSON.stringify({...localStorage}) + document.cookie").find(right) == -1
    beside = tab.page.context.new_page()
    beside.goto(tab.url + "/")
    expect(beside.get_by_label("API key", exact=True)).to_be_focused()
    tab.page.reload()
    expect(tab.page.locator("#model option")).not_to_have_count(0)

    tab.page.get_by_role("button", name="Forget the API key").click()
    expect(tab.page.get_by_role("button", name="Forget the API key")).to_be_hidden()
    tab.pick(PHOTOS / "astronaut.png")
    expect(field).to_be_focused()
    assert sent[-1] is None


def test_a_key_that_is_taken_away_is_asked_for_again(open_page: OpenPage, spotter: StartGateway, tmp_path: Path) -> None:
    key = "5f0c1b8e2f7d4c90a1e6b3d27c84f95a"
    keys = tmp_path / "keys"
    keys.write_text(f"page: {key}\n")
    gateway = spotter("--api-keys", str(keys))
    tab = open_page(gateway)
    field = tab.page.get_by_label("API key", exact=True)
    field.fill(key)
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#model option")).not_to_have_count(0)

    keys.write_text("another: 91d7a6e0c35b4f28b8c2e14fa06d7b39\n")
    headers = {"Authorization": f"Bearer {key}"}
    until(lambda: requests.get(f"{gateway.url}/v1/models", headers=headers, timeout=5).status_code == 401, "the new keys")
    tab.pick(PHOTOS / "astronaut.png")
    expect(field).to_be_focused()
    expect(tab.page.get_by_text("The server did not accept this key.")).to_be_visible()


def test_the_page_speaks_japanese(open_page: OpenPage) -> None:
    tab = open_page(locale="ja-JP")
    expect(tab.page.locator("html")).to_have_attribute("lang", "ja")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("写真の中の物体を見つける")
    tab.pick({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no photo at all"})
    expect(tab.page.get_by_role("alert")).to_contain_text("読み取れる写真ではありません")
    tab.pick(PHOTOS / "astronaut.png")
    tab.found(2)
    expect(tab.page.get_by_role("status")).to_contain_text("2 件")

    tab.page.get_by_role("button", name="English").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("Find objects in a photo")
    tab.found(2)
    tab.page.reload()
    expect(tab.page.locator("html")).to_have_attribute("lang", "en")


def test_a_phone_offers_its_camera_and_nothing_is_cut_off(open_page: OpenPage, playwright: Playwright) -> None:
    for locale in ("en-US", "ja-JP"):
        tab = open_page(viewport=PHONE, has_touch=True, is_mobile=True, locale=locale)
        expect(tab.page.locator("#capture")).to_be_visible()
        assert tab.page.locator("#capture-file").get_attribute("capture") == "environment"
        with tab.page.expect_file_chooser() as camera:
            tab.page.locator("#capture").tap()
        camera.value.set_files(PHOTOS / "coffee.png")
        tab.found(3)
        assert tab.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["empty", "answered", "answered in Japanese", "problem", "key", "phone"])
def test_axe_finds_nothing(open_page: OpenPage, view: str, scheme: str) -> None:
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True} if view == "phone" else {}
    in_japanese = view in {"phone", "answered in Japanese"}
    tab = open_page(color_scheme=scheme, locale="ja-JP" if in_japanese else "en-US", **phone)
    if view in {"answered", "answered in Japanese", "phone"}:
        tab.pick(PHOTOS / "coffee.png")
        tab.found(3)
        tab.page.locator("summary").nth(1).click()
        tab.page.locator(".chip").first.click()
        tab.page.locator("#found button").first.click()
    if view == "problem":
        tab.pick({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no photo at all"})
        expect(tab.page.get_by_role("alert")).to_be_visible()
    if view == "key":
        tab.page.route("**/v1/detect?*", lambda route: route.fulfill(status=401, body="{}"))
        tab.pick(PHOTOS / "coffee.png")
        expect(tab.page.get_by_label("API key", exact=True)).to_be_visible()

    assert_accessible(tab)
    OUT.mkdir(parents=True, exist_ok=True)
    tab.page.screenshot(path=OUT / f"page-{view.replace(' ', '-')}-{scheme}.png", full_page=True)


@pytest.mark.parametrize(("width", "locale"), [(320, "en-US"), (360, "ja-JP")])
def test_a_narrow_phone_does_not_scroll_sideways(open_page: OpenPage, width: int, locale: str) -> None:
    tab = open_page(viewport={"width": width, "height": 740}, has_touch=True, is_mobile=True, locale=locale)
    tab.pick(PHOTOS / "coffee.png")
    tab.found(3)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == width


def assert_accessible(tab: Opened) -> None:
    results = Axe().run(tab.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
    assert results.violations_count == 0, results.generate_report()
    assert len(results.response["passes"]) > 10


def test_without_javascript_the_way_to_the_documentation_is_told_in_both_languages(embedded: Gateway) -> None:
    """As sent: a browser that is only kept from running scripts does not show it."""
    (told,) = re.findall(r"<noscript>(.*?)</noscript>", embedded.get("/").text, re.DOTALL)
    english, japanese = re.findall(r"<p .*?</p>", told)
    assert "needs JavaScript" in english and 'lang="ja"' in japanese and "必要です" in japanese
    assert 'href="docs/"' in english and 'href="docs/"' in japanese


@pytest.fixture(scope="module")
def camera_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of one photo, 640 x 480, as Chromium's fake camera takes it: JPEGs one after the other."""
    frame = Image.new("RGB", (640, 480), (40, 40, 40))
    photo = Image.open(PHOTOS / "astronaut.png").convert("RGB")
    photo.thumbnail((480, 480))
    frame.paste(photo, (80, 0))
    file = io.BytesIO()
    frame.save(file, "JPEG", quality=95)
    film = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    film.write_bytes(file.getvalue() * 20)
    return film


@pytest.fixture(scope="module")
def camera_browser(playwright: Playwright, camera_film: Path) -> Iterator[Browser]:
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera_film}",
    )
    with chromium(playwright, *flags) as running:
        yield running


@pytest.mark.parametrize("backend", ["embedded", "served"])
def test_the_webcam_is_looked_at_one_frame_at_a_time(
    request: pytest.FixtureRequest, camera_browser: Browser, backend: str
) -> None:
    context = camera_browser.new_context(viewport=DESKTOP, locale="en-US")
    tab = Opened(context.new_page(), request.getfixturevalue(backend).url)
    under_way, most, sent = set(), 0, []

    def begin(asked: Request) -> None:
        nonlocal most
        if asked.method == "POST":
            under_way.add(asked)
            most = max(most, len(under_way))

    def keep(route: Route) -> None:
        sent.append(route.request.post_data_buffer)
        route.continue_()

    tab.page.route("**/v1/detect?*", keep)  # a body made of a blob is told to interceptors only

    tab.page.on("request", begin)
    tab.page.on("requestfinished", lambda asked: under_way.discard(asked))
    tab.page.on("requestfailed", lambda asked: under_way.discard(asked))
    tab.page.get_by_role("button", name="Webcam").click()
    expect(tab.page.locator("#rate")).to_contain_text("frames/s", timeout=ANSWER_MS)
    expect(tab.page.locator(".tag").filter(has_text="person")).to_be_visible()
    while len(sent) < 4:
        tab.page.wait_for_event("requestfinished")
    assert most == 1

    frame = Image.open(io.BytesIO(sent[-1]))
    assert frame.format == "JPEG"
    assert max(frame.size) == (416 if backend == "embedded" else 640)  # what the model sees, and no more than the camera gives
    drawn = tab.page.evaluate(
        """() => {
          const frame = document.querySelector('video').getBoundingClientRect();
          const index = [...document.querySelectorAll('.tag')].find((tag) => tag.textContent.startsWith('person')).dataset.index;
          const box = document.querySelector(`.box[data-index="${index}"]`).getBoundingClientRect();
          return [(box.left - frame.left) / frame.width, (box.right - frame.left) / frame.width];
        }"""
    )
    # The person stands from 14 to 364 of the photo's 512 columns, which lie from 80 to 560 of the film's 640.
    expected = [(80 + column * 480 / 512) / 640 for column in (14, 364)]
    assert all(abs(a - b) < 0.04 for a, b in zip(drawn, expected, strict=True)), (drawn, expected)
    OUT.mkdir(parents=True, exist_ok=True)
    tab.page.screenshot(path=OUT / f"page-webcam-{backend}.png")

    tab.page.get_by_role("button", name="Stop the webcam").click()
    expect(tab.page.locator("#shown img")).to_be_visible()  # the last frame stays, with its boxes
    assert "person" in {found.label for found in tab.found(tab_count(tab))}
    assert tab.page.evaluate("document.querySelector('video').srcObject") is None
    tab.asked.assert_only(tab.url)
    assert not tab.complaints
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_the_webcam_runs(camera_browser: Browser, embedded: Gateway, scheme: str) -> None:
    context = camera_browser.new_context(viewport=DESKTOP, locale="en-US", color_scheme=scheme)
    tab = Opened(context.new_page(), embedded.url)
    tab.page.get_by_role("button", name="Webcam").click()
    expect(tab.page.locator("#rate")).to_contain_text("frames/s", timeout=ANSWER_MS)
    assert_accessible(tab)
    assert not tab.complaints
    context.close()


def test_the_webcam_waits_as_long_as_the_server_says_and_goes_on(camera_browser: Browser, embedded: Gateway) -> None:
    context = camera_browser.new_context(viewport=DESKTOP, locale="en-US")
    tab = Opened(context.new_page(), embedded.url)
    refusals = [("RATE_LIMITED", 429), ("DRAINING", 503), ("MODEL_UNAVAILABLE", 503), ("OVERLOADED", 503)]

    def refuse(route: Route) -> None:
        if not refusals:
            return route.continue_()
        code, status = refusals.pop(0)
        body = json.dumps({"code": code, "title": code, "status": status})
        headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
        return route.fulfill(status=status, headers=headers, body=body)

    tab.page.route("**/v1/detect?*", refuse)
    tab.page.get_by_role("button", name="Webcam").click()
    for words in ("Too many photos", "about to stop", "not there at the moment", "is busy"):
        expect(tab.page.locator("#rate")).to_contain_text(words, ignore_case=True, timeout=ANSWER_MS)
        expect(tab.page.locator("#rate")).to_contain_text("again in 1 s")
    expect(tab.page.locator("#rate")).to_contain_text("frames/s", timeout=ANSWER_MS)
    expect(tab.page.get_by_role("alert").filter(visible=True)).to_have_count(0)

    # Who does not say when to come back is not asked again.
    tab.page.unroute("**/v1/detect?*")
    tab.page.route("**/v1/detect?*", lambda route: route.fulfill(status=500, body=json.dumps({"code": "INTERNAL"})))
    expect(tab.page.get_by_role("alert").filter(visible=True)).to_contain_text("Something broke in the server", timeout=ANSWER_MS)
    expect(tab.page.get_by_role("button", name="Webcam", exact=True)).to_be_visible()
    assert not tab.complaints
    context.close()


def test_a_phone_that_is_turned_while_it_films_shows_all_of_its_picture_and_no_more(
    camera_browser: Browser, embedded: Gateway
) -> None:
    """Boxes are laid over the frame, so that it has to have the film's shape."""
    context = camera_browser.new_context(viewport=DESKTOP, locale="en-US")
    tab = Opened(context.new_page(), embedded.url)
    tab.page.get_by_role("button", name="Webcam").click()
    expect(tab.page.locator("#rate")).to_contain_text("frames/s", timeout=ANSWER_MS)
    shape = "(ratio) => { const { width, height } = document.querySelector('video').getBoundingClientRect(); return Math.abs(width / height - ratio) < 0.01; }"
    assert tab.page.evaluate(shape, 640 / 480)
    tab.page.evaluate(
        """() => {
          const film = Object.assign(document.createElement('canvas'), { width: 480, height: 640 });
          const pen = film.getContext('2d');
          setInterval(() => pen.fillRect(0, 0, 480, 640), 50);
          document.querySelector('video').srcObject = film.captureStream();
          return document.querySelector('video').play();
        }"""
    )
    tab.page.wait_for_function(shape, arg=480 / 640, timeout=ANSWER_MS)
    assert not tab.complaints
    context.close()


@pytest.mark.parametrize(
    ("error", "title"),
    [
        ("NotAllowedError", "The camera may not be used"),
        ("NotFoundError", "No camera was found"),
        ("NotReadableError", "The camera does not start"),
        (None, "The camera needs a secure page"),
    ],
)
def test_a_camera_that_may_not_be_used_is_explained(open_page: OpenPage, error: str | None, title: str) -> None:
    tab = open_page()
    tab.page.evaluate(
        """(error) => {
          const getUserMedia = error && (() => Promise.reject(new DOMException('', error)));
          Object.defineProperty(navigator, 'mediaDevices', { value: { getUserMedia } });
        }""",
        error,
    )
    tab.page.get_by_role("button", name="Webcam").click()
    expect(tab.page.get_by_role("alert").get_by_role("heading")).to_have_text(title)
    expect(tab.page.get_by_role("button", name="Webcam", exact=True)).to_be_visible()
