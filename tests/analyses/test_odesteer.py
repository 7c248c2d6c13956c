"""Two vectors chosen by the prompt: each prompt gets its own, in batches of several methods."""

from typing import Any

import pytest
import torch

import lens_steer as ls
from analyses.odesteer.gated import GatedCAA
from analyses.odesteer.methods import methods_of
from lens_steer.sites import Site
from lens_steer.steering import Additive

LISTENERS = {"gardener": True, "miller": True, "tourist": False, "painter": False}


def spread(count: int) -> ls.ContrastivePairs:
    """Prompts of all listeners."""
    pairs = ls.ContrastivePairs.load("organism:polarity")
    kept = range(0, len(pairs), len(pairs) // count)
    desired, undesired = (tuple(s[i] for i in kept) for s in (pairs.desired, pairs.undesired))
    return ls.ContrastivePairs(desired, undesired, name="spread")


def test_each_prompt_is_steered_by_the_vector_of_its_listener(embedded: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    wet, dry = torch.randn(2, embedded.cfg.d_model, generator=draw).unbind()
    both = GatedCAA(1, wet, dry, strength=0.5)
    alone = {side: Additive((Site(1),), (v,), strength=0.5) for side, v in ((1, wet), (0, dry))}
    pairs = spread(12)
    methods = [alone[0], None, both, alone[1]]
    found = ls.evaluate_each(embedded, pairs, methods, judge=None, seed=0, max_new_tokens=12)
    named = [{*str(prompt).replace(".", " ").split()} & set(LISTENERS) for prompt in pairs.prompts]
    sides = [LISTENERS[name] for [name] in map(tuple, named)]
    assert 0 < sum(sides) < len(sides)
    assert found[0].texts != found[3].texts
    for i, side in enumerate(sides):
        assert found[2].texts[i] == found[3 if side else 0].texts[i]


def test_vectors_are_class_differences_of_either_half(embedded: Any) -> None:
    pairs = spread(24)
    own = ls.capture(embedded, pairs, "resid", read="mean", progress=False).at(1)
    fitted = GatedCAA.fit(own, pairs)
    sides = [LISTENERS[group.split()[0]] for group in pairs.groups]
    for vector, side in ((fitted.wet, True), (fitted.dry, False)):
        rows = [i for i, other in enumerate(sides) if other == side]
        wanted = (own.desired[rows].double() - own.undesired[rows].double()).mean(dim=0)
        torch.testing.assert_close(vector.double(), wanted, atol=1e-5, rtol=1e-5)


def test_it_refuses_to_work_without_its_prompts(embedded: Any) -> None:
    method = GatedCAA(1, torch.ones(embedded.cfg.d_model), torch.ones(embedded.cfg.d_model))
    [edit] = method.edits(embedded).values()
    with pytest.raises(ValueError, match="without its prompts"):
        edit(torch.zeros(1, embedded.cfg.d_model), torch.tensor([0]))


def test_only_the_behaviour_with_two_halves_has_two_vectors() -> None:
    polarity, concept = (set(methods_of(f"organism:{name}")) for name in ("polarity", "concept"))
    assert polarity - concept == {"two CAA, told which"}
