"""Texts run twice, steered and not: the residual stream, and what was pushed behind each block."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.models import (
    Encoded,
    SteerableModel,
    batches,
    forward,
    hooked,
    open_blocks,
    pad,
    read,
    residual_edit,
)
from lens_steer.sites import Kind, Site
from lens_steer.steering import Intervention, Scope, steered

_TOKENS = 2048  # of a batch
_Look = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class CleanAndSteeredRun:
    """Some texts from the token on at which steering begins; float32, on the CPU.

    NaN after a text's end.

    Attributes:
        clean: z_0 enters block 0, z_{l+1} leaves block l.
        steered: The same while steering, pushes included.
        pushes: What edits of block l write to the stream, before any later part of it sees them.
    """

    clean: Float[Tensor, "text offset layer_and_last d"]
    steered: Float[Tensor, "text offset layer_and_last d"]
    pushes: Float[Tensor, "text offset layer d"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts padded on the right, and where they are looked at.

    Attributes:
        lengths: Tokens up to the one at which steering begins, that one included.
        columns: The position of each offset, a text's last one after its end.
        there: Whether the text has that offset.
    """

    model: SteerableModel
    tokens: Tokens
    mask: Mask
    lengths: tuple[int, ...]
    columns: Int[Tensor, "text offset"]
    there: Tensor

    @classmethod
    def of(cls, model: SteerableModel, rows: Sequence[Encoded], offsets: int) -> "Batch":
        """Offset 0 is the token at which steering begins."""
        tokens, mask = pad(model, [row.ids for row in rows])
        lengths = tuple(row.prompt_length for row in rows)
        wanted = torch.tensor(lengths)[:, None] - 1 + torch.arange(offsets)
        ends = torch.tensor([len(row.ids) for row in rows])[:, None] - 1
        return cls(model, tokens, mask, lengths, wanted.minimum(ends), wanted <= ends)

    def passage(self, method: Intervention, scope: Scope) -> CleanAndSteeredRun:
        """Both runs."""
        clean = self._stacked(self.clean(stream(self.model)))
        before, after = self.edited(method, scope)
        states = self._stacked({site: after[site] for site in stream(self.model)})
        return CleanAndSteeredRun(clean, states, self._known(self._pushes(method, before, after)))

    def clean(self, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """What sites hold without steering."""
        return read(self.model, self.tokens, self.mask, dict.fromkeys(sites, self.gather))

    def edited(
        self, method: Intervention, scope: Scope
    ) -> tuple[dict[Site, Tensor], dict[Site, Tensor]]:
        """Before the edits at the method's sites; behind them there and along the stream."""
        before: dict[Site, Tensor] = {}
        after: dict[Site, Tensor] = {}
        steering = steered(self.model, method, scope=scope, prompt_lengths=self.lengths)
        with torch.no_grad(), ExitStack() as stack:  # hooks run in the order they were set
            stack.enter_context(hooked(self.model, self.keep(before, method.sites)))
            stack.enter_context(steering)
            seen = sorted({*method.sites, *stream(self.model)})
            stack.enter_context(hooked(self.model, self.keep(after, seen)))
            forward(self.model, self.tokens, self.mask)
        return before, after

    def gather(self, x: Tensor) -> Tensor:
        """`[text offset *site]` of what a site holds."""
        rows = torch.arange(len(self.columns))[:, None]
        return x[rows.to(x.device), self.columns.to(x.device)].detach().float()

    def keep(
        self, found: dict[Site, Tensor], sites: Sequence[Site]
    ) -> dict[Site, Callable[[Tensor], None]]:
        """Hooks that gather what sites hold."""

        def keeper(site: Site) -> Callable[[Tensor], None]:
            def keep(x: Tensor) -> None:
                found[site] = self.gather(x)

            return keep

        return {site: keeper(site) for site in sites}

    def _pushes(
        self, method: Intervention, before: dict[Site, Tensor], after: dict[Site, Tensor]
    ) -> Float[Tensor, "text offset layer d"]:
        n, d = self.model.cfg.n_layers, self.model.cfg.d_model
        found = [torch.zeros(*self.columns.shape, d) for _ in range(n)]
        for site in method.sites:
            pair = (x[site].flatten(0, 1) for x in (before, after))
            push = residual_edit(self.model, site, *pair).cpu().unflatten(0, self.columns.shape)
            if site.kind is Kind.RESID_PRE:
                _check_unedited(site, push)
            found[site.layer] = found[site.layer] + push
        return torch.stack(found, dim=2)

    def _stacked(self, found: dict[Site, Tensor]) -> Float[Tensor, "text offset layer_and_last d"]:
        states = [found[site].cpu() for site in stream(self.model)]
        return self._known(torch.stack(states, dim=2))

    def _known(self, x: Float[Tensor, "text offset _ d"]) -> Float[Tensor, "text offset _ d"]:
        return torch.where(self.there[:, :, None, None], x, torch.nan)


def stream(model: SteerableModel) -> tuple[Site, ...]:
    """Where z_0 ... z_T are read."""
    return (Site(0, Kind.RESID_PRE), *(Site(layer) for layer in range(model.cfg.n_layers)))


def in_batches(model: SteerableModel, rows: Sequence[Encoded]) -> Iterator[tuple[list[int], Batch]]:
    """Texts of similar lengths together, and their numbers; the model's lock is the caller's.

    Raises:
        ValueError: If the model is being steered.
    """
    if open_blocks(model):
        raise ValueError("the model is being steered: track it outside the block")
    offsets = max(len(row.ids) - row.prompt_length + 1 for row in rows)
    for batch in batches([len(row.ids) for row in rows], _TOKENS):
        yield batch, Batch.of(model, [rows[i] for i in batch], offsets)


def in_order(parts: Sequence[tuple[Sequence[int], Tensor]]) -> Tensor:
    """Batches put together, rows in the order of their numbers."""
    order = torch.tensor([i for numbers, _ in parts for i in numbers])
    return torch.cat([x for _, x in parts])[order.argsort()]


def _check_unedited(site: Site, push: Tensor) -> None:
    if bool(push.any()):
        raise ValueError(
            f"the method edits {site.hook_name}, what enters a block: expected pushes behind blocks"
        )
