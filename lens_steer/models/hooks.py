"""Hooks that act only in the thread or task that placed them.

Hooks live on the modules of a model, which all threads and asyncio tasks share. Every hook of this
package is therefore placed here: it first asks whether the thread or task that runs the forward
pass is the one that placed it, and otherwise does nothing. A task that is started while hooks are
open inherits them, because it inherits the context variables; a plain thread does not. A deep copy
of the model carries the hook functions with it, but they do nothing there: they belong to the
modules of the original.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import Any

import torch

from lens_steer.sites import PointHook, add_hook


class ForkSafeLock:
    """A re-entrant lock that is free in a forked child process, whoever held it in the parent.

    The thread that held it does not exist in the child and could never release it there.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class PlacedHooks:
    """Hooks that are placed together and removed together; `placed_hooks` makes them."""

    def __init__(self) -> None:
        self._on_points: list[PointHook] = []
        self._on_modules: list[Any] = []

    def at_point(self, point: Any, fn: Callable[[Any], Any]) -> None:
        """Hook a TransformerLens hook point.

        Args:
            point: The hook point.
            fn: Maps the activation, or returns None to leave it as it is.
        """
        with _bookkeeping:
            self._on_points.append(add_hook(point, fn, self._acts))

    def before(
        self, module: torch.nn.Module, fn: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    ) -> None:
        """Call `fn` with the positional and the keyword arguments of each call of the module.

        Args:
            module: The module.
            fn: Returns both as they are to be instead, or None to leave them as they are.
        """
        pre_hook = _PreHook(module, fn, self._acts)
        self._on_modules.append(module.register_forward_pre_hook(pre_hook, with_kwargs=True))

    def check_present(self) -> None:
        """Check that no hook was removed by somebody else, without which it silently does nothing.

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
        """Remove all of these hooks from the model."""
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
        fn: Callable[[tuple[Any, ...], dict[str, Any]], Any],
        acts: Callable[[], bool],
    ) -> None:
        self._module, self._fn, self._acts = module, fn, acts

    def __call__(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        # PyTorch notes that a hook takes keywords after it has placed it, and forgets that before
        # a pass of another thread is over: what it then calls without keywords is not for us.
        if kwargs is not None and module is self._module and self._acts():
            return self._fn(args, kwargs)
        return None


_bookkeeping = ForkSafeLock()  # of the modules' lists of hooks; never held during a forward pass
_placed: ContextVar[frozenset[PlacedHooks]] = ContextVar("lens_steer_hooks", default=frozenset())


@contextmanager
def placed_hooks() -> Iterator[PlacedHooks]:
    """Yield an empty set of hooks, which are removed when the block ends, also by an exception.

    Example:
        >>> with placed_hooks() as hooks:
        ...     hooks.before(model.blocks[0], lambda args, options: print(args))
        ...     forward(model, tokens)
    """
    hooks = PlacedHooks()
    _placed.set(_placed.get() | {hooks})
    try:
        yield hooks
    finally:
        # Not `reset`: the block may end in another context than it began in, as generators do.
        _placed.set(_placed.get() - {hooks})
        hooks.remove()


@contextmanager
def hooks_at_rest() -> Iterator[None]:
    """While it lasts, no hook that was placed before acts in this thread or task.

    It is for a forward pass inside another one's hook: what reads or steers the outer pass is not
    to see the inner one. Hooks that are placed inside act, and so do the user's own.

    Example:
        >>> with hooks_at_rest():
        ...     clean = forward(model, tokens)
    """
    before = _placed.get()
    _placed.set(frozenset())
    try:
        yield
    finally:
        _placed.set(before)


class _Resting:
    """A hook of the user's that does nothing in threads and tasks where it rests."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self.hook, self.passes = hook, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return None if self in _resting.get() else self.hook(*args, **kwargs)


_resting: ContextVar[frozenset[_Resting]] = ContextVar("lens_steer_resting", default=frozenset())


@contextmanager
def all_hooks_at_rest(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """As `hooks_at_rest`, and the user's own hooks on TransformerLens hook points rest too.

    It is for a forward pass that the user has not asked for, such as reading a prompt to find its
    attention sinks: a hook that collects activations, or changes a batch by its rows, sees one pass
    for each that the user runs.

    Args:
        modules: All modules of the model.
    """
    from transformer_lens.hook_points import HookPoint

    points: list[Any] = [module for module in modules if isinstance(module, HookPoint)]
    held = []
    with _bookkeeping:
        for hooks in [point._forward_hooks for point in points]:
            for number, hook in list(hooks.items()):
                resting = hook if isinstance(hook, _Resting) else _Resting(hook)
                resting.passes += 1
                hooks[number] = resting
                held.append((hooks, number, resting))
    before = _resting.get()
    _resting.set(before | {resting for _, _, resting in held})
    try:
        with hooks_at_rest():
            yield
    finally:
        _resting.set(before)
        with _bookkeeping:
            for hooks, number, resting in held:
                resting.passes -= 1
                if resting.passes == 0 and hooks.get(number) is resting:
                    hooks[number] = resting.hook
