"""Where the nats go, on the embedded model: costs of texts, best vectors, units, tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax

import lens_steer as ls
from analyses.studies import Run
from analyses.where_nats_go import __main__ as study
from analyses.where_nats_go import measuring as units
from analyses.where_nats_go.estimates import derivatives
from analyses.where_nats_go.figures import means_figure
from analyses.where_nats_go.measuring import BEST, METHODS, MODEL, PROMPT, Measuring
from analyses.where_nats_go.parts import CAUSES, PLACES
from analyses.where_nats_go.small_strengths import SMALL, small_strength
from analyses.where_nats_go.tables import layers_table, parts_table, with_means
from analyses.where_nats_go.texts import Written
from analyses.where_nats_go.vectors import best_vectors, score_gradients
from lens_steer.evaluation import FixedTexts
from lens_steer.models import encode_prompt, eos_ids, forward
from lens_steer.sites import Site
from lens_steer.steering import Additive, Decoding

FEW = Decoding(temperature=1.0, max_new_tokens=12, seed=3)
# Float32 logits of order 10, in one batch and in another.
AGREES = 1e-4


@pytest.fixture(scope="module")
def prompts() -> Any:
    return ls.ContrastivePairs.load("organism:sentiment").spread(3).prompts


def push(layer: int, size: float = 1.0, width: int = 128) -> Additive:
    vector = torch.randn(width, generator=torch.Generator().manual_seed(layer))
    return Additive((Site(layer),), (size * vector / vector.norm(),))


def test_costs_are_those_of_the_texts_one_by_one(embedded: Any, prompts: tuple[str, ...]) -> None:
    method = push(2, 2.0)
    written = Written.of(embedded, prompts, (method,), 2, FEW)
    nats, first, ratio = written.costs((method,))
    [end] = eos_ids(embedded)
    for i, text in enumerate(written.texts):
        tokens = torch.tensor([text.ids])
        place = [text.prompt_length - 1 + k for k in range(text.draws)]
        drawn = [*text.ids[text.prompt_length :], *[end] * text.ended]
        with torch.no_grad():
            p = log_softmax(forward(embedded, tokens)[0, place].double().numpy(), axis=-1)
            with ls.steered(embedded, method, prompt_lengths=[text.prompt_length]):
                q = log_softmax(forward(embedded, tokens)[0, place].double().numpy(), axis=-1)
        of_token = (np.exp(q) * (q - p)).sum(axis=-1)
        rows = np.arange(len(drawn))
        assert nats[i // 2, i % 2] == pytest.approx(of_token.sum(), abs=AGREES)
        assert first[i // 2, i % 2] == pytest.approx(of_token[0], abs=AGREES)
        assert ratio[i // 2, i % 2] == pytest.approx((q - p)[rows, drawn].sum(), abs=AGREES)


def test_without_steering_nothing_is_paid(embedded: Any, prompts: tuple[str, ...]) -> None:
    written = Written.of(embedded, prompts, (), 2, FEW)
    assert not any(np.any(column) for column in written.costs(()))
    asked = Written.of(embedded, prompts, (), 2, FEW, after=prompts[::-1])
    assert [len(encode_prompt(embedded, p)) for p in prompts for _ in range(2)] == [
        text.prompt_length for text in asked.plain
    ]
    nats, first, _ = asked.costs(())
    assert bool((nats >= first).all())
    assert bool((first[[0, 2]] > 0).all())
    assert nats[1].tolist() == [0, 0]  # the prompt in the middle is the same


def test_gradients_of_texts_are_slopes(embedded: Any, prompts: tuple[str, ...]) -> None:
    """And so is the score that a small strength reads off."""
    written = Written.of(embedded, prompts, (), 2, FEW)
    gradients = score_gradients(written)
    for layer in (0, 3, 5):
        method = push(layer)
        size = 1e-2
        slopes = [written.costs((method.with_strength(s),))[2] for s in (size, -size)]
        slope = (slopes[0] - slopes[1]).ravel() / (2 * size)
        expected = (gradients[:, layer] @ method.vectors[0].double()).numpy()
        assert slope == pytest.approx(expected, abs=2e-3 * np.abs(expected).max() + 1e-3)


def test_the_best_vector_says_what_the_judge_does(embedded: Any, prompts: tuple[str, ...]) -> None:
    """Here the judge is the score of a planted vector: its sign, within each prompt."""
    written = Written.of(embedded, prompts, (), 24, FEW)
    scores, planted = score_gradients(written), push(3)
    score = (scores[:, 3] @ planted.vectors[0].double()).numpy().reshape(3, 24)
    shows = score > np.median(score, axis=1, keepdims=True)
    found = best_vectors(written, shows)
    assert len(found) == 6
    vector: Any = found[3].method
    said = (scores[:, 3] @ vector.vectors[0].double()).numpy()
    assert said.std() == pytest.approx(1, rel=1e-5)
    assert np.corrcoef(said, score.ravel())[0, 1] > 0.7
    with pytest.raises(ValueError, match="texts of every prompt agree"):
        best_vectors(written, np.ones((3, 24), dtype=bool))


@pytest.mark.slow
def test_units_of_a_behaviour_become_its_tables(
    embedded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "NATS", (0.05,))
    monkeypatch.setattr(units, "LONGEST", 10)
    monkeypatch.setattr(units, "small_strength", lambda *_: 0.03)
    behaviour = Run(embedded, tmp_path, 0).behaviour("organism:sentiment", most=6)
    measuring = Measuring(behaviour, 4, 0, 3)
    rows = [row for unit in (MODEL, PROMPT, BEST) for row in measuring.rows(unit)]
    parts: Any = parts_table(rows, 0)
    assert list(parts["method"]) == [PROMPT, BEST]
    assert parts[list(PLACES)].sum(axis=1).tolist() == pytest.approx(parts["excess"].tolist())
    assert parts["off_target"].isna()[0]  # words have no strength
    layers: Any = layers_table(rows, 0)
    of_best = layers[layers["layer"].notna()]
    assert set(of_best["layer"]) <= {*range(6)}
    assert layers["best"].sum() == 1
    means = with_means({"parts": parts})["means"]
    assert means["behaviours"].tolist() == [1] * 2
    assert means["nats"].tolist() == pytest.approx(parts["nats"].tolist())


def made_up(source: np.random.Generator, prompts: int = 6) -> dict[str, list[float]]:
    low = {"unsteered": 0.3, "steered": 0.5, "judged": 0.1, "broken": 0.2, "first": 0.1}
    high = low | {"nats": 1.0, "draws": 20.0}
    return {name: (x * source.uniform(0.8, 1.2, prompts)).tolist() for name, x in high.items()}


def test_causes_in_tables_add_up_and_need_a_gain() -> None:
    source = np.random.default_rng(0)

    def local(gain: float, spread: float) -> dict[str, list[float]]:
        g = source.normal(gain, spread, 6)
        return {"gain": list(g), "gain_squared": list(g**2), "curvature": [1.0] * 6}

    numbers = {"shows": source.uniform(0.3, 0.5, 6).tolist(), "draws": [20.0] * 6}
    head = {"method": MODEL, "groups": list("aabbcc"), "numbers": numbers, "well_formed": 1.0}
    best = {"method": MODEL, "layer": 2, "held_out": 0.5, "local": local(0.4, 0.01)}
    shown = {"asked": 0.1, "strength": 1.0, "setting": {"layer": 2}, "well_formed": 0.9}
    pushed = [
        {"method": name, **shown, "numbers": made_up(source), "local": found}
        for name, found in (("CAA", local(0.3, 0.02)), ("SADI", local(0.0, 0.1)))
    ]
    failed = {"method": "LQR", "failure": "out of reach"}
    table: Any = parts_table([head, best, *pushed, failed], 0)
    caa, sadi, lqr = table.to_dict("records")
    assert sum(caa[name] for name in CAUSES) == pytest.approx(caa["excess"])
    assert caa["off_target_low"] < caa["off_target"] < caa["off_target_high"]
    assert np.isnan(sadi["off_target"])
    assert sadi["nats"] > 0
    assert lqr["failure"] == "out of reach"
    assert caa["setting"] == "layer 2"
    assert layers_table([head, best, *pushed], 0)["method"].tolist() == [BEST, "CAA", "SADI"]


def test_a_small_strength_costs_what_is_asked(embedded: Any) -> None:
    pairs = ls.ContrastivePairs.load("organism:sentiment").spread(3)
    texts = FixedTexts.sample(embedded, pairs, decoding=FEW)
    strength = small_strength(embedded, push(3, 5.0), texts)
    assert strength is not None
    [cost] = texts.kl(embedded, [(push(3, 5.0).with_strength(strength),)])
    assert SMALL / 2 < cost < 2 * SMALL
    nothing = Additive((Site(3),), (torch.zeros(128),))
    assert small_strength(embedded, nothing, texts) is None


def test_means_are_over_behaviours_that_can_be_measured() -> None:
    names = ("nats", "floor", "excess", *CAUSES, *PLACES)
    names = (*names, "unsteered", "share", "efficiency", "first_token")
    rows = []
    for value in (1.0, 3.0, np.nan):
        row: dict[str, Any] = {"method": "CAA", "asked": 0.1, "well_formed_share": 1.0}
        for name in names:
            row |= {name: value, f"{name}_low": value - 3, f"{name}_high": value + 4}
        rows.append(row)
    [found] = with_means({"parts": pd.DataFrame(rows)})["means"].to_dict("records")
    assert (found["behaviours"], found["nats"]) == (2, 2.0)
    assert found["nats_low"] == pytest.approx(2 - np.sqrt(18) / 2)
    assert found["nats_high"] == pytest.approx(2 + np.sqrt(32) / 2)


def test_only_behaviours_with_an_exact_judge_are_taken(embedded: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected organism:"):
        study.prepare(Run(embedded, tmp_path, 0), ["stories:sad"])
    assert len(set(METHODS)) == 9
    assert means_figure is study.STUDY.figures["means"]


def test_a_gain_that_is_known(embedded: Any, prompts: tuple[str, ...]) -> None:
    """The gain of a vector is the covariance of judge and score, by its gradient."""
    written = Written.of(embedded, prompts, (), 16, FEW)
    method = push(4).with_strength(1e-2)
    nats, _, ratio = written.costs((method,))
    shows = written.shows(ls.organism.judge("sentiment"))
    found = derivatives(shows, ratio, nats, 1e-2)
    score = (score_gradients(written)[:, 4] @ push(4).vectors[0].double()).numpy().reshape(3, 16)
    for i in range(3):
        expected = np.cov(shows[i].astype(float), score[i])[0, 1]
        assert found.gain[i] == pytest.approx(expected, abs=0.02 * score.std())
