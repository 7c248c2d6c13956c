"""Bounds on feature errors: from the start of a text alone, or from its measured states."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.linearity import FeatureDirections, LayerJacobians
from lens_steer.tracking.conformal import Envelope
from lens_steer.tracking.coverage import BoundCheck
from lens_steer.tracking.loops import LinearLoop
from lens_steer.tracking.propagation import propagated
from lens_steer.tracking.system import Errors, System
from lens_steer.tracking.trajectories import Trajectories

KINDS = ("a posteriori", "a priori", "propagated")


@dataclass(frozen=True, eq=False)
class PredictionBand:
    """Where feature errors e_1 ... e_T of texts are predicted to be: centre +- radius.

    Attributes:
        centre: By the linear model, in units of v . z.
        radius: >= 0.
    """

    centre: Errors
    radius: Errors

    @property
    def upper(self) -> Errors:
        """The bound on |e_k|."""
        return self.centre.abs() + self.radius

    def holds(self, errors: Errors) -> Bool[Tensor, "text layer"]:
        """Whether errors are inside."""
        return (errors - self.centre).abs() <= self.radius


@dataclass(frozen=True, eq=False)
class FeatureBound:
    """Bounds on e_k = v_k . z_k - beta_k, k = start + 1 ... T, at all layers at once.

    Three of them, each with probability 1 - alpha for a new group of texts that is exchangeable
    with the calibration groups. That is an average over calibration sets and new groups, no
    guarantee for any one text, and void under a shift (other texts, another strength or model).

    - a posteriori: e_{k+1} from the measured z_k and u_k, through A_k. For any method; it says how
      well one step is known, not what steering will do.
    - a priori: e_k from z_start alone, through the loop that the law closes. Its spread is
      calibrated on whole paths.
    - propagated: e_k from z_start alone, out of the loop's matrices and the residuals of single
      steps, see `propagated`. The loops in use do not contract, and it grows with every layer: its
      ratio to `a priori` says what worst-case arguments cost.

    Residuals are of mean Jacobians along the nominal trajectory, so that they have a part that is
    constant and one linear in d = z - zbar; what is quadratic is within it as far as calibration
    went.

    Attributes:
        system: A_k, zbar_k, v_k and beta_k, from z_start on.
        start: The state from which the bounds a priori are told.
        sizes: mu_k behind every block of the system, for figures.
        loop: What the law in use closes, or None: then the bound is a posteriori only.
        step: Of |v_{k+1} . (z_{k+1} - zbar_{k+1} - A_k d_k - u_k)|, by |d_k|.
        path: Of |e_k - predicted e_k|, by |d_start|.
        state: Of |d_{k+1} - M_k d_k - m_k|, by |d_k|.
    """

    system: System
    start: int
    sizes: Float[Tensor, " layer"]
    loop: LinearLoop | None
    step: Envelope
    path: Envelope | None
    state: Envelope | None

    @classmethod
    def fit(  # noqa: PLR0913 - what a bound is of, and on which texts
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
        """From trajectories under one method, at texts that Jacobians and features are not of.

        Args:
            shape: Texts on which the residuals' growth with |d| is fitted.
            calibration: Others, that nothing was fitted on; at least 1 / alpha - 1 groups.
            loop: `Loop.of(method, jacobians)`, for the bounds from the start alone.
            start: k of the state from which the bounds a priori are told; None is the first with a
                feature (an embedding that both classes share tells nothing of a text).
            alpha: Share of groups in which some text may be outside at some layer.

        Raises:
            ValueError: If shapes differ, there are no matrices, or too few groups.
        """
        whole = System.of(jacobians, features, setpoints)
        for part in (shape, calibration):
            whole.check(part)
        known = features.present.nonzero().flatten().tolist()
        first = known[0] if start is None and known else start or 0
        system, loop = whole.since(first), None if loop is None else loop.since(first)
        sizes = [_sizes(system, part.since(first), loop) for part in (shape, calibration)]
        fitted = {
            kind: Envelope.fit(own, sizes[1][kind], calibration.groups, alpha=alpha)
            for kind, own in sizes[0].items()
        }
        step, path, state = fitted[KINDS[0]], fitted.get(KINDS[1]), fitted.get(KINDS[2])
        return cls(system, first, features.sizes[first + 1 :].double(), loop, step, path, state)

    def a_posteriori(self, trajectories: Trajectories) -> PredictionBand:
        """From the measured state and push of the layer before.

        Raises:
            ValueError: If they are of another number of layers, or another width.
        """
        found = self._since(trajectories)
        radius = self.step.radius(self.system.lengths(found))
        return PredictionBand(self.system.after_steps(found), radius)

    def a_priori(self, starts: Float[Tensor, "text d"]) -> PredictionBand:
        """From z_start, calibrated on whole paths.

        Raises:
            ValueError: If it was fitted without a loop.
        """
        loop, path, _ = self._priors()
        d, centre = self.system.along(starts, loop)
        return PredictionBand(
            centre, path.radius(d[:, 0].norm(dim=-1)[:, None].expand(centre.shape))
        )

    def propagated(self, starts: Float[Tensor, "text d"]) -> PredictionBand:
        """From z_start, by the loop's matrices and the residuals of single steps.

        Raises:
            ValueError: If it was fitted without a loop.
        """
        loop, _, state = self._priors()
        d, centre = self.system.along(starts, loop)
        rows = self.system.directions
        return PredictionBand(centre, propagated(loop.matrices, rows, d.norm(dim=-1), state))

    def check(self, trajectories: Trajectories, *, seed: int) -> BoundCheck:
        """How often each bound holds on other texts, and how wide it is.

        Args:
            seed: Of the intervals.

        Raises:
            ValueError: If they are of another number of layers, or another width.
        """
        bands = {KINDS[0]: self.a_posteriori(trajectories)}
        if self.loop is not None:
            starts = trajectories.states[:, self.start]
            bands |= {KINDS[1]: self.a_priori(starts), KINDS[2]: self.propagated(starts)}
        errors = self.system.errors(self._since(trajectories).states)
        return BoundCheck(
            errors,
            {kind: band.upper for kind, band in bands.items()},
            {kind: band.holds(errors) for kind, band in bands.items()},
            self.sizes,
            self.start,
            trajectories.groups,
            self.step.alpha,
            "measured pushes" if self.loop is None else self.loop.name,
            seed,
        )

    def covers(self, trajectories: Trajectories) -> dict[str, float]:
        """The share of groups all of whose texts are inside at all layers, by kind of bound."""
        found = self.check(trajectories, seed=0)  # nothing is drawn
        return {kind: float(found.inside(kind).mean()) for kind in found.holds}

    def __repr__(self) -> str:
        n, d = self.system.matrices.shape[:2]
        loop = "measured pushes" if self.loop is None else self.loop.name
        return (
            f"FeatureBound({loop}, {n} layers of {d}, {1 - self.step.alpha:.0%} of groups, "
            f"calibrated on {self.step.units})"
        )

    def _since(self, trajectories: Trajectories) -> Trajectories:
        found = trajectories.since(self.start)
        self.system.check(found)
        return found

    def _priors(self) -> tuple[LinearLoop, Envelope, Envelope]:
        if self.loop is None or self.path is None or self.state is None:
            raise ValueError("fitted without a loop: pass loop=Loop.of(method, jacobians)")
        return self.loop, self.path, self.state


def _sizes(
    system: System, found: Trajectories, loop: LinearLoop | None
) -> dict[str, tuple[Errors, Errors]]:
    """Residuals and distances that each envelope is of."""
    errors, lengths = system.errors(found.states), system.lengths(found)
    sizes = {KINDS[0]: ((errors - system.after_steps(found)).abs(), lengths)}
    if loop is None:
        return sizes
    predicted = system.along(found.states[:, 0], loop)[1]
    sizes[KINDS[1]] = (errors - predicted).abs(), lengths[:, :1].expand(errors.shape)
    sizes[KINDS[2]] = system.left(found, loop).norm(dim=-1), lengths
    return sizes
