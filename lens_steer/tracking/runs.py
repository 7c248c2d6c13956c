"""Texts run twice, steered and not: the residual stream, and what was pushed behind each block."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.linearity import FeatureDirections
from lens_steer.models import (
    Encoded,
    SteerableModel,
    batches,
    check_unsteered,
    forward,
    hooked,
    pad,
    read,
    residual_edit,
)
from lens_steer.sites import Kind, Site
from lens_steer.steering import Intervention, Scope, steered

_BATCH_TOKENS = 2048


@dataclass(frozen=True, eq=False)
class CleanAndSteeredRun:
    """Some texts from the token on at which steering begins; float32, on the CPU.

    Values are NaN after a text's end.

    Attributes:
        clean: The unsteered states: z_0 enters block 0, z_{l+1} leaves block l.
        steered: The steered states, pushes included.
        pushes: What edits of block l write to the stream, before any later part of it sees them.
    """

    clean: Float[Tensor, "text offset layer_and_last d"]
    steered: Float[Tensor, "text offset layer_and_last d"]
    pushes: Float[Tensor, "text offset layer d"]

    def signals(
        self, features: FeatureDirections
    ) -> tuple[
        Float[Tensor, "text offset layer_and_last"], Float[Tensor, "text offset layer_and_last"]
    ]:
        """v_k . z_k without steering and with it, float64."""
        v = features.directions.double()
        clean, steered = (
            torch.einsum("tokd,kd->tok", z.double(), v) for z in (self.clean, self.steered)
        )
        return clean, steered

    @property
    def energy(self) -> Float[Tensor, "text offset layer"]:
        """|u_l|^2 / |z_{l+1}|^2, the push against what leaves the block unsteered; float64."""
        length = self.clean[:, :, 1:].double().square().sum(dim=-1)
        return self.pushes.double().square().sum(dim=-1) / length


@dataclass(frozen=True, eq=False)
class TrackedBatch:
    """Texts padded on the right, and the positions at which they are followed.

    Attributes:
        model: The model that runs them.
        tokens: The tokens of the texts.
        mask: Which tokens are real.
        lengths: The number of tokens up to and including the one at which steering begins.
        columns: The position of each offset; a text's last position after its end.
        reached: Whether the text has that offset.
    """

    model: SteerableModel
    tokens: Tokens
    mask: Mask
    lengths: tuple[int, ...]
    columns: Int[Tensor, "text offset"]
    reached: Bool[Tensor, "text offset"]

    @classmethod
    def of(cls, model: SteerableModel, rows: Sequence[Encoded], offsets: int) -> "TrackedBatch":
        """A batch whose offset 0 is the token at which steering begins."""
        tokens, mask = pad(model, [row.ids for row in rows])
        lengths = tuple(row.prompt_length for row in rows)
        wanted = torch.tensor(lengths)[:, None] - 1 + torch.arange(offsets)
        ends = torch.tensor([len(row.ids) for row in rows])[:, None] - 1
        return cls(model, tokens, mask, lengths, wanted.minimum(ends), wanted <= ends)

    def run(self, method: Intervention, scope: Scope) -> CleanAndSteeredRun:
        """Run the texts without steering and with it."""
        clean = self._states(self.clean(stream_sites(self.model)))
        before, after = self.edited(method, scope)
        pushes = self._until_end(self._pushes(method, before, after))
        return CleanAndSteeredRun(clean, self._states(after), pushes)

    def clean(self, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """What sites hold without steering."""
        return read(self.model, self.tokens, self.mask, dict.fromkeys(sites, self.gather))

    def edited(
        self, method: Intervention, scope: Scope
    ) -> tuple[dict[Site, Tensor], dict[Site, Tensor]]:
        """What the method's sites hold before its edits; what they and the stream hold behind."""
        before: dict[Site, Tensor] = {}
        after: dict[Site, Tensor] = {}
        steering = steered(self.model, method, scope=scope, prompt_lengths=self.lengths)
        with torch.no_grad(), ExitStack() as stack:  # hooks run in the order they were set
            stack.enter_context(hooked(self.model, self.keeping(before, method.sites)))
            stack.enter_context(steering)
            sites = sorted({*method.sites, *stream_sites(self.model)})
            stack.enter_context(hooked(self.model, self.keeping(after, sites)))
            forward(self.model, self.tokens, self.mask)
        return before, after

    def gather(self, x: Tensor) -> Tensor:
        """`[text offset *site]`: what a site holds at the positions that are followed."""
        rows = torch.arange(len(self.columns))[:, None]
        return x[rows.to(x.device), self.columns.to(x.device)].detach().float()

    def keeping(
        self, values: dict[Site, Tensor], sites: Sequence[Site]
    ) -> dict[Site, Callable[[Tensor], None]]:
        """Hooks that gather into `values` what sites hold."""
        return {site: partial(self._keep, values, site) for site in sites}

    def _keep(self, values: dict[Site, Tensor], site: Site, x: Tensor) -> None:
        values[site] = self.gather(x)

    def _pushes(
        self, method: Intervention, before: dict[Site, Tensor], after: dict[Site, Tensor]
    ) -> Float[Tensor, "text offset layer d"]:
        n, d = self.model.cfg.n_layers, self.model.cfg.d_model
        pushes = [torch.zeros(*self.columns.shape, d) for _ in range(n)]
        for site in method.sites:
            old, new = (x[site].flatten(0, 1) for x in (before, after))
            push = residual_edit(self.model, site, old, new).cpu().unflatten(0, self.columns.shape)
            if site.kind is Kind.RESID_PRE:
                _check_unedited(site, push)
            pushes[site.layer] = pushes[site.layer] + push
        return torch.stack(pushes, dim=2)

    def _states(self, values: dict[Site, Tensor]) -> Float[Tensor, "text offset layer_and_last d"]:
        states = [values[site].cpu() for site in stream_sites(self.model)]
        return self._until_end(torch.stack(states, dim=2))

    def _until_end(self, x: Float[Tensor, "text offset _ d"]) -> Float[Tensor, "text offset _ d"]:
        return torch.where(self.reached[:, :, None, None], x, torch.nan)


