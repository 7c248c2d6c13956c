"""Steering a model for the length of a block, its own `generate` and `forward` included.

The model's own `generate` is a row of forward passes, and nothing in them says where the prompt
ended. Its `forward` of several texts pads them on the right without a mask, so that nothing says
where a text ended. Both are replaced on the model while any thread or task steers it; in a thread
or task that has no block open, the replacement does what the original does.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from functools import update_wrapper
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import (
    ForkSafeLock,
    SteerableModel,
    looked_at,
    open_blocks,
    opened,
    placed_hooks,
)
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.scope import Scope, check_scope
from lens_steer.steering.base.session import Session


@contextmanager
def steered(
    model: SteerableModel,
    *methods: Intervention,
    scope: Scope = "last",
    sink: bool = False,
    prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None = None,
    rows: Sequence[bool] | Bool[Tensor, " batch"] | None = None,
) -> Iterator[SteerableModel]:
    """Steer every forward pass of the block, and leave no trace after it, exceptions included.

    Several methods act in list order at each site; nested blocks compose, the outer first. Only the
    thread or asyncio task that opened the block is steered, and tasks that are started inside it.
    Elsewhere the model is as it was, also in a plain thread that is started inside.

    Args:
        model: The model.
        methods: What steers it.
        scope: `last` (the last prompt token, then every generated one), `prompt` (every prompt
            token but the beginning-of-sequence token), `generated`, `all`, or positions counted
            from the row's first real token. `prompt` and `all` leave out attention sinks (the first
            token, and those of `models.sink_positions`), as the unsteered model has them when it
            reads the prompt: one more pass over it. What is generated is no sink; the other scopes
            steer the tokens that they name, sinks or not.
        sink: Whether `prompt` and `all` steer sinks too. `prompt` still leaves out the
            beginning-of-sequence token.
        prompt_lengths: Real tokens of each row's prompt. None: a forward that brings no key-value
            cache is all prompt, one that brings one is all generated. The model's own `generate`
            needs no help.
        rows: Which rows of the batch are steered; None is all. Blocks of one row set each, nested,
            give every row its own method.

    Raises:
        ValueError: If a method does not fit the model, or the scope or the lengths make no sense;
            in a forward pass inside, also if they lie beyond its rows, or if the scope leaves out
            sinks and the pass does not show all tokens of the prompt. At the end of the block, if
            it is reached in a thread or task that is not steered by it, as in a generator whose
            steps are run by several threads.

    Example:
        >>> with ls.steered(model, method, scope="last"):
        ...     logits = model(tokens)
        ...     text = model.generate("The film was", max_new_tokens=20)
    """
    with nullcontext() if open_blocks(model) else looked_at(model):
        session = Session(model, methods, check_scope(scope, sink=sink), prompt_lengths, rows)
    with placed_hooks() as hooks, opened(session), own_methods_aware(model):
        session.place(hooks)
        try:
            yield model
            _check_still_open(session)
        finally:
            session.close()


def _check_still_open(session: Session) -> None:
    if session not in open_blocks(session.model):
        raise ValueError(
            "this steered block began in one thread or task and ended in another, where it steered "
            "nothing: open and end it in the same one, for example around each step of a generator "
            "that several threads read"
        )


# ---- the model's own methods ----

# Settings of Hugging Face's `generate` with which a prompt is read in parts, or with a draft of
# what follows it.
_CHUNKED = (
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "assistant_model",
    "assistant_early_exit",
    "custom_generate",
)


class _Replacement:
    """Stands in for a method of a model, or of the model that a bridge wraps."""

    def __init__(self, model: Any, holder: Any, name: str) -> None:
        self._original, self._user_method = getattr(holder, name), vars(holder).get(name)
        self._model, self._holder, self._name = model, holder, name
        update_wrapper(self, self._original)  # it has the signature of the original
        vars(holder)[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not open_blocks(self._model):
            return self._original(*args, **kwargs)
        return _AWARE[self._name](self._model, self._original, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """What a deep copy of the model gets in its place: the method of its class."""
        copied = memo[id(self._holder)]
        return MethodType(getattr(type(copied), self._name), copied)

    def undo(self) -> None:
        """Put the original back, unless the user has put another method there meanwhile."""
        if vars(self._holder).get(self._name) is self:
            del vars(self._holder)[self._name]
            if self._user_method is not None:
                vars(self._holder)[self._name] = self._user_method


_replaced: WeakKeyDictionary[Any, tuple[int, list[_Replacement]]] = WeakKeyDictionary()
_lock = ForkSafeLock()  # for `_replaced`, which counts the blocks open in any thread or task


@contextmanager
def own_methods_aware(model: SteerableModel) -> Iterator[None]:
    """While it lasts, the model's own `generate` and `forward` know of steered blocks."""
    with _lock:
        count, replacements = _replaced.get(model, (0, []))
        if not replacements:
            replacements = [_Replacement(model, *where) for where in _methods_of(model)]
        _replaced[model] = count + 1, replacements
    try:
        yield
    finally:
        with _lock:
            count, replacements = _replaced[model]
            _replaced[model] = count - 1, replacements
            if count == 1:
                del _replaced[model]
                for replacement in replacements:
                    replacement.undo()


