"""The family of pushes: each member is its formula, and one switch away from CAA."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

import lens_steer as ls
from analyses.odesteer.methods import ANGLE
from analyses.studies import Run
from analyses.unification import __main__ as unification
from analyses.unification.figures import differences_figure, label_of
from analyses.unification.methods import BASELINE, COMPARED, MEMBERS, PUSHES
from lens_steer.benchmark import Behaviour, FitCache
from lens_steer.steering import ResidualITI

AT: dict[str, Any] = {"layer": 1, "read": "mean"}


@pytest.fixture(scope="module")
def inputs(embedded: Any) -> FitCache:
    pairs = ls.ContrastivePairs.load("organism:sentiment")
    return FitCache(embedded, pairs.first(24))


def vector_of(name: str, inputs: FitCache) -> Tensor:
    """Of strength 1."""
    method: Any = MEMBERS[name](inputs, AT)
    return method.vectors[0].double()


def cosine(a: Any, b: Any) -> float:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def sides(inputs: FitCache) -> list[np.ndarray]:
    own = inputs.activations("mean").at(1)
    return [side.double().numpy() for side in (own.desired, own.undesired)]


def test_members_are_their_formulas(inputs: FitCache) -> None:
    up, down = sides(inputs)
    delta = up.mean(axis=0) - down.mean(axis=0)
    rows = np.concatenate([side - side.mean(axis=0) for side in (up, down)])
    sigma = LedoitWolf(assume_centered=True).fit(rows).covariance_
    known = inputs.activations("mean")
    last = known.desired[:, -1].double().mean(dim=0) - known.undesired[:, -1].double().mean(dim=0)
    maps = ls.linearize(inputs.model, inputs.train, progress=False).matrices
    assert maps is not None
    pulled = last.numpy()
    for block in reversed(range(2, len(maps))):
        pulled = maps[block].double().numpy().T @ pulled
    g = inputs.metric(1).matrix.numpy()
    level = 0.1 * np.trace(g) / len(g) * np.eye(len(g))
    wanted = {
        BASELINE: delta,
        "LDA readout": np.linalg.solve(sigma, delta),
        "probe readout": ResidualITI.fit(known.at(1), C=_cost(inputs)).direction,
        "last layer's readout": last,
        "the same, pulled back": pulled,
        "covariance metric": sigma @ delta,
        "Fisher metric": np.linalg.solve(g + level, delta),
        "LDA and covariance": delta,
    }
    assert set(wanted) == set(PUSHES)
    for name, expected in wanted.items():
        assert cosine(vector_of(name, inputs), expected) > 1 - 1e-6, name


def _cost(inputs: FitCache) -> Any:
    return ls.LinearBarrier.fit(inputs.activations("mean").at(1)).settings["C"]


def test_two_switches_lead_back_to_caa_and_one_does_not(inputs: FitCache) -> None:
    found = unification.directions(inputs, (1, 3))
    assert len(found) == 4 * len(PUSHES)  # two layers, two read positions
    by_name = found.groupby("method")["cosine"]
    assert by_name.min()["LDA and covariance"] > 1 - 1e-9
    changed = by_name.max().drop([BASELINE, "LDA and covariance"])
    assert float(changed.max()) < 0.999


def test_all_are_as_long_as_a_quarter_of_an_activation(inputs: FitCache) -> None:
    _, down = sides(inputs)
    usual = float(torch.from_numpy(np.linalg.norm(down, axis=1)).median())
    for name in PUSHES:
        size = float(vector_of(name, inputs).norm())
        assert size == pytest.approx(ANGLE * usual, rel=1e-5), name


def test_ten_steps_are_one_turn_towards_the_difference(inputs: FitCache) -> None:
    method: Any = MEMBERS["ten steps, |a| kept"](inputs, AT)
    assert method.steps == 10
    up, down = sides(inputs)
    delta = up.mean(axis=0) - down.mean(axis=0)
    unit = down / np.linalg.norm(down, axis=1, keepdims=True)
    across = delta - (unit @ delta)[:, None] * unit
    across = across / np.linalg.norm(across, axis=1, keepdims=True)
    wanted = np.linalg.norm(down, axis=1, keepdims=True)
    wanted = wanted * (np.cos(ANGLE) * unit + np.sin(ANGLE) * across)
    found = method.flow(torch.from_numpy(down)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def made_up(behaviours: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for i, name in enumerate(behaviours):
        for j, (method, other) in enumerate(COMPARED):
            row: dict[str, Any] = {"behaviour_set": name, "method": method, "other": other}
            for score in ("change", "at_0.1"):
                middle = 0.01 * j - 0.02 * i
                row |= {score: middle, f"{score}_low": middle - 0.1, f"{score}_high": middle + 0.1}
            rows.append(row | {"p": 0.01 * (j + 1)})
    return pd.DataFrame(rows)


def test_the_figure_has_a_place_for_each_behaviour_and_a_row_for_each_switch() -> None:
    table = made_up(("organism:one", "two"))
    figure = differences_figure(table)
    first, second = figure.axes
    assert [place.get_title() for place in (first, second)] == ["one", "two"]
    assert [label.get_text() for label in first.get_yticklabels()] == [
        label_of(*pair) for pair in COMPARED
    ]
    left = made_up(("organism:one",)).drop(index=[0])  # one could not be calibrated
    assert len(differences_figure(left).axes[0].get_yticklabels()) == len(COMPARED) - 1


@pytest.mark.slow
def test_it_runs_from_end_to_end(
    embedded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    few = {name: MEMBERS[name] for name in (BASELINE, "LDA and covariance", "covariance metric")}
    monkeypatch.setattr(unification, "MEMBERS", few)
    run = Run(embedded, tmp_path, 0, {"seed": 0})
    whole = run.behaviour("organism:sentiment", ["mean"])
    cache = FitCache(embedded, whole.cache.train.first(40), ("mean",))
    parts = (whole.name, whole.dev.first(8), whole.test.first(16), whole.judge)
    config = run.config(6, multiples=(1.0,), randoms=1)
    tables = unification.tables_of(Behaviour(*parts, cache, whole.provenance), config, (1,))
    unification.STUDY.save(run, unification.STUDY.complete(tables))
    found = pd.read_csv(tmp_path / "differences.csv", comment="#")
    pairs = list(zip(found["method"], found["other"], strict=True))
    assert pairs == [pair for pair in COMPARED if set(pair) <= set(few)]
    same = found[found["method"] == "LDA and covariance"].iloc[0]
    assert (same["change"], same["p_holm"]) == (0.0, 1.0)
    matched = tables["matched"].set_index("method")["behaviour"]
    change = found[found["method"] == "covariance metric"].iloc[0]["change"]
    assert change == pytest.approx(matched["covariance metric"] - matched[BASELINE])
    names = {"differences.csv", "differences.png", "matched.csv", "directions.csv", "missing.csv"}
    assert names <= {path.name for path in tmp_path.iterdir()}
