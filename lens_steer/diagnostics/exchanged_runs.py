"""Runs in which the residual stream of one text is put into another.

The undesired continuation of a pair and the probe's text are the *receiver*, the desired one and
the same text the *donor*. Both are followed by the same two answers, and their last tokens are
aligned from the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Text
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics.scored_rows import keeper, log_probability
from lens_steer.models import Encoded, SteerableModel, encode, hooked, pad, render
from lens_steer.reports import short_repr
from lens_steer.sites import Site


@dataclass(frozen=True)
class Probe:
    """What is asked after a continuation to find out whether it shows the behaviour.

    Attributes:
        text: Follows every continuation, such as ` Overall it was`; may be empty. If it is not, the
            last tokens of both texts are the same, and what differs is what they have read.
        desired: The answer that a desired continuation makes likelier, such as ` good`.
        undesired: The answer that an undesired one makes likelier, such as ` bad`.

    Example:
        >>> ls.diagnostics.Probe(" Overall it was", " good", " bad")
    """

    text: str
    desired: Text
    undesired: Text

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if not self.desired or not self.undesired or self.desired == self.undesired:
            raise ValueError(
                f"got the answers {self.desired!r} and {self.undesired!r}, expected two different "
                "ones that are not empty, such as ' good' and ' bad'"
            )


@dataclass(frozen=True)
class Asked:
    """One pair's tokens: prompt, continuation and probe are each row's prompt, an answer follows.

    Attributes:
        donor: With the desired continuation, followed by either answer.
        receiver: With the undesired one, followed by either answer.
    """

    donor: tuple[Encoded, Encoded]
    receiver: tuple[Encoded, Encoded]


def asked(model: SteerableModel, pairs: ContrastivePairs, probe: Probe, most: int) -> list[Asked]:
    """The tokens of every pair.

    Args:
        most: How many tokens before the answer are exchanged at most.

    Raises:
        ValueError: If the pairs are unpaired, the tokens before the answers depend on the answer,
            or the texts of a pair are shorter than `most`.
    """
    if not pairs.paired:
        raise ValueError(f"{pairs!r}: expected both continuations of each prompt")
    found = []
    for i, (desired, undesired) in enumerate(zip(pairs.desired, pairs.undesired, strict=True)):
        sides: list[tuple[Encoded, Encoded]] = []
        for example in (desired, undesired):
            text = render(model, example.prompt) + example.continuation + probe.text
            yes, no = (encode(model, text, answer) for answer in (probe.desired, probe.undesired))
            n = yes.prompt_length
            if (yes.ids[:n], n) != (no.ids[: no.prompt_length], no.prompt_length):
                raise ValueError(
                    f"pair {i}: the tokens before {probe.desired!r} and {probe.undesired!r} differ:"
                    " begin both answers with a space, and end no text with one"
                )
            if n < most:
                raise ValueError(
                    f"pair {i} has {n} tokens before the answer, expected at least the {most} that "
                    "are to be exchanged: pass smaller numbers of tokens"
                )
            sides.append((yes, no))
        found.append(Asked(sides[0], sides[1]))
    return found


@torch.no_grad()
def exchanged(
    model: SteerableModel, some: Sequence[Asked], layers: Sequence[int], tokens: Sequence[int]
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"], Float[Tensor, "layer count pair"]]:
    """The measure of donors, of receivers, and of receivers with the donor's last tokens.

    The measure is the log-probability per token of the desired answer minus that of the undesired,
    nats, float64, on the CPU.

    Args:
        some: Pairs.
        layers: Behind which block the residual stream is exchanged.
        tokens: How many tokens before the answer are exchanged.
    """
    donors = [row for pair in some for row in pair.donor]
    receivers = [row for pair in some for row in pair.receiver]
    given: dict[Site, Tensor] = {}
    sites = [Site(layer) for layer in layers]
    with hooked(model, {site: keeper(given, site) for site in sites}):
        donated = _measured(model, donors)
    clean = _measured(model, receivers)
    moved = torch.zeros(len(layers), len(tokens), len(some), dtype=torch.double)
    for i, site in enumerate(sites):
        for j, count in enumerate(tokens):
            put = partial(_put, given[site], donors, receivers, count)
            with hooked(model, {site: put}):
                moved[i, j] = _measured(model, receivers)
    return donated, clean, moved


def _measured(model: SteerableModel, rows: Sequence[Encoded]) -> Float[Tensor, " pair"]:
    ids, mask = pad(model, [row.ids for row in rows])
    scores = log_probability(model, ids, mask, rows).cpu()
    return scores[::2] - scores[1::2]


def _put(
    given: Float[Tensor, "row pos_of_donor d"],
    donors: Sequence[Encoded],
    receivers: Sequence[Encoded],
    count: int,
    x: Float[Tensor, "row pos d"],
) -> Float[Tensor, "row pos d"]:
    patched = x.clone()
    for i, (donor, receiver) in enumerate(zip(donors, receivers, strict=True)):
        start, end = donor.prompt_length - count, donor.prompt_length
        last = receiver.prompt_length
        patched[i, last - count : last] = given[i, start:end].to(x)
    return patched
