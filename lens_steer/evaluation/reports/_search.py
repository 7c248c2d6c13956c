"""Random search with a budget: what the best of n tried on dev is worth on test, against n.

Methods with more knobs have more to win by trying more. The curve shows what each is worth after
the same number of trials (Dodge et al. 2019, arXiv:1909.03004).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.evaluation._evaluation import Evaluation
from lens_steer.intervals import Interval, interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Search:
    """Trials of one method, each measured on dev and on test.

    Attributes:
        method: Its name.
        dev: Share that shows the behaviour, for each trial.
        dev_kl: Nats per token on dev.
        test: Behaviour of each trial on each test example.
        groups: Of the test examples.
        unsteered: Behaviour of the unsteered model on them: what is used where no trial is allowed.
        kl_limit: Trials above it on dev are not taken.
        seed: Of the intervals.
    """

    method: str
    dev: Float[Tensor, " trial"]
    dev_kl: Float[Tensor, " trial"]
    test: Float[Tensor, "trial example"]
    groups: tuple[Any, ...]
    unsteered: Float[Tensor, " example"]
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
    ) -> "Search":
        """From evaluations of the same trials on dev and on test.

        Raises:
            ValueError: If there are none, or not as many on either.
        """
        if not dev or len(dev) != len(test):
            raise ValueError(f"{len(dev)} trials on dev, {len(test)} on test: expected as many")
        return cls(
            method,
            torch.tensor([trial.share for trial in dev]),
            torch.tensor([trial.kl for trial in dev]),
            torch.stack([trial.behaviour for trial in test]),
            *(unsteered.groups, unsteered.behaviour, float(kl_limit), seed),
        )

    @property
    def allowed(self) -> Bool[Tensor, " trial"]:
        """Trials that cost no more on dev than the limit."""
        return self.dev_kl <= self.kl_limit

    def expected(self, n: int) -> Interval:
        """Behaviour on test of the best on dev of n trials drawn from all, on average.

        Raises:
            ValueError: If there are fewer trials.
        """
        if not 1 <= n <= len(self.dev):
            raise ValueError(f"the best of {n} of {len(self.dev)} trials: expected fewer")
        chance = torch.from_numpy(self._chances(n)).float()
        none = 1 - chance.sum()
        values = chance @ self.test + none * self.unsteered
        return interval(values, self.groups, seed=self.seed)

    def _chances(self, n: int) -> np.ndarray:
        """That each trial is the best of a random n; equals are taken in order."""
        total, ok = len(self.dev), self.allowed.numpy()
        order = np.lexsort((np.arange(total), -self.dev.numpy(), ~ok))  # best first
        found = np.zeros(total)
        for rank, trial in enumerate(order):
            if ok[trial]:
                found[trial] = comb(total - 1 - rank, n - 1) / comb(total, n)
        return found

    @property
    def gap(self) -> float:
        """Dev minus test share of the best on dev of all trials: how much choosing flatters."""
        best = int(self._chances(len(self.dev)).argmax())
        return float(self.dev[best] - self.test[best].mean())

    def table(self) -> "pd.DataFrame":
        """One row per number of trials."""
        import pandas as pd

        found = [(n, self.expected(n)) for n in range(1, len(self.dev) + 1)]
        rows = [
            {"method": self.method, "n": n, "behaviour": i.mean, "low": i.low, "high": i.high}
            for n, i in found
        ]
        return pd.DataFrame(rows)


def search_figure(searches: Sequence[Search], behaviour_name: str) -> "Figure":
    """Behaviour on test of the best of n on dev, against n, for each method."""
    from textwrap import fill

    from lens_steer.figures import canvas

    with canvas() as (figure, axes):
        for i, search in enumerate(searches):
            table = search.table()
            axes.plot(table["n"], table["behaviour"], "-", color=f"C{i}", label=search.method)
            axes.fill_between(table["n"], table["low"], table["high"], color=f"C{i}", alpha=0.2)
        first = searches[0]
        axes.axhline(float(first.unsteered.mean()), color="C7", ls="--", label="unsteered")
        axes.set(xlabel="trials of random search", ylim=(0, 1.02))
        axes.set(ylabel=fill(f"{behaviour_name}, on test, of the best on dev", 34))
        axes.legend(title=f"at most {first.kl_limit:g} nats per token on dev; 95 %", loc="best")
    return figure
