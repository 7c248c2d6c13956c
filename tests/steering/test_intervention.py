"""What every method has: strength, a record of its model, hooks to mix with others, a repr."""

from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive, Edit, Intervention
from tests.conftest import BACKENDS, Loader
from tests.interventions import (
    STEERED_LAYER,
    Scale,
    drawn,
    padded,
    push,
    rows_of,
    run,
)

SITE = Site(STEERED_LAYER)


@dataclass(frozen=True, eq=False, repr=False)
class ReadsTheGate(Intervention):
    """Would edit a place that can only be read."""

    @property
    def sites(self) -> tuple[Site, ...]:
        return (Site(0, Kind.GATE),)

    def edits(self, model: Any) -> dict[Site, Edit]:
        del model
        return {site: torch.relu for site in self.sites}


@pytest.fixture(params=BACKENDS)
def either(request: pytest.FixtureRequest, load: Loader) -> Any:
    return load("llama", request.param)


def test_hooks_for_run_with_hooks_equal_a_block_with_scope_all(model: Any) -> None:
    tokens = padded(model, rows_of(model), "none").tokens
    both = push(model, layer=0) + push(model, layer=2, seed=1)
    with torch.no_grad():
        for method in (both, Scale()):
            with ls.steered(model, method, scope="all", sink=True):
                ours = run(model, tokens, None)
            assert torch.equal(model.run_with_hooks(tokens, fwd_hooks=method.hooks(model)), ours)


def test_hooks_mix_with_those_of_the_user(either: Any) -> None:
    tokens, vector = padded(either, rows_of(either), "none").tokens, drawn((either.cfg.d_model,))

    def double(x: Tensor, hook: Any) -> Tensor:
        return 2 * x

    method = Additive((SITE,), (vector,))
    mixed = [*method.hooks(either), (SITE.hook_name, double)]

    def by_hand(x: Tensor, hook: Any) -> Tensor:
        return 2 * (x + vector)

    with torch.no_grad():
        ours = either.run_with_hooks(tokens, fwd_hooks=mixed)
        theirs = either.run_with_hooks(tokens, fwd_hooks=[(SITE.hook_name, by_hand)])
    assert torch.equal(ours, theirs)


def test_hooks_at_strength_zero_are_none(either: Any) -> None:
    assert push(either).with_strength(0.0).hooks(either) == []


def test_with_strength_sets_it_and_does_not_multiply(either: Any) -> None:
    method = push(either).with_strength(3.0).with_strength(0.5)
    assert method.strength == 0.5
    assert torch.equal(method.vectors[0], push(either).vectors[0])


def test_with_strength_leaves_the_method_it_is_called_on_as_it_was(either: Any) -> None:
    method = push(either)
    assert method.with_strength(2.0) is not method
    assert method.strength == 1.0


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_knob_of_any_method_that_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="factor .*expected a finite number"):
        Scale(factor=wrong)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), True])
def test_a_strength_that_is_no_finite_number_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="strength .*expected a finite number"):
        Scale(strength=wrong)


def test_a_negative_strength_pushes_the_other_way(either: Any) -> None:
    tokens = padded(either, rows_of(either), "none").tokens
    method = push(either)
    with torch.no_grad():
        with ls.steered(either, method.with_strength(-1.0)):
            ours = run(either, tokens, None)
        with ls.steered(either, -method):
            theirs = run(either, tokens, None)
    assert torch.equal(ours, theirs)


def test_methods_are_frozen(either: Any) -> None:
    for method, name in (
        (push(either), "vectors"),
        (push(either), "strength"),
        (Scale(), "factor"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(method, name, getattr(method, name))


def test_a_place_that_can_only_be_read_is_refused_before_anything_is_hooked(either: Any) -> None:
    for use in (ReadsTheGate().hooks, ReadsTheGate(strength=0.0).checked_edits):
        with pytest.raises(ValueError, match=r"blocks\.0\.mlp\.hook_pre.*steer 'neuron'"):
            use(either)


def test_a_repr_shows_settings_strength_and_hook_names() -> None:
    assert repr(Scale(strength=0.5)) == (
        "Scale(strength=0.5, factor=1.5, site=Site(layer=1, kind=<Kind.RESID: 'resid'>)) "
        "at blocks.1.hook_resid_post"
    )


def test_a_method_that_does_not_say_where_or_what_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Intervention()  # type: ignore[abstract]
