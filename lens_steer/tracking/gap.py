"""What reaches a text's last token through the tokens before it, where those are steered, too."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import ReadPosition
from lens_steer.intervals import NAN_INTERVAL, Interval, group_sums, plot_band, ratio_interval
from lens_steer.linearity import FeatureDirections, Texts
from lens_steer.models import SteerableModel, attach, forward, hooked
from lens_steer.sites import Site
from lens_steer.steering import Intervention, Scope
from lens_steer.tracking.passages import Batch, in_batches, in_order, stream
from lens_steer.tracking.recording import check_features
from lens_steer.tracking.texts import TrackedTexts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TOLERANCE = 1e-5  # of |z|, in float32: a smaller change of the signal is rounding


@dataclass(frozen=True, eq=False)
class PositionGap:
    """Changes of v_k . z_k at the last token by one method, in units of mu_k.

    A regulator made of last-token Jacobians knows nothing of what pushes at other positions do to
    the last one through attention; applied everywhere (A-LQR+) it leaves that out.

    Attributes:
        everywhere: The method at every position of `scope`.
        replayed: The pushes that the last token then got, there alone: its own path through the
            residual stream, over unsteered keys and values.
        alone: The method at the last token alone, where feedback answers what it finds there.
        groups: Of the texts.
        scope: Where it is steered in `everywhere`.
        seed: Of the intervals.
    """

    everywhere: Float[Tensor, "text layer_and_last"]
    replayed: Float[Tensor, "text layer_and_last"]
    alone: Float[Tensor, "text layer_and_last"]
    groups: tuple[Hashable, ...]
    scope: str
    seed: int

    def share(self, *, replayed: bool = True) -> list[Interval]:
        """The share of the effect at every z_k that came through other positions.

        1 - sum_i own_i all_i / sum_i all_i^2 over texts, which is 1 - own / all where these are in
        proportion; above 1 where the own path works against the whole. NaN where nothing changes.

        Args:
            replayed: False compares with the method at the last token alone, whose pushes differ.
        """
        own = self.replayed if replayed else self.alone
        pairs = zip(own.double().T, self.everywhere.double().T, strict=True)
        return [self._share(some, every) for some, every in pairs]

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
        from lens_steer.figures import canvas

        table, layers = self.table(), range(self.everywhere.shape[1])
        names = {"everywhere": f"scope {self.scope!r}", "replayed": "own pushes replayed"}
        names["alone"] = "last token alone"
        with canvas(1, 2, width=8.0, height=3.5) as (figure, (left, right)):
            for i, (name, label) in enumerate(names.items()):
                left.plot(layers, table[name], "o-", color=f"C{i}", lw=1.2, ms=3, label=label)
            left.set(ylabel="change of $v_k\\cdot z_k$ / $\\mu_k$, rms over texts", ylim=(0, None))
            left.legend()
            for i, (name, replayed) in enumerate({"replayed": True, "alone": False}.items(), 1):
                label = f"against: {names[name]}"
                found = [Interval(*(100 * x for x in ends)) for ends in self._ends(replayed)]
                plot_band(right, layers, found, f"C{i}", label)
            right.axhline(0, color="k", lw=0.8, ls=":")
            right.set(ylabel="share through other positions, %")
            right.legend()
            for axes in (left, right):
                axes.set(xlabel="k: $z_k$ leaves block k - 1")
                axes.xaxis.get_major_locator().set_params(integer=True)
            texts = f"n = {len(self.groups)} texts, {len(set(self.groups))} groups"
            figure.suptitle(f"the last token; {texts}; 95 % intervals", fontsize=8)
        return figure

    def _ends(self, replayed: bool) -> list[tuple[float, float, float]]:
        return [(x.mean, x.low, x.high) for x in self.share(replayed=replayed)]

    def _share(self, own: Float[Tensor, " text"], every: Float[Tensor, " text"]) -> Interval:
        if not bool(every.isfinite().all() and every.any()):
            return NAN_INTERVAL
        above, below = (every * (every - own)).numpy(), every.square().numpy()
        return ratio_interval(*group_sums(above, below, self.groups), seed=self.seed)


def position_gap(  # noqa: PLR0913 - each is a knob of its own
    model: SteerableModel,
    method: Intervention,
    texts: Texts,
    features: FeatureDirections,
    *,
    scope: Scope = "prompt",
    read: ReadPosition = "last",
    seed: int,
) -> PositionGap:
    """How much of what steering all positions does to the last one comes from the others.

    Args:
        texts: Up to the token that `capture` reads, which is the last; of pairs both sides.
        scope: `prompt` (all but the beginning-of-sequence token), `all`, or positions; the last
            token is to be among them.
        seed: Of the intervals.

    Raises:
        ValueError: If the method or features do not fit the model, the scope leaves the last token
            out, or the model is being steered.
    """
    check_features(model, features)
    parts: list[tuple[list[int], Tensor]] = []
    attach(model)
    rows = TrackedTexts.of(model, texts, read)
    for batch, part in in_batches(model, rows.encoded):
        parts.append((batch, _changes(part, method, scope, features)))
    every, replayed, alone = in_order(parts).unbind(dim=1)
    return PositionGap(every, replayed, alone, rows.groups, str(scope), seed)


def _changes(
    part: Batch, method: Intervention, scope: Scope, features: FeatureDirections
) -> Float[Tensor, "text 3 layer_and_last"]:
    """Everywhere, replayed, alone."""
    clean = _states(part, part.clean(stream(part.model)))
    before, after = part.edited(method, scope)
    pushes = {site: after[site] - before[site] for site in method.sites}
    if not any(bool(push.any()) for push in pushes.values()):
        raise ValueError(f"{method!r} does nothing to the last token at scope {scope!r}")
    found = [_states(part, after), _replayed(part, pushes)]
    found.append(_states(part, part.edited(method, "last")[1]))
    changes = torch.stack([states - clean for states in found], dim=1).double()
    rounding = _TOLERANCE * clean.double().norm(dim=-1)[:, None]
    signals = torch.einsum("tckd,kd->tck", changes, features.directions.double())
    signals = torch.where(changes.norm(dim=-1) > rounding, signals, 0.0)
    return signals / torch.where(features.present, features.sizes.double(), torch.nan)


def _replayed(part: Batch, pushes: dict[Site, Tensor]) -> Float[Tensor, "text layer_and_last d"]:
    """Known pushes at the last token alone."""
    rows, columns = torch.arange(len(part.columns)), part.columns[:, 0]
    seen: dict[Site, Tensor] = {}

    def adding(site: Site) -> Callable[[Tensor], Tensor]:
        def add(x: Tensor) -> Tensor:
            pushed = x.clone()
            own = (rows.to(x.device), columns.to(x.device))
            pushed[own] = (x[own].float() + pushes[site][:, 0]).to(x.dtype)
            return pushed

        return add

    with (
        torch.no_grad(),
        hooked(part.model, {site: adding(site) for site in pushes if bool(pushes[site].any())}),
        hooked(part.model, part.keep(seen, stream(part.model))),
    ):
        forward(part.model, part.tokens, part.mask)
    return _states(part, seen)


def _states(part: Batch, found: dict[Site, Tensor]) -> Float[Tensor, "text layer_and_last d"]:
    return torch.stack([found[site][:, 0].cpu() for site in stream(part.model)], dim=1)
