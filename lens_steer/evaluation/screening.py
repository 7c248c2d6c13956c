"""A first look at many candidates without a word generated: do they make held-out pairs likelier?

Teacher-forced passes over given continuations are much cheaper than texts: they say which layers
and strengths are worth generating with. They do not say what a model will write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import override

from lens_steer.arguments import Count, Seed
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs, Example
from lens_steer.evaluation.divergence import kl_divergence
from lens_steer.evaluation.evaluating import check_pairs
from lens_steer.evaluation.sampled_texts import SampledText, draw_logits, even_batches
from lens_steer.evaluation.text_costs import surprises
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel, encode
from lens_steer.reports import Report
from lens_steer.steering import Intervention, Scope, check_scope

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Screen(Report):
    """By how much each candidate makes the desired continuations likelier than the undesired.

    Attributes:
        candidates: The methods, each at its own strength, in the order given.
        changes: Change of the log-probability per token of each example's continuation, in nats,
            float64; the desired examples come first. NaN where a candidate makes logits NaN.
        nats: KL(steered || unsteered) per token along these continuations, at temperature 1.
        groups: The group of each example; intervals draw whole groups again.
        n_desired: How many of the examples are desired.
        seed: The seed of the intervals.
    """

    candidates: tuple[Intervention, ...]
    changes: Float[Tensor, "candidate example"]
    nats: Float[Tensor, " candidate"]
    groups: tuple[str, ...]
    n_desired: int
    seed: Seed = 0

    @property
    def gains(self) -> Float[Tensor, " candidate"]:
        """Mean change of the desired less that of the undesired examples, nats per token."""
        return self._weighted.mean(dim=1)

    def gain(self, candidate: int) -> Interval:
        """The gain of one candidate, by its number, with its 95 % interval over groups."""
        return interval(self._weighted[candidate], self.groups, seed=self.seed)

    def best(self, n: Count = 1) -> list[int]:
        """The numbers of the `n` candidates of the largest gain, the best first.

        A candidate that makes logits NaN or infinite is never among them.

        Raises:
            ValueError: If there are fewer candidates whose logits are finite.
        """
        order = self.gains.argsort(descending=True, stable=True).tolist()
        usable = [i for i in order if bool(self.gains[i].isfinite())]
        if n > len(usable):
            raise ValueError(
                f"the best {n} of {len(usable)} candidates with finite logits: expected fewer"
            )
        return usable[:n]

    @override
    def table(self) -> "pd.DataFrame":
        """One row per candidate: its gain with a 95 % interval, and nats paid, per token."""
        import pandas as pd

        rows = []
        for i, method in enumerate(self.candidates):
            layers = sorted({site.layer for site in method.sites})
            row = {"method": type(method).__name__, "layer": layers[0], "layers": len(layers)}
            row |= {"strength": method.strength} | self.gain(i).columns("gain")
            rows.append(row | {"nats": self.nats[i].item()})
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Gain against the first layer of each candidate, with its interval, coloured by nats."""
        from matplotlib.colors import LogNorm
        from matplotlib.ticker import LogLocator

        from lens_steer.figures import canvas, whole_numbers

        table = self.table()
        nats = np.maximum(table["nats"].to_numpy(), 1e-6)
        with canvas(width=5.6, height=3.4) as (figure, axes):
            ends = [table["gain"] - table["gain_low"], table["gain_high"] - table["gain"]]
            axes.errorbar(
                table["layer"], table["gain"], np.maximum(ends, 0), fmt="none", ecolor="C7"
            )
            dots = axes.scatter(table["layer"], table["gain"], c=nats, norm=LogNorm(), zorder=3)
            axes.axhline(0, color="k", ls=":", lw=0.8)
            whole_numbers(axes.xaxis)
            axes.set(xlabel="layer (first one steered)")
            axes.set(ylabel="desired less undesired continuation,\nchange in nats per token")
            axes.set_title(f"{len(self.groups)} examples, 95 % intervals over groups")
            bar = figure.colorbar(dots, ax=axes, label="nats paid per token")
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
            bar.ax.yaxis.set_major_formatter("{x:g}")
            bar.ax.minorticks_off()
        return figure

    @property
    def _weighted(self) -> Float[Tensor, "candidate example"]:
        """Values whose mean over examples is the gain."""
        n, desired = len(self.groups), self.n_desired
        weights = torch.full((n,), n / desired).double()
        weights[desired:] = -n / (n - desired)
        return self.changes * weights


