"""The push that moves a readout at the least change of the next token's distribution.

Source: Wang and Zhao 2026, "FishBack: Pullback Fisher Geometry for Optimal Activation Steering in
Transformers" (arXiv:2605.17231), from its abstract: the metric is the softmax's Fisher information
pulled back through the following blocks, and of all pushes that move a concept equally far the one
that is shortest in it is taken. There the metric is taken anew at every point and step; here it is
the mean over texts, and the push one vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations, ReadPosition
from lens_steer.arguments import Count, Layer, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.linearity import PullbackFisher, Texts, pullback_fisher
from lens_steer.models import SteerableModel, check_one_model
from lens_steer.sites import Kind, Site
from lens_steer.steering.base import OneSite, VectorMethod, check_finite


@savable
@dataclass(frozen=True, eq=False, repr=False)
class FishBack(OneSite, VectorMethod):
    """x + strength * v, v = gap (G + lambda I)^{-1} w / (w' (G + lambda I)^{-1} w).

    w reads the behaviour, w . x; v raises it by `gap`, and no other push that does so costs less in
    the damped metric. Strength 1 moves w . x by the difference of the class means. With much
    damping v is along w: by default `CAA`'s vector.

    Attributes:
        vector: v, in the units of the activation.
        readout: w.
        damping: lambda in units of G's mean eigenvalue, trace(G) / d; > 0. Small trusts the metric
            where few texts show it, large forgets it.
        kl: v' G v / 2, nats at one token at strength 1, to second order; it grows with the square
            of strength. Undamped, mean over the texts of the metric.
    """

    vector: Float[Tensor, " d"] = field(repr=False)
    readout: Float[Tensor, " d"] = field(repr=False)
    damping: Number
    kl: float = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, "vector", "readout")

    @classmethod
    def fit(  # noqa: PLR0913 - the metric's knobs and the direction's
        cls,
        model: SteerableModel,
        texts: Texts,
        desired: Activations | LayerActivations | Float[Tensor, "desired d"],
        undesired: Float[Tensor, "undesired d"] | None = None,
        *,
        layer: Layer | None = None,
        readout: Float[Tensor, " d"] | None = None,
        damping: Number = 0.1,
        samples: Count | None = 16,
        seed: Seed,
        read: ReadPosition = "last",
        progress: bool = True,
    ) -> "FishBack":
        """Take the metric at texts, and the direction of activations.

        Args:
            model: Whose next tokens are to change as little as can be.
            texts: Where the metric is taken, see `pullback_fisher`; pairs give their desired
                examples.
            desired: Captured activations `.at(layer=...)` of kind resid; or tensors.
            undesired: The tensor of the undesired.
            layer: Of tensors.
            readout: w; None is the difference of the class means.
            damping: See the attribute.
            samples: Tokens drawn for each text; None is the exact metric, for small vocabularies.
            seed: Of the draws.
            read: The token of the texts, as in `capture`.
            progress: Whether to show a bar.

        Raises:
            ValueError: If the activations are not of the residual stream or not as wide as the
                model's, the readout does not differ between the class means, the damping is not
                positive, or as `pullback_fisher`.

        Example:
            >>> method = ls.FishBack.fit(model, train, resid.at(layer=3), seed=0)
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        if activations.provenance is not None:
            activations.provenance.check(model)
        _check(activations, model.cfg.d_model)
        metric = pullback_fisher(
            model,
            texts,
            activations.layer,
            samples=samples,
            seed=seed,
            read=read,
            progress=progress,
        )
        return cls.from_metric(metric, activations, readout=readout, damping=damping)

    @classmethod
    def from_metric(
        cls,
        metric: PullbackFisher,
        activations: LayerActivations,
        *,
        readout: Float[Tensor, " d"] | None = None,
        damping: Number = 0.1,
    ) -> "FishBack":
        """Take a metric that is at hand already; other arguments as `fit`.

        Raises:
            ValueError: As `fit`, or if the metric is of another layer or another model.

        Example:
            >>> metric = ls.linearity.pullback_fisher(model, train, 3, seed=0)
            >>> method = ls.FishBack.from_metric(metric, resid.at(layer=3))
        """
        _check(activations, metric.rows.shape[1])
        what = "the metric and the activations are of two models"
        check_one_model(metric.provenance, activations.provenance, what)
        if metric.layer != activations.layer:
            raise ValueError(
                f"a metric behind block {metric.layer} and activations of layer "
                f"{activations.layer}: expected one layer"
            )
        difference = activations.direction.double()
        w = difference if readout is None else readout.detach().double().cpu()
        if w.shape != difference.shape:
            raise ValueError(
                f"a readout of shape {tuple(w.shape)}: expected {tuple(difference.shape)}"
            )
        gap = w @ difference
        if not bool(gap.isfinite()) or not bool(gap):
            raise ValueError(
                f"the readout differs by {float(gap)} between the class means at layer "
                f"{activations.layer}: choose another layer, read position or readout"
            )
        raised = metric.solve(w, damping)
        vector = gap * raised / (w @ raised)
        return cls(
            Site(activations.layer, activations.kind),
            vector.float(),
            w.float(),
            damping,
            float(metric.kl(vector)),
            provenance=activations.provenance or metric.provenance,
        )

    @override
    def items(self) -> Sequence[tuple[Site, Tensor]]:
        return [(self.at, self.vector)]

    def _summary(self) -> list[str]:
        size = self.vector.norm().item()
        return [f"|v|={size:.3g}", f"second-order kl {self.strength**2 * self.kl:.3g} nats"]


def _check(activations: LayerActivations, width: int) -> None:
    shape = tuple(activations.desired.shape[1:])
    if activations.kind is not Kind.RESID or shape != (width,):
        raise ValueError(
            f"got activations of kind {activations.kind.value!r}, shape {shape}: expected the "
            f"residual stream of this model, ({width},)"
        )
