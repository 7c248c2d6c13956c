"""Hooks for a batch that holds every row once as it is, and once more for each point of a grid.

At each site a point has factors of the activation. They multiply what the row itself holds at every
position (`online_scalings`), or what the clean row holds at the first one (`frozen_patches`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models import SteerableModel, gate_function, has_gates
from lens_steer.sites import Kind, Site

Factors = Mapping[Site, Float[Tensor, "..."]]  # what activations are multiplied by
Hook = Callable[[Tensor], Tensor | None]


def online_scalings(
    model: SteerableModel, points: Sequence[Factors], rows: int
) -> dict[Site, Hook]:
    """Multiply, at each site, the rows of each point by its factors; the clean rows come first."""
    return {site: _Scaling(factor, rows) for site, factor in _by_site(model, points).items()}


def frozen_patches(model: SteerableModel, points: Sequence[Factors], rows: int) -> dict[Site, Hook]:
    """Overwrite the first position of the rows of each point by the clean row's, times its factors.

    A point that has no factors at another's site holds the clean activation there. Of a gated MLP
    `gate` is held behind its activation function, and what it multiplies is the row's own.
    """
    hooks: dict[Site, Hook] = {}
    for site, factor in _by_site(model, points).items():
        layer = site.layer
        neuron = Site(layer, Kind.NEURON)
        if site.kind is not Kind.GATE:
            hooks[site] = _Patch(factor, rows)
        elif not has_gates(model, layer):
            hooks[neuron] = _Patch(factor, rows)
        else:
            patch = _GatePatch(factor, rows, gate_function(model))
            hooks |= {site: patch.see_gate, Site(layer, Kind.UP): patch.see_up}
            hooks[neuron] = patch.write
    return hooks


def _by_site(
    model: SteerableModel, points: Sequence[Factors]
) -> dict[Site, Float[Tensor, "point *site"]]:
    """At each site the factors of the clean model, of the first point, and so on."""
    factors: dict[Site, Tensor] = {}
    for site in sorted({site for point in points for site in point}):
        plain = torch.ones_like(next(point[site] for point in points if site in point))
        device = next(iter(model.blocks[site.layer].parameters())).device
        each = [plain, *(point.get(site, plain) for point in points)]
        factors[site] = torch.stack(each).to(device)
    return factors


@dataclass(frozen=True, eq=False)
class _Scaling:
    factor: Float[Tensor, "point *site"]
    rows: int

    def __call__(self, x: Float[Tensor, "row pos *site"]) -> Float[Tensor, "row pos *site"]:
        points = x.unflatten(0, (len(self.factor), self.rows))
        return (points * self.factor[:, None, None]).to(x.dtype).flatten(0, 1)


class _Patch:
    """Acts at its first call alone: a model that keeps states runs the columns one by one."""

    def __init__(self, factor: Float[Tensor, "point *site"], rows: int) -> None:
        self._factor, self._rows, self._done = factor[1:], rows, False

    def __call__(self, x: Float[Tensor, "row pos *site"]) -> Tensor | None:
        if self._done:
            return None
        self._done = True
        held = (x[: self._rows, 0] * self._factor[:, None]).flatten(0, 1)
        patched = x.clone()
        patched[self._rows :, 0] = held.to(x.dtype)  # the clean rows stay as they are
        return patched


class _GatePatch:
    """The same of a gate, in three hooks: none alone holds it behind its activation function."""

    def __init__(
        self,
        factor: Float[Tensor, "point neuron"],
        rows: int,
        function: Callable[[Tensor], Tensor],
    ) -> None:
        self._factor, self._rows, self._function = factor[1:], rows, function
        self._gate: Tensor | None = None
        self._up: Tensor | None = None
        self._done = False

    def see_gate(self, x: Float[Tensor, "row pos neuron"]) -> None:
        """Keep the clean rows' gate."""
        self._gate = self._function(x[: self._rows, 0])

    def see_up(self, x: Float[Tensor, "row pos neuron"]) -> None:
        """Keep what every row's own gate would multiply."""
        self._up = x[self._rows :, 0]

    def write(self, x: Float[Tensor, "row pos neuron"]) -> Tensor | None:
        """The product of the two, the clean gate times each point's factors."""
        if self._done:
            return None
        assert self._gate is not None and self._up is not None  # noqa: PT018 - hooks before this
        self._done = True
        held = (self._gate * self._factor[:, None]).flatten(0, 1)
        patched = x.clone()
        patched[self._rows :, 0] = (held * self._up).to(x.dtype)
        return patched