def _methods_of(model: Any) -> list[tuple[Any, str]]:
    """Each method that is to be replaced: the object that holds it, and its name."""
    methods = [(model, name) for name in _AWARE if hasattr(model, name)]
    wrapped = getattr(model, "original_model", None)
    return [*methods, (wrapped, "generate")] if hasattr(wrapped, "generate") else methods


def _generate(model: Any, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the original with its first forward pass taken for the prompt."""
    with ExitStack() as stack:
        for block in open_blocks(model):
            stack.enter_context(block.generation(prompt_alone=_reads_prompt_alone(model, kwargs)))
        return original(*args, **kwargs)


def _stream(model: Any, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
    """As `_generate`, token by token.

    The stream runs in a context of its own, so that what the caller runs between two tokens is no
    part of the generation.
    """
    blocks, context = open_blocks(model), copy_context()
    for block in blocks:
        context.run(block.begin_generation)
    tokens = context.run(original, *args, **kwargs)

    def tokens_while_open() -> Iterator[Any]:
        while True:
            if any(block.closed for block in blocks):
                raise ValueError(
                    "the block that steers this stream has ended: read the whole stream inside it"
                )
            try:
                token = context.run(next, tokens)
            except StopIteration:
                return
            yield token

    return tokens_while_open()


def _reads_prompt_alone(model: Any, options: dict[str, Any]) -> bool:
    """Whether the first pass of Hugging Face's `generate` is the prompt, all of it and no more."""
    default = getattr(getattr(model, "original_model", None), "generation_config", None)
    config = options.get("generation_config") or default
    return all(
        options.get(name) is None and getattr(config, name, None) is None for name in _CHUNKED
    )


def _forward(model: Any, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the original with the mask that TransformerLens leaves out for several texts."""
    texts = args[0] if args else kwargs.get("input")
    if not (isinstance(texts, list) and len(texts) > 1 and isinstance(texts[0], str)):
        return original(*args, **kwargs)
    call = inspect.signature(original).bind(*args, **kwargs)
    if call.arguments.get("attention_mask") is None:
        options = {
            n: call.arguments[n] for n in ("prepend_bos", "padding_side") if n in call.arguments
        }
        call.arguments["input"] = tokens = model.to_tokens(texts, **options)
        lengths = [model.to_tokens(text, **options).shape[1] for text in texts]
        side = options.get("padding_side") or model.tokenizer.padding_side
        call.arguments["attention_mask"] = _mask(tokens, lengths, left=side == "left")
    return original(*call.args, **call.kwargs)


def _mask(tokens: Tensor, lengths: list[int], *, left: bool) -> Tensor:
    """The attention mask: 1 at the real tokens of each row."""
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    columns = columns.flip(0) if left else columns
    return (columns < torch.tensor(lengths, device=tokens.device)[:, None]).long()


_AWARE: dict[str, Callable[..., Any]] = {
    "generate": _generate,
    "hf_generate": _generate,
    "generate_stream": _stream,
    "forward": _forward,
}
