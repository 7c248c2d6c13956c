"""Making steering visible: which tokens it edits, at which sites, and how much."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models import (
    Prompt,
    SteerableModel,
    attach,
    encode,
    encode_prompt,
    forward,
    hooked,
    pad,
    token_texts,
)
from lens_steer.reports import WIDTH, short_repr, shortened_in_the_middle
from lens_steer.sites import Site
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.scope import Scope
from lens_steer.steering.base.steered_block import steered

_SITES, _LINES = 8, 18  # that are printed


@dataclass(frozen=True, eq=False)
class Preview:
    """One text as the steered model reads it.

    Attributes:
        tokens: The text of each token that the model is given, a BOS included.
        sites: Where the methods edit, in the order of the forward pass.
        relative: |edit| / |activation before it|, at each site and token; 0 where nothing was
            edited.
    """

    tokens: tuple[str, ...]
    sites: tuple[Site, ...]
    relative: Float[Tensor, "site pos"]

    __repr__ = short_repr

    def __str__(self) -> str:
        """A line for each site; of many sites the first and the last, of long lines both ends."""
        lines = []
        for site, row in zip(self.sites, self.relative, strict=True):
            cells = (
                repr(token)[1:-1] if size == 0 else f"[{repr(token)[1:-1]} {size:.2f}]"
                for token, size in zip(self.tokens, row.tolist(), strict=True)
            )
            lines.append(f"{site.hook_name}: " + "|".join(cells))
        if len(lines) > _SITES:
            left_out = f"... {len(lines) - _SITES} more sites"
            lines = [*lines[: _SITES // 2], left_out, *lines[-_SITES // 2 :]]
        width = _LINES * WIDTH // max(1, len(lines))
        return "\n".join(shortened_in_the_middle(line, width) for line in lines)


def preview(
    model: SteerableModel,
    prompt: Prompt,
    *methods: Intervention,
    continuation: str = "",
    scope: Scope = "last",
    sink: bool = False,
) -> Preview:
    """Run a prompt, with a continuation if one is given, and see what steering does to each token.

    Args:
        continuation: Read as generated text; scope `last` then steers it too.
        scope: See `steered`.
        sink: See `steered`.

    Raises:
        ValueError: As `steered`.

    Example:
        >>> print(ls.preview(model, "The film was", method, continuation=" a joy"))
    """
    row, length = encode_prompt(model, prompt), None
    if continuation:
        encoded = encode(model, prompt, continuation)
        row, length = list(encoded.ids), [encoded.prompt_length]
    tokens, _ = pad(model, [row])
    sites = tuple(sorted({site for method in methods for site in method.sites}))
    before: dict[Site, Tensor] = {}
    after: dict[Site, Tensor] = {}
    attach(model)
    # Hooks run in the order in which they were set: read, steer, read again.
    with (
        torch.no_grad(),
        hooked(model, {site: partial(_keep, before, site) for site in sites}),
        steered(model, *methods, scope=scope, sink=sink, prompt_lengths=length),
        hooked(model, {site: partial(_keep, after, site) for site in sites}),
    ):
        forward(model, tokens)
    sizes = [_size(after[s] - before[s]) / _size(before[s]).clamp(min=1e-30) for s in sites]
    relative = torch.stack(sizes) if sizes else torch.zeros(0, len(row))
    return Preview(tuple(token_texts(model, row)), sites, relative)


def _keep(values: dict[Site, Tensor], site: Site, x: Tensor) -> None:
    values[site] = x[0].detach().float().cpu()


def _size(x: Float[Tensor, "pos *site"]) -> Float[Tensor, " pos"]:
    return x.flatten(1).norm(dim=1)
