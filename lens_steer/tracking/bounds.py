"""Bounds on feature errors: from a text's first state alone, or from its measured states."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Seed
from lens_steer.artifacts import savable
from lens_steer.linearity import FeatureDirections, LayerJacobians
from lens_steer.reports import short_repr
from lens_steer.tracking.bound_check import BoundCheck
from lens_steer.tracking.conformal import Envelope
from lens_steer.tracking.loops import LinearLoop
from lens_steer.tracking.trajectories import Errors, LinearSystem, Trajectories

A_POSTERIORI, A_PRIORI = "a posteriori", "a priori"  # the kinds of bounds, in tables


@dataclass(frozen=True, eq=False)
class PredictionBand:
    """Where feature errors e_1 ... e_T of texts are predicted to be: centre +- radius.

    Attributes:
        centre: The prediction of the linear model, in units of v . z.
        radius: The half-width of the band, >= 0.
    """

    centre: Errors
    radius: Errors

    __repr__ = short_repr

    @property
    def upper(self) -> Errors:
        """The bound on |e_k|."""
        return self.centre.abs() + self.radius

    def holds(self, errors: Errors) -> Bool[Tensor, "text layer"]:
        """Whether errors are inside the band."""
        return (errors - self.centre).abs() <= self.radius


@savable
@dataclass(frozen=True, eq=False)
class FeatureBound:
    """How far features of new texts are from their set-points at most, with a stated probability.

    Bounds on e_k = v_k . z_k - beta_k, k = start + 1 ... T, at all layers at once. There are two,
    each with probability 1 - alpha for a new group of texts that is exchangeable with the
    calibration groups. That is an average over calibration sets and new groups, no guarantee for
    any one text, and void under a shift (other texts, another strength or model).

    - a posteriori: e_{k+1} from the measured z_k and u_k, through A_k. For any method; it says how
      well one step is known, not what steering will do.
    - a priori: e_k from z_start alone, through the loop that the law closes. Its spread is
      calibrated on whole paths.

    Residuals are those of mean Jacobians along the nominal trajectory, so that they have a part
    that is constant and one linear in d = z - zbar; what is quadratic is within it as far as
    calibration went.

    Attributes:
        system: A_k, zbar_k, v_k and beta_k, from z_start on.
        start: The state from which the bounds a priori are predicted.
        sizes: mu_k behind every block of the system, for figures.
        loop: What the law closes, or None: then the bound is a posteriori only.
        step: Envelope of |v_{k+1} . (z_{k+1} - zbar_{k+1} - A_k d_k - u_k)|, by |d_k|.
        path: Envelope of |e_k - predicted e_k|, by |d_start|; None without a loop.
    """

    system: LinearSystem
    start: int
    sizes: Float[Tensor, " layer"]
    loop: LinearLoop | None
    step: Envelope
    path: Envelope | None

    @classmethod
    def fit(
        cls,
        jacobians: LayerJacobians,
        features: FeatureDirections,
        setpoints: Float[Tensor, " layer_and_last"],
        *,
        shape: Trajectories,
        calibration: Trajectories,
        loop: LinearLoop | None = None,
        start: int | None = None,
        alpha: float = 0.1,
    ) -> "FeatureBound":
        """Fit bounds on trajectories under one method, of texts that nothing else was fitted on.

        Args:
            jacobians: Dense Jacobians, estimated on other texts.
            features: Feature directions, estimated on other texts.
            setpoints: beta_k, in units of v_k . z_k.
            shape: Trajectories on which the residuals' growth with |d| is fitted.
            calibration: Further trajectories; at least 1 / alpha - 1 groups.
            loop: `LinearLoop.of(method, jacobians)`, for the bounds from the start alone.
            start: k of the state from which the bounds a priori are predicted; None is the first
                with a feature (an embedding that both classes share says nothing about a text).
            alpha: Share of groups in which some text may be outside at some layer.

        Raises:
            ValueError: If shapes differ, there are no matrices, or too few groups.

        Example:
            >>> paths = ls.tracking.Trajectories.fit(model, law, dev).ungrouped()
            >>> bound = ls.tracking.FeatureBound.fit(
            ...     jac,
            ...     features,
            ...     law.setpoints,
            ...     shape=paths[range(20)],
            ...     calibration=paths[range(20, 60)],
            ... )
            >>> bound.check(ls.tracking.Trajectories.fit(model, law, test), seed=0).figure()
        """
        whole = LinearSystem.of(jacobians, features, setpoints)
        for part in (shape, calibration):
            whole.check(part)
        present = features.present.nonzero().flatten().tolist()
        first = present[0] if start is None and present else start or 0
        system, loop = whole.since(first), None if loop is None else loop.since(first)
        fitted, calibrated = (
            _residuals(system, part.since(first), loop) for part in (shape, calibration)
        )
        envelopes = {
            kind: Envelope.fit(residuals, calibrated[kind], calibration.groups, alpha=alpha)
            for kind, residuals in fitted.items()
        }
        sizes = features.sizes[first + 1 :].double()
        return cls(system, first, sizes, loop, envelopes[A_POSTERIORI], envelopes.get(A_PRIORI))

    def a_posteriori(self, trajectories: Trajectories) -> PredictionBand:
        """The band predicted from the measured state and push of the layer before.

        Raises:
            ValueError: If they have another number of layers, or another width.
        """
        measured = self._since(trajectories)
        radius = self.step.radius(self.system.lengths(measured))
        return PredictionBand(self.system.after_steps(measured), radius)

    def a_priori(self, starts: Float[Tensor, "text d"]) -> PredictionBand:
        """The band predicted from z_start alone, calibrated on whole paths.

        Raises:
            ValueError: If it was fitted without a loop.
        """
        if self.loop is None or self.path is None:
            raise ValueError("fitted without a loop: pass loop=LinearLoop.of(method, jacobians)")
        distances, centre = self.system.along(starts, self.loop)
        length = distances[:, 0].norm(dim=-1)[:, None].expand(centre.shape)
        return PredictionBand(centre, self.path.radius(length))

    def check(self, trajectories: Trajectories, *, seed: Seed) -> BoundCheck:
        """How often each bound holds on other texts, and how wide it is.

        Args:
            seed: The seed of the intervals.

        Raises:
            ValueError: If they have another number of layers, or another width.
        """
        bands = {A_POSTERIORI: self.a_posteriori(trajectories)}
        if self.loop is not None:
            bands[A_PRIORI] = self.a_priori(trajectories.states[:, self.start])
        errors = self.system.errors(self._since(trajectories).states)
        return BoundCheck(
            errors=errors,
            bounds={kind: band.upper for kind, band in bands.items()},
            holds={kind: band.holds(errors) for kind, band in bands.items()},
            sizes=self.sizes,
            start=self.start,
            groups=trajectories.groups,
            alpha=self.step.alpha,
            loop=self._loop_name,
            seed=seed,
        )

    def covers(self, trajectories: Trajectories) -> dict[str, float]:
        """The share of groups all of whose texts are inside at all layers, by kind of bound."""
        check = self.check(trajectories, seed=0)  # nothing is drawn
        return {kind: float(check.inside(kind).mean()) for kind in check.holds}

    def __repr__(self) -> str:
        n, d = self.system.matrices.shape[:2]
        return (
            f"FeatureBound({self._loop_name}, {n} layers of {d}, {1 - self.step.alpha:.0%} of "
            f"groups, calibrated on {self.step.units})"
        )

    @property
    def _loop_name(self) -> str:
        return "measured pushes" if self.loop is None else self.loop.name

    def _since(self, trajectories: Trajectories) -> Trajectories:
        part = trajectories.since(self.start)
        self.system.check(part)
        return part


def _residuals(
    system: LinearSystem, trajectories: Trajectories, loop: LinearLoop | None
) -> dict[str, tuple[Errors, Errors]]:
    """The residuals that each kind of bound is calibrated on, and the distances they grow with."""
    errors, lengths = system.errors(trajectories.states), system.lengths(trajectories)
    residuals = {A_POSTERIORI: ((errors - system.after_steps(trajectories)).abs(), lengths)}
    if loop is not None:
        predicted = system.along(trajectories.states[:, 0], loop)[1]
        residuals[A_PRIORI] = (errors - predicted).abs(), lengths[:, :1].expand(errors.shape)
    return residuals
