"""What one forward pass means to a steered block: its tokens, and which positions are steered."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import (
    PlacedHooks,
    SteerableModel,
    cache_of,
    holds_states_alone,
    is_bridge,
    noted_columns,
)
from lens_steer.steering.base.scope import Scope, absolute_positions, steered_positions

# Rows and columns of a batch, as indices.
Steered = tuple[Int[Tensor, " steered"], Int[Tensor, " steered"]]
PromptEnds = tuple[Int[Tensor, " ending"], Int[Tensor, " ending"]]


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One forward pass, as it is about to start.

    Attributes:
        chunk: Columns that are computed now.
        real: False at padding, over what the cache holds and this chunk.
        tokens: The tokens of this chunk; None where the pass does not show them.
        has_cache: Whether a key-value cache came with it, an empty one included.
    """

    chunk: int
    real: Bool[Tensor, "batch total"]
    tokens: Int[Tensor, "batch chunk"] | None
    has_cache: bool

    @property
    def continues(self) -> bool:
        """Whether the cache holds tokens that came before this chunk."""
        return self.real.shape[1] > self.chunk


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
        return Prompts(self.lengths[rows], self.starts_with_bos[rows])


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


def watch(
    model: SteerableModel,
    hooks: PlacedHooks,
    observe: Callable[[ForwardPass], None],
    remember: Callable[[Tensor], None],
) -> None:
    """Call `observe` at the start of every forward pass, by whatever method the model is called.

    A HookedTransformer's first block does not see the tokens: `remember` is called with them when
    they are embedded. A hook on the model itself would miss TransformerLens' own loops, which call
    `forward` directly.
    """
    of_either_class: Any = model
    if is_bridge(model):
        hooks.before(of_either_class.original_model, partial(_before_bridge, observe))
    else:
        hooks.before(of_either_class.embed, lambda args, kwargs: remember(args[0]))  # noqa: ARG005
        hooks.before(of_either_class.blocks[0], partial(_before_first_block, observe))


def _before_bridge(
    observe: Callable[[ForwardPass], None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    tokens = args[0] if args else kwargs.get("input_ids")
    entering = tokens if tokens is not None else kwargs["inputs_embeds"]
    cache, mask = cache_of(kwargs), kwargs.get("attention_mask")
    if holds_states_alone(cache):
        mask = noted_columns(cache)
        past = mask.shape[1] - entering.shape[1]
    else:
        past = 0 if cache is None else int(cache.get_seq_length())
    observe(_forward_pass(entering, tokens, past, mask, cache))


def _before_first_block(
    observe: Callable[[ForwardPass], None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    entry = kwargs.get("past_kv_cache_entry")
    past = 0 if entry is None else int(entry.past_keys.shape[1])
    observe(_forward_pass(args[0], None, past, kwargs.get("attention_mask"), entry))


def _forward_pass(
    entering: Tensor, tokens: Tensor | None, past: int, mask: Tensor | None, cache: Any
) -> ForwardPass:
    batch, chunk = entering.shape[:2]
    if mask is None:
        real = torch.ones(batch, past + chunk, dtype=torch.bool, device=entering.device)
        return ForwardPass(chunk, real, tokens, cache is not None)
    if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] < past + chunk:
        raise ValueError(
            f"attention_mask of shape {tuple(mask.shape)}: expected ({batch}, {past + chunk}), one "
            "column for each token in the cache and in this forward, so that padding can be told "
            "from text while steering"
        )
    return ForwardPass(chunk, mask[:, : past + chunk].bool(), tokens, cache is not None)
