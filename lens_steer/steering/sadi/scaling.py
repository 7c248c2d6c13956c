"""Scaling the chosen elements of the input's own activation."""

from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations
from lens_steer.arguments import Count, Number
from lens_steer.artifacts import savable
from lens_steer.attribution import ElementMask, ElementScores, by_element
from lens_steer.axes import Activation
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Kind, Site, hook_points, site_shape
from lens_steer.steering.base import Edit, Intervention, chosen_site
from lens_steer.steering.sadi.folding import folded

AnySADI = TypeVar("AnySADI", bound="SADI")


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SADI(Intervention):
    """A' = A + delta (A * mask): the chosen elements of the activation, scaled by 1 + delta.

    It amplifies what the input already has, and cannot set a sign: see `SignReport`, `SignedSADI`.
    Neurons may be chosen by their gate; they are scaled after it, which is the same.

    Attributes:
        mask: The elements that are scaled.
        delta: How much is added of each, as a share of itself: 0 leaves it, -1 takes it out; one
            number, or one for each element.

    Example:
        >>> scores = ls.attribution.contrast(ls.capture(model, train, "head"))
        >>> method = ls.SADI(scores.top(8), delta=2.0)

    Source: SADI (arXiv:2410.12299), section 3.3.
    """

    mask: ElementMask
    delta: float | int | Float[Tensor, "layer element"] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.mask, ElementMask):
            raise ValueError(f"got {self.mask!r}, expected an ElementMask: scores.top(k)")
        if self.mask.count == 0:
            raise ValueError("the mask chooses no element: nothing would be steered")
        delta = checked_delta(self.delta)
        if delta.ndim and delta.shape != self.mask.selected.shape:
            shapes = f"{tuple(delta.shape)} for a mask of {tuple(self.mask.selected.shape)}"
            raise ValueError(f"got deltas of shape {shapes}: expected one each, or one for all")

    @classmethod
    def fit_published(
        cls: type[AnySADI], activations: Activations, k: Count, strength: Number
    ) -> AnySADI:
        """Choose and scale as published: the k largest signed mean differences, times `strength`.

        Args:
            activations: Of kind `head`, `gate` (the published neurons) or `mlp_out` (the published
                hidden states), read at the answer's last token.
            k: Elements over all layers together.
            strength: The published code's factor, 5 to 90: delta is one less.

        Raises:
            ValueError: As `ElementScores.top`.

        Example:
            >>> heads = ls.capture(model, train, "head")
            >>> method = ls.SADI.fit_published(heads, k=4, strength=10)
        """
        mask = ElementScores(_published(activations), activations.kind, activations.layers).top(k)
        return cls(mask, float(strength) - 1.0, provenance=activations.provenance)

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        layers = zip(self.mask.layers, self.mask.by_layer.tolist(), strict=True)
        return tuple(sorted(Site(layer, edited_kind(self.mask.kind)) for layer, n in layers if n))

    @override
    def transform(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        where = chosen_site(self, site)
        gain = self.gains()[where]
        elements = x.shape[-2] if where.kind is Kind.HEAD and x.ndim > 1 else x.shape[-1]
        if elements != len(gain):
            raise ValueError(
                f"got activations of shape {tuple(x.shape)}, but the mask is over {len(gain)} "
                f"elements at {where.hook_name}"
            )
        if self.strength == 0:
            return x
        factor = gain.to(x.device, torch.promote_types(x.dtype, torch.float32))
        return (x * spread(factor, where)).to(x.dtype)

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        return {site: _scaling(factor) for site, factor in self.factors(model).items()}

    def factors(self, model: SteerableModel) -> dict[Site, Float[Tensor, "*site"]]:
        """What each site's activation is multiplied by, strength included; heads as `[head 1]`.

        Raises:
            ValueError: If the mask does not fit the model.
        """
        check_fits(model, self.mask)
        hook_points(model, self.sites)
        return {site: on_model(model, site, gain) for site, gain in self.gains().items()}

    def gains(self) -> dict[Site, Float[Tensor, "element *width"]]:
        """The factor of each element, which are the same on every model; float32, on the CPU."""
        delta = torch.as_tensor(self.delta).double().cpu()
        gain = (1 + self.strength * self.mask.selected * delta).float()
        rows = {site: gain[self.mask.layers.index(site.layer)] for site in self.sites}
        return {site: by_element(row, site.kind) for site, row in rows.items()}

    def fold_into_weights(self, model: SteerableModel) -> SteerableModel:
        """A new model that does what this does at scope "all" with `sink=True`, without hooks.

        It does so at every position. Heads are scaled in their rows of W_O, neurons in theirs of
        W_out, dimensions of `mlp_out` and `attn_out` in the columns and the bias.

        Raises:
            ValueError: If no weights do the same: the residual stream, dimensions behind a norm of
                the output (Gemma 2 and 3); or if the model is being steered.
        """
        active = self.checked_edits(model)
        return folded(model, {s: f for s, f in self.factors(model).items() if s in active})

    def _summary(self) -> list[str]:
        delta = torch.as_tensor(self.delta).float()
        span = f"{delta:g}" if delta.ndim == 0 else f"{delta.min():.3g} to {delta.max():.3g}"
        return [f"delta={span}"]


def checked_delta(delta: object) -> Tensor:
    """Delta as a tensor.

    Raises:
        ValueError: If it is no finite number, nor a tensor of them.
    """
    number = isinstance(delta, Real | Tensor) and not isinstance(delta, bool)
    tensor = torch.as_tensor(delta if number else torch.nan)
    if tensor.dtype is torch.bool or not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"delta {delta!r}: expected finite numbers; -1 takes out")
    return tensor


def edited_kind(kind: Kind) -> Kind:
    """Where elements of a kind are edited: a gate has no hook point, its neuron has."""
    return Kind.NEURON if kind is Kind.GATE else kind


def check_fits(model: SteerableModel, mask: ElementMask) -> None:
    """Raise a ValueError if the model has no such elements."""
    elements = site_shape(model, mask.kind)[0]
    if mask.selected.shape[1] != elements or max(mask.layers) >= model.cfg.n_layers:
        of = f"{mask.selected.shape[1]} {mask.kind.value} elements in layers {list(mask.layers)}"
        has = f"{elements} in {model.cfg.n_layers} layers"
        raise ValueError(f"the mask is over {of}, but this model has {has}")


def on_model(model: SteerableModel, site: Site, x: Float[Tensor, "element *rest"]) -> Tensor:
    """Numbers of elements on the layer's device, float32 or finer, as factors of activations."""
    return spread(x.to(**working_place(model, site.layer)), site)


def spread(x: Float[Tensor, "element *rest"], site: Site) -> Tensor:
    """One number per element as a factor of activations: that of a head for its whole width."""
    return x[:, None] if site.kind is Kind.HEAD and x.ndim == 1 else x


def _scaling(factor: Tensor) -> Edit:
    def scale(x: Activation) -> Activation:
        return (x * factor).to(x.dtype)

    return scale


def _published(activations: Activations) -> Float[Tensor, "layer element"]:
    direction: Any = activations.direction
    return direction.mean(dim=-1) if activations.kind is Kind.HEAD else direction
