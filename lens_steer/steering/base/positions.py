"""What one forward pass means to a steered block: which of its positions are steered."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.steering.base.scope import Scope, absolute_positions, steered_positions
from lens_steer.steering.base.watching import ForwardPass

# Rows and columns of a batch; each kind of position has as many as it has.
Steered = tuple[Int[Tensor, " steered"], Int[Tensor, " steered"]]
PromptEnds = tuple[Int[Tensor, " ending"], Int[Tensor, " ending"]]


@dataclass(frozen=True, eq=False)
class Prompts:
    """Where the prompts of a batch end, for this forward pass and those that continue it.

    Attributes:
        lengths: Real tokens of each prompt.
        starts_with_bos: Rows whose first token is the beginning-of-sequence token.
    """

    lengths: Int[Tensor, " batch"]
    starts_with_bos: Bool[Tensor, " batch"]

    @classmethod
    def of(
        cls,
        seen: ForwardPass,
        lengths: Int[Tensor, " batch"] | None,
        bos: int | None,
        generating: bool,
    ) -> "Prompts":
        """The prompts of a pass that begins a batch.

        Args:
            seen: The pass.
            lengths: The lengths that the user gave. None: a pass that continues a cache is all
                generated, and any other is all prompt.
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
        return Prompts(self.lengths[rows], self.starts_with_bos[rows])


@dataclass(frozen=True, eq=False)
class PassPositions:
    """Which positions of one forward pass are steered.

    Attributes:
        steered: Their rows and columns; None if there are none.
        prompt_ends: Those of them that are the last token of a prompt.
        everywhere: Whether every position of the batch is steered.
        ending_rows: Rows in which the end of the prompt is steered.
        prompt: The real tokens that belong to prompts.
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
        """The positions of a pass.

        Args:
            seen: The pass.
            scope: Which positions are steered.
            prompts: Where the prompts end.
            rows: Which rows are steered; None is all.

        Raises:
            ValueError: If there are not as many flags as rows.
        """
        positions = absolute_positions(seen.real, seen.chunk)
        chosen = steered_positions(scope, positions, prompts.lengths, prompts.starts_with_bos)
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
    """Check that no prompt is said to be longer than its row, in a pass that holds whole prompts.

    Raises:
        ValueError: If one is; it would be steered nowhere.
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
        ValueError: If they all lie behind the end of the longest row.
    """
    if isinstance(scope, str) or len(seen.real) == 0:
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
