"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import ROOT
from support.gateway import Gateway

DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
# Paths within the project, as they are written in tables and text.
PLACES = re.compile(r"`((?:src|k8s|monitoring|proto|openapi|tests|docs|\.github)/[\w./-]+)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    named = set(PLACES.findall(text))
    named |= {f"docs/{link}" for link in re.findall(r"\]\(([\w./-]+\.md)\)", text)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_problem_has_its_row_for_the_operator(embedded: Gateway) -> None:
    """Code and status of each, as the program lists them."""
    rows = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (\d+) \|", (ROOT / "docs/OPERATE.md").read_text(), re.MULTILINE))
    document = embedded.get("/openapi.json").text
    found = dict(re.findall(r'"code":\s*"([A-Z0-9_]+)".{0,400}?"status":\s*(\d+)', document, re.DOTALL))
    assert len(found) > 20
    assert {code: rows.get(code) for code in found} == found


def test_the_article_is_answered_point_by_point() -> None:
    rows = re.findall(r"^\| (\d+) \|(?:[^|]+\|){3}$", (ROOT / "docs/ARTICLE.md").read_text(), re.MULTILINE)
    assert rows == [str(number) for number in range(1, 15)]
