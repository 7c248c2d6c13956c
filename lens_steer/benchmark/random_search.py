"""Random search with a budget: what the best of n tried on dev is worth on test, against n.

Methods with more knobs have more to win by trying more. The curve shows what each is worth after
the same number of trials (Dodge et al. 2019, arXiv:1909.03004). The choice is part of what is
measured: in every resample it is made again, on dev prompts that are drawn again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lens_steer.arguments import Count, Positive, Seed
from lens_steer.artifacts import savable
from lens_steer.benchmark.grouped_sums import Sums, sums_by_trial
from lens_steer.evaluation import Evaluation
from lens_steer.intervals import Interval, Resampling
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Array = np.ndarray

_LINES = ("-", "--", ":", "-.")
_MOST_BANDS = 6  # intervals of more methods than these hide each other; the table has them


@savable
@dataclass(frozen=True, eq=False, repr=False)
class RandomSearchCurve(Report):
    """What the best on dev of n random settings of one method is worth on test, against n.

    The trials are taken as given: intervals do not say what other draws from the prior would do.
    Where trials are equally good, drawing the choice again makes intervals too wide, not too
    narrow.

    Attributes:
        method: The name of the method.
        dev: `[trial dev_group]` sums of each trial over each group of dev prompts.
        test: `[outcome test_group]` sums; an outcome is a trial or, last, no steering, which is
            used where no trial is allowed.
        groups: The groups of the dev prompts, and of the test prompts.
        kl_limit: Trials above it on dev, in nats per token, are not taken.
        seed: The seed of the intervals.

    Example:
        >>> dev_trials = ls.evaluate_each(model, dev, methods, judge=judge, seed=0)
        >>> test_trials = ls.evaluate_each(model, test, methods, judge=judge, seed=0)
        >>> unsteered = ls.evaluate(model, test, judge=judge, seed=0)
        >>> curve = ls.benchmark.RandomSearchCurve.of(
        ...     "CAA", dev_trials, test_trials, unsteered, kl_limit=0.1, seed=0
        ... )
        >>> curve.expected(8)
    """

    method: str
    dev: Sums
    test: Sums
    groups: tuple[tuple[Any, ...], tuple[Any, ...]]
    kl_limit: float
    seed: Seed

    @classmethod
    def of(
        cls,
        method: str,
        dev: Sequence[Evaluation],
        test: Sequence[Evaluation],
        unsteered: Evaluation,
        *,
        kl_limit: Positive,
        seed: Seed,
    ) -> "RandomSearchCurve":
        """The curve of evaluations of the same trials on dev and on test.

        Args:
            unsteered: The model without steering, on test.

        Raises:
            ValueError: If there are none, not as many on either, they are of different examples, or
                a trial on dev was made by hand, without nats.
        """
        if not dev or len(dev) != len(test):
            raise ValueError(f"{len(dev)} trials on dev, {len(test)} on test: expected as many")
        if any(trial.text_costs is None for trial in dev):
            raise ValueError("a trial on dev was made by hand, without `text_costs`: use evaluate")
        dev_groups, dev_sums = sums_by_trial(dev)
        test_groups, test_sums = sums_by_trial([*test, unsteered])
        return cls(method, dev_sums, test_sums, (dev_groups, test_groups), float(kl_limit), seed)

    @property
    def trials(self) -> int:
        """The number of trials."""
        return len(self.dev.examples)

    def expected(self, n: Count) -> Interval:
        """Behaviour on test of the best on dev of n trials drawn from all, on average.

        Raises:
            ValueError: If there are fewer trials.
        """
        self._check(n)
        return self._interval(lambda dev, test: self._taken(n, dev, test), self._influence(n))

    def minus(self, other: "RandomSearchCurve", n: Count) -> Interval:
        """`expected` less another method's, paired: both are chosen and shown on the same draws.

        Raises:
            ValueError: If either has fewer trials, or the other is of other prompts.
        """
        self._check(n)
        other._check(n)
        if self.groups != other.groups:
            raise ValueError(
                f"{self.method} and {other.method} were searched on different prompts: "
                "expected the same on dev and on test"
            )
        return self._interval(
            lambda dev, test: self._taken(n, dev, test) - other._taken(n, dev, test),
            self._influence(n) - other._influence(n),
        )

    @property
    def gap(self) -> Interval:
        """Dev less test share of the best on dev of all trials: how much choosing flatters."""
        n = self.trials

        def difference(dev: Array, test: Array) -> Array:
            share, _ = self._on_dev(dev)
            chance = self._chances(n, dev)
            return _expected(chance, share) - _expected(chance, self._on_test(test)[:, :-1])

        return self._interval(difference, -self._influence(n))

    def table(self, against: "RandomSearchCurve | None" = None) -> "pd.DataFrame":
        """One row per number of trials; with what `minus` gives, in columns `less_NAME`.

        Raises:
            ValueError: As `minus`.
        """
        import pandas as pd

        rows = []
        for n in range(1, self.trials + 1):
            share = self.expected(n)
            row = {"method": self.method, "n": n, "behaviour": share.mean}
            row |= {"low": share.low, "high": share.high}
            if against is not None:
                row |= self.minus(against, n).columns(f"less_{against.method}")
            rows.append(row)
        return pd.DataFrame(rows)

    def figure(self, *others: "RandomSearchCurve", behaviour_name: str = "behaviour") -> "Figure":
        """Behaviour on test of the best of n on dev, against n, for this and other methods.

        Args:
            behaviour_name: The name of the behaviour, for the axis.
        """
        from lens_steer.figures import canvas, legend_outside

        curves = (self, *others)
        banded = len(curves) <= _MOST_BANDS
        with canvas() as (figure, axes):
            for i, curve in enumerate(curves):
                table, n = curve.table(), range(1, curve.trials + 1)
                style: dict[str, Any] = {"color": f"C{i % 10}"}
                line = _LINES[i // 10 % len(_LINES)]
                axes.plot(n, table["behaviour"], line, label=curve.method, **style)
                if banded:
                    axes.fill_between(n, table["low"], table["high"], alpha=0.2, **style)
            unsteered = self.test.behaviour[-1].sum() / self.test.examples[-1].sum()
            axes.axhline(unsteered, color="k", lw=0.8, ls=":", label="unsteered")
            axes.set(xlabel="trials of random search", ylim=(0, 1.02))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set(ylabel=fill(f"{behaviour_name}, on test, of the best on dev", 34))
            title = f"at most {self.kl_limit:g} nats per token on dev" + "; 95 %" * banded
            legend_outside(figure, title=fill(title, 24), columns=1, where="right upper")
        return figure

    def _check(self, n: int) -> None:
        if not 1 <= n <= self.trials:
            raise ValueError(f"the best of {n} of {self.trials} trials: expected fewer")

    def _interval(
        self, statistic: Callable[[Array, Array], Array], influence: Float[Array, " group"]
    ) -> Interval:
        """Both kinds of prompts are drawn again; levels are widened as few test groups ask."""
        dev, test = (len(groups) for groups in self.groups)
        drawn_test, drawn_dev = Resampling.of((test, dev), seed=self.seed).counts
        low, high = Resampling((drawn_test,)).levels(influence, statistic(drawn_dev, drawn_test))
        return Interval(float(statistic(_once(self.dev), _once(self.test))[0]), low, high)

    def _taken(self, n: int, dev: Array, test: Array) -> Float[Array, " resample"]:
        """`expected`, with every group counted as often as it was drawn."""
        return _expected(_or_none(self._chances(n, dev)), self._on_test(test))

    def _influence(self, n: int) -> Float[Array, " group"]:
        """What each test group adds to the deviation of `expected`, the choice being what it is."""
        weights = _or_none(self._chances(n, _once(self.dev)))[0]
        finite = np.where(weights[:, None] > 0, self.test.behaviour, 0.0)  # NaN where never chosen
        behaviour, examples = weights @ finite, self.test.examples[-1]
        return (behaviour - behaviour.sum() / examples.sum() * examples) / examples.sum()

    def _chances(self, n: int, dev: Array) -> Float[Array, "resample trial"]:
        """That each trial is the best on dev of a random n; equals are taken in order."""
        share, cost = self._on_dev(dev)
        allowed = (cost <= self.kl_limit) & np.isfinite(share)  # NaN: the trial broke the model
        best_first = np.argsort(np.where(allowed, -share, np.inf), axis=1, kind="stable")
        total = self.trials
        by_rank = np.array([comb(total - 1 - r, n - 1) / comb(total, n) for r in range(total)])
        chances = np.empty_like(share)
        np.put_along_axis(chances, best_first, np.broadcast_to(by_rank, share.shape), axis=1)
        return chances * allowed

    def _on_dev(self, counts: Array) -> tuple[Array, Array]:
        """`[resample trial]`: share and nats per token."""
        dev = self.dev
        share = (counts @ dev.behaviour.T) / (counts @ dev.examples.T)
        return share, (counts @ dev.kl.T) / (counts @ dev.draws.T)

    def _on_test(self, counts: Array) -> Float[Array, "resample outcome"]:
        return (counts @ self.test.behaviour.T) / (counts @ self.test.examples.T)


def _expected(
    chance: Float[Array, "resample outcome"], value: Float[Array, "resample outcome"]
) -> Float[Array, " resample"]:
    """The mean value over outcomes, of which those that are not taken may be NaN."""
    return np.where(chance > 0, chance * value, 0.0).sum(1)


def _once(sums: Sums) -> Float[Array, "1 group"]:
    """Every group counted once."""
    return np.ones((1, sums.shape[-1]))


def _or_none(chances: Float[Array, "resample trial"]) -> Float[Array, "resample outcome"]:
    """With the chance that no trial is allowed, last."""
    return np.concatenate([chances, 1 - chances.sum(1, keepdims=True)], axis=1)
