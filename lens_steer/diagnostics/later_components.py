"""The report of `edit_attribution`: which later heads and MLPs carry an edit's effect to m.

The measure is m = log p(desired) - log p(undesired), nats per token of given continuations, in each
pair. Components overlap: what an early head does through a later MLP is in the effect of both. The
direct effects do not, because the last residual stream is a sum: the edit itself and what every
component writes. Their sum is the whole first-order change, which `explained` compares with the
measured one. For the components with the largest effects the steered output is also put into the
clean run and the change of m measured (`check`).

Source: Nanda 2023, "Attribution patching"; Syed et al. 2023 (arXiv:2310.10348); for direct effects
Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.intervals import (
    NAN_INTERVAL,
    Interval,
    group_sums,
    interval,
    interval_of_each,
    ratio_interval,
)
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_APART = 0.08  # of the axis: nearer to each other names would touch


@savable
@dataclass(frozen=True, eq=False, repr=False)
class EditAttribution(Report):
    """By which heads and MLPs an edit changes m; all values in nats per token, float64.

    Attributes:
        method: The method, as it prints itself.
        effects: To first order, what each component's change does to m through all that comes after
            it: the heads of each layer, then its MLP. 0 before the edit.
        direct: The same through the final norm and the unembedding alone.
        path: The direct effect of what the edit itself writes to the residual stream. In models
            with a norm behind attention (Gemma 2 and 3) it also holds what a first-order split of
            that norm between heads leaves over.
        totals: The measured change of m.
        checked: The components that were patched, in order of their effects; layers and components
            flattened.
        patched: What m changes when a component's steered output is put into the clean run.
        groups: The group of each pair, for intervals.
        seed: The seed of the intervals.
    """

    method: str
    effects: Float[Tensor, "pair layer component"]
    direct: Float[Tensor, "pair layer component"]
    path: Float[Tensor, " pair"]
    totals: Float[Tensor, " pair"]
    checked: tuple[int, ...]
    patched: Float[Tensor, "checked pair"]
    groups: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        if len(self.groups) != len(self.totals) or len(self.checked) != len(self.patched):
            raise ValueError(
                f"got {len(self.totals)} pairs with {len(self.groups)} groups and "
                f"{len(self.patched)} patches of {len(self.checked)} components, expected as many"
            )

    @property
    def total(self) -> Interval:
        """The measured change of m, mean over pairs."""
        return interval(self.totals, self.groups, seed=self.seed)

    @property
    def explained(self) -> Interval:
        """The direct effects of the edit and of all components, over the measured change.

        1 where the edit's effect is linear in the last residual stream; far from 1 the first order
        does not describe an edit of this strength. NaN where nothing changes.
        """
        whole = self.path + self.direct.sum(dim=(1, 2))
        if not bool(self.totals.sum()):
            return NAN_INTERVAL
        sums = group_sums(whole.numpy(), self.totals.numpy(), self.groups)
        return ratio_interval(*sums, seed=self.seed)

    @property
    def check(self) -> dict[str, float | int]:
        """How first-order effects agree with patches, over the checked components' means.

        Returns:
            `components`, how many; `correlation` (Pearson; NaN with fewer than 3 or where all are
            alike); `sign_agreement`, a share (NaN without any); `slope` of patches on effects,
            through the origin.
        """
        first, exact = self._effect_of_checked().numpy(), self.patched.mean(dim=1).numpy()
        varied = len(first) > 2 and np.ptp(first) > 0 and np.ptp(exact) > 0
        found = float(np.corrcoef(first, exact)[0, 1]) if varied else float("nan")
        same, squares = np.sign(first) == np.sign(exact), float(first @ first)
        return {
            "components": len(first),
            "correlation": found,
            "sign_agreement": float(same.mean()) if len(first) else float("nan"),
            "slope": float(first @ exact) / squares if squares else float("nan"),
        }

    def name_of(self, component: int) -> str:
        """What a component is called, such as `L3 head 2` or `L3 MLP`."""
        layer, i = divmod(component, self.effects.shape[2])
        return f"L{layer} MLP" if i == self.effects.shape[2] - 1 else f"L{layer} head {i}"

    def table(self) -> "pd.DataFrame":
        """The direct path first, then every component by the size of its effect; nats per token."""
        import pandas as pd

        effects, direct = self.effects.flatten(1).T, self.direct.flatten(1).T
        quantities = [self.path, *effects, *direct, *self.patched]
        found = interval_of_each(quantities, self.groups, seed=self.seed)
        n, patched = (
            len(effects),
            dict(zip(self.checked, found[1 + 2 * len(effects) :], strict=True)),
        )
        rows: list[dict[str, Any]] = []
        for i in effects.mean(dim=1).abs().argsort(descending=True, stable=True).tolist():
            row: dict[str, Any] = {
                "component": self.name_of(i),
                "layer": i // self.effects.shape[2],
            }
            row |= found[1 + i].columns("effect") | found[1 + n + i].columns("direct")
            rows.append(row | patched.get(i, NAN_INTERVAL).columns("patched"))
        first: dict[str, Any] = {"component": "direct path of the edit", "layer": -1}
        first |= NAN_INTERVAL.columns("effect") | found[0].columns("direct")
        return pd.DataFrame([first | NAN_INTERVAL.columns("patched"), *rows])

    def __repr__(self) -> str:
        """The change, what the first order explains, the check, and the first components."""
        columns = ["component", "effect", "effect_low", "effect_high", "direct", "patched"]
        rows = self.table().head(11).reindex(columns=columns)
        shown = rows.to_string(index=False, float_format=lambda x: f"{x:.4g}")
        return f"EditAttribution: {self.method}\n{self._summary()}\n{shown}"

    def figure(self) -> "Figure":
        """Effects as a map of layers and heads with a column for MLPs, and the check beside it."""
        from lens_steer.figures import canvas

        _, layers, columns = self.effects.shape
        wide, high = 2.4 + 0.3 * (columns + 1), max(3.2, 1.2 + 0.17 * layers)
        options: dict[str, Any] = {"gridspec_kw": {"width_ratios": [wide, 4.0]}}
        with canvas(1, 2, width=wide + 4.4, height=high, **options) as (figure, (left, right)):
            self._map(figure, left)
            self._scatter(right)
            figure.suptitle(self._summary(), fontsize=9)
        return figure

    def _map(self, figure: "Figure", axes: Any) -> None:
        from lens_steer.figures import name_layers

        mean = self.effects.mean(dim=0)
        gap = torch.full_like(mean[:, :1], torch.nan)  # between the heads and the MLPs
        drawn = torch.cat([mean[:, :-1], gap, mean[:, -1:]], dim=1).numpy()
        bound, heads = float(mean.abs().max()) or 1.0, mean.shape[1] - 1
        colours: dict[str, Any] = {"cmap": "PuOr_r", "vmin": -bound, "vmax": bound}
        image = axes.imshow(drawn, aspect="auto", origin="lower", **colours)
        step = 1 if heads <= 12 else heads // 8
        marks = list(range(0, heads, step))
        axes.set_xticks([*marks, heads + 1], [*map(str, marks), "MLP"])
        name_layers(axes.yaxis, list(map(str, range(len(mean)))))
        axes.set(xlabel="head", ylabel="layer")
        figure.colorbar(image, ax=axes, label="first-order effect on m,\nnats per token")

    def _scatter(self, axes: Any) -> None:
        first, exact = self._effect_of_checked().numpy(), self.patched.mean(dim=1).numpy()
        ends = [min(0.0, *first, *exact), max(0.0, *first, *exact)]
        axes.plot(ends, ends, color="0.6", lw=0.8)
        axes.plot(first, exact, "o", color="C0")
        named: list[float] = []  # heights at which a name stands
        for i, x, y in list(zip(self.checked, first, exact, strict=True))[:3]:
            if any(abs(y - other) < _APART * (ends[1] - ends[0]) for other in named):
                continue
            named.append(y)
            left = x > sum(ends) / 2  # names are written towards the middle
            place: dict[str, Any] = {"ha": "right" if left else "left", "fontsize": 7}
            offset = (-5, 4) if left else (5, -9)  # off the diagonal, on either side
            axes.annotate(self.name_of(i), (x, y), offset, textcoords="offset points", **place)
        axes.set(xlabel="first-order effect, nats per token")
        axes.set(ylabel="patched into the clean run,\nnats per token")
        axes.set_title(f"{len(first)} components checked; grey: equal")

    def _effect_of_checked(self) -> Float[Tensor, " checked"]:
        return self.effects.mean(dim=0).flatten()[list(self.checked)]

    def _summary(self) -> str:
        check, pairs = self.check, len(self.groups)
        return (
            f"m changes by {self.total} nats per token ({pairs} pairs in {len(set(self.groups))} "
            f"groups);\ndirect effects explain {self.explained}; effects against patches of "
            f"{check['components']}: r = {check['correlation']:.2f}, "
            f"same sign {check['sign_agreement']:.0%}"
        )
