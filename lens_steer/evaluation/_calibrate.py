"""The strength at which a method costs, or does, a stated amount."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_steer.evaluation._evaluate import check_scorable, evaluate_each
from lens_steer.evaluation._fixed import FixedTexts
from lens_steer.evaluation._judges import Judge
from lens_steer.models import SteerableModel
from lens_steer.pairs import ContrastivePairs
from lens_steer.steering.base import AnyIntervention, Intervention, Scope

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Times the method's own strength; 0 is no steering.
MULTIPLES = (0.0, 0.06, 0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
SAMPLED = (0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0, 2.8, 4.0)  # for behaviour: sampled texts
_BETWEEN, _ROUNDS, _CLOSE = 3, 6, 2e-3  # strengths tried between two, how often, until so close
_NEAR = 0.05  # of the target: farther away, the curve jumps over it
_NAMES = {
    "kl": "KL(steered || unsteered), nats per token, fixed texts",
    "relative_norm": "|edit| / |residual stream|",
    "behaviour": "share of texts that show the behaviour",
}

Measure = Callable[[Sequence[float]], list[float]]


@dataclass(frozen=True)
class CalibrationReport:
    """What a quantity is at every strength that was tried, and where it crosses the target.

    Attributes:
        quantity: `kl`, `relative_norm` or `behaviour`.
        target: What it was to be.
        strengths: All that were tried, in order.
        values: At each.
        crossings: Strengths at which the curve crosses the target, from 0 outwards.
        strength: The one that was taken, the first crossing.
        realised: What the quantity is there, measured.
    """

    quantity: str
    target: float
    strengths: tuple[float, ...]
    values: tuple[float, ...]
    crossings: tuple[float, ...]
    strength: float
    realised: float

    @property
    def shape(self) -> str:
        """`rising`, `saturating` (flat over the strongest third) or `not monotone`."""
        return shape_of(self.values)

    def table(self) -> "pd.DataFrame":
        """One row per strength."""
        import pandas as pd

        return pd.DataFrame({"strength": self.strengths, self.quantity: self.values})

    def figure(self) -> "Figure":
        """The whole curve, the target, and every crossing."""
        from lens_steer.figures import canvas

        with canvas() as (figure, axes):
            axes.plot(self.strengths, self.values, "o-", color="C0")
            axes.axhline(self.target, color="k", ls=":", lw=0.8, label=f"target {self.target:g}")
            for crossing in self.crossings:
                axes.axvline(crossing, color="C7", lw=0.8)
            axes.plot(self.strength, self.realised, "s", color="C3", label="taken")
            axes.set(xlabel="strength", ylabel=fill(_NAMES[self.quantity], 34))
            axes.legend(title=f"{self.shape}; crossings: vertical lines")
        return figure


def calibrate(  # noqa: PLR0913 - three targets, and how texts are sampled
    model: SteerableModel,
    method: AnyIntervention,
    pairs: ContrastivePairs,
    *,
    kl: float | int | None = None,
    relative_norm: float | int | None = None,
    behaviour: float | int | None = None,
    judge: Judge | None = None,
    strengths: Sequence[float | int] | None = None,
    seed: int = 0,
    temperature: float | int = 1.0,
    max_new_tokens: int = 40,
    scope: Scope = "last",
    progress: bool = True,
) -> AnyIntervention:
    """The method at the strength where it costs, or does, what is asked; `report` has the curve.

    A grid of strengths is looked at first, all in one batch. Between the strengths around the first
    crossing it is then refined; where the curve does not reach the target, nothing is returned.
    Report what the method costs on other prompts.

    Args:
        pairs: Their prompts; a development set.
        kl: Nats per token along fixed unsteered texts: `kl_fixed`.
        relative_norm: |edit| / |residual stream|, see `EditSizes`.
        behaviour: Share that shows it, as `evaluate` scores it; the curve is straight between
            strengths tried.
        strengths: To look at first. None: up to 8 times the method's own (4 for behaviour).
        temperature: Of the texts and of the distributions compared.

    Raises:
        ValueError: If not exactly one target is given, it is not reached (the message has the range
            that is), or as `evaluate`.
    """
    targets = {"kl": kl, "relative_norm": relative_norm, "behaviour": behaviour}
    quantity, target = _one_of(targets)
    checked(method, pairs, model)
    grid = _grid(method, strengths, SAMPLED if quantity == "behaviour" else MULTIPLES)
    decoding: dict[str, Any] = {
        **{"seed": seed, "temperature": temperature, "max_new_tokens": max_new_tokens},
        "scope": scope,
    }
    if quantity == "behaviour":
        check_scorable(pairs, judge)

        def measure(tried: Sequence[float]) -> list[float]:
            each = [method.with_strength(strength) for strength in tried]
            found = evaluate_each(model, pairs, each, judge=judge, progress=progress, **decoding)
            return [trial.share for trial in found]

    else:
        texts = FixedTexts.sample(model, pairs, **decoding)

        def measure(tried: Sequence[float]) -> list[float]:
            each = [(method.with_strength(strength),) for strength in tried]
            if quantity == "relative_norm":
                return [sizes.relative_norm for sizes in texts.sizes(model, each)]
            return texts.kl(model, each, progress=progress)

    report = search(measure, quantity, target, grid, refine=quantity != "behaviour")
    return replace(method.with_strength(report.strength), report=report)


def checked(method: Intervention, pairs: ContrastivePairs, model: SteerableModel) -> None:
    """Raise a ValueError for what would only be found out after texts were sampled."""
    if not isinstance(pairs, ContrastivePairs):
        raise ValueError(
            f"got {pairs!r}, expected ContrastivePairs: write ContrastivePairs.of(...)"
        )
    method.active_edits(model)


def _one_of(targets: dict[str, float | int | None]) -> tuple[str, float]:
    given = {name: float(value) for name, value in targets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"got the targets {given}, expected exactly one of kl, relative_norm and behaviour"
        )
    [(name, value)] = given.items()
    high = 1.0 if name == "behaviour" else np.inf
    if not (0 < value < np.inf and value <= high):
        raise ValueError(f"{name} {value:g}: expected a positive number, at most {high:g}")
    return name, value


def _grid(
    method: Intervention,
    strengths: Sequence[float | int] | None,
    multiples: Sequence[float | int],
) -> list[float]:
    own = float(method.strength) or 1.0
    raw = [own * multiple for multiple in multiples] if strengths is None else strengths
    given = [float(strength) for strength in raw]
    if len(given) < 2 or not bool(np.isfinite(given).all()):
        raise ValueError(f"got the strengths {given}, expected two finite ones or more")
    if min(given) < 0 < max(given):
        raise ValueError(
            f"got the strengths {given} on both sides of 0: calibrate a method and its opposite "
            "one after the other"
        )
    return sorted(given, key=abs)


def search(
    measure: Measure, quantity: str, target: float, grid: Sequence[float], *, refine: bool
) -> CalibrationReport:
    """Scan the grid, find every crossing, refine the first.

    Raises:
        ValueError: If the target is not reached.
    """
    known = dict(zip(grid, measure(grid), strict=True))
    crossings = _crossings(known, target)
    if not crossings:
        _refuse(known, quantity, target)
    taken = crossings[0]
    for _ in range(_ROUNDS if refine else 0):
        below, above = _around(known, taken)
        between = np.linspace(below, above, _BETWEEN + 2)[1:-1].tolist()
        tried = sorted({taken, *between} - set(known), key=abs)
        known |= dict(zip(tried, measure(tried), strict=True))
        if abs(known[taken] - target) <= _CLOSE * target:
            break
        crossings = _crossings(known, target)
        taken = crossings[0]
    if taken not in known:  # what is reported is measured, not read off a straight line
        known[taken] = measure([taken])[0]
    if refine and abs(known[taken] - target) > _NEAR * target:
        raise ValueError(
            f"{quantity} jumps over {target:g} at strength {taken:g}, where it is "
            f"{known[taken]:.3g}: ask for another value"
        )
    order = sorted(known, key=abs)
    return CalibrationReport(
        *(quantity, target, tuple(order), tuple(known[s] for s in order), tuple(crossings)),
        strength=taken,
        realised=known[taken],
    )


def _crossings(known: dict[float, float], target: float) -> list[float]:
    """Where straight lines between the strengths tried meet the target, from 0 outwards."""
    order = sorted(known, key=abs)
    found = [order[0]] if known[order[0]] == target else []
    for left, right in zip(order, order[1:], strict=False):
        a, b = known[left] - target, known[right] - target
        if (a < 0 <= b) or (b <= 0 < a):
            found.append(right if b == 0 else left + (right - left) * a / (a - b))
    return found


def _around(known: dict[float, float], strength: float) -> tuple[float, float]:
    return max(s for s in known if s <= strength), min(s for s in known if s >= strength)


def shape_of(values: Sequence[float]) -> str:
    """What the curve looks like from 0 outwards; a dip below 2 % of its height is not one."""
    x = np.asarray(values, dtype=float)
    height = float(x.max() - x.min())
    if bool((np.diff(x) < -0.02 * height).any()):
        return "not monotone"
    last = x[-max(2, len(x) // 3) :]
    return "saturating" if last[-1] - last[0] < 0.02 * height else "rising"


def _refuse(known: dict[float, float], quantity: str, target: float) -> None:
    order, values = sorted(known, key=abs), list(known.values())
    raise ValueError(
        f"{quantity} {target:g} is not reached: between strength {order[0]:g} and {order[-1]:g} it "
        f"goes from {min(values):.3g} to {max(values):.3g} and is "
        f"{shape_of([known[s] for s in order])}: ask for a value inside, or pass other strengths="
    )
