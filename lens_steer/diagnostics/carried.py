"""The report of `interchange`: what a whole activation carries, beside what methods move."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.diagnostics.named_methods import row_of
from lens_steer.intervals import Interval, group_sums, interval, ratio_interval
from lens_steer.reports import Report, screenful

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Verdict = Literal[
    "not carried here", "carried, badly pushed", "carried and pushed", "pushed, not carried", "open"
]

_ROWS = 12  # of a table that are printed


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Interchange(Report):
    """How much of the difference between two texts the residual stream carries at a layer.

    The measure is the log-probability per token of the probe's desired answer minus that of the
    undesired one, nats. `gap` is its difference between the desired and the undesired text: 100 %.

    Attributes:
        layers: Behind which blocks the stream was exchanged.
        tokens: How many tokens before the answer were exchanged.
        moved: What the undesired text's measure changes by the exchange.
        gap: The desired text's measure minus the undesired one's.
        names: The names of the methods.
        method_layers: The last layer that each method edits.
        pushed: What each method changes in the undesired text's measure.
        least: The share of the gap from which on it counts as carried, or as pushed.
        groups: The group of each pair, for intervals.
        seed: The seed of the intervals.
    """

    layers: tuple[int, ...]
    tokens: tuple[int, ...]
    moved: Float[Tensor, "layer count pair"]
    gap: Float[Tensor, " pair"]
    names: tuple[str, ...]
    method_layers: tuple[int, ...]
    pushed: Float[Tensor, "method pair"]
    least: float
    groups: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        shape = len(self.layers), len(self.tokens), len(self.groups)
        if tuple(self.moved.shape) != shape or len(self.gap) != len(self.groups):
            raise ValueError(
                f"got changes of shape {tuple(self.moved.shape)} and {len(self.gap)} gaps, "
                f"expected layers, numbers of tokens and groups: {shape}"
            )
        if tuple(self.pushed.shape) != (len(self.names), len(self.groups)):
            raise ValueError(
                f"got pushes of shape {tuple(self.pushed.shape)}, expected methods and groups: "
                f"{(len(self.names), len(self.groups))}"
            )

    def carried(self, layer: int, tokens: int) -> Interval:
        """What the exchange moves, as a share of the gap: 1 is all of it; it may be more.

        Raises:
            ValueError: If that was not measured.
        """
        return self._share(self._moved(layer, tokens))

    def pushed_by(self, name: str) -> Interval:
        """What a method moves, as a share of the gap."""
        return self._share(self.pushed[row_of(name, self.names)])

    def verdict(self, name: str, tokens: int | None = None) -> Verdict:
        """Whether a method fails because of where it pushes, or of how.

        Something counts as moved if its mean is at least `least` of the gap and its interval is
        above 0; as not moved if its whole interval is below `least`, or its mean is and the
        interval reaches 0.

        Args:
            name: Of the method, compared with the exchange behind the last layer that it edits.
            tokens: How many exchanged tokens to compare with; None: the first of `tokens`.

        Returns:
            `not carried here` (the exchange moves nothing, nor does the method); `carried, badly
            pushed` (the exchange moves it, the method does not); `carried and pushed`; `pushed, not
            carried` (by something that desired texts do not have there); `open` where either is
            neither moved nor not moved.

        Raises:
            ValueError: If the method, the number of tokens or the method's layer was not measured.
        """
        layer = self.method_layers[row_of(name, self.names)]
        carried = self._moves(self.carried(layer, self.tokens[0] if tokens is None else tokens))
        pushed = self._moves(self.pushed_by(name))
        if carried is None or pushed is None:
            return "open"
        if carried:
            return "carried and pushed" if pushed else "carried, badly pushed"
        return "pushed, not carried" if pushed else "not carried here"

    def table(self) -> "pd.DataFrame":
        """One row for each layer and number of tokens: nats per token, and share of the gap."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for layer in self.layers:
            for count in self.tokens:
                moved = interval(self._moved(layer, count), self.groups, seed=self.seed)
                row: dict[str, Any] = {"layer": layer, "tokens": count} | moved.columns("nats")
                rows.append(row | self.carried(layer, count).columns("share"))
        return pd.DataFrame(rows)

    def methods(self) -> "pd.DataFrame":
        """One row per method: what it moves beside what is carried at its last layer, verdicts."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for i, (name, layer) in enumerate(zip(self.names, self.method_layers, strict=True)):
            nats = interval(self.pushed[i], self.groups, seed=self.seed)
            for count in self.tokens:
                row: dict[str, Any] = {"method": name, "layer": layer} | nats.columns("nats")
                row |= self.pushed_by(name).columns("share") | {"tokens": count}
                row |= self.carried(layer, count).columns("carried")
                rows.append(row | {"verdict": self.verdict(name, count)})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        """The gap, the layers and the verdicts, on one screen."""
        gap = interval(self.gap, self.groups, seed=self.seed)
        shown = [screenful(self.table(), rows=_ROWS)]
        if self.names:
            first = ["method", "layer", "tokens", "verdict", "share", "carried"]
            ends = [f"{name}{end}" for name in first[-2:] for end in ("_low", "_high")]
            shown.append(
                screenful(self.methods().reindex(columns=[*first, *ends]), rows=_ROWS // 2)
            )
        return "\n".join([f"Interchange: gap {gap} nats per token = 100 %", *shown])

    def figure(self) -> "Figure":
        """Share of the gap against layer, a line for each number of tokens, methods marked."""
        from lens_steer.figures import canvas

        table = self.table()
        with canvas(width=5.6, height=3.4) as (figure, axes):
            for i, count in enumerate(self.tokens):
                part, colour = table[table["tokens"] == count], f"C{i}"
                low, high = 100 * part["share_low"], 100 * part["share_high"]
                axes.fill_between(part["layer"], low, high, color=colour, alpha=0.2, lw=0)
                label = "exchanged: last token" if count == 1 else f"exchanged: last {count} tokens"
                axes.plot(part["layer"], 100 * part["share"], ".-", color=colour, label=label)
            for k, (name, layer) in enumerate(zip(self.names, self.method_layers, strict=True)):
                mean, low, high = (100 * x for x in _ends(self.pushed_by(name)))
                ends = [[mean - low], [high - mean]]
                colour = f"C{len(self.tokens) + k}"
                axes.errorbar([layer], [mean], ends, fmt="D", color=colour, label=name, capsize=2)
            for at in (0, 100):
                axes.axhline(at, color="k", ls=":", lw=0.8)
            counted = f"{len(self.groups)} pairs in {len(set(self.groups))} groups, 95 % intervals"
            axes.set(xlabel="layer", ylabel="moved, % of the gap between the texts")
            axes.legend(title=counted, loc="center left", bbox_to_anchor=(1.0, 0.5))
            axes.xaxis.get_major_locator().set_params(integer=True)
        return figure

    def _moved(self, layer: int, tokens: int) -> Float[Tensor, " pair"]:
        if layer not in self.layers or tokens not in self.tokens:
            raise ValueError(
                f"layer {layer} and {tokens} tokens were not exchanged: expected one of the layers "
                f"{self.layers} and of the numbers of tokens {self.tokens}"
            )
        return self.moved[self.layers.index(layer), self.tokens.index(tokens)]

    def _share(self, moved: Float[Tensor, " pair"]) -> Interval:
        sums = group_sums(moved.numpy(), self.gap.numpy(), self.groups)
        return ratio_interval(*sums, seed=self.seed)

    def _moves(self, share: Interval) -> bool | None:
        if share.mean >= self.least and share.low > 0:
            return True
        little = share.mean < self.least and share.low <= 0
        return False if little or share.high < self.least else None


def _ends(share: Interval) -> tuple[float, float, float]:
    return share.mean, share.low, share.high