def stream_sites(model: SteerableModel) -> tuple[Site, ...]:
    """The sites of z_0 ... z_T, the residual stream before the first block and after each block."""
    return (Site(0, Kind.RESID_PRE), *(Site(layer) for layer in range(model.cfg.n_layers)))


def in_batches(
    model: SteerableModel, rows: Sequence[Encoded]
) -> Iterator[tuple[list[int], TrackedBatch]]:
    """Batches of texts of similar lengths, each with the numbers of its texts.

    The caller has attached the model.

    Raises:
        ValueError: If the model is being steered.
    """
    check_unsteered(model, "track it")
    offsets = max(len(row.ids) - row.prompt_length + 1 for row in rows)
    for numbers in batches([len(row.ids) for row in rows], _BATCH_TOKENS):
        yield numbers, TrackedBatch.of(model, [rows[i] for i in numbers], offsets)


def in_order(parts: Sequence[tuple[Sequence[int], Tensor]]) -> Tensor:
    """The rows of all batches, in the order of their numbers."""
    order = torch.tensor([i for numbers, _ in parts for i in numbers])
    return torch.cat([x for _, x in parts])[order.argsort()]


def check_setpoints(
    features: FeatureDirections, setpoints: Float[Tensor, " layer_and_last"]
) -> None:
    """Raise a ValueError if there is not a finite set-point for each state."""
    if setpoints.shape != features.sizes.shape or not bool(setpoints.isfinite().all()):
        raise ValueError(f"set-points {setpoints}: expected {len(features.sizes)} finite numbers")


def check_features(model: SteerableModel, features: FeatureDirections) -> None:
    """Raise a ValueError if features have another number of layers than the model, or width."""
    expected, got = (model.cfg.n_layers + 1, model.cfg.d_model), tuple(features.directions.shape)
    if got != expected:
        raise ValueError(f"features of shape {got}, but the model's states are {expected}")


def _check_unedited(site: Site, push: Tensor) -> None:
    if bool(push.any()):
        raise ValueError(
            f"the method edits {site.hook_name}, what enters a block: expected pushes behind blocks"
        )
