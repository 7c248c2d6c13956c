"""Drawing tokens: frequencies, the nucleus, and generators that belong to rows."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from lens_steer.steering import Decoding

DRAWS = 4000
# Seeds are fixed, so this is no chance of failing: only of having picked an unlucky seed.
UNLIKELY = 1e-3

logits_of_few = st.lists(st.floats(-4, 4), min_size=2, max_size=7)


def drawn(decoding: Decoding, logits: Tensor, n: int) -> np.ndarray:
    """One token for each of `n` rows with the same logits."""
    generators = [decoding.generator(row) for row in range(n)]
    return decoding.draw(logits.expand(n, -1), generators).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max())
    return e / e.sum()


def nucleus(probabilities: np.ndarray, top_p: float) -> set[int]:
    """The smallest set of likeliest tokens that holds `top_p`, in float64."""
    chosen: set[int] = set()
    held = 0.0
    for token in np.argsort(-probabilities, kind="stable"):
        if held >= top_p:
            break
        chosen.add(int(token))
        held += probabilities[token]
    return chosen


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_agree_with_the_softmax_at_every_temperature(temperature: float) -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0, 0.5, -0.5]])
    tokens = drawn(Decoding(temperature=temperature, seed=1), logits, DRAWS)
    counts = np.bincount(tokens, minlength=6)
    probabilities = softmax(logits[0].double().numpy() / temperature)
    assert chisquare(counts, DRAWS * probabilities).pvalue > UNLIKELY


@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.9])
def test_the_nucleus_is_sampled_in_proportion_and_nothing_outside_it(top_p: float) -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0, 0.5, -0.5]])
    tokens = drawn(Decoding(temperature=0.8, top_p=top_p, seed=2), logits, DRAWS)
    probabilities = softmax(logits[0].double().numpy() / 0.8)
    inside = sorted(nucleus(probabilities, top_p))
    assert set(tokens.tolist()) == set(inside)
    if len(inside) > 1:
        counts = np.bincount(tokens, minlength=6)[inside]
        shares = probabilities[inside] / probabilities[inside].sum()
        assert chisquare(counts, DRAWS * shares).pvalue > UNLIKELY


@settings(max_examples=20)
@given(logits_of_few, st.floats(0.05, 1.0))
def test_no_draw_leaves_the_nucleus_and_its_likely_tokens_all_come_up(
    values: list[float], top_p: float
) -> None:
    logits = torch.tensor([values])
    probabilities = softmax(logits[0].double().numpy())
    # Where a sum meets top_p to float32 rounding, either set is right.
    larger, smaller = nucleus(probabilities, top_p + 1e-5), nucleus(probabilities, top_p - 1e-5)
    found = set(drawn(Decoding(top_p=top_p, seed=3), logits, 300).tolist())
    ties = {
        i for i, p in enumerate(probabilities) for j in larger if abs(p - probabilities[j]) < 1e-6
    }
    assert found <= larger | ties
    if not ties - smaller:
        assert {i for i in smaller if probabilities[i] > 0.1} <= found


@given(logits_of_few)
def test_temperature_zero_and_a_tiny_nucleus_take_the_likeliest_token(values: list[float]) -> None:
    logits = torch.tensor([values])
    best = logits.max()
    for decoding in (Decoding(temperature=0.0), Decoding(top_p=1e-6, seed=0)):
        (token,) = drawn(decoding, logits, 1)
        assert logits[0, int(token)] == best


def test_a_row_draws_the_same_alone_and_in_a_batch_whatever_is_beside_it() -> None:
    decoding, logits = (
        Decoding(seed=4),
        torch.randn(5, 50, generator=torch.Generator().manual_seed(0)),
    )
    generators = [decoding.generator(row) for row in range(5)]
    together = [decoding.draw(logits, generators).tolist() for _ in range(3)]
    for row in (3, 0):
        generator = decoding.generator(row)
        alone = [decoding.draw(logits[row : row + 1], [generator]).item() for _ in range(3)]
        assert alone == [step[row] for step in together]


def test_generators_belong_to_the_seed_and_the_row_in_that_order() -> None:
    def first(seed: int, row: int) -> float:
        return torch.rand(1, generator=Decoding(seed=seed).generator(row)).item()

    keys = [(seed, row) for seed in range(4) for row in range(4)]
    assert len({first(*key) for key in keys}) == len(keys)
    assert first(2, 1) == first(2, 1)


def test_two_settings_are_compared_on_the_same_noise() -> None:
    """Raising one logit makes its token come up wherever it did before, and sometimes elsewhere."""
    logits = torch.zeros(1, 4)
    raised = logits + torch.tensor([0.0, 1.0, 0.0, 0.0])
    before = drawn(Decoding(seed=5), logits, 500)
    after = drawn(Decoding(seed=5), raised, 500)
    changed = before != after
    assert bool((after[before == 1] == 1).all())
    assert changed.any()
    assert bool((after[changed] == 1).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_every_dtype_are_drawn_from_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(1)).to(dtype)
    decoding = Decoding(top_p=0.9, seed=6)
    found = [
        decoding.draw(given, [decoding.generator(row) for row in range(8)]).tolist()
        for given in (logits, logits.float())
    ]
    assert found[0] == found[1]


def test_drawing_changes_neither_the_logits_nor_the_global_generator() -> None:
    logits = torch.randn(3, 9, generator=torch.Generator().manual_seed(2))
    copy, state = logits.clone(), torch.get_rng_state()
    drawn(Decoding(top_p=0.5, seed=7), logits[:1], 5)
    assert torch.equal(logits, copy)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1, "seed": 0}, "temperature=-0.1"),
        ({"temperature": float("inf"), "seed": 0}, "temperature=inf"),
        ({"temperature": float("nan"), "seed": 0}, "temperature=nan"),
        ({"top_p": 0.0, "seed": 0}, "top_p=0.0"),
        ({"top_p": 1.1, "seed": 0}, "top_p=1.1"),
        ({"top_p": float("nan"), "seed": 0}, "top_p=nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_named(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Decoding(**wrong)


def test_greedy_needs_no_seed() -> None:
    assert Decoding(temperature=0.0).seed is None
