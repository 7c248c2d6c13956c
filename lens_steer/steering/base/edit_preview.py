"""Making steering visible: which tokens it touches, where, and by how much of what is there."""

from collections.abc import Callable
from dataclasses import dataclass

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
from lens_steer.sites import Site
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.scope import Scope
from lens_steer.steering.base.steered_block import steered


@dataclass(frozen=True, eq=False)
class Preview:
    """One text as the steered model reads it.

    Attributes:
        tokens: The text of each token, as the model is given them: a BOS is the first of them.
        sites: Where something was edited, in the order of the forward pass.
        relative: |edit| / |activation before it|, at each site and token; 0 where nothing was done.
    """

    tokens: tuple[str, ...]
    sites: tuple[Site, ...]
    relative: Float[Tensor, "site pos"]

    def __str__(self) -> str:
        lines = []
        for site, row in zip(self.sites, self.relative, strict=True):
            shown = (
                repr(token)[1:-1] if size == 0 else f"[{repr(token)[1:-1]} {size:.2f}]"
                for token, size in zip(self.tokens, row.tolist(), strict=True)
            )
            lines.append(f"{site.hook_name}: " + "|".join(shown))
        return "\n".join(lines)


def preview(
    model: SteerableModel,
    prompt: Prompt,
    *methods: Intervention,
    continuation: str = "",
    scope: Scope = "last",
) -> Preview:
    """Run a prompt, and a continuation if there is one, and see what steering does to each token.

    Args:
        continuation: Read as generated text; scope `last` then steers it too.

    Raises:
        ValueError: As `steered`.
    """
    row, length = encode_prompt(model, prompt), None
    if continuation:
        found = encode(model, prompt, continuation)
        row, length = list(found.ids), [found.prompt_length]
    tokens, _ = pad(model, [row])
    sites = tuple(sorted({site for method in methods for site in method.sites}))
    before: dict[Site, Tensor] = {}
    after: dict[Site, Tensor] = {}
    attach(model)
    with (  # hooks run in the order they were set: look, steer, look again
        torch.no_grad(),
        hooked(model, {site: _keep(before, site) for site in sites}),
        steered(model, *methods, scope=scope, prompt_lengths=length),
        hooked(model, {site: _keep(after, site) for site in sites}),
    ):
        forward(model, tokens)
    sizes = [_size(after[s] - before[s]) / _size(before[s]).clamp(min=1e-30) for s in sites]
    relative = torch.stack(sizes) if sizes else torch.zeros(0, len(row))
    return Preview(tuple(token_texts(model, row)), sites, relative)


def _keep(found: dict[Site, Tensor], site: Site) -> Callable[[Tensor], None]:
    def keep(x: Tensor) -> None:
        found[site] = x[0].detach().float().cpu()

    return keep


def _size(x: Float[Tensor, "pos *site"]) -> Float[Tensor, " pos"]:
    return x.flatten(1).norm(dim=1)
