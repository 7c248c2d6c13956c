"""Feedback through a block: what is read where it begins is pushed behind or inside it."""

from collections.abc import Callable, Iterable

from jaxtyping import Int
from torch import Tensor

from lens_steer.axes import Activation
from lens_steer.models import SteerableModel
from lens_steer.sites import Kind, Site, hook_points
from lens_steer.steering.base.intervention import Edit, Intervention

# u_k, from the activations that enter block k (and from their prompts, if `per_prompt`)
Feedback = Callable[..., Tensor]


def feedback_sites(layers: Iterable[int], pushed: Kind = Kind.RESID) -> tuple[Site, ...]:
    """The input of each block that is steered, which is read, and where it is pushed."""
    return tuple(Site(layer, kind) for layer in layers for kind in (Kind.RESID_PRE, pushed))


def feedback_edits(
    method: Intervention,
    model: SteerableModel,
    shape: tuple[int, int],
    layers: Iterable[int],
    feedback_of: Callable[[SteerableModel, int], Feedback],
    pushed: Kind = Kind.RESID,
) -> dict[Site, Edit]:
    """The hooks that add u_k behind block k, or inside it, computed of what enters it.

    Args:
        method: Whose hooks they are.
        model: The model.
        shape: Layers and dimensions of the model that the method is for.
        layers: Each k.
        feedback_of: Makes u_k, strength included, from the model and k.
        pushed: Where it is added, behind the block's input.

    Raises:
        ValueError: If the model is of another shape.
    """
    hook_points(model, method.sites)
    check_model_shape(model, *shape)
    edits: dict[Site, Edit] = {}
    for layer in layers:
        loop = _Loop(type(method).__name__, feedback_of(model, layer))
        edits[Site(layer, Kind.RESID_PRE)], edits[Site(layer, pushed)] = loop.look, loop.push
    return edits


class _Loop:
    """The two hooks of one block."""

    def __init__(self, law: str, feedback: Feedback) -> None:
        self._law, self._feedback = law, feedback
        self._push: Tensor | None = None

    def look(self, z: Activation, *prompts: Int[Tensor, " n"]) -> Activation:
        """Before the block: compute the push, and leave the activation alone."""
        self._push = self._feedback(z, *prompts)
        return z

    def push(self, x: Activation, *prompts: Int[Tensor, " n"]) -> Activation:
        """Behind it: add the push, once."""
        del prompts
        if self._push is None:
            raise ValueError(
                f"{self._law} reads before a block what it pushes behind it: hook both"
            )
        push, self._push = self._push, None
        return (x + push.reshape(x.shape)).to(x.dtype)


def check_model_shape(model: SteerableModel, layers: int, d: int) -> None:
    """Raise a ValueError unless the model has so many layers, of so many dimensions."""
    n, width = model.cfg.n_layers, model.cfg.d_model
    if (n, width) != (layers, d):
        raise ValueError(f"made for {layers} layers of {d}, but this model has {n} of {width}")
