"""Adding fixed vectors: CAA, ActAdd, and random directions to compare any method with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations, LayerActivations, capture
from lens_steer.arguments import Layer, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.models import SteerableModel
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
class CAA(Additive):
    """Contrastive activation addition: the vector is mean(desired) - mean(undesired).

    It has no knob of its own; `strength` 1 adds the whole difference.

    Source: Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition"
    (arXiv:2312.06681): the mean difference of the activations of desired and undesired
    continuations is added to the residual stream.
    """

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
    ) -> "CAA":
        """Take the difference of the class means at one layer; add several for several layers.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.

        Raises:
            ValueError: If the two class means are equal, or the kind cannot be edited.

        Example:
            >>> resid = ls.capture(model, train, "resid")
            >>> method = ls.CAA.fit(resid.at(layer=3))
            >>> both = method + ls.CAA.fit(resid.at(layer=4))
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site, direction = editable_site(activations), class_difference(activations)
        return cls((site,), (direction,), provenance=activations.provenance)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ActAdd(Additive):
    """The vector is coefficient * (activation of one prompt - activation of another).

    What differs from the paper: it pads the two prompts to one length and adds their difference
    position by position at the front of the user's prompt, in one forward pass; here it is read at
    the last token of each and added wherever `scope` says, as by every other method. The paper
    reads and adds where a block begins: its layer l is layer l - 1 here.

    Attributes:
        prompts: The two, towards and away from.
        coefficient: Dimensionless, what the difference was multiplied by: the vectors hold it
            already. 0 is the identity; the paper's are 1 to 15. For another one, fit again or
            set the strength.

    Source: Turner et al. 2023, "Steering Language Models With Activation Engineering"
    (arXiv:2308.10248).
    """

    prompts: tuple[str, str] = field(kw_only=True)
    coefficient: Number = field(default=1.0, kw_only=True)

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        desired: str,
        undesired: str,
        *,
        layer: Layer,
        coefficient: Number = 1.0,
    ) -> "ActAdd":
        """Read the residual stream behind block `layer` at the last token of either prompt.

        Args:
            desired: What to steer towards, such as "Love".
            undesired: What to steer away from, such as "Hate".
            layer: Block index.
            coefficient: See the class.

        Raises:
            ValueError: If a prompt is blank (the paper also contrasts with a space), they are
                read as the same, the layer does not exist, or the coefficient is not finite.

        Example:
            >>> method = ls.ActAdd.fit(model, "Love", "Hate", layer=3, coefficient=5)
        """
        if not isfinite(coefficient):
            raise ValueError(f"coefficient {coefficient}: expected a finite number; 0 does nothing")
        two = ContrastivePairs.of([("", desired, undesired)], name=f"{desired!r} - {undesired!r}")
        activations = capture(model, two, "resid", layers=[layer], progress=False).at(layer)
        if not bool(activations.direction.any()):
            raise ValueError(f"{desired!r} and {undesired!r} are read as the same at layer {layer}")
        return cls(
            (Site(layer),),
            (float(coefficient) * activations.direction,),
            prompts=(desired, undesired),
            coefficient=float(coefficient),
            provenance=activations.provenance,
        )


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Random(Additive):
    """Random directions as large as another method's edits: what any push of that size does.

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
    ) -> "Random":
        """Draw directions evenly from the sphere, at the sites of a method.

        Of a method that adds fixed vectors they have the norms of those and its strength. Of any
        other they are as long as its edits are on average, with the method's strength in them.

        Args:
            method: What to compare with.
            edits: Only looked at if the method adds no fixed vectors: activations at its sites, at
                which its edits are measured; or a function that measures them elsewhere and returns
                vectors of their sizes, as `random_like` does along texts.
            seed: Of the draw.

        Raises:
            ValueError: If the method adds no fixed vectors and its edits cannot be measured, are
                0 everywhere, or are not finite; the message says what to write instead.
            TypeError: If the method comes second.

        Example:
            >>> control = ls.Random.like(ls.RepE.fit(resid.at(layer=3)), seed=0)
            >>> control = ls.Random.like(ls.LinearAcT.fit(resid.at(layer=3)), resid, seed=0)
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
            drawn = torch.randn(vector.shape, generator=generator)
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
        """Draw the random counterpart of `CAA.fit(activations)`.

        Example:
            >>> control = ls.Random.fit(resid.at(layer=3), seed=0)
        """
        return cls.like(CAA.fit(activations), seed=seed)


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


def _rows_at(
    method: Intervention, activations: Activations | LayerActivations, site: Site
) -> Float[Tensor, "n *site"]:
    """The activations of both classes at a site."""
    one_layer = isinstance(activations, LayerActivations)
    layers = (activations.layer,) if one_layer else activations.layers
    if activations.kind is not site.kind or site.layer not in layers:
        raise ValueError(
            f"got activations of kind {activations.kind.value!r} at layers {list(layers)}, but "
            f"{method!r} edits {site.hook_name}: capture {site.kind.value!r} at layer {site.layer}"
        )
    at_layer = activations if one_layer else activations.at(layer=site.layer)
    return torch.cat([at_layer.desired, at_layer.undesired])
