"""Models whose weights say what steers them: forecasts and recommendations have known answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.attribution import ElementScores
from lens_steer.forecasting import NotSteerable, margins
from lens_steer.sites import Kind
from tests.conftest import HEADS, LAYERS
from tests.planted_models import (
    PLANTED_HEADS,
    nothing,
    pairs_of_answers,
    planted_model,
    square,
    two_heads,
)

pytestmark = [
    pytest.mark.usefixtures("untyped"),  # functions are checked in test_forecast.py
    pytest.mark.filterwarnings("ignore:the token that is read tells desired from undesired"),
]
PAIRS = pairs_of_answers()
TEXTS: dict[str, Any] = {"max_new_tokens": 4, "seed": 0, "progress": False}
QUICK: dict[str, Any] = {"minutes": 1e-4, **TEXTS}  # three settings of each family
HeadNumber = tuple[int, int]


def test_what_no_layer_carries_is_refused(tmp_path: Path) -> None:
    model = planted_model(tmp_path, nothing)
    with pytest.raises(NotSteerable, match=r"its gain is 0 \[0, 0\] nats") as error:
        ls.recommend(model, PAIRS, methods="CAA,LinearAcT", **QUICK)
    foretold = error.value.forecast
    assert {name.split(",")[0] for name in foretold.names} == {"CAA", "LinearAcT"}
    assert float(foretold.slopes.abs().max()) < 1e-4
    assert all(foretold.curvature(name) > 0 for name in foretold.names)


def iti(activations: Any, chosen: Sequence[HeadNumber]) -> ls.ITI:
    """ITI on these heads, whatever tells the answers apart in others."""
    values = torch.zeros(LAYERS, HEADS)
    for head in chosen:
        values[head] = 1
    scores = ElementScores(values, Kind.HEAD, tuple(range(LAYERS)))
    return ls.ITI.fit(activations, scores, k=len(chosen))


def test_the_two_heads_that_carry_it_come_first_and_all_others_at_0(tmp_path: Path) -> None:
    model = planted_model(tmp_path, two_heads)
    activations = ls.capture(model, PAIRS, "head", progress=False)
    every = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    others = [head for head in every if head not in PLANTED_HEADS]
    methods = {"both": iti(activations, PLANTED_HEADS)}
    methods |= {f"{head}": iti(activations, [head]) for head in every}
    methods |= {"two others": iti(activations, others[:2]), "all others": iti(activations, others)}
    few = PAIRS.spread(16)
    found = ls.forecast(model, few, methods, **TEXTS)
    carriers = {"both", *map(str, PLANTED_HEADS)}
    assert set(found.table(0.1)["method"][:3]) == carriers
    for name in found.names:
        if name in carriers:
            assert found.gain(name, 0.1).low > 0.1
            assert found.wrong_way(name).mean == 0
        else:
            assert float(found.gains(name, 0.1).abs().max()) < 1e-5
    last = str(PLANTED_HEADS[1])
    torch.testing.assert_close(
        found.slopes[found.names.index(last)],
        slopes_by_hand(model, few, methods[last]),
        rtol=1e-3,
        atol=0,
    )


def slopes_by_hand(model: Any, pairs: Any, method: ls.ITI) -> torch.Tensor:
    """2 push / rms(z) of the last planted head, z the stream at the prompt's end.

    The push is that of the one dimension of the head that writes `ANSWER`, where the last norm's
    weight is 1 and the answers' unembeddings are 1 and -1.
    """
    layer, head = PLANTED_HEADS[1]
    direction = method.directions[layer, head]
    push = float(method.alpha * method.spreads[layer, head] * direction[0])
    found = []
    for example in pairs.desired:
        _, cache = model.run_with_cache(example.prompt)
        last = cache[f"blocks.{LAYERS - 1}.hook_resid_post"][0, -1].double()
        found.append(2 * push / float(last.square().mean().sqrt()))
    return torch.tensor(found).double()


def test_an_even_effect_has_no_slope_and_is_found_by_trying(tmp_path: Path) -> None:
    """The margin is a square: it rises on both sides of strength 0, which no slope foretells."""
    model = planted_model(tmp_path, square)
    resid = ls.capture(model, PAIRS, "resid", progress=False)
    methods = {f"layer {i}": ls.CAA.fit(resid.at(layer=i)) for i in range(LAYERS - 1)}
    few = PAIRS.spread(16)
    foretold = ls.forecast(model, few, methods, **TEXTS)
    for name, method in methods.items():
        assert float(foretold.gains(name, 0.1).abs().max()) < 1e-4
        assert foretold.curvature(name) > 0
        strong = foretold.strength(name, 0.1)
        both = [method.with_strength(sign * strong) for sign in (1, -1)]
        clean, up, down = margins(model, few, both)
        torch.testing.assert_close(up, down, atol=1e-5, rtol=0)
        assert float((up - clean).min()) > 0.1
    # heads hardly differ there: their probes have nothing to find
    found = ls.recommend(model, PAIRS, methods="CAA,ITI", **QUICK)
    assert "did not converge" in found.forecast.left_out["ITI"]
    with pytest.raises(ValueError, match="no method can be fitted to these pairs: ITI: a probe"):
        ls.recommend(model, PAIRS, methods="ITI", **QUICK)
    name = found.names[0]
    assert float(found.forecast.gains(name, 0.1).abs().max()) < 1e-4
    assert found.gain(name).low > 0.1
    assert found.moved(name).mean == 1.0
