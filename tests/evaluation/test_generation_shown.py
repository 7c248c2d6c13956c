"""What came out, as it is shown: why texts end, colours, strengths side by side, bad input."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.evaluation import generation, side_by_side
from lens_steer.models import token_texts
from lens_steer.token_colours import html_tokens, strength, terminal_tokens, visible
from tests.evaluation.hand_made_texts import run_of, text_of
from tests.interventions import PROMPTS, push

NEW = 6
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": NEW}
EVIL = "<script>alert('1')</script> & \"x\" \x1b[31m"


class Reader(HTMLParser):
    """The tags that HTML opens, and what it says; fails where tags do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.open: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.opened.append(tag)
        self.open.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def writing(model: Any, *words: str) -> Any:
    """A block in which a decode loop writes these tokens, each almost surely; the last for good."""
    ids = [model.tokenizer.convert_tokens_to_ids(word) for word in words]
    steps: list[int] = []

    def force(x: Tensor, hook: Any) -> Tensor:
        if steps and x.shape[1] > 1:  # a teacher-forced pass, after the loop
            return x
        token = ids[min(len(steps), len(ids) - 1)]
        steps.append(token)
        loud = torch.zeros_like(x)
        loud[:, -1, token] = 1e3
        return x + loud

    return model.hooks(fwd_hooks=[("unembed.hook_out", force)])


# ---- why a text ends ----


@pytest.mark.parametrize(
    ("words", "stop", "reason", "text", "drawn"),
    [
        (["a", "b", "</s>"], [], "end of text", "ab", 3),
        (["</s>"], [], "end of text", "", 1),
        (["a", "</s>"], ["</s>"], "end of text", "a", 2),
        (["a", "<pad>"], ["<pad>"], "stop text", "a", 2),
        (["a", "b", "c"], ["bc"], "stop text", "a", 3),
        (["a", "a", "a", "a", "b", "c"], ["c"], "stop text", "aaaab", 6),
        (["a"], ["b"], "length", "aaaaaa", 6),
    ],
)
def test_why_a_text_ends(
    llama: Any, words: list[str], stop: list[str], reason: str, text: str, drawn: int
) -> None:
    with writing(llama, *words):
        run = generation(llama, ["The cat"], stop=stop, **GREEDY)
    assert (run.stop_reasons, run.texts) == ((reason,), (text,))
    assert list(run.tokens[0]) == [*words, *words[-1:] * drawn][:drawn]


