"""The steered blocks (`with steered(model, ...)`) that are open in this thread or task."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from lens_steer.models.protocol import SteerableModel


@runtime_checkable
class OpenBlock(Protocol):
    """A `with steered(...)` block as the rest of the package sees it while it is open."""

    @property
    def model(self) -> Any:
        """The model that the block steers."""
        ...

    @property
    def methods(self) -> tuple[Any, ...]:
        """The methods that steer it."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the block has ended, in whatever thread or task."""
        ...

    @property
    def active(self) -> bool:
        """Whether it steers at this moment; it does not while it is suspended."""
        ...

    def suspended(self) -> AbstractContextManager[None]:
        """Until the returned context ends, forward passes run the clean model."""
        ...

    def begin_generation(self, *, prompt_alone: bool = True) -> None:
        """Treat the next forward pass as the prompt, and later ones as its continuation."""
        ...

    def generation(self, *, prompt_alone: bool = True) -> AbstractContextManager[None]:
        """Do as `begin_generation` does, until the returned context ends."""
        ...

    def select_rows(self, rows: Int[Tensor, " selected"]) -> None:
        """Treat the batch as having only these of its rows, until the generation ends."""
        ...


_blocks: ContextVar[tuple[OpenBlock, ...]] = ContextVar("lens_steer_blocks", default=())


def open_blocks(model: Any) -> tuple[OpenBlock, ...]:
    """The open blocks that steer this model in this thread or task, the outermost first."""
    return tuple(b for b in _blocks.get() if b.model is model and not b.closed)


def check_unsteered(model: Any, doing: str) -> None:
    """Refuse what needs the clean model inside a block that steers it.

    Args:
        model: The model.
        doing: What is to be done, in words: "linearise it".

    Raises:
        ValueError: If an open block steers the model at this moment.
    """
    if any(block.active for block in open_blocks(model)):
        raise ValueError(f"the model is being steered: {doing} outside the block")


@contextmanager
def opened(block: OpenBlock) -> Iterator[None]:
    """List the block in `open_blocks` until the context ends, also in tasks started inside."""
    _blocks.set((*_blocks.get(), block))
    try:
        yield
    finally:
        _blocks.set(tuple(other for other in _blocks.get() if other is not block))


@contextmanager
def unsteered(model: SteerableModel) -> Iterator[None]:
    """Suspend the open blocks of a model until the context ends: it runs unsteered inside."""
    with ExitStack() as suspended:
        for block in open_blocks(model):
            suspended.enter_context(block.suspended())
        yield
