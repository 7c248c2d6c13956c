"""The site is whole: its contents name every page, links and pictures lead somewhere.

Nothing of mkdocs is installed here; `make docs` is stricter, and looks at headings too.
"""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
PAGES = sorted(DOCS.rglob("*.md"))
PICTURES_AT_MOST = 1_500_000  # bytes, of all together


def contents() -> list[str]:
    """The pages that the contents name, in order."""
    return re.findall(r"([\w/.-]+\.(?:md|ipynb))$", SITE.split("\nnav:\n")[1], flags=re.MULTILINE)


def test_the_contents_of_the_site_are_readable() -> None:
    """Strictly: what a merge leaves behind ends the build of the site."""
    yaml = pytest.importorskip("yaml")  # comes with transformers
    found = yaml.safe_load(SITE)
    assert {"site_name", "nav", "plugins"} <= set(found)


def test_every_page_stands_in_the_contents_once() -> None:
    inside = {path.relative_to(DOCS).as_posix() for path in PAGES}
    notebooks = {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    studies = {f"results/{p.parent.name}.md" for p in ROOT.glob("analyses/results/*/README.md")}
    elsewhere = {"organism/card.md", "changelog.md", "contributing.md"}
    assert sorted(contents()) == sorted(inside | notebooks | studies | elsewhere)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_links_and_pictures_of_a_page_are_there(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [
        target
        for target in targets
        if "://" not in target and not (path.parent / (target.split("#")[0] or path.name)).is_file()
    ]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_links_to_a_heading_find_it(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]*\.md|)#([^)\s]+)\)", path.read_text(encoding="utf-8"))
    missing = [
        f"{page}#{part}"
        for page, part in links
        if part not in headings((path.parent / page) if page else path)
    ]
    assert missing == []


def headings(path: Path) -> set[str]:
    """The anchors of a page: what Python-Markdown makes of its headings."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in found}


def test_the_gallery_shows_every_report_that_draws() -> None:
    shown = set(re.findall(r"\w+", (DOCS / "gallery.md").read_text(encoding="utf-8")))
    drawing = {name for path in (ROOT / "lens_steer").rglob("*.py") for name in drawers(path)}
    assert drawing - {"Report"} - shown == set()


def drawers(path: Path) -> list[str]:
    """The classes of a module with a method `figure`."""
    return [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name == "figure" for part in node.body)
    ]


def test_every_method_of_the_table_has_a_page() -> None:
    table = (DOCS / "methods.md").read_text(encoding="utf-8").split("What the table cannot say")[0]
    methods = set(re.findall(r"^\| `(\w+)", table, flags=re.MULTILINE))
    pages = [path.read_text(encoding="utf-8") for path in (DOCS / "methods").glob("*.md")]
    shown = {
        name
        for page in pages
        for name in re.findall(r"^::: lens_steer\.steering\.(\w+)$", page, flags=re.MULTILINE)
    }
    assert shown == methods


def test_pictures_are_small_and_all_are_shown() -> None:
    files = sorted((DOCS / "pictures").iterdir())
    shown = {n for path in PAGES for n in re.findall(r"pictures/([\w.]+)", path.read_text("utf-8"))}
    assert {file.name for file in files} == shown
    assert sum(file.stat().st_size for file in files) < PICTURES_AT_MOST


def test_what_builds_the_site_is_pinned() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = project["project"]["optional-dependencies"]["docs"]
    pinned = (ROOT / "constraints-docs.txt").read_text("utf-8").lower()
    for requirement in wanted:
        assert re.search(rf"^{re.split('[^a-z-]', requirement)[0]}==", pinned, re.MULTILINE)
