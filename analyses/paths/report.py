"""The report of a path split: effects of several methods, with their tables and figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from analyses.paths.drawing import draw_split
from analyses.paths.effects import PATHS, path_effects
from analyses.paths.statistics import PARTS, PathSplit
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics import check_named, row_of
from lens_steer.evaluation import FixedTexts
from lens_steer.intervals import NAN_INTERVAL
from lens_steer.models import SteerableModel
from lens_steer.reports import Report
from lens_steer.steering import Intervention

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class PathSplitReport(Report):
    """What each path does to the next token, position by position.

    Attributes:
        names: The names of the methods.
        kl: KL(steered || clean) of the next token, nats; paths are `residual`, `cache`, `both` and
            `stopped`, offsets counted from the last prompt token. NaN after a text's end.
        projected: <change, change by both> of the logits, centred over the vocabulary.
        draws: The number of offsets of each text.
        groups: The group of each text, for intervals.
        stop_after: The number of positions that are steered in `stopped`.
        seed: The seed of the texts and the intervals.
    """

    names: tuple[str, ...]
    kl: Float[Tensor, "method path text offset"]
    projected: Float[Tensor, "method path text offset"]
    draws: Int[Tensor, " text"]
    groups: tuple[str, ...]
    stop_after: int
    seed: int

    def __post_init__(self) -> None:
        expected = (len(self.names), len(PATHS), len(self.groups), int(self.draws.max()))
        shapes = {tuple(self.kl.shape), tuple(self.projected.shape)}
        if shapes != {expected} or len(self.draws) != len(self.groups):
            raise ValueError(
                f"got effects of shapes {shapes} and {len(self.draws)} lengths, expected one for "
                f"each of the methods, paths, texts and offsets: {expected}"
            )
        _check_tokens(self.stop_after, expected[-1], "a longest text of")
        for name in self.names:
            _check_effect(name, self.split(name))

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        methods: Mapping[str, Intervention],
        *,
        stop_after: int = 1,
        temperature: float | int = 1.0,
        max_new_tokens: int = 20,
        seed: int,
        progress: bool = True,
    ) -> "PathSplitReport":
        """Steer every position of fixed unsteered texts by itself, what precedes it, and both.

        That is two forwards for each offset, method and batch of texts; prompts of one length are
        batched.

        Args:
            pairs: Their prompts are continued, once each.
            methods: Methods by name, each at its own strength.
            stop_after: The number of positions that are steered before steering stops, the last
                prompt token being the first.
            temperature: The temperature of the texts and of the distributions compared.
            max_new_tokens: The largest number of offsets.
            seed: The seed of the texts, and of the intervals over groups.

        Raises:
            ValueError: As `generate`, if a method does not fit the model or changes nothing, or
                fewer than two offsets are left after steering has stopped.

        Example:
            >>> from analyses.paths import PathSplitReport
            >>> paths = PathSplitReport.fit(model, test, {"CAA": caa}, max_new_tokens=16, seed=0)
            >>> paths.split("CAA").half_life()
        """
        named = check_named(methods, pairs, model)
        _check_tokens(stop_after, max_new_tokens, "max_new_tokens")
        texts = FixedTexts.sample(
            model, pairs, seed=seed, temperature=temperature, max_new_tokens=max_new_tokens
        )
        kl, projected = path_effects(model, texts, [*named.values()], stop_after, progress=progress)
        groups, draws = pairs.prompt_groups, texts.draws.long()
        return cls(tuple(named), kl, projected, draws, groups, stop_after, seed)

    def split(self, name: str) -> PathSplit:
        """One method's effects, shares and half-life.

        Raises:
            ValueError: If it is not in this report.
        """
        row = row_of(name, self.names)
        kl, projected = self.kl[row], self.projected[row]
        return PathSplit(kl, projected, self.draws, self.groups, self.stop_after, self.seed)

    def table(self) -> "pd.DataFrame":
        """One row per method, path and offset; `kept` is of the offsets where steering stopped."""
        import pandas as pd

        rows = []
        for name in self.names:
            split = self.split(name)
            for path, offset in product((*PATHS, "interaction"), range(split.offsets)):
                row: dict[str, Any] = {"method": name, "path": path, "offset": offset}
                row |= {"texts": int(split.reaching([offset]).sum())}
                row |= split.effect(path, offset).columns("kl")
                row |= split.share(path, offset).columns("share")
                after = path == "stopped" and offset >= self.stop_after
                rows.append(row | (split.kept(offset) if after else NAN_INTERVAL).columns("kept"))
        return pd.DataFrame(rows)

    def summary(self) -> "pd.DataFrame":
        """One row per method: shares of all offsets but the first, and the half-life.

        `followed` is how many tokens after the first unsteered one there are.
        """
        import pandas as pd

        counts = {"texts": len(self.groups), "groups": len(set(self.groups))}
        counts |= {"stop_after": self.stop_after}
        counts |= {"followed": self.kl.shape[-1] - 1 - self.stop_after}
        rows = []
        for name in self.names:
            row, split = {"method": name}, self.split(name)
            for part in PARTS:
                row |= split.share(part).columns(part)
            rows.append(row | split.half_life().columns("half_life") | counts)
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Nats and shares of each path, and what is left where steering stops, by offset."""
        return draw_split(self.table(), self.summary())


def _check_tokens(stop_after: int, offsets: int, source: str) -> None:
    if stop_after < 1:
        raise ValueError(f"stop_after {stop_after}: expected at least one steered position")
    if offsets < stop_after + 2:
        raise ValueError(
            f"got {source} {offsets} tokens, of which {stop_after} are steered: expected "
            f"{stop_after + 2} or more, so that what is left can fall; generate more tokens, take "
            "other prompts, or stop sooner (stop_after)"
        )


def _check_effect(name: str, split: PathSplit) -> None:
    reached = split.reaching(range(split.offsets))
    if not bool(split.kl[:, reached].isfinite().all()):
        raise ValueError(f"the logits under {name!r} are not finite numbers: lower its strength")
    if not bool(split.kl[PATHS.index("both"), reached].any()):
        raise ValueError(
            f"{name!r} changes no next token, so that nothing can be split: give it a strength, "
            "with_strength(...)"
        )
