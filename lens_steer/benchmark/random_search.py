"""Random search with a budget: what the best of n tried on dev is worth on test, against n.

Methods with more knobs have more to win by trying more. The curve shows what each is worth after
the same number of trials (Dodge et al. 2019, arXiv:1909.03004). The choice is part of what is
measured: in every resample it is made again, on dev prompts that are drawn again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lens_steer.benchmark.search_sums import sums_on_dev, sums_on_test
from lens_steer.evaluation import Evaluation
from lens_steer.intervals import Interval, Resampling

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class RandomSearchCurve:
    """Trials of one method, each measured on dev and on test.

    The trials are taken as given: intervals do not say what other draws from the prior would do.
    Where trials are equally good, drawing the choice again makes intervals too wide, not too
    narrow.

    Attributes:
        method: Its name.
        dev: `[trial dev_group]` sums over each group of dev prompts: `shown` over `examples` is the
            share that shows the behaviour, `nats` over `draws` the cost.
        test: `[outcome test_group]` of `shown` and `examples`; an outcome is a trial or, last, no
            steering, which is used where no trial is allowed.
        groups: Of the dev prompts, and of the test prompts.
        kl_limit: Trials above it on dev, in nats per token, are not taken.
        seed: Of the intervals.
    """

    method: str
    dev: Mapping[str, Float[Array, "trial dev_group"]]
    test: Mapping[str, Float[Array, "outcome test_group"]]
    groups: tuple[tuple[Any, ...], tuple[Any, ...]]
    kl_limit: float
    seed: int

    @classmethod
    def of(
        cls,
        method: str,
        dev: Sequence[Evaluation],
        test: Sequence[Evaluation],
        unsteered: Evaluation,
        *,
        kl_limit: float | int,
        seed: int,
    ) -> "RandomSearchCurve":
        """From evaluations of the same trials on dev and on test.

        Args:
            unsteered: The model without steering, on test.

        Raises:
            ValueError: If there are none, not as many on either, or of different examples.
        """
        if not dev or len(dev) != len(test):
            raise ValueError(f"{len(dev)} trials on dev, {len(test)} on test: expected as many")
        (chosen_on, known), (shown_on, told) = sums_on_dev(dev), sums_on_test([*test, unsteered])
        return cls(method, known, told, (chosen_on, shown_on), float(kl_limit), seed)

    @property
    def trials(self) -> int:
        """How many there are."""
        return len(self.dev["shown"])

    def expected(self, n: int) -> Interval:
        """Behaviour on test of the best on dev of n trials drawn from all, on average.

        Raises:
            ValueError: If there are fewer trials.
        """
        self._check(n)
        return self._interval(lambda dev, test: self._taken(n, dev, test), self._influence(n))

    def minus(self, other: "RandomSearchCurve", n: int) -> Interval:
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

        def apart(dev: Array, test: Array) -> Array:
            share, _ = self._on_dev(dev)
            chance = self._chances(n, dev)
            shown = self._on_test(test)[:, :-1]
            return _expected(chance, share) - _expected(chance, shown)

        return self._interval(apart, -self._influence(n))

    def table(self, against: "RandomSearchCurve | None" = None) -> "pd.DataFrame":
        """One row per number of trials; with what `minus` gives, in columns `less_NAME`.

        Raises:
            ValueError: As `minus`.
        """
        import pandas as pd

        rows = []
        for n in range(1, self.trials + 1):
            found = self.expected(n)
            row = {"method": self.method, "n": n, "behaviour": found.mean}
            row |= {"low": found.low, "high": found.high}
            if against is not None:
                row |= self.minus(against, n).columns(f"less_{against.method}")
            rows.append(row)
        return pd.DataFrame(rows)

    def _check(self, n: int) -> None:
        if not 1 <= n <= self.trials:
            raise ValueError(f"the best of {n} of {self.trials} trials: expected fewer")

    def _interval(self, statistic: Any, influence: Float[Array, " group"]) -> Interval:
        """Both kinds of prompts are drawn again; levels are widened as few test groups ask."""
        dev, test = (len(groups) for groups in self.groups)
        drawn_test, drawn_dev = Resampling.of((test, dev), seed=self.seed).counts
        low, high = Resampling((drawn_test,)).levels(influence, statistic(drawn_dev, drawn_test))
        return Interval(float(statistic(_once(self.dev), _once(self.test))[0]), low, high)

    def _taken(self, n: int, dev: Array, test: Array) -> Float[Array, " resample"]:
        """`expected` of groups drawn so often."""
        return _expected(_or_none(self._chances(n, dev)), self._on_test(test))

    def _influence(self, n: int) -> Float[Array, " group"]:
        """What each test group adds to the deviation of `expected`, the choice being what it is."""
        weights = _or_none(self._chances(n, _once(self.dev)))[0]
        taken = np.where(weights[:, None] > 0, self.test["shown"], 0.0)  # else it may be NaN
        shown, examples = weights @ taken, self.test["examples"][-1]
        return (shown - shown.sum() / examples.sum() * examples) / examples.sum()

    def _chances(self, n: int, dev: Array) -> Float[Array, "resample trial"]:
        """That each trial is the best on dev of a random n; equals are taken in order."""
        share, cost = self._on_dev(dev)
        ok = (cost <= self.kl_limit) & np.isfinite(share)  # NaN: the trial broke the model
        best_first = np.argsort(np.where(ok, -share, np.inf), axis=1, kind="stable")
        total = self.trials
        by_rank = np.array([comb(total - 1 - r, n - 1) / comb(total, n) for r in range(total)])
        found = np.empty_like(share)
        np.put_along_axis(found, best_first, np.broadcast_to(by_rank, share.shape), axis=1)
        return found * ok

    def _on_dev(self, counts: Array) -> tuple[Array, Array]:
        """`[resample trial]`: share and nats per token."""
        sums = {name: counts @ x.T for name, x in self.dev.items()}
        return sums["shown"] / sums["examples"], sums["nats"] / sums["draws"]

    def _on_test(self, counts: Array) -> Float[Array, "resample outcome"]:
        return (counts @ self.test["shown"].T) / (counts @ self.test["examples"].T)


def _expected(
    chance: Float[Array, "resample outcome"], value: Float[Array, "resample outcome"]
) -> Float[Array, " resample"]:
    """What is not taken may be NaN."""
    return np.where(chance > 0, chance * value, 0.0).sum(1)


def _once(sums: Mapping[str, Array]) -> Float[Array, "1 group"]:
    """Every group as it is."""
    return np.ones((1, sums["shown"].shape[1]))


def _or_none(chances: Float[Array, "resample trial"]) -> Float[Array, "resample outcome"]:
    """With the chance that no trial is allowed, last."""
    return np.concatenate([chances, 1 - chances.sum(1, keepdims=True)], axis=1)
