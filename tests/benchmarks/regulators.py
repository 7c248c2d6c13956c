"""Regulators: from texts to gains, and what they cost while texts are written."""

import time
from typing import Any

import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.steering import Costs
from lens_steer.steering.lqr.riccati import isotropic_gains
from tests.benchmarks.jacobians import whole_sequence
from tests.benchmarks.timing import interleaved, ratio

TEXTS, LENGTH = 4, 32
LETTERS = "".join(f"{i:02}" for i in range(100))  # a token each


def gains_speed(model: Any, runs: int) -> str:
    """Four texts of 32 tokens: feature-cost gains, against dense Jacobians and a dense Riccati.

    Whole-sequence autograd takes one text and one block and is multiplied.
    """
    pairs = ls.ContrastivePairs.of([(LETTERS[i : i + LENGTH - 2], "+", "-") for i in range(TEXTS)])
    resid = ls.capture(model, pairs, "resid", progress=False)
    layers, d = model.cfg.n_layers, model.cfg.d_model
    tokens = torch.randint(3, 500, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    whole = whole_sequence(model, tokens, 3)
    a, v = torch.eye(d).expand(layers, d, d), torch.randn(layers + 1, d)
    costs = Costs.of(layers, 0.1, 1.0, 0.1, None)

    def riccati() -> Tensor:
        return isotropic_gains(a, v, costs)

    def ours() -> ls.LQR:
        jacobians = ls.linearize(model, pairs, dense=False, progress=False)
        return ls.LQR.fit_feature(jacobians, resid)

    clock = time.process_time
    block, dense, taken = interleaved(max(1, runs // 3), whole, riccati, ours, clock=clock)
    jacobians = TEXTS * layers * ratio(block, taken)
    return f"CPU of dense Jacobians and Riccati / ours {jacobians + ratio(dense, taken):.0f}"


def regulated_generation_speed(model: Any, runs: int) -> str:
    """Generation under the law and the tracker at all layers, against unsteered."""
    pairs = ls.ContrastivePairs.of([(LETTERS[i : i + 20], "+", "-") for i in range(TEXTS)])
    jacobians = ls.linearize(model, pairs, dense=False, progress=False)
    resid = ls.capture(model, pairs, "resid", progress=False)
    laws = [ls.LQR.fit_feature(jacobians, resid), ls.LQRTracker.fit(jacobians, resid)]
    prompts = ["the cat sat on the mat", "a dog"]

    def plain() -> None:
        ls.generate(model, prompts, max_new_tokens=32, temperature=0.0)

    def by(law: ls.Intervention) -> None:
        ls.generate(model, prompts, law, max_new_tokens=32, temperature=0.0)

    actions = (plain, lambda: by(laws[0]), lambda: by(laws[1]), plain)
    first, law, tracker, second = interleaved(runs, *actions, clock=time.process_time)
    found = f"LQR / unsteered {ratio(law, first):.3f}, tracker {ratio(tracker, first):.3f}"
    return f"CPU of {found} (unsteered / unsteered {ratio(second, first):.3f})"
