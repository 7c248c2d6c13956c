"""Hooks that act only in the thread or task that placed them.

Hooks live on the modules of a model, which all threads and asyncio tasks share. Every hook of this
package is therefore placed here: it first asks whether the thread or task that runs the forward
pass is the one that placed it, and otherwise does nothing. A task that is started while hooks are
open inherits them, because it inherits the context variables; a plain thread does not. A deep copy
of the model carries the hook functions with it, but they do nothing there: they belong to the
modules of the original.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from lens_steer.models.fork_safe_lock import ForkSafeLock
from lens_steer.sites import PointHook, add_hook


class PlacedHooks:
    """Hooks that are placed together and removed together."""

    def __init__(self) -> None:
        self._on_points: list[PointHook] = []
        self._on_modules: list[Any] = []

    def at_point(self, point: Any, fn: Callable[[Any], Any]) -> None:
        """Hook a TransformerLens hook point: `fn` maps the activation, or returns None to look."""
        with _bookkeeping:
            self._on_points.append(add_hook(point, fn, self._acts))

    def before(
        self, module: torch.nn.Module, fn: Callable[[tuple[Any, ...], dict[str, Any]], None]
    ) -> None:
        """Call `fn` with the positional and the keyword arguments of each call of a module."""
        pre_hook = _PreHook(module, fn, self._acts)
        self._on_modules.append(module.register_forward_pre_hook(pre_hook, with_kwargs=True))

    def check_present(self) -> None:
        """Check that nobody has removed a hook, which would then silently do nothing.

        Raises:
            ValueError: If a hook point has lost its hook.
        """
        lost = [hook.name for hook in self._on_points if not hook.present]
        if lost:
            raise ValueError(
                f"{len(lost)} hooks of this block were removed while it was open, for example at "
                f"{lost[0]}: model.reset_hooks(including_permanent=True) removes them, so call it "
                "outside the block"
            )

    def remove(self) -> None:
        """Take all of them off the model."""
        with _bookkeeping:
            for hook in (*self._on_points, *self._on_modules):
                hook.remove()

    def _acts(self) -> bool:
        return self in _placed.get()


class _PreHook:
    """A forward pre-hook of one module, as PyTorch calls it."""

    def __init__(
        self,
        module: torch.nn.Module,
        fn: Callable[[tuple[Any, ...], dict[str, Any]], None],
        acts: Callable[[], bool],
    ) -> None:
        self._module, self._fn, self._acts = module, fn, acts

    def __call__(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        # PyTorch notes that a hook takes keywords after it has placed it, and forgets that before
        # a pass of another thread is over: what it then calls without keywords is not for us.
        if kwargs is not None and module is self._module and self._acts():
            self._fn(args, kwargs)


_bookkeeping = ForkSafeLock()  # of the modules' lists of hooks; never held during a forward pass
_placed: ContextVar[frozenset[PlacedHooks]] = ContextVar("lens_steer_hooks", default=frozenset())


@contextmanager
def placed_hooks() -> Iterator[PlacedHooks]:
    """Hooks that are removed when the block ends, exceptions included."""
    hooks = PlacedHooks()
    _placed.set(_placed.get() | {hooks})
    try:
        yield hooks
    finally:
        # Not `reset`: the block may end in another context than it began in, as generators do.
        _placed.set(_placed.get() - {hooks})
        hooks.remove()
