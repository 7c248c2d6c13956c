"""The code of the documentation runs: each page by itself, after the first ten lines of index.md.

A block that starts with ```python is run; one that starts with ```py is only shown, and is listed
here. The guide goes on from README instead: tests/test_readme.py runs it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from lens_steer.data import ContrastivePairs
from tests.conftest import without_checks

DOCS = Path(__file__).parents[1] / "docs"
FEW = 60  # pairs of each set, of which its 240 would take minutes
SHOWN_ONLY = {
    "gallery.md": 2,  # a benchmark, whose file is not part of the package; two long comparisons
    "guide.md": 1,  # a table of SmolLM2 and Gemma, from SST-2
}
ELSEWHERE = {"index.md", "guide.md"}
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def blocks(page: str, language: str = "python") -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


RUN = [page for page in PAGES if blocks(page) and page not in ELSEWHERE]
CHEAP = [page for page in RUN if page != "gallery.md"]


@pytest.fixture(scope="module")
def first_lines() -> Iterator[dict[str, Any]]:
    load = ContrastivePairs.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContrastivePairs, "load", lambda *given: load(*given).spread(FEW))
        names: dict[str, Any] = {}
        with without_checks():
            for block in blocks("index.md"):
                exec(block, names)
        yield names


@pytest.fixture
def names(
    first_lines: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the first ten lines have made, for one page alone."""
    monkeypatch.chdir(tmp_path)
    return dict(first_lines)


def test_the_first_ten_lines_are_about_ten(first_lines: dict[str, Any]) -> None:
    [first] = blocks("index.md")
    assert len([line for line in first.splitlines() if line.strip()]) <= 10
    assert len(first_lines["texts"]) == 3


@pytest.mark.parametrize("page", CHEAP)
def test_a_page_runs_from_top_to_bottom(page: str, names: dict[str, Any], untyped: None) -> None:
    for block in blocks(page):
        exec(block, names)


@pytest.mark.slow
def test_the_gallery_draws_every_picture(names: dict[str, Any], untyped: None) -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    pictures = re.findall(r"^!\[", text, flags=re.MULTILINE)
    drawn = 0
    for block in blocks("gallery.md"):
        names.pop("figure", None)
        exec(block, names)
        drawn += isinstance(names.get("figure"), Figure)
    assert drawn == len(pictures)


def test_code_that_is_not_run_is_listed() -> None:
    shown = {page: len(blocks(page, "py")) for page in PAGES}
    assert {page: n for page, n in shown.items() if n} == SHOWN_ONLY


def test_no_code_has_another_mark() -> None:
    marks = {mark for page in PAGES for mark in re.findall(r"^```(\w+)", _read(page), re.MULTILINE)}
    assert marks <= {"python", "py", "mermaid"}


def _read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")
