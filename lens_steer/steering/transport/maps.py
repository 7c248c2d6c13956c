"""What transport maps share: their strength, what they are fitted on, and fits layer by layer."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import (
    LabelTokenWarning,
    LayerActivations,
    ReadPosition,
    capture,
)
from lens_steer.axes import Activation
from lens_steer.data import ContrastivePairs
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.base import (
    Displacement,
    Intervention,
    OneSite,
    Push,
    Scope,
    editable_site,
    on_device,
    steered,
)

AnyMethod = TypeVar("AnyMethod", bound=Intervention)


@dataclass(frozen=True, eq=False, repr=False)
class TransportMap(OneSite, Displacement):
    """x becomes x + strength * (T(x) - x); strength 1 is the whole way.

    Attributes:
        source: Mean of the undesired.
        target: Mean of the desired: T(source).
    """

    source: Float[Tensor, "*site"] = field(repr=False)
    target: Float[Tensor, "*site"] = field(repr=False)

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        del site
        return tuple(self.source.shape)

    @abstractmethod
    def _step(self, x: Activation) -> Activation:
        """T(x) - x, in the dtype of the activations."""

    @override
    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        del site, dtype
        return on_device(self, device)._step


def fit_in_order(
    fit: Callable[[LayerActivations], AnyMethod],
    model: SteerableModel,
    pairs: ContrastivePairs,
    layers: Sequence[int] | None,
    *,
    kind: str,
    read: ReadPosition,
    scope: Scope,
    progress: bool,
) -> tuple[AnyMethod, ...]:
    """A method per layer, each fitted while those of the layers before it steer the undesired."""
    clean = capture(model, pairs, kind, read=read, layers=layers, progress=progress)
    if len(set(clean.layers)) != len(clean.layers):
        raise ValueError(f"layers {list(clean.layers)}: expected each once")
    methods: list[AnyMethod] = []
    for layer in sorted(clean.layers):
        activations = clean.at(layer=layer)
        if methods:
            with steered(model, *methods, scope=scope), warnings.catch_warnings():
                warnings.simplefilter("ignore", LabelTokenWarning)  # the first capture has warned
                mapped = capture(
                    model, pairs, kind, read=read, layers=[layer], progress=progress
                ).at(layer=layer)
            activations = replace(activations, undesired=mapped.undesired)
        methods.append(fit(activations))
    return tuple(methods)


def spread_site(activations: LayerActivations) -> Site:
    """The site of a method that is fitted on how far either class varies.

    Raises:
        ValueError: If that kind cannot be edited, or a class has fewer than two activations.
    """
    site = editable_site(activations)
    if min(len(activations.desired), len(activations.undesired)) < 2:
        raise ValueError(
            f"got {len(activations.desired)} desired and {len(activations.undesired)} undesired "
            "activations: expected at least 2 of each, which show a spread"
        )
    return site


def quantile(x: Float[Tensor, "n *site"], levels: Float[Tensor, " m"]) -> Float[Tensor, "m *site"]:
    """Quantiles of each coordinate, linear between its sorted values.

    torch.quantile does the same up to a size limit.
    """
    ordered = x.sort(dim=0).values
    place = levels * (len(x) - 1)
    below = place.floor().long()
    share = (place - below).reshape(-1, *[1] * (x.ndim - 1))
    above = (below + 1).clamp(max=len(x) - 1)
    return ordered[below] + share * (ordered[above] - ordered[below])


def matched_quantiles(
    a: Float[Tensor, "n *site"], b: Float[Tensor, "m *site"]
) -> tuple[Float[Tensor, "k *site"], Float[Tensor, "k *site"]]:
    """Both samples sorted, the smaller one interpolated to the size of the larger."""
    if len(a) == len(b):
        return a.sort(dim=0).values, b.sort(dim=0).values
    levels = torch.linspace(0, 1, max(len(a), len(b)), dtype=a.dtype)
    return quantile(a, levels), quantile(b, levels)
