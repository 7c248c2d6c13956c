"""The first new token at which steered greedy texts differ from the unsteered ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics import check_named, row_of
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel
from lens_steer.reports import Report
from lens_steer.steering import Decoding, Intervention, Scope, continuations_of_each, prompt_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_BINS = 24  # of the histogram, at most
_STYLES = ("-", "--", "-.", ":")


@savable
@dataclass(frozen=True, eq=False, repr=False)
class DivergenceReport(Report):
    """The first new token at which each method's greedy text is not the unsteered one.

    Attributes:
        names: The names of the methods.
        first: The number of that token, counted from 1; the end of a text counts as a token. For
            texts that never part, the number of tokens that were compared, see `parted`.
        parted: Whether the two texts part. Two texts that end alike never do; two that are cut off
            alike might have parted later (censored at `max_new_tokens`).
        groups: The group of each prompt, for intervals.
        max_new_tokens: The largest number of tokens that were compared.
        seed: The seed of the intervals.
    """

    names: tuple[str, ...]
    first: Int[Tensor, "method prompt"]
    parted: Bool[Tensor, "method prompt"]
    groups: tuple[str, ...]
    max_new_tokens: int
    seed: int

    def __post_init__(self) -> None:
        expected = (len(self.names), len(self.groups))
        if tuple(self.first.shape) != expected or tuple(self.parted.shape) != expected:
            raise ValueError(
                f"got tokens of shapes {tuple(self.first.shape)} and {tuple(self.parted.shape)}, "
                f"expected one for each of the methods and groups: {expected}"
            )
        if not bool(((self.first >= 1) & (self.first <= self.max_new_tokens)).all()):
            raise ValueError(f"expected tokens numbered from 1 to {self.max_new_tokens}")

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        methods: Mapping[str, Intervention],
        *,
        max_new_tokens: int = 40,
        scope: Scope = "last",
        seed: int,
        progress: bool = True,
    ) -> "DivergenceReport":
        """Continue the prompts of `pairs` greedily, unsteered and by each method.

        Args:
            methods: Methods by name, each at its own strength.
            max_new_tokens: The largest number of tokens that are compared.
            seed: The seed of the intervals over groups; greedy texts draw nothing.

        Raises:
            ValueError: As `generate`, or if a method does not fit the model.

        Example:
            >>> from analyses.divergence import DivergenceReport
            >>> DivergenceReport.fit(model, test, {"CAA": caa}, seed=0).median("CAA")
        """
        named = check_named(methods, pairs, model)
        decoding = Decoding(0.0, max_new_tokens=max_new_tokens, scope=scope)
        rows = prompt_rows(model, pairs.prompts, max_new_tokens)
        methods_of_texts = [(), *((method,) for method in named.values())]
        unsteered, *steered = continuations_of_each(
            model, rows, methods_of_texts, decoding, progress=progress
        )
        partings = [
            [parting(a, b, max_new_tokens) for a, b in zip(texts, unsteered, strict=True)]
            for texts in steered
        ]
        first = torch.tensor([[number for number, _ in row] for row in partings])
        parted = torch.tensor([[differs for _, differs in row] for row in partings])
        groups = pairs.prompt_groups
        return cls(tuple(named), first, parted, groups, max_new_tokens, seed)

    def by_token(self, name: str, token: int) -> Interval:
        """The share of texts that have parted at this token or before."""
        row = row_of(name, self.names)
        gone = self.parted[row] & (self.first[row] <= token)
        return interval(gone.double(), self.groups, seed=self.seed)

    def median(self, name: str) -> float:
        """The token by which half of the texts have parted; infinite if they have not."""
        row = row_of(name, self.names)
        times = torch.where(self.parted[row], self.first[row].double(), torch.inf)
        return float(times.sort().values[(len(times) - 1) // 2])

    def table(self) -> "pd.DataFrame":
        """One row per method and prompt; `first` is NaN where the texts never part."""
        import pandas as pd

        n = len(self.groups)
        columns: dict[str, Any] = {"method": np.repeat(self.names, n)}
        columns |= {"prompt": [*range(n)] * len(self.names), "group": self.groups * len(self.names)}
        first, parted = self.first.flatten().numpy(), self.parted.flatten().numpy()
        columns |= {"first": np.where(parted, first, np.nan), "compared": first, "parted": parted}
        return pd.DataFrame(columns)

    def figure(self) -> "Figure":
        """How many texts part at each token, and the share that has parted, with its interval."""
        from lens_steer.figures import canvas, legend_outside

        last = int(self.first[self.parted].max()) if bool(self.parted.any()) else 1
        height = 5.0 + 0.25 * len(self.names)
        with canvas(2, 1, width=5.4, height=height, sharex=True) as (figure, (above, below)):
            self._histogram(above, last)
            for i, name in enumerate(self.names):
                self._share(below, name, f"C{i}", last)
            below.set(ylabel="share that has parted,\n95 % interval over groups")
            below.set(ylim=(-0.02, 1.02), xlim=(0.4, 1.08 * last + 0.6))
            label = f"first new token that differs, of at most {self.max_new_tokens}"
            below.set(xlabel=f"{label}\n(greedy texts, steered and unsteered)")
            below.xaxis.get_major_locator().set_params(integer=True)
            counted = f"{len(self.groups)} prompts in {len(set(self.groups))} groups"
            legend_outside(figure, above, title=f"{counted} (median; never part)")
        return figure

    def _histogram(self, axes: Any, last: int) -> None:
        """Draw bars side by side, each one token wide unless there are many tokens."""
        step = -(-last // _BINS)
        edges = np.arange(0.5, last + step + 0.5, step)
        times = [self.first[i][self.parted[i]].numpy() for i in range(len(self.names))]
        colours = [f"C{i}" for i in range(len(self.names))]
        axes.hist(times, bins=edges, color=colours, label=[self._label(n) for n in self.names])
        axes.set(ylabel="texts that part there" if step == 1 else f"texts per {step} tokens")

    def _label(self, name: str) -> str:
        median = self.median(name)
        never = 1 - self.parted[row_of(name, self.names)].double().mean()
        return f"{name} ({'none' if np.isinf(median) else f'{median:g}'}; {never:.0%})"

    def _share(self, axes: Any, name: str, colour: str, last: int) -> None:
        row = row_of(name, self.names)
        tokens = sorted({0, last + last // 10 + 1, *self.first[row][self.parted[row]].tolist()})
        shares = [self.by_token(name, token) for token in tokens]
        style = _STYLES[row % len(_STYLES)]
        axes.step(tokens, [share.mean for share in shares], style, where="post", color=colour)
        low, high = [share.low for share in shares], [share.high for share in shares]
        axes.fill_between(tokens, low, high, step="post", color=colour, alpha=0.2, lw=0)


def parting(
    steered: Sequence[int], unsteered: Sequence[int], max_new_tokens: int
) -> tuple[int, bool]:
    """The number, from 1, of the first token drawn that differs, and whether any token does.

    A text shorter than `max_new_tokens` was ended by one more token. Without a difference, the
    number is how many tokens were compared.
    """
    ends = [[*text, None][:max_new_tokens] for text in (steered, unsteered)]
    pairs = enumerate(zip(*ends, strict=False), start=1)
    different = next((number for number, (a, b) in pairs if a != b), None)
    return (len(ends[0]), False) if different is None else (different, True)
