"""Where greedy texts part: against texts that were made to part at a known token."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from analyses.divergence import DivergenceReport
from analyses.divergence.report import parting
from lens_steer.data import ContrastivePairs
from lens_steer.steering import Additive, Decoding, continuations, prompt_rows
from tests.interventions import push


def last_push(model: Any, *, seed: int = 0, size: float = 1.0) -> Additive:
    return push(model, layer=model.cfg.n_layers - 1, seed=seed, size=size)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("methods", [{}, None, [1], {"": 0}, {"a": "CAA"}, {1: 2}])
def test_methods_come_by_name(methods: Any, llama: Any, pairs: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match=r"expected a (mapping from texts to |name)"):
        DivergenceReport.fit(llama, pairs, methods, seed=0)
    with pytest.raises(ValueError, match=r"mapping .*: write {'Additive': method}"):
        DivergenceReport.fit(llama, pairs, push(llama), seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steered", "unsteered", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], (3, False)),  # cut off alike
        ([1, 2], [1, 2], (3, False)),  # ended alike
        ([4, 2, 3], [1, 2, 3], (1, True)),
        ([1, 2, 4], [1, 2, 3], (3, True)),
        ([1, 2], [1, 2, 3], (3, True)),  # ended where the other went on
        ([], [1, 2, 3], (1, True)),
        ([], [], (1, False)),
        ([1, 2, 3], [1], (2, True)),
    ],
)
def test_texts_part_at_the_first_token_drawn_that_differs(
    steered: Sequence[int], unsteered: Sequence[int], expected: tuple[int, bool]
) -> None:
    assert parting(steered, unsteered, 3) == expected


def planted(model: Any, pairs: ContrastivePairs, length: int) -> Additive:
    """A push so great that one token follows, one that no greedy text has."""
    rows = prompt_rows(model, pairs.prompts, length)
    clean = continuations(model, rows, decoding=Decoding(0.0, max_new_tokens=length))
    for seed in range(20):
        method = last_push(model, seed=seed, size=1e4)
        one = Decoding(0.0, max_new_tokens=1, scope="all")
        after = continuations(model, rows, method, decoding=one)
        [token] = {text[0] if text else None for text in after}
        if token is not None and all(token not in text for text in clean):
            return method
    raise AssertionError("no such push among 20")


def test_texts_part_where_they_were_made_to(llama: Any, pairs: ContrastivePairs) -> None:
    method, position = planted(llama, pairs, 12), 8
    report = DivergenceReport.fit(
        llama, pairs, {"push": method}, max_new_tokens=12, scope=(position,), seed=0
    )
    lengths = [len(row) for row in prompt_rows(llama, pairs.prompts, 12)]
    # the token drawn at the position of a prompt's last token is the first
    number = [position - length + 2 for length in lengths]
    expected = [n if n >= 1 else None for n in number]
    assert any(expected)
    assert not all(expected)
    numbers = zip(report.first[0].tolist(), report.parted[0].tolist(), strict=True)
    found = [first if parts else None for first, parts in numbers]
    assert found == expected


def test_a_method_of_strength_zero_never_parts(llama: Any, pairs: ContrastivePairs) -> None:
    each = {"none": push(llama).with_strength(0), "all": last_push(llama, size=1e4)}
    report = DivergenceReport.fit(llama, pairs, each, max_new_tokens=6, seed=0)
    assert report.median("none") == float("inf")
    assert report.by_token("none", 6).mean == 0
    assert report.table()["first"].isna().tolist()[:6] == [True] * 6
    shares = [report.by_token("all", token).mean for token in range(7)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert report.by_token("all", int(report.median("all"))).mean >= 0.5


def test_each_method_parts_as_it_would_alone(model: Any, pairs: ContrastivePairs) -> None:
    each = {f"{size}": push(model, size=size) for size in (0.3, 3.0)}
    together = DivergenceReport.fit(model, pairs, each, max_new_tokens=6, seed=0)
    rows, greedy = prompt_rows(model, pairs.prompts, 6), Decoding(0.0, max_new_tokens=6)
    clean = continuations(model, rows, decoding=greedy)
    for i, method in enumerate(each.values()):
        texts = continuations(model, rows, method, decoding=greedy)
        expected = [parting(a, b, 6) for a, b in zip(texts, clean, strict=True)]
        found = zip(together.first[i].tolist(), together.parted[i].tolist(), strict=True)
        assert list(found) == expected


def test_a_divergence_report_is_checked(llama: Any, pairs: ContrastivePairs) -> None:
    report = DivergenceReport.fit(llama, pairs, {"a": push(llama)}, max_new_tokens=3, seed=0)
    with pytest.raises(ValueError, match="expected one for each of the methods and groups"):
        replace(report, groups=("x",))
    with pytest.raises(ValueError, match="numbered from 1 to 3"):
        replace(report, first=report.first + 3)
    with pytest.raises(ValueError, match="no method 'b'"):
        report.median("b")


def test_the_figure_says_what_it_counts_and_leaves_the_report_as_it_is(
    llama: Any, pairs: ContrastivePairs, tmp_path: Any
) -> None:
    each = {"one": push(llama, size=0.1), "two": push(llama, layer=2, size=0.1)}
    report = DivergenceReport.fit(llama, pairs, each, max_new_tokens=6, seed=0)
    held = {name: x.clone() for name, x in vars(report).items() if isinstance(x, Tensor)}
    figure: Any = report.figure()
    table = report.table()
    figure.draw_without_rendering()
    texts = [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]
    assert any("prompts in" in text for text in texts)
    assert len(table) == 2 * len(pairs.prompts)
    for name, x in held.items():
        assert torch.equal(getattr(report, name), x)
    ls.save(report, tmp_path / "report.safetensors")
    again = ls.load(tmp_path / "report.safetensors")
    assert isinstance(again, DivergenceReport)
    pd.testing.assert_frame_equal(again.table(), table)
