"""All modules of a model, and running them without dropout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch.nn import Module

from lens_steer.models.fork_safe_lock import ForkSafeLock

_last_walk: WeakKeyDictionary[Module, list[ref[Module]]] = WeakKeyDictionary()


def all_modules(*roots: Module) -> list[Module]:
    """Every module below these, themselves included, each once.

    The same as `Module.modules()` at a quarter of the time: it is asked for at every forward pass.
    """
    found: dict[int, Module] = {}
    waiting: list[Any] = list(roots)
    while waiting:
        module = waiting.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = module
            waiting.extend(module._modules.values())
    return list(found.values())


def model_modules(model: Any) -> list[Module]:
    """Every module of a model; a TransformerBridge does not register the model that it wraps."""
    original = getattr(model, "original_model", None)
    modules = all_modules(model, *([original] if isinstance(original, Module) else []))
    if isinstance(model, Module):
        _last_walk[model] = [ref(module) for module in modules]
    return modules


def last_modules(model: Any) -> list[Module]:
    """The modules that `model_modules` found last: for forward passes, which follow a look.

    To walk again would take as long as a block of a small model.
    """
    references = _last_walk.get(model) if isinstance(model, Module) else None
    if references is None:
        return model_modules(model)
    return [module for reference in references if (module := reference()) is not None]


# Modules that were found in training mode, and how many passes now run them without dropout.
_evaluated: WeakKeyDictionary[Module, int] = WeakKeyDictionary()
_lock = ForkSafeLock()  # of `_evaluated`


@contextmanager
def evaluating(modules: list[Module]) -> Iterator[None]:
    """Run forward passes of a block as in evaluation mode, then put every module's mode back.

    Whatever lens_steer computes is computed without dropout, also on a model that is being trained.
    The mode is changed here and not refused in `attach`, because what dropout does cannot be seen
    from outside: attention drops in a function call, and modules of a user's own have names of
    their own; whereas a model in training mode without any dropout gives right answers. Only the
    flags are set: `eval()` may be overridden to do more, as adapters that merge themselves do.
    Forward passes that users make themselves, in a steered block as well, keep the mode they set.
    The modes belong to the modules, which all threads share: they are put back when the last pass
    that needs them as they are has ended, and until then a forward of the user's own in another
    thread runs without dropout as well.
    """
    with _lock:
        training = [module for module in modules if module.training]
        if _evaluated:  # another pass has found them in training mode
            training += [m for m in modules if not m.training and m in _evaluated]
        for module in training:
            module.training = False
            _evaluated[module] = _evaluated.get(module, 0) + 1
    try:
        yield
    finally:
        with _lock:
            for module in training:
                _evaluated[module] -= 1
                if _evaluated[module] == 0:
                    del _evaluated[module]
                    module.training = True
