"""Where the prompts of a batch end, and which positions of a forward pass are steered."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import SteerableModel, clean_sinks
from lens_steer.steering.base.forward_passes import ForwardPass
from lens_steer.steering.base.scope import (
    Scope,
    WithSinks,
    absolute_positions,
    steered_positions,
)

# Rows and columns of a batch, as indices.
Steered = tuple[Int[Tensor, " steered"], Int[Tensor, " steered"]]
PromptEnds = tuple[Int[Tensor, " ending"], Int[Tensor, " ending"]]


@dataclass(frozen=True, eq=False)
class Prompts:
    """Where the prompts of a batch end, for this forward pass and those that continue it.

    Attributes:
        lengths: Real tokens of each prompt.
        starts_with_bos: Rows whose first token is the beginning-of-sequence token.
        sinks: Which tokens of each prompt are attention sinks, counted from its first token; None
            where they make no difference.
    """

    lengths: Int[Tensor, " batch"]
    starts_with_bos: Bool[Tensor, " batch"]
    sinks: Bool[Tensor, "batch position"] | None = None

    @classmethod
    def of(
        cls,
        seen: ForwardPass,
        lengths: Int[Tensor, " batch"] | None,
        bos: int | None,
        generating: bool,
    ) -> "Prompts":
        """The prompts of a batch, from the pass that begins it.

        Args:
            seen: The pass.
            lengths: The lengths that the user gave. None: a pass that continues a cache is all
                generated, any other is all prompt.
            bos: The beginning-of-sequence token; None if the model has none.
            generating: Whether this pass is the prompt of a generation.

        Raises:
            ValueError: If there are not as many lengths as rows.
        """
        batch = seen.real.shape[0]
        if lengths is None:
            whole = generating or not seen.continues
            lengths = (seen.real if whole else seen.real[:, : -seen.chunk]).sum(dim=1)
        elif len(lengths) != batch:
            raise ValueError(
                f"{len(lengths)} prompt_lengths for a batch of {batch}: expected one each"
            )
        device = seen.real.device
        if bos is None or seen.tokens is None:  # no tokens: a model that has a BOS is given it
            first = torch.full((batch,), bos is not None, device=device)
        else:
            positions = absolute_positions(seen.real, seen.chunk)
            first = ((positions == 0) & (seen.tokens == bos)).any(dim=1)
        return cls(lengths.to(device), first)

    def of_rows(self, rows: Int[Tensor, " kept"]) -> "Prompts":
        """The prompts of some rows of the batch."""
        sinks = None if self.sinks is None else self.sinks[rows]
        return Prompts(self.lengths[rows], self.starts_with_bos[rows], sinks)

    def with_sinks(
        self, model: SteerableModel, seen: ForwardPass, rows: Bool[Tensor, " batch"] | None
    ) -> "Prompts":
        """The same with their sinks, as the unsteered model has them: it reads the prompts first.

        They stay what they are while the prompts are continued, whatever is written: a sink is a
        matter of the whole prompt, and the clean model never sees what a steered one has written.

        Args:
            model: The model, in a pass that is about to start.
            seen: That pass.
            rows: Which rows of the batch are steered; None is all. Only theirs are looked for.

        Raises:
            ValueError: If the pass has tokens of a prompt, but does not show all of them.
        """
        positions = absolute_positions(seen.real, seen.chunk)
        prompt = (positions >= 0) & (positions < self.lengths[:, None])
        if rows is not None and len(rows) == len(prompt):  # other numbers are refused later
            prompt &= rows.to(prompt.device)[:, None]
        here = prompt.sum(dim=1)
        if not bool(here.any()):
            return self
        if seen.tokens is None or bool(((here > 0) & (here < self.lengths)).any()):
            what = "embeddings" if seen.tokens is None else "a part of the prompt"
            raise ValueError(
                f"got {what}: scopes 'prompt' and 'all' leave out attention sinks, which are found "
                "by reading all tokens of a prompt first; run the whole prompt in one pass, give "
                "positions, or sink=True to steer the sinks too"
            )
        found = clean_sinks(model, seen.tokens, prompt) & prompt
        row, column = found.nonzero(as_tuple=True)
        sinks = prompt.new_zeros(len(prompt), max(1, int(self.lengths.max())))
        sinks[row, positions[row, column]] = True
        return replace(self, sinks=sinks)


@dataclass(frozen=True, eq=False)
class PassPositions:
    """Which positions of one forward pass are steered.

    Attributes:
        steered: Rows and columns of the steered positions; None if there are none.
        prompt_ends: Those steered positions that are the last token of a prompt; None likewise.
        everywhere: Whether every position of the batch is steered.
        ending_rows: Rows in which the end of the prompt is steered.
        prompt: Whether a column holds a real token of a prompt.
    """

    steered: Steered | None
    prompt_ends: PromptEnds | None
    everywhere: bool
    ending_rows: Int[Tensor, " row"]
    prompt: Bool[Tensor, "batch chunk"]

    @classmethod
    def of(
        cls,
        seen: ForwardPass,
        scope: Scope,
        prompts: Prompts,
        rows: Bool[Tensor, " batch"] | None,
    ) -> "PassPositions":
        """Which positions of a pass a scope steers.

        Args:
            seen: The pass.
            scope: Which positions are steered.
            prompts: Where the prompts end.
            rows: Which rows of the batch are steered; None is all.

        Raises:
            ValueError: If there are not as many flags as rows.
        """
        positions = absolute_positions(seen.real, seen.chunk)
        chosen = steered_positions(
            scope, positions, prompts.lengths, prompts.starts_with_bos, prompts.sinks
        )
        if rows is not None:
            if len(rows) != len(chosen):
                raise ValueError(
                    f"{len(rows)} rows for a batch of {len(chosen)}: expected one flag each"
                )
            chosen &= rows.to(chosen.device)[:, None]
        ends = chosen & (positions == prompts.lengths[:, None] - 1)
        return cls(
            _indices(chosen),
            _indices(ends),
            bool(chosen.all()),
            ends.any(dim=1).nonzero()[:, 0],
            (positions >= 0) & (positions < prompts.lengths[:, None]),
        )


def check_lengths(seen: ForwardPass, lengths: Int[Tensor, " batch"] | None) -> None:
    """Check that no prompt is longer than its row, in a pass that holds whole prompts.

    Raises:
        ValueError: If one is: it would be steered nowhere.
    """
    if lengths is None:
        return
    for i, (length, real) in enumerate(zip(lengths.tolist(), seen.real.tolist(), strict=True)):
        if length > sum(real):
            raise ValueError(
                f"prompt_lengths says that row {i} has a prompt of {length} tokens, but it has "
                f"{sum(real)}: give the real tokens of each prompt, without padding"
            )


def check_scope_within(seen: ForwardPass, scope: Scope) -> None:
    """Check that explicit positions exist, in a pass that nothing will follow.

    Raises:
        ValueError: If all of them lie behind the end of the longest row.
    """
    if isinstance(scope, str | WithSinks) or len(seen.real) == 0:
        return
    longest = int(seen.real.sum(dim=1).max())
    if min(scope) >= longest:
        raise ValueError(
            f"scope {tuple(scope)} steers nothing: the longest row has {longest} tokens, at "
            f"positions 0 to {longest - 1}"
        )


def _indices(chosen: Bool[Tensor, "batch chunk"]) -> Steered | None:
    rows, columns = chosen.nonzero(as_tuple=True)
    return (rows, columns) if len(rows) else None
