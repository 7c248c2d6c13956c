"""Random directions to compare any method with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations, LayerActivations
from lens_steer.arguments import Seed
from lens_steer.artifacts import savable
from lens_steer.sites import Site
from lens_steer.steering.base import (
    Additive,
    Intervention,
    VectorMethod,
    class_difference,
    editable_site,
)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Random(Additive):
    """Random directions as large as another method's edits: what any push of that size does.

    Equal lengths are not equal costs: on Gemma 3 270M a random direction costs 5 to 40 times the
    nats of CAA's at the same length. `lens_steer.evaluation.random_like(..., kl=)` draws some that
    cost the same.

    Attributes:
        seed: Of the draw.
    """

    seed: Seed = field(kw_only=True)

    @classmethod
    def like(
        cls,
        method: Intervention,
        edits: Activations | LayerActivations | Callable[[], VectorMethod] | None = None,
        *,
        seed: Seed,
        covariance_of: Activations | LayerActivations | None = None,
    ) -> "Random":
        """Draw directions evenly from the sphere, or as activations vary, at a method's sites.

        Of a method that adds fixed vectors they have the norms of those and its strength. Of any
        other they are as long as its edits are on average, with the method's strength in them.

        Args:
            method: What to compare with.
            edits: Only looked at if the method adds no fixed vectors: activations at its sites, at
                which its edits are measured; or a function that measures them elsewhere and returns
                vectors of their sizes, as `random_like` does along texts.
            seed: Of the draw.
            covariance_of: Activations at the method's sites: directions are drawn from a normal
                distribution with their covariance within the classes, before they get their
                lengths. None draws evenly from the sphere.

        Raises:
            ValueError: If the method adds no fixed vectors and its edits cannot be measured, are
                0 everywhere, or are not finite; the message says what to write instead. Also if
                activations do not vary, or are from elsewhere.
            TypeError: If the method comes second.

        Example:
            >>> control = ls.Random.like(ls.RepE.fit(resid.at(layer=3)), seed=0)
            >>> control = ls.Random.like(ls.LinearAcT.fit(resid.at(layer=3)), resid, seed=0)
            >>> natural = ls.Random.like(method, seed=0, covariance_of=resid)
        """
        if not isinstance(method, Intervention):
            raise TypeError(
                f"got a {type(method).__name__} where the method is expected: write "
                "Random.like(method, activations, seed=...)"
            )
        if isinstance(method, VectorMethod):
            model = method
        elif callable(edits):
            model = edits()
        else:
            model = _as_large_as(method, edits)
        generator = torch.Generator().manual_seed(seed)
        sites, vectors = [], []
        for site, vector in model.items():
            if covariance_of is None:
                drawn = torch.randn(vector.shape, generator=generator)
            else:
                drawn = _as_they_vary(model, covariance_of, site, generator)
            sites.append(site)
            vectors.append(drawn * (vector.float().norm().cpu() / drawn.norm()))
        return cls(
            tuple(sites),
            tuple(vectors),
            seed=seed,
            strength=model.strength,
            provenance=model.provenance,
        )

    @classmethod
    def fit(cls, activations: LayerActivations, *, seed: Seed) -> "Random":
        """Draw the random counterpart of `CAA.fit(activations)`, of the length of its vector.

        Example:
            >>> control = ls.Random.fit(resid.at(layer=3), seed=0)
        """
        site, vector = editable_site(activations), class_difference(activations)
        fitted = Additive((site,), (vector,), provenance=activations.provenance)
        return cls.like(fitted, seed=seed)


def _as_large_as(
    method: Intervention, activations: Activations | LayerActivations | None
) -> Additive:
    """One vector per site of a method, as long as the method's edits of activations on average."""
    if activations is None:
        raise ValueError(
            f"{method!r} adds no fixed vectors: give activations at its sites to measure its edits "
            "at, Random.like(method, resid, seed=...), or lens_steer.evaluation.random_like(model, "
            "method, texts, seeds=...) along texts"
        )
    vectors = {}
    for site in method.sites:
        x = _rows_at(method, activations, site)
        length = float((method.transform(x, site) - x).flatten(1).norm(dim=1).mean())
        if not isfinite(length):
            raise ValueError(
                f"the edits of {method!r} are NaN or infinite: no size to compare with"
            )
        if length > 0:
            vector = torch.zeros(x[0].numel())
            vector[0] = length
            vectors[site] = vector.reshape(x.shape[1:])
    if not vectors:
        raise ValueError(f"{method!r} edits none of these activations: no size to compare with")
    return Additive(tuple(vectors), tuple(vectors.values()), provenance=method.provenance)


def _as_they_vary(
    method: Intervention,
    activations: Activations | LayerActivations,
    site: Site,
    generator: torch.Generator,
) -> Float[Tensor, "*site"]:
    """A normal draw with their covariance within the classes: a random sum of centred rows."""
    at_layer = _layer_at(method, activations, site)
    sides = (at_layer.desired, at_layer.undesired)
    rows = torch.cat([side - side.mean(dim=0) for side in sides])
    if not bool(rows.any()):
        raise ValueError(
            f"the activations at {site.hook_name} do not vary: give some of more prompts"
        )
    return torch.tensordot(torch.randn(len(rows), generator=generator), rows, dims=1)


def _rows_at(
    method: Intervention, activations: Activations | LayerActivations, site: Site
) -> Float[Tensor, "n *site"]:
    """The activations of both classes at a site."""
    at_layer = _layer_at(method, activations, site)
    return torch.cat([at_layer.desired, at_layer.undesired])


def _layer_at(
    method: Intervention, activations: Activations | LayerActivations, site: Site
) -> LayerActivations:
    one_layer = isinstance(activations, LayerActivations)
    layers = (activations.layer,) if one_layer else activations.layers
    if activations.kind is not site.kind or site.layer not in layers:
        raise ValueError(
            f"got activations of kind {activations.kind.value!r} at layers {list(layers)}, but "
            f"{method!r} edits {site.hook_name}: capture {site.kind.value!r} at layer {site.layer}"
        )
    return activations if one_layer else activations.at(layer=site.layer)
