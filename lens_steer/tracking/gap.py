"""What reaches a text's last token through earlier tokens, where those are steered, too."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Seed
from lens_steer.artifacts import savable
from lens_steer.intervals import (
    NAN_INTERVAL,
    Interval,
    Intervals,
    group_sums,
    plot_band,
    ratio_interval,
)
from lens_steer.linearity import FeatureDirections, Texts
from lens_steer.models import SteerableModel, attach, forward, hooked
from lens_steer.reports import Report
from lens_steer.sites import Site
from lens_steer.steering import Intervention, Scope
from lens_steer.tracking.runs import (
    TrackedBatch,
    check_features,
    in_batches,
    in_order,
    stream_sites,
)
from lens_steer.tracking.texts import TrackedTexts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TOLERANCE = 1e-5  # of |z|, in float32: a smaller change of the signal is rounding


@savable
@dataclass(frozen=True, eq=False, repr=False)
class PositionGap(Report):
    """What a regulator made of last-token Jacobians leaves out where all positions are steered.

    Applied everywhere (A-LQR+), a law pushes at other positions as well, and these pushes reach the
    last token through attention, of which its Jacobians know nothing. Values are changes of
    v_k . z_k at the last token by one method, in units of mu_k.

    Attributes:
        everywhere: The change by the method at every position of `scope`.
        replayed: The change by the pushes that the last token then got, replayed at it alone: its
            own path through the residual stream, over unsteered keys and values.
        alone: The change by the method at the last token alone, where feedback answers what it
            finds there.
        groups: The group of each text.
        scope: Where the model is steered in `everywhere`.
        seed: The seed of the intervals.
    """

    everywhere: Float[Tensor, "text layer_and_last"]
    replayed: Float[Tensor, "text layer_and_last"]
    alone: Float[Tensor, "text layer_and_last"]
    groups: tuple[Hashable, ...]
    scope: str
    seed: Seed

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        method: Intervention,
        texts: Texts,
        features: FeatureDirections,
        *,
        scope: Scope = "prompt",
        read: ReadPosition = "last",
        seed: Seed,
    ) -> "PositionGap":
        """Measure how much of what steering all positions does to the last one comes from others.

        The room also calls it `position_gap`.

        Args:
            texts: Texts up to the token that `capture` reads, which is the last; of pairs both
                sides.
            scope: `prompt`, `all`, or positions, which include the last token; see `steered`.
            read: The token that counts as the last, as in `capture`.
            seed: The seed of the intervals.

        Raises:
            ValueError: If the method or features do not fit the model, the scope leaves the last
                token out, or the model is being steered.

        Example:
            >>> gap = ls.tracking.position_gap(model, law, test, features, seed=0)
            >>> gap.share()[-1]  # share of the effect that came through other positions
        """
        check_features(model, features)
        parts: list[tuple[list[int], Tensor]] = []
        attach(model)
        rows = TrackedTexts.of(model, texts, read)
        for numbers, batch in in_batches(model, rows.encoded):
            parts.append((numbers, _changes(batch, method, scope, features)))
        everywhere, replayed, alone = in_order(parts).unbind(dim=1)
        return cls(everywhere, replayed, alone, rows.groups, str(scope), seed)

    def share(self, *, replayed: bool = True) -> Intervals:
        """The share of the effect at every z_k that came through other positions.

        With `direct` the change through the last token's own path and `total` the change everywhere
        it is 1 - sum_i direct_i total_i / sum_i total_i^2 over texts, which is 1 - direct / total
        where the two are in proportion; above 1 where the last token's path works against the
        whole. NaN where nothing changes.

        Args:
            replayed: False compares with the method at the last token alone, whose pushes differ.
        """
        last_token = self.replayed if replayed else self.alone
        layers = zip(last_token.double().T, self.everywhere.double().T, strict=True)
        return Intervals(self._share(direct, total) for direct, total in layers)

    def table(self) -> "pd.DataFrame":
        """A row per z_k: shares, and rms changes in units of mu_k."""
        import pandas as pd

        rows, shares, others = [], self.share(), self.share(replayed=False)
        for k, (share, other) in enumerate(zip(shares, others, strict=True)):
            row = {"layer": k} | share.columns("share") | other.columns("share_alone")
            for name in ("everywhere", "replayed", "alone"):
                row[name] = float(getattr(self, name)[:, k].double().square().mean().sqrt())
            rows.append(row)
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Changes of the feature, and the share that came through other positions."""
        from lens_steer.figures import canvas, whole_numbers

        table, layers = self.table(), range(self.everywhere.shape[1])
        names = {"everywhere": f"scope {self.scope!r}", "replayed": "own pushes replayed"}
        names["alone"] = "last token alone"
        with canvas(1, 2, width=8.0, height=3.5) as (figure, (left, right)):
            for i, (name, label) in enumerate(names.items()):
                left.plot(layers, table[name], "o-", color=f"C{i}", lw=1.2, ms=3, label=label)
            left.set(ylabel="change of $v_k\\cdot z_k$ / $\\mu_k$, rms over texts", ylim=(0, None))
            for i, (name, replayed) in enumerate({"replayed": True, "alone": False}.items(), 1):
                label = f"against: {names[name]}"
                shares = [
                    Interval(100 * x.mean, 100 * x.low, 100 * x.high)
                    for x in self.share(replayed=replayed)
                ]
                plot_band(right, layers, shares, f"C{i}", label)
            right.axhline(0, color="k", lw=0.8, ls=":")
            right.set(ylabel="share through other positions, %")
            for axes in (left, right):
                axes.set(xlabel="k: $z_k$ leaves block k - 1")
                whole_numbers(axes.xaxis)
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
            texts = f"n = {len(self.groups)} texts, {len(set(self.groups))} groups"
            figure.suptitle(f"the last token; {texts}; 95 % intervals", fontsize=8)
        return figure

    def _share(self, direct: Float[Tensor, " text"], total: Float[Tensor, " text"]) -> Interval:
        if not bool(total.isfinite().all() and total.any()):
            return NAN_INTERVAL
        above, below = (total * (total - direct)).numpy(), total.square().numpy()
        numerator, denominator = group_sums(above, below, self.groups)
        return ratio_interval(numerator, denominator, seed=self.seed)


