"""Where steered greedy texts part from the unsteered ones: the first new token that differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics.named import check_named, groups_of_prompts, place_of
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel
from lens_steer.steering import Decoding, Intervention, Scope, continuations_of_each, prompt_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_BINS = 24  # of the histogram, at most


@savable
@dataclass(frozen=True, eq=False)
class DivergenceReport:
    """The first new token at which each method's greedy text is not the unsteered one.

    Attributes:
        names: Of the methods.
        first: Number of that token, counted from 1, the end of a text counting as one; for texts
            that never part the tokens that were compared, see `parted`.
        parted: Whether they part. Two texts that end alike never do; two that are cut off alike
            might have later (censored at `max_new_tokens`).
        groups: Of each prompt, for intervals.
        max_new_tokens: Of every text.
        seed: Of the intervals.
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
    def fit(  # noqa: PLR0913 - how texts are generated
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
            methods: By name, each at its own strength.
            max_new_tokens: Tokens that are compared, at most.
            seed: Of the intervals over groups; greedy texts draw nothing.

        Raises:
            ValueError: As `generate`, or if a method does not fit the model.
        """
        named = check_named(methods, pairs, model)
        decoding = Decoding(0.0, max_new_tokens=max_new_tokens, scope=scope)
        rows = prompt_rows(model, pairs.prompts, max_new_tokens)
        methods_of_texts = [(), *((method,) for method in named.values())]
        unsteered, *each = continuations_of_each(
            model, rows, methods_of_texts, decoding, progress=progress
        )
        found = [
            [parting(a, b, max_new_tokens) for a, b in zip(texts, unsteered, strict=True)]
            for texts in each
        ]
        first = torch.tensor([[number for number, _ in row] for row in found])
        parted = torch.tensor([[differs for _, differs in row] for row in found])
        groups = groups_of_prompts(pairs)
        return cls(tuple(named), first, parted, groups, max_new_tokens, seed)

    def by_token(self, name: str, token: int) -> Interval:
        """The share of texts that have parted at this token or before."""
        row = place_of(name, self.names)
        gone = self.parted[row] & (self.first[row] <= token)
        return interval(gone.double(), self.groups, seed=self.seed)

    def median(self, name: str) -> float:
        """The token by which half of the texts have parted; infinite if they have not."""
        row = place_of(name, self.names)
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
        """How many texts part at each token, and the share that have, with its interval."""
        from lens_steer.figures import canvas

        last = int(self.first[self.parted].max()) if bool(self.parted.any()) else 1
        with canvas(2, 1, width=5.4, height=5.0, sharex=True) as (figure, (above, below)):
            self._histogram(above, last)
            for i, name in enumerate(self.names):
                self._share(below, name, f"C{i}", last)
            below.set(ylabel="share that has parted,\n95 % interval over groups")
            below.set(ylim=(-0.02, 1.02), xlim=(0.4, 1.08 * last + 0.6))
            told = f"first new token that differs, of at most {self.max_new_tokens}"
            below.set(xlabel=f"{told}\n(greedy texts, steered and unsteered)")
            below.xaxis.get_major_locator().set_params(integer=True)
        return figure

    def _histogram(self, axes: Any, last: int) -> None:
        """Bars side by side, of one token each where there are few."""
        step = -(-last // _BINS)
        edges = np.arange(0.5, last + step + 0.5, step)
        times = [self.first[i][self.parted[i]].numpy() for i in range(len(self.names))]
        colours = [f"C{i}" for i in range(len(self.names))]
        axes.hist(times, bins=edges, color=colours, label=[self._label(n) for n in self.names])
        counted = f"{len(self.groups)} prompts in {len(set(self.groups))} groups"
        axes.legend(title=f"{counted} (median; never part)")
        axes.set(ylabel="texts that part there" if step == 1 else f"texts per {step} tokens")

    def _label(self, name: str) -> str:
        median, never = (
            self.median(name),
            1 - self.parted[place_of(name, self.names)].double().mean(),
        )
        shown = "none" if np.isinf(median) else f"{median:g}"
        return f"{name} ({shown}; {never:.0%})"

    def _share(self, axes: Any, name: str, colour: str, last: int) -> None:
        row = place_of(name, self.names)
        tokens = sorted({0, last + last // 10 + 1, *self.first[row][self.parted[row]].tolist()})
        found = [self.by_token(name, token) for token in tokens]
        style = ("-", "--", "-.", ":")[row % 4]
        axes.step(tokens, [each.mean for each in found], style, where="post", color=colour)
        band = [each.low for each in found], [each.high for each in found]
        axes.fill_between(tokens, *band, step="post", color=colour, alpha=0.2, lw=0)


def parting(
    steered: Sequence[int], unsteered: Sequence[int], max_new_tokens: int
) -> tuple[int, bool]:
    """Number, from 1, of the first token drawn that differs, and whether any does.

    A text shorter than `max_new_tokens` was ended by one more token. Without a difference the
    number is that of the tokens compared.
    """
    ends = [[*text, None][:max_new_tokens] for text in (steered, unsteered)]
    pairs = enumerate(zip(*ends, strict=False), start=1)
    different = next((number for number, (a, b) in pairs if a != b), None)
    return (len(ends[0]), False) if different is None else (different, True)
