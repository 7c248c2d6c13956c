"""The two classes, and their colours in every figure."""

from jaxtyping import Bool
from torch import Tensor

from lens_steer.barriers.field.sample import HeldOutRows

CLASS_COLOURS = {"undesired": "C3", "desired": "C0"}


def sides(sample: HeldOutRows) -> dict[str, Bool[Tensor, " n"]]:
    """The rows of each class; the undesired are the ones to be steered."""
    return {"undesired": ~sample.desired, "desired": sample.desired}