def _changes(
    batch: TrackedBatch, method: Intervention, scope: Scope, features: FeatureDirections
) -> Float[Tensor, "text 3 layer_and_last"]:
    """The changes everywhere, replayed and alone, in units of mu_k."""
    clean = _states(batch, batch.clean(stream_sites(batch.model)))
    before, after = batch.edited(method, scope)
    pushes = {site: after[site] - before[site] for site in method.sites}
    if not any(bool(push.any()) for push in pushes.values()):
        raise ValueError(f"{method!r} does nothing to the last token at scope {scope!r}")
    steered = [_states(batch, after), _replayed(batch, pushes)]
    steered.append(_states(batch, batch.edited(method, "last")[1]))
    changes = torch.stack([states - clean for states in steered], dim=1).double()
    rounding = _TOLERANCE * clean.double().norm(dim=-1)[:, None]
    signals = torch.einsum("tckd,kd->tck", changes, features.directions.double())
    signals = torch.where(changes.norm(dim=-1) > rounding, signals, 0.0)
    return signals / torch.where(features.present, features.sizes.double(), torch.nan)


def _replayed(
    batch: TrackedBatch, pushes: dict[Site, Tensor]
) -> Float[Tensor, "text layer_and_last d"]:
    """The states that follow from known pushes at the last token alone."""
    seen: dict[Site, Tensor] = {}
    fns = {site: partial(_pushed, batch, push) for site, push in pushes.items() if push.any()}
    with (
        torch.no_grad(),
        hooked(batch.model, fns),
        hooked(batch.model, batch.keeping(seen, stream_sites(batch.model))),
    ):
        forward(batch.model, batch.tokens, batch.mask)
    return _states(batch, seen)


def _pushed(batch: TrackedBatch, push: Tensor, x: Tensor) -> Tensor:
    """What a site holds, with a push at the last token of each text."""
    rows = torch.arange(len(batch.columns), device=x.device)
    last = batch.columns[:, 0].to(x.device)
    pushed = x.clone()
    pushed[rows, last] = (x[rows, last].float() + push[:, 0]).to(x.dtype)
    return pushed


def _states(
    batch: TrackedBatch, values: dict[Site, Tensor]
) -> Float[Tensor, "text layer_and_last d"]:
    return torch.stack([values[site][:, 0].cpu() for site in stream_sites(batch.model)], dim=1)
