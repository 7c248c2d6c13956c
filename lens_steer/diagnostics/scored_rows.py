"""The log-probability of continuations as a function of the logits, gradients included."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.data import ContrastivePairs
from lens_steer.models import Encoded, SteerableModel, continuation_places, encode, logits_at
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
    model: SteerableModel, tokens: Tokens, mask: Mask, rows: Sequence[Encoded]
) -> Float[Tensor, " batch"]:
    """Of each row's continuation, nats per token, float64, from one forward pass.

    Raises:
        ValueError: If logits are NaN or infinite.
    """
    row_of, column_of = continuation_places(rows)
    # float64 for the sum over the vocabulary: float32's is off by up to 6e-5 nats a token
    logits = logits_at(model, tokens, mask, row_of, column_of - 1).double()
    drawn = logits.gather(-1, tokens[row_of, column_of, None].to(logits.device))[:, 0]
    nats = drawn - logits.logsumexp(dim=-1)
    sums = nats.new_zeros(len(rows)).index_add(0, row_of.to(nats.device), nats)
    found = sums / row_of.bincount(minlength=len(rows)).to(sums)
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
