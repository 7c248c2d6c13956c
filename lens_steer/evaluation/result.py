"""One method on one set of prompts: what it did, text by text."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Count, Seed
from lens_steer.artifacts import savable
from lens_steer.evaluation.divergence import efficiency
from lens_steer.evaluation.evaluation_shown import html_of, line_of, screen_of, summary_of
from lens_steer.evaluation.text_costs import TextCosts
from lens_steer.evaluation.words import distinct, repetition
from lens_steer.intervals import Interval, interval, proportion_interval

if TYPE_CHECKING:
    import pandas as pd


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """One method on one set of prompts.

    Attributes:
        behaviour: In [0, 1], for each prompt (with a judge) or pair (without).
        groups: The group of each prompt or pair; intervals resample whole groups.
        perplexity: Of the texts under the unsteered model; NaN if every text is empty.
        texts: One continuation per prompt.
        well_formed: Whether each text is; None if the judge cannot tell.
        text_costs: Nats of each text; None if the evaluation was made by hand.
        text_groups: The group of each text, for intervals of quantities that belong to texts.
        failure: Why texts have failed, if steering makes their logits NaN or infinite: the method
            is then not one to choose. Empty if none has.
        unjudged: Why the judge could not score a text, for each text and empty where it could; its
            behaviour is 0. Empty if it scored them all.
    """

    behaviour: Float[Tensor, " example"]
    groups: tuple[Any, ...]
    perplexity: float
    texts: tuple[str, ...]
    well_formed: Bool[Tensor, " prompt"] | None = None
    text_costs: TextCosts | None = None
    text_groups: tuple[Any, ...] = ()
    failure: str = ""
    unjudged: tuple[str, ...] = field(default=(), metadata={"saved_if_set": True})

    def __str__(self) -> str:
        """Every quantity with its interval, and the first texts, on one screen."""
        return screen_of(self)

    def __repr__(self) -> str:
        """The behaviour and what it costs on one line: of a list of evaluations."""
        return line_of(self)

    def _repr_html_(self) -> str:
        """What is printed as a table, for a notebook."""
        return html_of(self)

    def summary(self, *, seed: Seed) -> "pd.DataFrame":
        """A row for each quantity: what `print` shows, with intervals of the seed.

        Args:
            seed: Of the draws, in which whole groups are drawn again; printed with seed 0.

        Returns:
            Columns `quantity`, `value`, `value_low`, `value_high` (ends of 95 % intervals, NaN
            where there is none) and `note`, which says what it is a mean of.

        Example:
            >>> ls.evaluate(model, test, method, judge=judge, seed=0).summary(seed=0)
        """
        return summary_of(self, seed)

    def interval(self, *, seed: Seed) -> Interval:
        """Mean behaviour with its interval."""
        resampled = interval(self.behaviour, self.groups, seed=seed)
        return proportion_interval(resampled, len(set(self.groups)))

    def minus(self, other: "Evaluation", *, seed: Seed) -> Interval:
        """Mean difference in behaviour to another evaluation of the same examples, paired.

        Raises:
            ValueError: If the other is of other examples.
        """
        if self.groups != other.groups:
            raise ValueError(
                "the two evaluations are of different examples: evaluate the same pairs"
            )
        return interval(self.behaviour - other.behaviour, self.groups, seed=seed)

    @property
    def share(self) -> float:
        """Mean behaviour; NaN if a text has failed because its logits are NaN or infinite."""
        return self.behaviour.double().mean().item()

    @property
    def kl(self) -> float:
        """Nats per token, KL(steered || unsteered) along these texts; NaN for greedy ones."""
        return self._nats.kl_per_token

    @property
    def kl_sequence(self) -> float:
        """Mean over texts of the nats of a whole text; heavy-tailed, see `kl_quantiles`."""
        return self._nats.kl.mean().item()

    @property
    def kl_quantiles(self) -> tuple[float, float]:
        """Median and 95 % quantile over texts of the nats of a whole text."""
        median, high = self._nats.kl.quantile(torch.tensor([0.5, 0.95]).double()).tolist()
        return median, high

    @property
    def failed(self) -> Bool[Tensor, " text"]:
        """Texts that are empty, not well formed (where the judge knows), or broken off.

        They are scored too, except those whose logits became NaN or infinite: their behaviour is
        NaN.
        """
        failed = torch.tensor([not text.strip() for text in self.texts])
        if self.text_costs is not None:
            failed = failed | self.text_costs.surprise.isnan()
        return failed if self.well_formed is None else failed | ~self.well_formed

    @property
    def unjudged_share(self) -> float:
        """The share of texts that the judge could not score; their behaviour counts as 0."""
        return sum(map(bool, self.unjudged)) / len(self.texts) if self.texts else 0.0

    def without(self, texts: Sequence[int], reason: str, *, judged: bool) -> "Evaluation":
        """The evaluation with some texts marked as failed: their logits became NaN or infinite.

        Args:
            texts: The numbers of these texts.
            reason: Why they failed.
            judged: Whether behaviour is that of texts; if not it is that of pairs, and all NaN.
        """
        behaviour = self.behaviour.clone()
        behaviour[list(texts) if judged else slice(None)] = torch.nan
        counted = f"{len(texts)} of {len(self.texts)} texts failed, such as {reason}"
        return replace(self, behaviour=behaviour, failure=counted)

    def efficiency(self, unsteered: "Evaluation") -> float:
        """The least that the change from the unsteered share costs, over what was paid."""
        return efficiency(self.share, unsteered.share, self.kl_sequence)

    def distinct(self, n: Count) -> float:
        """The share of different n-grams among all n-grams of the texts."""
        return distinct(self.texts, n)

    @property
    def repetition(self) -> float:
        """The share of trigrams that were in the same text before."""
        return repetition(self.texts)

    @property
    def _nats(self) -> TextCosts:
        if self.text_costs is None:
            raise ValueError("this evaluation was made by hand, without `text_costs`: use evaluate")
        return self.text_costs
