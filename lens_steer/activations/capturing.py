"""Capturing the activations of contrastive pairs."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from lens_steer.activations.read_positions import ReadPosition, span
from lens_steer.activations.reading import TOKEN_BUDGET, read_rows
from lens_steer.activations.types import Activations
from lens_steer.arguments import Count, Layers
from lens_steer.data import ContrastivePairs, as_pairs
from lens_steer.models import Encoded, Provenance, SteerableModel, attach, encode
from lens_steer.sites import Kind, Site, sites_of


class LabelTokenWarning(UserWarning):
    """The two classes can be told apart by the token that is read, whatever the model computes."""


def capture(
    model: SteerableModel,
    pairs: ContrastivePairs | Iterable[Any],
    kind: str = "resid",
    *,
    read: ReadPosition = "last",
    sink: bool = False,
    layers: Layers | None = None,
    token_budget: Count = TOKEN_BUDGET,
    progress: bool = True,
) -> Activations:
    """Activations of every example at one token, or averaged over its continuation.

    With `last` and `mean`, a prompt that examples have in common is run once and its continuations
    after it: hooks of your own then see the two one after the other.

    Args:
        pairs: Contrastive pairs, or rows as `ContrastivePairs.of` takes them: tuples of (prompt,
            desired, undesired).
        kind: `resid head neuron gate mlp_out attn_out`, or TransformerLens' name. `gate` is the
            activation function of the gate alone; on MLPs without one it equals `neuron`.
        read: `last` (the continuation's last token), `mean` (over the continuation), `prompt_last`,
            or a position (the row's first token is 0; negative counts from its end).
        sink: Whether `mean` averages over attention sinks too (the first token of a text, and those
            of `models.sink_positions`), whose activations may be hundreds of times as large as the
            others'. Finding them is one more pass. The other positions are read as they are named.
        layers: Blocks to read; None is all.
        token_budget: Tokens of a padded batch; only speed and memory depend on it.
        progress: Whether to show a bar.

    Returns:
        Float32 on the CPU, whatever the model's dtype. The forward stops after the last site.

    Warns:
        LabelTokenWarning: If the read token alone nearly tells the classes apart: the direction is
            then largely that token's embedding. End both classes in the same token, or read the
            mean.

    Raises:
        ValueError: If the kind, a layer or the position does not exist, or an example does not fit
            the context, has an empty continuation, or one of sinks alone with `mean`.

    Example:
        >>> resid = ls.capture(model, pairs, "resid", read="mean")
        >>> caa = ls.CAA.fit(resid[15])
    """
    attachment, pairs = attach(model), as_pairs(pairs)
    sites = sites_of(model, kind, layers)
    what, chosen = sites[0].kind, tuple(site.layer for site in sites)
    if what is Kind.RESID:
        sites.insert(0, Site(0, Kind.RESID_PRE))
    examples = (*pairs.desired, *pairs.undesired)
    rows = [encode(model, example.prompt, example.continuation) for example in examples]
    split = len(pairs.desired)
    _warn_of_label_tokens(rows[:split], rows[split:], read)
    with tqdm(total=len(rows), desc=f"capture {what.value}", disable=not progress) as bar:
        values = read_rows(
            model, rows, sites, read, sink=sink, token_budget=token_budget, advance=bar.update
        )
    embedded: tuple[torch.Tensor, ...] | tuple[None, None] = (None, None)
    if what is Kind.RESID:
        embedded, values = (values[:split, 0], values[split:, 0]), values[:, 1:]
    source = Provenance(attachment.fingerprint, pairs.name, str(read))
    return Activations(
        values[:split],
        values[split:],
        what,
        chosen,
        *embedded,
        paired=pairs.paired,
        provenance=source,
    )


def _warn_of_label_tokens(
    desired: Sequence[Encoded], undesired: Sequence[Encoded], read: ReadPosition
) -> None:
    if read == "mean":
        return
    share = last_token_separability(
        [row.ids[span(row, read)[0]] for row in desired],
        [row.ids[span(row, read)[0]] for row in undesired],
    )
    if share > 0.75:
        warnings.warn(
            f"the token that is read tells desired from undesired in {share:.0%} of the examples "
            "by itself, so that the direction is largely its embedding: end both continuations in "
            "the same token, or read='mean'",
            LabelTokenWarning,
            stacklevel=4,  # who calls `capture`, behind the check of its arguments
        )


def last_token_separability(desired: Sequence[int], undesired: Sequence[int]) -> float:
    """How often an example's class follows from the token that is read: 0.5 is chance, 1 always.

    It is a leave-one-out majority vote among the examples of the same token, both classes weighing
    the same; an example whose token no other has counts one half.

    Args:
        desired: The token of each desired example.
        undesired: The token of each undesired example.
    """
    counts, sizes = (Counter(desired), Counter(undesired)), (len(desired), len(undesired))

    def right(token: int, side: int) -> float:  # in whole numbers: a tie of shares is a tie
        same = (counts[side][token] - 1) * sizes[1 - side]
        other = counts[1 - side][token] * sizes[side]
        return 0.5 if same == other else float(same > other)

    d = sum(right(token, 0) for token in desired) / len(desired)
    u = sum(right(token, 1) for token in undesired) / len(undesired)
    return (d + u) / 2
