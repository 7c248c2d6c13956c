"""The log-probability of continuations as a function of the logits, gradients included."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Tokens
from lens_steer.data import ContrastivePairs
from lens_steer.models import Encoded, SteerableModel, encode
from lens_steer.sites import Site


def rows_of_pairs(model: SteerableModel, pairs: ContrastivePairs) -> list[Encoded]:
    """The tokens of the desired continuations after their prompts, then of the undesired ones.

    Raises:
        ValueError: If the pairs are unpaired, or nothing precedes a continuation's only token.
    """
    if not pairs.paired:
        raise ValueError(f"{pairs!r}: expected both continuations of each prompt")
    examples = (*pairs.desired, *pairs.undesired)
    rows = [encode(model, example.prompt, example.continuation) for example in examples]
    for example, row in zip(examples, rows, strict=True):
        if len(row.ids) < 2:
            raise ValueError(
                f"{example.continuation!r} has no token with anything before it: give it a prompt"
            )
    return rows


def log_probability(
    logits: Float[Tensor, "batch pos vocab"], tokens: Tokens, rows: Sequence[Encoded]
) -> Float[Tensor, " batch"]:
    """Of each row's continuation, nats per token, float64; rows are padded on the right.

    Raises:
        ValueError: If logits are NaN or infinite.
    """
    scores = []
    for i, row in enumerate(rows):
        start, stop = max(row.prompt_length, 1), len(row.ids)
        # float64 for the sum over the vocabulary: float32's is off by up to 6e-5 nats a token
        of_row = logits[i, start - 1 : stop - 1].double()
        drawn = of_row.gather(-1, tokens[i, start:stop, None].to(of_row.device))[:, 0]
        scores.append((drawn - of_row.logsumexp(dim=-1)).mean())
    found = torch.stack(scores)
    if not bool(found.isfinite().all()):
        raise ValueError(
            "the log-probability of a continuation is NaN or infinite: load the model in float32, "
            "or lower the method's strength"
        )
    return found


def keeper(kept: dict[Site, Tensor], site: Site) -> Callable[[Tensor], Tensor]:
    """A hook that keeps the activation at a site as it comes by."""

    def keep(x: Tensor) -> Tensor:
        kept[site] = x
        return x  # else the model may go on with a tensor that this one is a view of

    return keep