def test_characters_of_several_tokens_are_shown_once(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = {0: b"caf", 1: b"\xc3", 2: b"\xa9", 3: b"!", 4: b"\xf0\x9f"}
    decode = lambda ids, **_: b"".join(pieces[i] for i in ids).decode(errors="replace")  # noqa: E731
    monkeypatch.setattr(llama.tokenizer, "decode", decode)
    assert token_texts(llama, [0, 1, 2, 3]) == ["caf", "", "\u00e9", "!"]
    assert token_texts(llama, [0, 1, 2, 3], 2) == ["\u00e9", "!"]
    assert token_texts(llama, [3, 4]) == ["!", "\ufffd"]


# ---- numbers of all texts ----


def test_tables_and_means_by_hand() -> None:
    run = run_of(text_of([" a", " b"], [0.5, 1.0]), text_of([" c"], [3.0], "Then:"))
    table = run.table()
    assert table["text"].tolist() == [0, 0, 1]
    assert table["position"].tolist() == [0, 1, 0]
    assert table["token"].tolist() == [" a", " b", " c"]
    assert table["edit_size blocks.1.hook_resid_post"].tolist() == [0.25] * 3
    assert run.nats_per_token == pytest.approx(1.5)
    brief = run.brief()
    assert brief["nats_per_token"].tolist() == [0.75, 3.0]
    assert brief["tokens"].tolist() == [2, 1]
    assert run[0].log_prob_changes.tolist() == [0.5, -0.5]
    assert "2 texts, CAA at strength 1, 1.5 nats per token" in repr(run)
    assert len(run) == 2
    assert [row.prompt for row in run] == ["Say:", "Then:"]


def test_the_screen_shows_some_texts_of_many() -> None:
    run = run_of(*[text_of([" long" * 100], [0.1]) for _ in range(50)])
    assert len(repr(run)) < 3000
    assert "... 42 more texts" in repr(run)
    assert "... 30 more texts" in run.html()


# ---- colours ----


def test_html_escapes_everything_and_shows_numbers_on_rest() -> None:
    run = run_of(text_of(["<b>", EVIL, "\n", ""], [0.0, 1.0, 0.1, 0.2], EVIL))
    for html in (run.html(), run.html_by_change()):
        read = Reader(html)
        assert set(read.opened) == {"div", "span"}
        assert "<b>" in read.text
        assert "<script>alert('1')</script> & \"x\" \\x1b[31m" in read.text
        assert "\x1b" not in html
        assert "\u21b5\n" in read.text
        assert len(read.titles) == 4
        assert "log-probability -1, unsteered -0.5; 1 nats; edit 0.25" in read.titles[1]


def test_colours_grow_with_nats_and_say_which_way_odds_changed() -> None:
    shades = [strength(x) for x in (0.0, 0.1, 1.0, 10.0)]
    assert shades == pytest.approx([0, 0.0952, 0.632, 1], abs=1e-3)
    assert strength(float("nan")) == 0
    run = run_of(text_of([" a", " b", " c"], [0.0, 1.0, 2.0]))
    alphas = [float(x) for x in re.findall(r"rgba\(220,50,47,([0-9.]+)\)", run.html())]
    assert alphas == pytest.approx([0.38, 0.52], abs=0.01)  # and none where nothing is paid
    assert re.findall(r"rgba\((\d+),", run.html_by_change()) == ["230", "38"]


def test_a_terminal_gets_colours_only_when_asked_and_no_codes_of_the_text() -> None:
    run = run_of(text_of([" a", EVIL], [0.0, 2.0], EVIL))
    assert "\x1b" not in repr(run)
    shown = run.colored()
    assert re.findall("\x1b\\[[0-9;]*m", shown) == ["\x1b[30;48;5;203m", "\x1b[0m"]
    assert "\\x1b[31m" in shown
    assert "\x1b[30;48;5;" in run.colored_by_change()
    assert terminal_tokens([" a"], [0.0], [(220, 50, 47)]) == " a"
    assert visible("a\tb\u202ec\u200d") == "a\\tb\\u202ec\u200d"
    assert html_tokens(["x"], [0.0], [(1, 2, 3)], ["n"]) == '<span title="n">x</span>'


def test_figures_are_drawn_dollars_and_all() -> None:
    run = run_of(text_of([" $a", " $b_"], [0.5, 1.0]), text_of([" c"], [3.0]))
    for figure in (run.figure(), run[0].figure()):
        figure.canvas.draw()
    mean: Any = run.figure().axes[0].lines[-1]
    assert list(mean.get_ydata()) == [1.75, 1.0]  # of two texts, then of the one that is left
    bars: Any = run[0].figure().axes[0].patches
    assert [bar.get_height() for bar in bars] == [0.5, 1.0]


# ---- strengths side by side ----


def test_strengths_side_by_side(llama: Any, tmp_path: Any) -> None:
    method = push(llama, size=1.5)
    found = side_by_side(llama, PROMPTS, method, [0.0, 1.0], max_new_tokens=NEW, seed=0)
    assert list(found.texts[0.0]) == ls.generate(llama, PROMPTS, max_new_tokens=NEW, seed=0)
    assert list(found.texts[1.0]) == ls.generate(llama, PROMPTS, method, max_new_tokens=NEW, seed=0)
    table = found.table()
    assert table["strength"].tolist() == [0.0, 1.0] * len(PROMPTS)
    assert table["prompt"].tolist() == [p for p in PROMPTS for _ in range(2)]
    assert table["nats_per_token"].tolist()[::2] == [0] * len(PROMPTS)
    assert found.brief().columns.tolist() == ["prompt", "0", "1"]
    read = Reader(found.html())
    assert read.opened.count("td") == 3 * len(PROMPTS)
    assert "Additive; red: nats paid" in read.text
    assert "strength 1" in read.text
    assert PROMPTS[0] in repr(found)
    line: Any = found.figure().axes[0].lines[-1]
    assert list(line.get_xdata()) == [0.0, 1.0]
    assert list(line.get_ydata()) == [run.nats_per_token for run in found.runs]
    ls.save(found, tmp_path / "both.safetensors")
    assert ls.load(tmp_path / "both.safetensors").table().equals(table)
