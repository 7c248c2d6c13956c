"""Which blocks are steering a model in this thread or task."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor


@runtime_checkable
class OpenBlock(Protocol):
    """A steered block while it lasts."""

    @property
    def model(self) -> Any:
        """The model that it steers."""
        ...

    @property
    def methods(self) -> tuple[Any, ...]:
        """What steers it."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it has ended, wherever that was."""
        ...

    @property
    def active(self) -> bool:
        """Whether it steers now; it does not while it runs the clean model."""
        ...

    def suspended(self) -> AbstractContextManager[None]:
        """Run the clean model inside."""
        ...

    def begin_generation(self, *, prompt_alone: bool = True) -> None:
        """Take the next forward pass for the prompt, and the later ones for its sequel."""
        ...

    def generation(self, *, prompt_alone: bool = True) -> AbstractContextManager[None]:
        """Take the first forward pass inside for the prompt, and the later ones for its sequel."""
        ...

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Take the batch to have only these of its rows, until the generation ends."""
        ...


_blocks: ContextVar[tuple[OpenBlock, ...]] = ContextVar("lens_steer_blocks", default=())


def open_blocks(model: Any) -> tuple[OpenBlock, ...]:
    """The blocks that steer this model in this thread or task, the outermost first."""
    return tuple(b for b in _blocks.get() if b.model is model and not b.closed)


@contextmanager
def opened(block: OpenBlock) -> Iterator[None]:
    """While it lasts, the block is one of `open_blocks`, also in tasks that are started inside."""
    _blocks.set((*_blocks.get(), block))
    try:
        yield
    finally:
        _blocks.set(tuple(other for other in _blocks.get() if other is not block))


@contextmanager
def unsteered(model: Any) -> Iterator[None]:
    """While it lasts, the model runs as it is: its open blocks are suspended."""
    with ExitStack() as suspended:
        for block in open_blocks(model):
            suspended.enter_context(block.suspended())
        yield
