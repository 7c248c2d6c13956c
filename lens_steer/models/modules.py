"""All modules of a model, and running them without dropout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch.nn import Module

from lens_steer.models.hooks import ForkSafeLock

_last_walk: WeakKeyDictionary[Module, list[ref[Module]]] = WeakKeyDictionary()


def all_modules(*roots: Module) -> list[Module]:
    """Every module in these modules, themselves included, each once.

    It gives what `Module.modules()` gives in a quarter of the time: every forward pass asks for it.
    """
    seen: dict[int, Module] = {}
    waiting: list[Any] = list(roots)
    while waiting:
        module = waiting.pop()
        if module is not None and id(module) not in seen:
            seen[id(module)] = module
            waiting.extend(module._modules.values())
    return list(seen.values())


def model_modules(model: Any) -> list[Module]:
    """Every module of a model, those of the model that a TransformerBridge wraps included.

    A bridge does not register the wrapped model as a submodule.
    """
    original = getattr(model, "original_model", None)
    modules = all_modules(model, *([original] if isinstance(original, Module) else []))
    if isinstance(model, Module):
        _last_walk[model] = [ref(module) for module in modules]
    return modules


def last_modules(model: Any) -> list[Module]:
    """The modules that `model_modules` found last, without walking through the model again.

    It is for forward passes, which follow an `attach`; to walk again would take as long as a block
    of a small model.
    """
    references = _last_walk.get(model) if isinstance(model, Module) else None
    if references is None:
        return model_modules(model)
    return [module for reference in references if (module := reference()) is not None]


# Modules that were found in training mode, and how many passes now run them without dropout.
_evaluated: WeakKeyDictionary[Module, int] = WeakKeyDictionary()
_lock = ForkSafeLock()  # guards `_evaluated`


@contextmanager
def evaluating(modules: list[Module]) -> Iterator[None]:
    """Run forward passes of a block in evaluation mode, then put every module's mode back.

    Whatever lens_steer computes is computed without dropout, also on a model that is being trained.
    Training mode is not refused in `attach`, because a model without dropout gives right answers in
    it, and whether there is dropout cannot be seen from outside: attention drops in a function
    call, and users' modules have names of their own. Only the flags are set: `eval()` may be
    overridden to do more, as by adapters that merge themselves. Forward passes that users make
    themselves, in a steered block as well, keep the mode that they set.

    The flags belong to the modules, which all threads share: they are put back when the last pass
    that needs them has ended, and until then a user's own forward in another thread runs without
    dropout as well.

    Args:
        modules: Every module that runs; see `last_modules`.
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