def screen(
    model: SteerableModel,
    pairs: ContrastivePairs,
    candidates: Sequence[Intervention],
    *,
    scope: Scope = "last",
    sink: bool = False,
    seed: Seed = 0,
    progress: bool = False,
) -> Screen:
    """By how much candidates make the desired continuations of pairs likelier than the undesired.

    Nothing is generated: each continuation is run once without steering and once with each
    candidate, many to a batch. The order of candidates at equal nats is a guide to which are worth
    texts; report texts of other prompts.

    Args:
        pairs: Pairs that the candidates were not fitted on; paired or not.
        candidates: Methods, each at its own strength; at equal nats (`LocalNats`) they compare.
        scope: Where they steer.
        sink: Whether attention sinks are steered too, see `steered`.
        seed: The seed of the intervals.

    Returns:
        Gains in nats per token, with intervals, and the nats that each candidate costs.

    Raises:
        ValueError: If there are no candidates, one does not fit the model, or a continuation has
            one token with nothing before it.

    Example:
        >>> candidates = [ls.CAA.fit(resid.at(layer=layer)) for layer in resid.layers]
        >>> found = ls.evaluation.screen(model, dev, candidates)
        >>> best = [candidates[i] for i in found.best(3)]
    """
    check_pairs(pairs)
    where = check_scope(scope, sink=sink)
    if not candidates:
        raise ValueError("no candidates to screen: expected at least one method")
    for method in candidates:
        method.checked_edits(model)
    examples = (*pairs.desired, *pairs.undesired)
    texts = [_as_drawn(model, example) for example in examples]
    changes = torch.zeros(len(candidates), len(texts)).double()
    nats, draws = torch.zeros(len(candidates)).double(), sum(text.draws for text in texts)
    cells = [(i, k) for i in range(len(texts)) for k in range(len(candidates))]
    with tqdm(total=len(cells), desc="screen", disable=not progress) as bar:
        for batch in even_batches(model, [len(texts[i].ids) for i, _ in cells]):
            part = [cells[number] for number in batch]
            for (i, k), (change, cost) in zip(
                part, _batch(model, texts, candidates, part, where), strict=True
            ):
                changes[k, i] = change
                nats[k] += cost / draws
            bar.update(len(part))
    return Screen(tuple(candidates), changes, nats, pairs.example_groups, len(pairs.desired), seed)


def _as_drawn(model: SteerableModel, example: Example) -> SampledText:
    """An example as if its continuation had been drawn; a row's first token never is."""
    row = encode(model, example.prompt, example.continuation)
    text = SampledText(row.ids, max(row.prompt_length, 1))
    if text.draws == 0:
        raise ValueError(
            f"{example.continuation!r} has no token with anything before it: give it a prompt"
        )
    return text


def _batch(
    model: SteerableModel,
    texts: Sequence[SampledText],
    candidates: Sequence[Intervention],
    cells: Sequence[tuple[int, int]],
    scope: Scope,
) -> list[tuple[float, float]]:
    """For each (text, candidate): change of log-probability per token, and nats of the text."""
    once = sorted({i for i, _ in cells})
    plain = [texts[i] for i in once]
    clean, clean_row = draw_logits(model, plain, [()] * len(plain), scope)
    rows = [texts[i] for i, _ in cells]
    methods = [(candidates[k],) for _, k in cells]
    steered, row = draw_logits(model, rows, methods, scope, strict=False)
    again = torch.cat([(clean_row == once.index(i)).nonzero()[:, 0] for i, _ in cells])
    clean = clean[again.to(clean.device)]
    drawn = torch.cat([torch.tensor(text.ids[text.prompt_length :]) for text in rows])
    gained = (surprises(clean, drawn) - surprises(steered, drawn)).cpu()
    paid = kl_divergence(steered, clean).cpu()
    return [
        (gained[row == number].mean().item(), paid[row == number].sum().item())
        for number in range(len(rows))
    ]
