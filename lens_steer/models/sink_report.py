"""The attention sinks of some texts, as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models.attachment import attach
from lens_steer.models.attention_sinks import RATIO, norm_ratios, sink_positions
from lens_steer.models.forward_pass import read
from lens_steer.models.prompts import Prompt, as_prompt, render
from lens_steer.models.protocol import SteerableModel
from lens_steer.models.steered_blocks import unsteered
from lens_steer.models.tokens import batches, check_fits, encode_prompt, pad, token_texts
from lens_steer.sites import Site

if TYPE_CHECKING:  # it takes long to import
    import pandas as pd

_TOKEN_BUDGET = 2048
_SHOWN = 20


@dataclass(frozen=True)
class Sink:
    """One token that is a sink.

    Attributes:
        text: Which of the texts it is in, from 0.
        position: Counted from the first token of the text, which is 0.
        token: Its text.
        layer: The first block behind which its activation is over ten times as long as the median
            of its text; None if none is: then it is a sink because it is the first token.
        ratio: The largest of those ratios over the layers.
        dimension: The coordinate that holds most of |activation|^2 where the ratio is largest.
        share: What that coordinate holds of it, 0 to 1.
    """

    text: int
    position: int
    token: str
    layer: int | None
    ratio: float
    dimension: int
    share: float


@dataclass(frozen=True)
class Sinks:
    """The sinks of some texts.

    Attributes:
        found: Text by text, in the order of their positions.
        n_texts: How many texts were read.
        n_tokens: How many tokens they have together.
    """

    found: tuple[Sink, ...]
    n_texts: int
    n_tokens: int

    def table(self) -> "pd.DataFrame":
        """A row per sink, a column per field of `Sink`."""
        import pandas as pd

        return pd.DataFrame([vars(sink) for sink in self.found], columns=list(_FIELDS))

    def __str__(self) -> str:
        large = [sink for sink in self.found if sink.layer is not None]
        lines = [
            f"{len(self.found)} of {self.n_tokens} tokens in {self.n_texts} texts are sinks, "
            f"{len(large)} of them over {RATIO:g} times as long as the median of their text"
        ]
        for s in self.found[:_SHOWN]:
            since = "first token" if s.layer is None else f"from block {s.layer} on"
            lines.append(
                f"text {s.text}, position {s.position}, {s.token!r}: {since}, up to {s.ratio:.1f} "
                f"x the median, {s.share:.0%} in dimension {s.dimension}"
            )
        if len(self.found) > _SHOWN:
            lines.append(f"... {len(self.found) - _SHOWN} more, see table()")
        return "\n".join(lines)

    __repr__ = __str__


_FIELDS = tuple(Sink.__annotations__)


def sinks(model: SteerableModel, texts: Sequence[Prompt | Sequence[Any]]) -> Sinks:
    """List the attention sinks of some texts: what scopes and means leave out by default.

    The first token of each text is one, and every token whose residual stream is over ten times as
    long as the median of its text behind one block or more (`models.sink_positions`).

    Args:
        texts: Texts, or chats (lists of messages), as `generate` takes them.

    Raises:
        ValueError: If there are no texts, one has no token or does not fit the context.

    Example:
        >>> print(ls.sinks(model, ["The film was long.", "Once upon a time"]))
    """
    parsed = [as_prompt(text) for text in texts]
    rows = [encode_prompt(model, text) for text in parsed]
    if not rows or not all(rows):
        raise ValueError(f"got {len(rows)} texts: expected at least one, each with a token")
    for text, row in zip(parsed, rows, strict=True):
        check_fits(model, len(row), render(model, text))
    attach(model)
    found: list[Sink] = []
    for batch in batches([len(row) for row in rows], _TOKEN_BUDGET):
        found += _of_batch(model, [rows[i] for i in batch], batch)
    ordered = sorted(found, key=lambda sink: (sink.text, sink.position))
    return Sinks(tuple(ordered), len(rows), sum(map(len, rows)))


def _of_batch(model: Any, rows: Sequence[Sequence[int]], numbers: Sequence[int]) -> list[Sink]:
    tokens, mask = pad(model, rows)
    sites = [Site(layer) for layer in range(model.cfg.n_layers)]
    with unsteered(model), torch.no_grad():
        held = read(model, tokens, mask, dict.fromkeys(sites, _summary))
    norms, places, shares = torch.stack([held[site].cpu() for site in sites], dim=2).unbind(dim=3)
    mask = mask.cpu()
    ratios = norm_ratios(norms, mask)
    found = []
    for row, position in sink_positions(norms, mask).nonzero().tolist():
        by_layer = ratios[row, position]
        over, most = (by_layer > RATIO).nonzero()[:, 0].tolist(), int(by_layer.argmax())
        found.append(
            Sink(
                numbers[row],
                position,
                token_texts(model, rows[row])[position],
                over[0] if over else None,
                float(by_layer[most]),
                int(places[row, position, most]),
                float(shares[row, position, most]),
            )
        )
    return found


def _summary(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos 3"]:
    """Of each token: the norm, the largest coordinate, and its share of the norm's square."""
    wide = x.detach().float()
    squares = wide.square()
    most, place = squares.max(dim=2)
    total = squares.sum(dim=2)
    return torch.stack([total.sqrt(), place.float(), most / total], dim=2)
