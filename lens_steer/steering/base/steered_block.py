"""Steering a model for the length of a block, at the positions of a scope."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import SteerableModel, looked_at, open_blocks, opened, placed_hooks
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.own_methods import own_methods_aware
from lens_steer.steering.base.scope import Scope, check_scope
from lens_steer.steering.base.session import Session


@contextmanager
def steered(
    model: SteerableModel,
    *methods: Intervention,
    scope: Scope = "last",
    prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None = None,
    rows: Sequence[bool] | Bool[Tensor, " batch"] | None = None,
) -> Iterator[SteerableModel]:
    """Steer every forward pass of the block, and leave no trace after it, exceptions included.

    Several methods act in list order at each site; nested blocks compose, the outer first. Only the
    thread or asyncio task that opened the block is steered, and tasks that are started inside it:
    elsewhere the model is as it was, a plain thread started inside included.

    Args:
        model: The model.
        methods: What steers it.
        scope: `last` (the last prompt token, then every generated one), `prompt` (every prompt
            token but the beginning-of-sequence token), `generated`, `all`, or positions counted
            from the row's first real token.
        prompt_lengths: Real tokens of each row's prompt. None: a forward that brings no key-value
            cache is all prompt, one that brings one is all generated. The model's own `generate`
            needs no help.
        rows: Which rows of the batch are steered; None is all. Blocks of one row set each, nested,
            give every row its own method.

    Raises:
        ValueError: If a method does not fit the model, or the scope or the lengths make no sense;
            in a forward pass inside, also if they lie beyond its rows. At the end of the block, if
            it is reached in a thread or task that is not steered by it, as in a generator whose
            steps are run by several threads.
    """
    with nullcontext() if open_blocks(model) else looked_at(model):
        session = Session(model, methods, check_scope(scope), prompt_lengths, rows)
    with placed_hooks() as hooks, opened(session), own_methods_aware(model):
        session.place(hooks)
        try:
            yield model
            _check_still_here(session)
        finally:
            session.close()


def _check_still_here(session: Session) -> None:
    if session not in open_blocks(session.model):
        raise ValueError(
            "this steered block began in one thread or task and ended in another, where it steered "
            "nothing: open and end it in the same one, for example around each step of a generator "
            "that several threads read"
        )
