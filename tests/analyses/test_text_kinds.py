"""Linearity by kind of text: the texts, errors and nats of planted maps, and a whole small run."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lens_steer as ls
from analyses.text_kinds.__main__ import KINDS, tables_of, write
from analyses.text_kinds.fields import field_row
from analyses.text_kinds.frames import TextKind
from analyses.text_kinds.measures import FittedKind, KindParts, measured
from analyses.text_kinds.predictions import (
    FRACTIONS,
    IDENTITY,
    NATS,
    OTHER,
    OWN,
    SAME,
    BlockErrors,
    curvature,
    displacements,
    divergence,
    relative_errors,
    strength_for,
)
from analyses.text_kinds.tables import counts, field_summary, layer_rows, rounded, summary, verdict
from lens_steer.activations import LayerActivations
from lens_steer.data import ContrastivePairs
from lens_steer.linearity import BlockMaps

SMALL = 1e-12  # float64


def small_pairs(first: str, second: str) -> ContrastivePairs:
    """Six groups of two pairs, both sides ending alike."""
    words = ["sun", "cat", "dog", "bee", "owl", "elk", "ant", "fox", "hen", "cow", "pig", "ape"]
    rows = [
        (f"{x} was", f" {first} the", f" {second} a the", f"{i % 6}") for i, x in enumerate(words)
    ]
    return ContrastivePairs.of(rows, name=first)


def ending(text: str) -> str:
    """The last word, or the mark that stands after it."""
    return text.split()[-1] if text[-1].isalnum() else text[-1]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_texts_are_enough_and_end_at_many_kinds_of_token(kind: TextKind) -> None:
    pairs = kind.pairs(template=True)
    assert len(pairs) == 72
    assert len(set(pairs.groups)) == len(kind.frames) == 24
    ends = [ending(frame.desired) for frame in kind.frames]
    assert ends == [ending(frame.undesired) for frame in kind.frames]
    assert ends.count(".") <= len(ends) / 4
    assert len(set(ends)) >= 16
    marks = {end for end in ends if not end[-1].isalnum()}
    assert len(marks) >= 4
    assert len(set(ends) - marks) >= 10


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_text_comes_twice_and_fillings_are_filled_in(kind: TextKind) -> None:
    for template in (True, False):
        pairs = kind.pairs(template=template)
        texts = [str((e.prompt, e.continuation)) for e in (*pairs.desired, *pairs.undesired)]
        assert len(set(texts)) == len(texts)
        assert not any("{x}" in text for text in texts)
    assert len({frame.opening + frame.desired for frame in kind.frames}) == len(kind.frames)


def test_a_chat_is_a_request_or_is_written_as_text() -> None:
    chats = next(kind for kind in KINDS if kind.chats)
    (message,) = chats.pairs(template=True).desired[0].prompt
    assert not isinstance(message, str)
    assert (message.role, message.content) == ("user", "How do I prune a rose?")
    plain = chats.pairs(template=False).desired[0]
    assert plain.prompt == "User: How do I prune a rose?\nAssistant:"
    assert plain.continuation == f" {chats.pairs(template=True).desired[0].continuation}"


def test_errors_of_a_planted_quadratic_map_are_those_of_the_hand() -> None:
    """phi(z) = B z + (w . z)^2 e: the own Jacobian misses |d|^2 (w . u)^2 e, whatever z is."""
    draw = torch.Generator().manual_seed(0)
    B, z = (torch.randn(5, 5, generator=draw, dtype=torch.double) for _ in range(2))
    w, e, u = (torch.randn(5, generator=draw, dtype=torch.double) for _ in range(3))
    u = u / u.norm()

    def phi(x: torch.Tensor) -> torch.Tensor:
        return x @ B.T + (x @ w).square()[..., None] * e

    lengths, ratios = displacements(z, 0.7)
    assert lengths.shape == (2 * len(FRACTIONS), 5)
    torch.testing.assert_close(lengths[1], 0.3 * z.norm(dim=-1), rtol=1e-6, atol=0)
    torch.testing.assert_close(ratios[1], torch.full((5,), 0.3).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(lengths[5], torch.full((5,), 0.7).double())
    change = phi(z + lengths[..., None] * u) - phi(z)
    own = u @ B.T + 2 * (z @ w)[:, None] * (w @ u) * e
    expected = lengths.square() * (w @ u) ** 2 * e.norm() / change.norm(dim=-1)
    torch.testing.assert_close(relative_errors(change, own, lengths), expected)
    assert relative_errors(change, change[2] / lengths[2, :, None], lengths)[2].max() < SMALL


def test_local_nats_are_those_of_a_small_push_and_strengths_cost_them() -> None:
    draw = torch.Generator().manual_seed(1)
    logits, moved = (torch.randn(4, 9, generator=draw, dtype=torch.double) for _ in range(2))
    c = curvature(logits, moved)
    step = 1e-4
    costs = divergence(logits, logits + step * moved)
    torch.testing.assert_close(costs, c * step**2 / 2, rtol=1e-3, atol=0)
    assert strength_for(0.1, torch.tensor([1.0, 9.0]).double()) == pytest.approx(math.sqrt(0.04))
    assert curvature(logits, torch.ones_like(logits)).max() < SMALL  # a constant moves nothing


def test_a_divergence_is_that_of_a_coin_by_hand() -> None:
    fair = torch.zeros(1, 2).double()
    biased = torch.tensor([[0.0, math.log(3.0)]]).double()
    by_hand = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert divergence(fair, biased).item() == pytest.approx(by_hand)


def block_of(own: float, identity: float) -> BlockErrors:
    """Six texts of three groups, the same error at every size."""
    errors = {OWN: own, IDENTITY: identity, SAME: own, OTHER: identity, "a": own, "b": identity}
    grid = torch.ones(2 * len(FRACTIONS), 6).double()
    made = {name: value * grid for name, value in errors.items()}
    nats = torch.full((6,), 0.1).double()
    return BlockErrors(3, grid, grid / 2, made, nats, tuple("aabbcc"), 0)


def test_a_row_has_the_skill_over_the_identity_and_over_the_own_kind() -> None:
    rows = list(layer_rows("a", ["a", "b"], block_of(0.2, 0.4)))
    assert [(row["unit"], row["fraction"]) for row in rows][2:4] == [("|z|", 1.0), ("nats", 0.1)]
    row = rows[0]
    assert row["own"] == pytest.approx(0.75)
    assert row["other class"] == pytest.approx(0.0)
    assert row["over_b"] == pytest.approx(0.75)
    assert row["own_error"] == pytest.approx(0.2)
    assert "over_a" not in row
    assert math.isnan(row["kl"])
    assert rows[-1]["kl"] == pytest.approx(0.1)


def test_blocks_are_counted_by_their_intervals() -> None:
    low, high = [0.1, 0.2, -0.1, -0.3, np.nan], [0.3, 0.4, 0.1, -0.2, np.nan]
    part = pd.DataFrame({"x": [0.2, 0.3, 0.0, -0.25, 0.5], "x_low": low, "x_high": high})
    found = counts(part, "x", 0.0)
    assert (found["cells"], found["above"], found["below"]) == (4, 2, 1)
    assert found["verdict"] == "not observed"  # half is not more than half
    assert counts(part, "x", 0.25) == found | {"above": 0, "below": 2}
    assert verdict(3, 1, 4) == "observed"
    assert verdict(0, 3, 4) == "the other way round"
    assert verdict(0, 0, 0) == "not observed"
    blocks = [row for own in (0.2, 0.6) for row in layer_rows("a", ["a", "b"], block_of(own, 0.4))]
    table = summary(pd.DataFrame(blocks), ["a", "b"])
    assert set(table["what"]) == {OWN, SAME, OTHER, "a", "b", "own kind over b"}
    assert table["median_error"][0] == pytest.approx(0.4)
    assert rounded(pd.DataFrame({"x": [0.123456, np.inf]}))["x"].tolist() == [0.123, np.inf]


def test_predictions_are_those_of_whole_jacobians(llama: Any) -> None:
    """Against matrices, one text and one size at a time."""
    pairs = {"one": small_pairs("very", "a"), "two": small_pairs("cat", "dog")}
    parts = {name: KindParts.of(each, 0) for name, each in pairs.items()}
    assert not set(parts["one"].fit.groups) & set(parts["one"].test.groups)
    fitted = {name: FittedKind.of(llama, each.fit) for name, each in parts.items()}
    blocks = list(measured(llama, fitted, "one", parts["one"], 0))
    assert [block.layer for block in blocks] == [1, 2, 3]  # both sides end in one token
    test, fit = parts["one"].test, parts["one"].fit
    examples = (*test.desired, *test.undesired)
    maps = BlockMaps.of(llama, examples)
    means = {
        name: ls.linearize(llama, texts, progress=False).matrices
        for name, texts in (
            ("up", fit.desired),
            ("down", fit.undesired),
            ("two", (*parts["two"].fit.desired, *parts["two"].fit.undesired)),
        )
    }
    for block in blocks:
        k, unit = block.layer, fitted["one"].features.directions[block.layer]
        matrices = {OWN: maps.matrices(k)}
        half = len(test.desired)
        for name, order in ((SAME, ("up", "down")), (OTHER, ("down", "up"))):
            each: Any = [means[side] for side in order for _ in range(half)]
            matrices[name] = torch.stack([m[k] for m in each])
        two: Any = means["two"]
        matrices["two"] = two[k].expand(len(examples), -1, -1)
        matrices[IDENTITY] = torch.eye(len(unit)).expand(len(examples), -1, -1)
        for size in (0, 4):
            d = block.lengths[size][:, None] * unit
            moved = (maps.states[:, k] + d)[None]
            change = maps.apply(k, moved)[0] - maps.states[:, k + 1]
            for name, A in matrices.items():
                missed = change - torch.einsum("tij,tj->ti", A, d)
                expected = missed.norm(dim=-1) / change.norm(dim=-1)
                torch.testing.assert_close(block.errors[name][size], expected, rtol=1e-2, atol=1e-4)


def test_a_strength_costs_what_it_should_along_the_feature(llama: Any) -> None:
    fitted = FittedKind.of(llama, small_pairs("very", "a"))
    unit, z = fitted.features.directions[2], fitted.maps.states[:, 2]
    small = 0.1 * fitted.strength(2, unit)
    clean = fitted.maps.logits(2, z[None])[0]
    costs = divergence(clean, fitted.maps.logits(2, (z + small * unit)[None])[0])
    assert costs.mean().item() == pytest.approx(NATS / 100, rel=0.15)


def test_the_field_of_classes_on_two_sides_is_a_line_and_of_one_around_the_other_is_none() -> None:
    draw = torch.Generator().manual_seed(2)

    def sides(shift: float, spread: float, count: int) -> LayerActivations:
        up, down = (torch.randn(count, 6, generator=draw) for _ in range(2))
        up[:, 0] *= spread
        common, along = 12 * torch.eye(6)[1], shift * torch.eye(6)[0]
        return LayerActivations.from_tensors(up + common + along, down + common - along)

    groups = tuple(str(i % 10) for i in range(40)) * 2
    straight = field_row(sides(3.0, 1.0, 60), sides(3.0, 1.0, 40), groups, 0)
    bent = field_row(sides(0.0, 9.0, 60), sides(0.0, 9.0, 40), groups, 0)
    assert straight["linearity_low"] > 0.99
    assert straight["accuracy"] > 0.9
    assert bent["linearity_high"] < 0.9
    assert bent["accuracy"] > 0.75
    table = field_summary(pd.DataFrame([{"kind": "a"} | bent]))
    assert table["below"].tolist() == [1, 1]


def test_a_run_writes_its_tables_and_figures(llama: Any, tmp_path: Path) -> None:
    pairs = {"one": small_pairs("very", "a"), "two": small_pairs("cat", "dog")}
    tables = next(tables_of(llama, pairs, 0))  # of the first kind, as a run that is stopped leaves
    assert set(tables["layers"]["kind"]) == {"one"}
    assert len(tables["fields"]) == llama.cfg.n_layers
    write(tables, list(pairs), tmp_path, {"model": "llama"})
    names = {path.name for path in tmp_path.iterdir()}
    assert {"skill.png", "kinds.csv", "field.json", "summary.csv", "field_summary.csv"} <= names
    skill: Any = pd.read_csv(tmp_path / "skill.csv")
    assert {"own", "other class_low", "identity_error", "kl"} <= set(skill)
    assert {"one", "two_high"} <= set(pd.read_csv(tmp_path / "kinds.csv"))
