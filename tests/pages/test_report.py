"""Results as one page: what is on it, that it stands alone, and what is refused."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import lens_steer as ls
from lens_steer.activations import LayerActivations
from lens_steer.benchmark import AnswerTable, ComparisonConfig
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import ChoiceScores, Judge
from lens_steer.figures import canvas
from tests.interventions import push


class Page(HTMLParser):
    """The headings, links, pictures and cells of a page, and whether its tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: dict[str, list[str]] = {"h1": [], "h2": [], "td": [], "p": [], "code": []}
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember what is opened, and where it leads."""
        given = {name: value or "" for name, value in attrs}
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append((given["alt"], given["src"]))
        if tag == "h2":
            self.anchors.append(given["id"])

    def handle_endtag(self, tag: str) -> None:
        """Tags are closed in the order in which they were opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Words belong to the innermost tag."""
        if self.open and self.open[-1] in self.words:
            self.words[self.open[-1]].append(data.strip())


def read_page(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert [f"#{anchor}" for anchor in page.anchors] == page.links
    return page


def answers() -> AnswerTable:
    scores = ChoiceScores.of(
        [torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0])],
        [[True, False]] * 2,
        [[1, 1]] * 2,
        [[" yes", " no"]] * 2,
    )
    costs = torch.tensor([[0.0] * 4, [0.1] * 4]).double()
    return AnswerTable("mine", ("unsteered", "CAA"), (scores, scores), costs, ("a note",))


def found() -> dict[str, Any]:
    with canvas() as (figure, axes):
        axes.plot([0, 1], [0, 1])
    return {
        "What <was> done": "First <b>bold</b> words.\n\nSecond & last.",
        "A table": pd.DataFrame({"text": ["<script>alert(1)</script>"], "x": [1 / 3]}),
        "A figure": figure,
        "Answers": answers(),
    }


def test_a_page_holds_what_is_given_in_order_and_stands_alone(tmp_path: Path) -> None:
    path = ls.report(found(), tmp_path / "page.html", title="A & B")
    page, text = read_page(path), path.read_text(encoding="utf-8")
    assert page.words["h1"] == ["A & B"]
    assert page.words["h2"] == ["What <was> done", "A table", "A figure", "Answers"]
    assert page.words["p"][:2] == ["First <b>bold</b> words.", "Second & last."]
    assert "a note" in page.words["p"]
    assert "<script" not in text
    assert {"<script>alert(1)</script>", "0.3333", "CAA"} <= set(page.words["td"])
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses
    assert all(address.startswith(("data:image/svg+xml", "#")) for address in addresses)
    assert "url(" not in text
    assert "@import" not in text
    for _, source in page.pictures:
        kind, data = source.split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = (ls.report(found(), tmp_path / name) for name in ("a.html", "b.html"))
    assert one.read_bytes() == other.read_bytes()


def test_a_table_too_large_for_a_page_is_folded_away(tmp_path: Path) -> None:
    wide = pd.DataFrame({f"column {i}": range(50) for i in range(12)})
    text = ls.report(wide, tmp_path / "page.html").read_text(encoding="utf-8")
    before, after = text.split("<details>")
    assert "column 8" in before
    assert "column 9" not in before
    assert "column 11" in after


def test_a_comparison_shows_methods_figures_and_texts(
    llama: Any, pairs: ContrastivePairs, tmp_path: Path
) -> None:
    config = ComparisonConfig(max_new_tokens=4, timed=False, references=("random",), randoms=1)
    judge: Judge = ls.WordList(("a", "e"))
    table = ls.comparison(
        llama, pairs, {"a <push>": push(llama)}, judge=judge, config=config, progress=False
    )
    page = read_page(ls.report({"Methods": table}, tmp_path / "page.html"))
    assert page.words["h2"] == ["Methods", "Methods, texts side by side"]
    assert [name for name, _ in page.pictures] == [
        "Behaviour against nats paid",
        "Behaviour and cost by strength",
    ]
    assert {"unsteered", "random", "a <push>"} <= set(page.words["td"])
    shares = [cell for cell in page.words["td"] if re.fullmatch(r"\d+% \[\d+%, \d+%\]", cell)]
    assert len(shares) == 3
    for trial in table.trials:
        if trial.multiple in (0.0, 1.0):
            assert trial.evaluation.texts[0].strip() in page.words["td"]


def test_the_folder_of_a_benchmark_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no results in"):
        ls.report(tmp_path, tmp_path / "page.html")
    ls.save(answers(), tmp_path / "table.safetensors")
    (tmp_path / "table.json").write_text('{"seed": 0, "versions": {"torch": "2"}}')
    page = read_page(ls.report(tmp_path, tmp_path / "page.html"))
    assert page.words["h2"] == ["Answers: mine", "Made of"]
    assert {"versions torch", "2"} <= set(page.words["td"])


def test_what_cannot_be_shown_or_written_is_refused(tmp_path: Path, untyped: None) -> None:
    acts = LayerActivations.from_tensors(torch.ones(2, 3), torch.zeros(2, 3))
    wrong: list[tuple[Any, Any, str]] = [
        ({}, "page.html", "at least one to show"),
        ({"x": 3}, "page.html", "got 3 for 'x', expected text"),
        (acts, "page.html", "expected text, a table"),
        (found(), "page.txt", "ends in .html"),
        (found(), "missing/page.html", "in no folder that exists"),
        (tmp_path / "nothing", "page.html", "no results in"),
    ]
    for results, name, said in wrong:
        with pytest.raises(ValueError, match=said):
            ls.report(results, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
