"""Optimal transport between Gaussians with the classes' means and covariances.

Source: Singh et al. 2024, "Representation Surgery: Theory and Practice of Affine Steering"
(arXiv:2402.09631), its mean and covariance matching.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations
from lens_steer.arguments import Layer, Number
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.barriers import Barrier
from lens_steer.models import check_one_model
from lens_steer.sites import Site
from lens_steer.steering.base import check_finite
from lens_steer.steering.transport.maps import TransportMap, spread_site


@savable
@dataclass(frozen=True, eq=False, repr=False)
class MiMiC(TransportMap):
    """T(x) = target + A (x - source), which carries one Gaussian to the other at least cost.

    A = S-^{-1/2} (S-^{1/2} S+ S-^{1/2})^{1/2} S-^{-1/2}. x + strength * (T(x) - x): the published
    map is strength 1, and it has no other knob. With a classifier it moves only activations that
    this takes for undesired (h < 0), each by itself, as the baseline of ODESteer's code
    (arXiv:2602.17560) does; a `Gate` decides for whole prompts instead.

    Attributes:
        matrix: A, symmetric and positive.
        shrinkage: Of the undesired and the desired covariance towards a multiple of the identity,
            each in [0, 1]; 0 is the covariance as it is.
        classifier: A barrier at the same site: activations with h >= 0 are left as they are.
            None: all are moved.
    """

    matrix: Float[Tensor, "d d"] = field(repr=False)
    shrinkage: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    classifier: Barrier | None = field(
        default=None, repr=False, kw_only=True, metadata={"saved_if_set": True}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, "source", "target", "matrix")
        if self.classifier is not None:
            _check_classifier(self.classifier, self.at, len(self.source))
            origin, what = self.classifier.provenance, "map and classifier are of two models"
            check_one_model(self.provenance, origin, what)

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired d"],
        undesired: Float[Tensor, "undesired d"] | None = None,
        *,
        layer: Layer | None = None,
        shrinkage: Number | None = None,
        classifier: Barrier | None = None,
    ) -> "MiMiC":
        """Fit in float64; covariances are divided by the number of activations.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.
            shrinkage: (1 - s) S + s (trace S / d) I for both classes, s in [0, 1]. None: of a class
                with no more activations than dimensions Ledoit and Wolf's s, and 0 otherwise.
            classifier: Says which activations are moved: those with h < 0. None moves all.

        Raises:
            ValueError: If a class has fewer than two activations, a covariance is singular, the
                classes are the same, an activation has more than one axis, the kind cannot be
                edited, `shrinkage` is out of range, or the classifier is of another site or model.

        Example:
            >>> method = ls.MiMiC.fit(resid.at(layer=3))
            >>> probe = ls.LinearBarrier.fit(resid.at(layer=3), C=1.0)
            >>> gated = ls.MiMiC.fit(resid.at(layer=3), classifier=probe)
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site = spread_site(activations)
        if activations.desired.ndim != 2:
            raise ValueError(
                f"got activations of shape {tuple(activations.desired.shape)}: expected [n, d]; "
                "a covariance is of one vector per example, so take the residual stream"
            )
        up, down = activations.desired.double(), activations.undesired.double()
        spread, s = _covariance(down, shrinkage, "undesired")
        wanted, t = _covariance(up, shrinkage, "desired")
        source, target = down.mean(dim=0), up.mean(dim=0)
        if bool((source == target).all()) and bool((spread == wanted).all()):
            raise ValueError(f"the classes at {site.hook_name} are the same: nothing to transport")
        matrix = transport_matrix(spread, wanted)
        return cls(
            site,
            source.float(),
            target.float(),
            matrix.float(),
            (s, t),
            classifier=classifier,
            provenance=activations.provenance,
        )

    @override
    def _step(self, x: Activation) -> Activation:
        away = x - self.source.to(x)
        step = (self.target - self.source).to(x) + (away @ self.matrix.to(x) - away)
        if self.classifier is None:
            return step
        undesired = self.classifier.unchecked_h(x) < 0
        return torch.where(undesired[..., None], step, 0.0)

    @override
    def without_provenance(self) -> "MiMiC":  # the classifier loses its record too
        plain = None if self.classifier is None else replace(self.classifier, provenance=None)
        return replace(self, classifier=plain, provenance=None)

    def _summary(self) -> list[str]:
        shift = [f"|shift|={(self.target - self.source).norm().item():.3g}"]
        if self.classifier is not None:
            shift.append(f"only where h < 0 of {self.classifier!r}")
        if not any(self.shrinkage):
            return shift
        s, t = self.shrinkage
        return [*shift, f"covariances regularised: shrinkage {s:.2g} undesired, {t:.2g} desired"]


def _check_classifier(classifier: Barrier, at: Site, width: int) -> None:
    """Raise a ValueError unless it is of activations at that site."""
    place = Site(classifier.layer, classifier.kind)
    if place != at or classifier.width != width:
        raise ValueError(
            f"the classifier is of {classifier.width} entries at {place.hook_name}, the map of "
            f"{width} at {at.hook_name}: fit both on the same activations"
        )


def transport_matrix(
    source: Float[Tensor, "d d"], target: Float[Tensor, "d d"]
) -> Float[Tensor, "d d"]:
    """The matrix A between Gaussians of two covariances; symmetric to the bit."""
    root, inverse = _powers(source)
    inner, _ = _powers(root @ target @ root)
    matrix = inverse @ inner @ inverse
    return (matrix + matrix.T) / 2


def _powers(matrix: Float[Tensor, "d d"]) -> tuple[Tensor, Tensor]:
    """The square root of a symmetric matrix, and the inverse of that."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    size = values.clamp(min=0).sqrt()  # the least may be a rounding below 0
    return vectors * size @ vectors.T, vectors / size @ vectors.T


def _covariance(
    x: Float[Tensor, "n d"], shrinkage: float | int | None, name: str
) -> tuple[Float[Tensor, "d d"], float]:
    """The covariance of a class, shrunk, and by how much it is."""
    n, d = x.shape
    if shrinkage is None:
        shrinkage = _ledoit_wolf(x) if n <= d else 0.0
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage {shrinkage}: expected 0 to 1, or None")
    away = x - x.mean(dim=0)
    empirical = away.T @ away / n
    level = empirical.diagonal().mean()
    shrunk = (1 - shrinkage) * empirical + shrinkage * level * torch.eye(d, dtype=x.dtype)
    values = torch.linalg.eigvalsh(shrunk)
    if not bool(values[0] > d * torch.finfo(x.dtype).eps * values[-1]):
        raise ValueError(
            f"the covariance of the {n} {name} activations is singular (shrinkage {shrinkage:.3g}, "
            f"{d} dimensions): capture more of them, or shrink more"
        )
    return shrunk, float(shrinkage)


def _ledoit_wolf(x: Float[Tensor, "n d"]) -> float:
    from sklearn.covariance import ledoit_wolf

    return float(ledoit_wolf(x.numpy())[1])
