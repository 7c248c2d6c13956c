"""Recommendations: what the embedded model can be made to do, what not, and planted gains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lens_steer as ls
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import judge_of
from lens_steer.forecasting import NotSteerable, Recommendation
from lens_steer.sites import Site
from lens_steer.steering import CAA
from tests.more_report_samples import forecast as sample

pytestmark = pytest.mark.usefixtures("untyped")  # functions are checked in test_forecast.py
QUICK: dict[str, Any] = {"minutes": 0.01, "progress": False, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def sentiment() -> ContrastivePairs:
    return ContrastivePairs.load("organism:sentiment").spread(96)


def test_sentiment_of_the_embedded_model_is_steered(
    embedded: Any, sentiment: ContrastivePairs, tmp_path: Path
) -> None:
    found = ls.recommend(embedded, sentiment, methods="CAA,ITI", seed=0, **QUICK)
    assert found.names[0].startswith(("CAA, layer", "ITI, k"))
    gains = [found.gain(name).mean for name in found.names]
    assert gains == sorted(gains, reverse=True)
    assert found.gain(found.names[0]).low > 0
    for word in ("was to gain", "went the wrong way", f"strength {found.method.strength:.3g}"):
        assert word in found.reason
    ls.save(found, tmp_path / "found.safetensors")
    again = ls.load(tmp_path / "found.safetensors", model=embedded)
    assert again.reason == found.reason
    assert again.method.strength == found.method.strength


def test_a_judge_of_texts_decides_where_there_is_one(
    embedded: Any, sentiment: ContrastivePairs
) -> None:
    judge: Any = judge_of("organism:sentiment")
    longer: dict[str, Any] = QUICK | {"minutes": 1.0}
    found = ls.recommend(embedded, sentiment, methods="CAA", judge=judge, nats=0.3, **longer)
    assert found.shown is not None
    assert len(found.names) > 4  # there was time for more than the first
    assert len(found.shown_groups) == found.shown.shape[1] == len(found.groups) + 24
    assert set(found.groups) < set(found.shown_groups)
    shares = found.shown[1:].mean(dim=1)
    assert float(shares[0]) == float(shares.max())
    assert "the share of texts went from" in found.reason


def test_pairs_turned_round_at_random_are_not_steerable(
    embedded: Any, sentiment: ContrastivePairs
) -> None:
    """Nothing tells the sides apart: there is nothing to be found."""
    turned = np.random.default_rng(0).permutation(len(sentiment)) < len(sentiment) // 2
    sides = zip(sentiment.desired, sentiment.undesired, turned.tolist(), strict=True)
    desired, undesired = zip(*[(b, a) if turn else (a, b) for a, b, turn in sides], strict=True)
    with pytest.raises(NotSteerable, match="is the best of . candidates at 0.1 nats") as error:
        ls.recommend(embedded, ContrastivePairs(desired, undesired), methods="CAA", **QUICK)
    assert all(name.startswith("CAA, layer") for name in error.value.forecast.names)


def measured(gains: list[float], clean: float = -1.0) -> dict[str, Any]:
    """Methods of a sample by the gains that they are given: each the same on twelve pairs."""
    forecast = sample(6)
    methods = {name: CAA((Site(0),), (torch.ones(4),)) for name in forecast.names[: len(gains)]}
    rows = torch.tensor([clean, *(clean + gain for gain in gains)]).double()
    margins = rows[:, None].expand(-1, 12)
    groups = [f"g{i}" for i in range(12)]
    return {
        "forecast": forecast,
        "nats": 0.1,
        "methods": methods,
        "margins": margins,
        "groups": groups,
    }


def test_the_largest_measured_gain_is_taken() -> None:
    planted = measured([1.5, 3.0, 2.0])
    found = Recommendation.of(**planted)
    names = list(planted["methods"])
    assert found.names == (names[1], names[2], names[0])
    assert found.gain(names[1]).mean == 3.0
    assert found.moved(names[1]).mean == 1.0
    assert list(found.table()["gain"]) == [3.0, 2.0, 1.5]
    with pytest.raises(ValueError, match="'z' was not tried"):
        found.gain("z")


@pytest.mark.parametrize(
    ("gains", "clean", "reason"),
    [([-1.0], -1.0, "the interval reaches 0"), ([0.5], -1.0, r"from 0% by \+0 points")],
)
def test_what_does_not_move_enough_is_refused(
    gains: list[float], clean: float, reason: str
) -> None:
    with pytest.raises(NotSteerable, match=reason):
        Recommendation.of(**measured(gains, clean))


@pytest.mark.parametrize(("shows", "gain"), [(1.0, -1.0), (0.0, 2.0)])
def test_with_a_judge_texts_decide_whatever_margins_do(shows: float, gain: float) -> None:
    texts = torch.stack([torch.zeros(12), torch.full((12,), shows)]).double()
    planted: dict[str, Any] = measured([gain]) | {"shown": (texts, [f"p{i}" for i in range(12)])}
    if shows:
        assert Recommendation.of(**planted).moved(next(iter(planted["methods"]))).mean == 1.0
    else:
        with pytest.raises(NotSteerable, match=r"the share of texts goes from 0% by \+0 points"):
            Recommendation.of(**planted)


def test_methods_that_break_the_model_come_last() -> None:
    planted = measured([1.5, 3.0])
    planted["margins"] = planted["margins"].clone()
    planted["margins"][2] = torch.nan
    assert Recommendation.of(**planted).names[0] == list(planted["methods"])[0]


def test_unknown_families_are_refused(embedded: Any, sentiment: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="unknown methods"):
        ls.recommend(embedded, sentiment, methods="joy")
