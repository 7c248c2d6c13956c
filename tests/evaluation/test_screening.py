from pathlib import Path
from typing import Any

import pytest
import torch

from lens_steer.artifacts import load, save
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Screen, log_probabilities, preference, screen
from lens_steer.models import encode, forward, pad
from lens_steer.steering import WithSinks, steered
from tests.interventions import push


@pytest.fixture
def load_model_of(load: Any) -> Any:  # the name `load` is the artefacts' here
    return load


# Differences of float32 log-probabilities of order 5, summed over a few tokens.
NATS = 2e-5


def test_the_gain_of_pairs_is_the_change_of_their_preference(
    gpt2: Any, pairs: ContrastivePairs
) -> None:
    candidates = [push(gpt2, size=0.5), -push(gpt2, size=0.2)]
    found = screen(gpt2, pairs, candidates)
    before = preference(gpt2, pairs)
    for i, method in enumerate(candidates):
        change = (preference(gpt2, pairs, method) - before).double().mean().item()
        assert found.gains[i].item() == pytest.approx(change, abs=NATS)
        interval = found.gain(i)
        assert interval.mean == pytest.approx(change, abs=NATS)
        assert interval.low <= interval.mean <= interval.high


def test_of_unpaired_examples_the_gain_is_a_difference_of_means(
    llama: Any, pairs: ContrastivePairs
) -> None:
    unpaired = ContrastivePairs(pairs.desired, pairs.undesired[:2], paired=False, name="few")
    method = push(llama, size=0.5)
    found = screen(llama, unpaired, [method])
    change = []
    for side in (unpaired.desired, unpaired.undesired):
        rows = [encode(llama, example.prompt, example.continuation) for example in side]
        after, before = log_probabilities(llama, rows, method), log_probabilities(llama, rows)
        changes = [(a - b).double().mean() for a, b in zip(after, before, strict=True)]
        change.append(torch.stack(changes).mean().item())
    assert found.gains.item() == pytest.approx(change[0] - change[1], abs=NATS)


def test_the_nats_are_those_of_every_token_of_the_continuations(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = push(llama, size=0.5)
    found = screen(llama, pairs, [method], scope="all")
    total, tokens = 0.0, 0
    for example in (*pairs.desired, *pairs.undesired):
        row = encode(llama, example.prompt, example.continuation)
        ids, _ = pad(llama, [row.ids])
        with torch.no_grad():
            clean = forward(llama, ids)[0].double().log_softmax(-1)
            with steered(llama, method, scope="all"):
                pushed = forward(llama, ids)[0].double().log_softmax(-1)
        drawn = slice(row.prompt_length - 1, len(row.ids) - 1)
        nats = (pushed.exp() * (pushed - clean)).sum(-1)[drawn]
        total, tokens = total + nats.sum().item(), tokens + len(nats)
    assert found.nats.item() == pytest.approx(total / tokens, rel=1e-4)


def test_sinks_are_left_alone_unless_they_are_asked_for(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = [push(llama, size=0.5)]
    without = screen(llama, pairs, method, scope="all").nats.item()
    with_sinks = screen(llama, pairs, method, scope="all", sink=True).nats.item()
    assert with_sinks == screen(llama, pairs, method, scope=WithSinks("all")).nats.item()
    assert abs(with_sinks - without) > 1e-6


def test_a_candidate_has_the_same_gain_whatever_others_there_are(
    llama: Any, pairs: ContrastivePairs
) -> None:
    methods = [push(llama, size=size) for size in (0.1, 0.5, 1.0)]
    together = screen(llama, pairs, methods)
    for i, method in enumerate(methods):
        alone = screen(llama, pairs, [method])
        torch.testing.assert_close(alone.changes[0], together.changes[i], atol=NATS, rtol=0)
        torch.testing.assert_close(alone.nats[0], together.nats[i], atol=1e-7, rtol=1e-4)


def test_strength_0_gains_and_costs_nothing(llama: Any, pairs: ContrastivePairs) -> None:
    found = screen(llama, pairs, [push(llama).with_strength(0.0)])
    assert found.gains.tolist() == [0.0]
    assert found.nats.tolist() == [0.0]


def test_the_best_are_in_order_and_never_those_that_break_the_model(
    llama: Any, pairs: ContrastivePairs
) -> None:
    good = push(llama, size=0.5)
    broken = push(llama, size=2.0).with_strength(1e39)  # beyond float32
    found = screen(llama, pairs, [broken, good, -good])
    assert found.gains[0].isnan()
    order = found.best(2)
    assert 0 not in order
    assert found.gains[order[0]] >= found.gains[order[1]]
    with pytest.raises(ValueError, match="best 3 of 2 candidates with finite logits"):
        found.best(3)


def test_a_continuation_without_anything_before_it_is_refused(load_model_of: Any) -> None:
    without_bos = load_model_of("qwen2")
    bare = ContrastivePairs.of([("", "a", "b")])
    with pytest.raises(ValueError, match="no token with anything before it"):
        screen(without_bos, bare, [push(without_bos)])
    with pytest.raises(ValueError, match="at least one method"):
        screen(without_bos, bare, [])


def test_a_screen_is_saved_shown_and_drawn(
    llama: Any, pairs: ContrastivePairs, tmp_path: Path
) -> None:
    found = screen(llama, pairs, [push(llama, size=0.5), push(llama, size=1.0)], seed=3)
    save(found, tmp_path / "screen.safetensors")
    again = load(tmp_path / "screen.safetensors", model=llama)
    assert isinstance(again, Screen)
    assert torch.equal(again.changes, found.changes)
    table = found.table()
    assert list(table) == [
        *("method", "layer", "layers", "strength", "gain", "gain_low", "gain_high", "nats"),
    ]
    axes, bar = found.figure().axes
    assert "nats" in axes.get_ylabel()
    assert "nats" in bar.get_ylabel()
    dots: Any = axes.collections[-1]
    assert dots.get_offsets()[:, 1].tolist() == pytest.approx(found.gains.tolist())
