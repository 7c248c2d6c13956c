"""What the unsteered model gives along some texts: read once, where nothing else can come out."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from lens_steer.models import Attachment, SteerableModel, attach, has_hooks, open_blocks

_MOST = 2**26  # float32 numbers that one thing kept may have: a quarter of a gigabyte

Found = TypeVar("Found")

# By texts: what the model was, and what was read of it.
_kept: WeakKeyDictionary[Any, tuple[Attachment, dict[Hashable, Any]]] = WeakKeyDictionary()


def keepable(model: SteerableModel, numbers: int) -> bool:
    """Whether so many numbers may be kept, and the weights alone say what they are.

    Inside a steered block, and beside hooks of the user, they do not.
    """
    return numbers <= _MOST and not open_blocks(model) and not has_hooks(model)


def remembered(
    texts: Any, model: SteerableModel, name: Hashable, make: Callable[[], Found]
) -> Found:
    """What was kept under a name for these texts and this model as it is; or made, and kept.

    Args:
        texts: What it belongs to: it is forgotten with it.
        model: The model; what was kept is forgotten when its weights change.
        name: What it is.
        make: Makes it, where it is not kept.
    """
    seen = attach(model)
    before, known = _kept.get(texts, (None, {}))
    if before is not seen:
        known = {}
        _kept[texts] = seen, known
    if name not in known:
        known[name] = make()
    return known[name]
