"""Steering a model for the length of a block, at the positions of a scope."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import SteerableModel, attach, hooked
from lens_steer.steering.base._intervention import Intervention
from lens_steer.steering.base._scope import Scope, check_scope
from lens_steer.steering.base._session import Session
from lens_steer.steering.base._watch import watch


@contextmanager
def steered(
    model: SteerableModel,
    *methods: Intervention,
    scope: Scope = "last",
    prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None = None,
    rows: Sequence[bool] | Bool[Tensor, " batch"] | None = None,
) -> Iterator[SteerableModel]:
    """Steer every forward pass of the block, and leave no trace after it, exceptions included.

    Several methods act in list order at each site; nested blocks compose, the outer first. The
    model's lock is held: other threads wait.

    Args:
        scope: `last` (the last prompt token, then every generated one), `prompt` (every prompt
            token but the beginning-of-sequence token), `generated`, `all`, or positions counted
            from the row's first real token.
        prompt_lengths: Real tokens of each row's prompt. None: a forward that brings no key-value
            cache is all prompt, one that brings one is all generated. The model's own `generate`
            needs no help.
        rows: Which rows of the batch are steered; None is all. Blocks of one row set each, nested,
            give every row its own method.

    Raises:
        ValueError: If a method does not fit the model, or the scope or the lengths make no sense.
    """
    with attach(model).lock, ExitStack() as stack:
        session = Session(model, methods, check_scope(scope), prompt_lengths, rows)
        for hooks in session.hooks():
            stack.enter_context(hooked(model, hooks))
        for handle in watch(model, session.observe, session.remember):
            stack.callback(handle.remove)
        sessions = attach(model).sessions
        sessions.append(session)
        stack.callback(sessions.remove, session)
        for name in ("generate", "generate_stream", "hf_generate"):
            if hasattr(model, name):
                stack.enter_context(_told_of(session, model, name))
        yield model


@contextmanager
def _told_of(session: Session, model: Any, name: str) -> Iterator[None]:
    """Tell the session while the model's own `generate` runs: prompts keep their lengths."""
    original = getattr(model, name)
    before = vars(model).get(name)

    def whole(*args: Any, **kwargs: Any) -> Any:
        with session.generation():
            return original(*args, **kwargs)

    def stream(*args: Any, **kwargs: Any) -> Any:
        with session.generation():
            yield from original(*args, **kwargs)

    vars(model)[name] = stream if name == "generate_stream" else whole
    try:
        yield
    finally:
        if before is None:
            del vars(model)[name]
        else:
            vars(model)[name] = before
